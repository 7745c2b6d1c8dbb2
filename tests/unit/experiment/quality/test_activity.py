"""Taste that follows activity: those who come often come first, and the rest of the plan thinks otherwise."""

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.experiment.quality.activity import activity, groups
from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import Estimate, estimate

USERS, ALPHA = 1_500, 0.05


def seen(
    rng: np.random.Generator, slope: float, events: int, effect: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the values and numbers of events of the users seen in the first events of an experiment.

    Taste grows with the logarithm of activity by `slope`, and has the mean `effect` over all planned users.
    """
    rate = 1 + rng.pareto(1.5, USERS)
    taste = slope * (np.log(rate) - np.log(rate).mean()) + effect + rng.normal(0, 0.05, USERS)
    who = rng.choice(USERS, events, p=rate / rate.sum())
    counts = np.bincount(who, minlength=USERS)
    shares = np.clip(0.5 + taste[who] + rng.normal(0, 0.15, events), 0, 1)
    came = counts > 0
    return np.bincount(who, shares, USERS)[came] / counts[came], counts[came]


def look(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[Estimate, Check]:
    overall = estimate(values.tolist(), num_differ=len(values), alpha=ALPHA, planned_users=USERS)
    found = groups(values, counts, alpha=ALPHA, planned_users=USERS, bounds=(0.0, 1.0))
    return overall, activity(found, overall, null=0.5)


def preferred(slope: float, runs: int, effect: float = 0.0, seed: int = 1) -> tuple[float, float]:
    """Return the share of runs that prefer the candidate at some look, and those that say it of all users."""
    rng, plain, unqualified = np.random.default_rng(seed), 0, 0
    for _ in range(runs):
        looks = [look(*seen(rng, slope, events, effect)) for events in (600, 1_200, 2_400)]
        said = [check for one, check in looks if one.interval is not None and one.interval.low > 0.5]
        plain += bool(said)
        unqualified += any(check.state is not CheckState.FAILED for check in said)
    return plain / runs, unqualified / runs


def test_an_experiment_whose_heavy_users_like_it_says_so_of_the_users_seen_alone() -> None:
    """No effect on all planned users, and the heavy ones come first."""
    plain, unqualified = preferred(0.1, 40)
    assert plain > 0.9
    assert unqualified <= 0.05


@pytest.mark.long
def test_an_experiment_whose_heavy_users_like_it_says_so_of_the_users_seen_alone_in_400_runs() -> None:
    plain, unqualified = preferred(0.1, 400)
    assert plain > 0.9
    assert unqualified <= 0.05


def test_an_experiment_that_all_users_like_alike_is_said_of_all() -> None:
    """Where taste does not follow activity, hardly any preference is qualified."""
    plain, unqualified = preferred(0.0, 40, effect=0.06)
    assert plain > 0.9
    assert unqualified >= 0.9 * plain


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
    assert activity(once, overall, null=0.5).state is CheckState.OPEN
    assert activity((), Estimate(0, None, None), null=0.5).state is CheckState.OPEN


def test_an_experiment_names_the_users_who_point_the_other_way() -> None:
    values = np.concatenate([np.full(100, 0.45), np.full(200, 0.6)]) + np.random.default_rng(1).normal(0, 0.02, 300)
    overall, check = look(values, np.repeat([1, 4, 9], 100))
    assert overall.value is not None
    assert check.state is CheckState.FAILED
    assert check.qualifies == "this is said of the 300 users seen so far alone: light users point the other way"
    assert not check.forbids
