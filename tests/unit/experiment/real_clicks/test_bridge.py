"""The simulation against real clicks: what agrees, what is bridged, and what is not said yet."""

from dataclasses import replace

import numpy as np
import pytest

from worker.experiment.real_clicks.bridge import ESTIMAND, bridge, bridged, calibrated
from worker.experiment.real_clicks.shown_slates import Seen
from worker.experiment.statistics.user_means import Rule

K, RELUCTANCE = 5, 2.0
RULE = Rule(alpha=0.05, planned_users=2_000)


def world(
    num: int, *, lift: float, knows: bool = True, seed: int = 1
) -> tuple[list[Seen], dict[str, tuple[float, float]], float]:
    """Make shown slates of a logit truth, duels against items that are all better by `lift`, and the true effect."""
    rng = np.random.default_rng(seed)
    u_a, u_b = rng.normal(0, 1, (num, K)), rng.normal(lift, 1, (num, K))
    mass = [np.exp(u).sum(axis=1) for u in (u_a, u_b)]
    p_click = [m / (m + np.exp(RELUCTANCE)) for m in mass]
    letters = np.exp(u_a) / mass[0][:, None] if knows else np.full((num, K), 1 / K)
    choice = np.array([rng.choice(K, p=row) for row in np.exp(u_a) / mass[0][:, None]])
    clicked = rng.random(num) < p_click[0]
    share = mass[1] / (mass[0] + mass[1])
    items = tuple(f"i{index}" for index in range(K))
    clicks = [(int(one),) if any_click else () for one, any_click in zip(choice, clicked, strict=True)]
    seen = [Seen(f"e{n}", n // 2, n, items, tuple(range(K)), tuple(letters[n].tolist()), clicks[n]) for n in range(num)]
    duels = {f"e{n}": (float(share[n]), 1.0) for n in range(num)}
    return seen, duels, float((p_click[1] - p_click[0]).mean())


def test_an_experiment_bridges_a_lift_that_letters_alone_cannot_show() -> None:
    """All items of the candidate are better: its letters look the same, the duel and the bridge do not."""
    seen, duels, truth = world(4_000, lift=0.5)
    effect = bridged(bridge(seen, duels), RULE)
    assert effect.estimand == ESTIMAND == "bridged (assumes logit choice)"
    assert effect.overall.interval is not None
    assert truth in effect.overall.interval
    assert effect.overall.interval.low > 0
    assert effect.overall.users == 1_000  # of the second half


def test_an_experiment_bridges_no_lift_where_there_is_none() -> None:
    seen, duels, _ = world(4_000, lift=0.0)
    effect = bridged(bridge(seen, duels), RULE)
    assert effect.overall.interval is not None
    assert 0 in effect.overall.interval


def test_an_experiment_dilutes_the_bridged_lift_by_events_whose_slates_are_one_list() -> None:
    """Three of four events are unchanged, and of those only 5 % were asked: each counts all the same."""
    seen, duels, truth = world(4_000, lift=0.5)
    changed = [one for n, one in enumerate(seen) if n % 4 == 0 or n % 20 == 1]
    duels = {event: (0.5, 0.0) if int(event[1:]) % 4 else both for event, both in duels.items()}
    unchanged = [(one.event_id, one.user, one.occurred_at) for n, one in enumerate(seen) if n % 4]
    effect = bridged(bridge(changed, duels, unchanged), RULE)
    assert effect.overall.users == 1_000
    assert effect.overall.value == pytest.approx(truth / 4, abs=0.01)
    assert effect.triggered.users == 500  # of two events a user, every other user has one that changed
    assert effect.triggered.value == pytest.approx(truth / 2, abs=0.02)
    assert "slope" in effect.note


@pytest.mark.parametrize(
    ("num", "with_duels", "why"),
    [
        (0, True, "no outcomes yet whose window is over"),
        (200, True, "with a click so far, at least 200"),
        (4_000, False, "no duel yet"),
    ],
)
def test_an_experiment_says_why_there_is_no_bridge(num: int, with_duels: bool, why: str) -> None:
    seen, duels, _ = world(num, lift=0.5) if num else ([], {}, 0.0)
    effect = bridged(bridge(seen, duels if with_duels else {}), RULE)
    assert (effect.overall.value, effect.overall.interval) == (None, None)
    assert why in effect.overall.withheld


def test_an_experiment_agrees_with_clicks_if_its_simulator_knows_the_users() -> None:
    """A useless simulator has no skill over chance, and is said to have none."""
    knows, guesses = (calibrated(world(2_000, lift=0.0, knows=knows)[0]) for knows in (True, False))
    skill = {figure.name: figure for figure in knows.figures}["skill_uniform"]
    assert skill.low is not None
    assert skill.low > 0
    assert knows.words == "simulated users predict clicks better than chance"
    assert guesses.words == "simulated users are not shown to predict clicks better than chance"


def test_an_experiment_counts_what_is_pending_and_uses_none_of_it() -> None:
    seen, _, _ = world(500, lift=0.0)
    pending = [replace(one, event_id=f"p{n}", clicked=None) for n, one in enumerate(seen[:50])]
    with_pending = calibrated([*seen, *pending])
    assert (with_pending.slates, with_pending.pending) == (550, 50)
    assert with_pending.figures == calibrated(seen).figures
    assert calibrated(pending).words == "too few clicks so far: both halves of the period need some"
