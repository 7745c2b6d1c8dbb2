"""A shadow service that leaves out what it would lose: no true effect, and yet the slates that are there win."""

import numpy as np
import pytest

from worker.experiment.quality.absent_slates import Served, absent_slates
from worker.experiment.readout import CheckState
from worker.experiment.statistics.confidence import EVEN, MIN_USERS, half_width

LOOKS = range(MIN_USERS, 1_001, 50)  # users at which somebody looks


def watched(
    runs: int, *, lost: float, served: float = 1.0, declared: float = 1.0, seed: int = 1
) -> tuple[float, float]:
    """Return the shares of runs that print a preference at some look, without the check and with it.

    There is no true effect.  The candidate serves a share of events at random; of those where it would lose, it leaves
    out the share `lost`.
    """
    rng = np.random.default_rng(seed)
    blind = seen = 0
    for _ in range(runs):
        counts = rng.integers(1, 6, LOOKS[-1])
        who = np.repeat(np.arange(counts.size), counts)
        taste = rng.normal(0, 0.1, counts.size)[who]
        shares = np.clip(EVEN + taste + rng.normal(0, 0.15, who.size), 0, 1)
        absent = (rng.random(who.size) >= served) | ((shares < EVEN) & (rng.random(who.size) < lost))
        answered, missing = np.bincount(who, ~absent, counts.size), np.bincount(who, absent, counts.size)
        total = np.bincount(who, shares * ~absent, counts.size)
        users = [Served(user, int(n), int(m)) for user, (n, m) in enumerate(zip(counts, missing, strict=True))]
        preferred = [n for n in LOOKS if _beside(answered[:n], total[:n])]
        blind += bool(preferred)
        checks = (absent_slates(users[:n], declared=declared).state for n in preferred)
        seen += any(state is not CheckState.FAILED for state in checks)
    return blind / runs, seen / runs


def _beside(answered: np.ndarray, total: np.ndarray) -> bool:
    values = total[answered > 0] / answered[answered > 0]
    half = half_width(values.size, float(values.std(ddof=1)), alpha=0.05, planned_users=1_000)
    return bool(abs(values.mean() - EVEN) > half)


def test_an_experiment_whose_shadow_leaves_out_what_it_loses_prints_no_preference() -> None:
    """Half of the losing slates are absent: all runs show a preference without the check, and none with it."""
    assert watched(20, lost=0.5) == (1.0, 0.0)


@pytest.mark.long
def test_an_experiment_whose_shadow_leaves_out_what_it_loses_prints_no_preference_in_400_runs() -> None:
    blind, seen = watched(400, lost=0.5)
    assert blind > 0.95
    assert seen <= 0.05


def test_an_experiment_with_a_planned_shadow_of_a_tenth_is_fine() -> None:
    """Where the share is declared, a tenth is what was meant; where it is not, nine tenths are missing."""
    rng = np.random.default_rng(2)
    users = [Served(user, 20, int(rng.binomial(20, 0.9))) for user in range(400)]
    check = absent_slates(users, declared=0.1)
    assert check.state is CheckState.OK
    assert check.qualifies.startswith("this holds for the events that have a slate of the candidate")
    assert absent_slates(users).state is CheckState.FAILED
    half = [Served(user, 20, int(rng.binomial(20, 0.75))) for user in range(400)]
    assert absent_slates(half, declared=0.5).state is CheckState.FAILED


def test_an_experiment_watched_at_its_declared_share_cries_no_more_than_alpha() -> None:
    """Each look asks again; of 200 experiments at the very share that was declared at most one is told otherwise."""
    rng, cried = np.random.default_rng(3), 0
    for _ in range(200):
        absent = rng.binomial(5, 0.5, 1_000)
        users = [Served(user, 5, int(number)) for user, number in enumerate(absent)]
        cried += any(absent_slates(users[:n], declared=0.5).state is CheckState.FAILED for n in LOOKS)
    assert cried <= 1


@pytest.mark.parametrize(("users", "state"), [(0, "OPEN"), (99, "OPEN"), (100, "OK")])
def test_an_experiment_knows_nothing_of_slates_that_it_has_not_looked_for(users: int, state: str) -> None:
    assert absent_slates([Served(user, 3, 0) for user in range(users)]).state == state


def test_an_experiment_is_not_stopped_by_the_absent_slates_of_one_user() -> None:
    """A robot with a thousand requests that time out is one user of two hundred."""
    users = [Served(user, 3, 0) for user in range(199)] + [Served(199, 1_000, 1_000)]
    assert absent_slates(users).state is CheckState.OK


def test_an_experiment_with_a_tiny_planned_share_does_not_fail_as_planned() -> None:
    rng = np.random.default_rng(5)
    users = [Served(user, 400, int(rng.binomial(400, 0.995))) for user in range(2_000)]
    assert absent_slates(users, declared=0.005).state is CheckState.OK
    assert absent_slates([Served(user, 400, 400) for user in range(20_000)], declared=0.005).state is CheckState.FAILED


def test_an_experiment_says_that_its_eligible_fits_nobody() -> None:
    """A misspelt name would switch the check off in silence."""
    check = absent_slates([], pairs=400)
    assert (check.state, "`eligible` fits none of the events" in check.words) == (CheckState.FAILED, True)
    assert absent_slates([]).state is CheckState.OPEN
