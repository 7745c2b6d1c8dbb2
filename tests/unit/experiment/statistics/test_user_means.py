"""One value a user: what a mean over users is, and what it is not."""

from collections import defaultdict
from math import inf

import numpy as np
import pytest

from worker.experiment.statistics.user_means import MAX_POINTS, Rule, Users, UserSums

UNIT = 1 << 30
RULE = Rule(alpha=0.05, planned_users=5_000)


def users(*pairs: tuple[int, int, float | None, bool], rule: Rule = RULE) -> Users:
    """Add up pairs of (user, bucket, value or None, differs)."""
    rows: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for user, bucket, value, differs in pairs:
        row = rows[user, bucket]
        row[0] += value is not None
        row[1] += value is None
        row[2] += round((value or 0.0) * UNIT)
        row[3] += differs and value is not None
    return Users(UserSums.of([(*key, *row) for key, row in rows.items()], unit=UNIT), rule)


def test_an_experiment_counts_a_user_once_however_active() -> None:
    """The mean over users is not the mean over events."""
    found = users(*((0, minute, 1.0, True) for minute in range(98)), (1, 0, 0.0, True))
    assert found.overall().value == 0.5
    assert found.num_pairs == 99


def test_an_experiment_dilutes_an_effect_by_the_trigger_share() -> None:
    """Users whose slates never differ add 0.5 each and nothing else."""
    shares = np.random.default_rng(4).random(300).tolist()
    pairs = [(number, 0, 0.5, False) for number in range(300)]
    pairs += [(number, 1, share, True) for number, share in enumerate(shares) if number % 3 == 0]
    overall, triggered = users(*pairs).overall(), users(*pairs).triggered()
    assert (overall.users, triggered.users) == (300, 100)
    assert overall.value is not None
    assert triggered.value is not None
    assert overall.value - 0.5 == pytest.approx((triggered.value - 0.5) / 3)


def test_an_experiment_widens_the_worst_case_by_missing_pairs_and_leaves_the_mean_alone() -> None:
    """A user with missing pairs only has no mean, but is in the worst case."""
    found = users((0, 0, 0.8, True), (0, 1, None, True), (1, 0, None, True))
    assert found.overall().value == pytest.approx(0.8)
    assert (found.triggered().users, found.num_missing) == (1, 2)
    assert str(found.worst_case()) == "0.200 to 0.950"
    assert users().worst_case() is None
    assert users((0, 0, None, True), rule=Rule(0.05, 5_000, (-inf, inf))).worst_case() is None


def test_an_experiment_has_a_timeline_that_ends_with_the_figures_of_now() -> None:
    """Each point is what a reader would have been told of the events until then."""
    rng = np.random.default_rng(5)
    pairs = [(int(rng.integers(150)), minute, float(rng.random()), True) for minute in range(400)]
    found = users(*pairs)
    points = found.timeline()
    assert len(points) == MAX_POINTS
    assert points[-1] == (400, found.overall())
    for end, estimate in points[:: MAX_POINTS // 4]:
        assert estimate == users(*(pair for pair in pairs if pair[1] < end)).overall()
    assert users().timeline() == []


def test_an_experiment_has_the_same_figures_whatever_numbers_users_were_given() -> None:
    """A readout that is made anew from the topics meets users in another order."""
    rng = np.random.default_rng(6)
    shares, names = rng.random(2_000), rng.permutation(2_000)
    one = users(*((number, 0, float(share), True) for number, share in enumerate(shares)))
    other = users(*((int(names[number]), 0, float(share), True) for number, share in enumerate(shares)))
    assert one.overall() == other.overall()
    assert one.overall().interval is not None


def test_an_experiment_weighs_users_in_the_headline_and_events_beside_it() -> None:
    """One user of 121 events decides nothing in the first and much in the second."""
    pairs = [(user, 0, 0.4 + 0.001 * user, True) for user in range(120)] + [
        (0, minute, 1.0, True) for minute in range(120)
    ]
    found = users(*pairs)
    overall, event = found.overall(), found.by_event()
    assert overall.value is not None
    assert event.value is not None
    assert (overall.value < 0.47, event.value > 0.7) == (True, True)
    assert event.interval is not None
    assert overall.interval is not None
    assert event.interval.high - event.interval.low > 3 * (overall.interval.high - overall.interval.low)


def test_an_experiment_is_adjusted_only_where_eligible_users_have_no_answer() -> None:
    """Matched by user: the value of one goes with the overlap of the same one."""
    shares = [(user, 0, 0.3 + 0.004 * user, True) for user in range(100, 220)]
    everyone = users(*((user, 0, user / 240, True) for user in range(240)))
    assert users(*shares).cuped(users(*((user, 0, user / 240, True) for user in range(100, 220)))) is None
    found = users(*shares).cuped(everyone)
    assert found is not None
    assert found.users == 120
    assert found.value == pytest.approx(0.3 + 0.004 * 119.5)  # the line at the mean user of all
