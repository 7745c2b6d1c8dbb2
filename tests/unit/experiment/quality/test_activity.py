"""Taste that follows activity: those who come often come first, and the rest of the plan thinks otherwise."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.experiment.quality.activity import activity, groups
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import Estimate, estimate

USERS, ALPHA = 3_000, 0.05
LOOKS = [150 * look for look in range(1, 21)]  # events at which somebody looks: 3,000 at the last


def watched(
    rng: np.random.Generator, slope: float, effect: float = 0.0
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Yield the values and numbers of events of the users seen at each look.

    Taste grows with the logarithm of activity by `slope`, and has the mean `effect` over all planned users.
    """
    rate = 1 + rng.pareto(1.5, USERS)
    taste = slope * (np.log(rate) - np.log(rate).mean()) + effect + rng.normal(0, 0.05, USERS)
    who = rng.choice(USERS, LOOKS[-1], p=rate / rate.sum())
    shares = np.clip(0.5 + taste[who] + rng.normal(0, 0.15, who.size), 0, 1)
    for events in LOOKS:
        counts = np.bincount(who[:events], minlength=USERS)
        came = counts > 0
        yield np.bincount(who[:events], shares[:events], USERS)[came] / counts[came], counts[came]


def look(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[Estimate, Check]:
    overall = estimate(values.tolist(), num_differ=len(values), alpha=ALPHA, planned_users=USERS)
    found = groups(values, counts, alpha=ALPHA, planned_users=USERS, bounds=(0.0, 1.0))
    return overall, activity(found, overall, null=0.5)


def preferred(slope: float, runs: int, effect: float = 0.0, seed: int = 1) -> tuple[float, float]:
    """Return the share of runs that prefer a side at some look, and of those that say it of all users."""
    rng, plain, of_all = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        looks = [look(*found) for found in watched(rng, slope, effect)]
        said = [check for one, check in looks if one.interval is not None and 0.5 not in one.interval]
        plain += bool(said)
        of_all += any(not check.qualifies for check in said)
    return plain / runs, of_all / runs


@pytest.mark.parametrize("slope", [0.03, 0.1, 0.3])
def test_an_experiment_whose_heavy_users_like_it_says_so_of_the_users_seen_alone(slope: float) -> None:
    """No effect on all planned users, and the heavy ones come first; a share of the long test."""
    assert preferred(slope, 20)[1] <= 0.05


@pytest.mark.long
@pytest.mark.parametrize("slope", [0.03, 0.1, 0.3])
def test_an_experiment_whose_heavy_users_like_it_says_so_of_the_users_seen_alone_in_400_runs(slope: float) -> None:
    plain, of_all = preferred(slope, 400)
    print(f"slope {slope}: preferred in {plain:.1%}, of all users in {of_all:.1%}")
    assert plain > 0.1
    assert of_all <= 0.05


def test_an_experiment_that_all_users_like_alike_is_said_of_all() -> None:
    """Where taste does not follow activity, a preference is said of all in the end."""
    plain, of_all = preferred(0.0, 20, effect=0.06)
    assert plain > 0.9
    assert of_all > 0.8


def test_an_experiment_shows_its_users_by_activity() -> None:
    """Thirds by the number of events; users who all came once are one group, and say nothing of activity."""
    counts = np.repeat([1, 2, 5, 50], 100)
    values = np.linspace(0.4, 0.8, 400)
    found = groups(values, counts, alpha=ALPHA, planned_users=USERS, bounds=(0.0, 1.0))
    assert [(one.name, one.fewest_events, one.most_events) for one in found] == [
        ("light", 1, 2), ("medium", 5, 5), ("heavy", 50, 50),
    ]  # fmt: skip
    once = groups(values, np.ones(400, np.int64), alpha=ALPHA, planned_users=USERS, bounds=(0.0, 1.0))
    assert [one.name for one in once] == ["all"]
    overall = estimate(values.tolist(), num_differ=400, alpha=ALPHA, planned_users=USERS)
    check = activity(once, overall, null=0.5)
    assert check.state is CheckState.OPEN
    assert check.qualifies.startswith(
        "this holds for the 400 users seen so far, not for all: they all came equally often"
    )
    assert activity((), Estimate(0, None, None), null=0.5).state is CheckState.OPEN


def test_an_experiment_marks_the_users_of_an_activity_who_clearly_differ_from_a_tie() -> None:
    """By e-BH over the groups, at the interval's own level; the tie of a difference is another one."""
    values = np.concatenate([np.full(200, 0.5), np.full(200, 0.51), np.full(200, 0.7)])
    values += np.random.default_rng(3).normal(0, 0.1, 600)
    counts = np.repeat([1, 4, 9], 200)
    found = groups(values, counts, alpha=ALPHA, planned_users=600, bounds=(0.0, 1.0))
    assert [one.notable for one in found] == [False, False, True]
    shifted = groups(values - 0.5, counts, alpha=ALPHA, planned_users=600, bounds=(-1.0, 1.0), null=0.0)
    assert [one.notable for one in shifted] == [False, False, True]
    few = groups(values[:9], counts[:9], alpha=ALPHA, planned_users=600, bounds=(0.0, 1.0))
    assert [(one.notable, one.estimate.withheld) for one in few] == [
        (False, "not identified: 9 users so far, at least 100 needed")
    ]


def test_an_experiment_names_the_users_who_point_the_other_way() -> None:
    values = np.concatenate([np.full(100, 0.45), np.full(200, 0.6)]) + np.random.default_rng(1).normal(0, 0.02, 300)
    overall, check = look(values, np.repeat([1, 4, 9], 100))
    assert overall.value is not None
    assert check.state is CheckState.FAILED
    assert (
        check.qualifies
        == "this holds for the 300 users seen so far, not for all: users with few events show the opposite"
    )
    assert check.holds
    assert not check.forbids


@pytest.mark.parametrize(
    ("means", "state", "words"),
    [
        ((0.5, 0.5, 0.5), CheckState.OK, ""),
        ((0.48, 0.5, 0.54), CheckState.FAILED, "users with many events show the opposite"),
    ],
)
def test_an_experiment_finds_no_difference_only_within_the_margin_of_every_third(
    means: tuple[float, ...], state: CheckState, words: str
) -> None:
    """All together are within two points of a tie; a third that is not, on whichever side, is named."""
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(mean, 0.03, 400) for mean in means])
    counts = np.repeat([1, 4, 9], 400)
    overall = estimate(values.tolist(), num_differ=len(values), alpha=ALPHA, planned_users=USERS)
    found = groups(values, counts, alpha=ALPHA, planned_users=USERS, bounds=(0.0, 1.0))
    check = activity(found, overall, null=0.5, margin=0.02, is_small=True)
    assert check.state is state
    assert words in check.words
    assert bool(check.qualifies) is (state is not CheckState.OK)
