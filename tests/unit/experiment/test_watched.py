"""Experiments watched at every event: user effects, heavy-tailed visits, few users whose slates differ.

    user     comes back as a Pareto activity has it; 2 % have slates that differ, with a taste of their own
    event    duel share 0.5 + effect + taste + noise of a user whose slates differ, 0.5 of any other

The figure is the product's: the mean over users of a user's mean so far, shown from 100 users and 50 who differ on.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.experiment.statistics.confidence import MIN_DIFFERING, MIN_USERS, half_width

ALPHA = 0.05
NOISE_SD = 0.2  # of one event
TASTE_SD = 0.5 * NOISE_SD
TRIGGERED = 0.02
VISITS = 1.5  # tail index of the Pareto activity


@dataclass(frozen=True, slots=True)
class Missed:
    """Shares of runs whose interval left out the truth at any look; of those with a look."""

    sequence: float
    fixed: float  # 1.96 standard errors
    runs: int


def watch(effect: float, *, runs: int, users: int, events: int, seed: int = 1) -> Missed:
    """Advance all runs together, an event each a step, and look after every one."""
    rng = np.random.default_rng(seed)
    who = _arrivals(rng, runs, users, events)
    differs = rng.random((runs, users)) < TRIGGERED
    taste = differs * (effect + rng.normal(0, TASTE_SD, (runs, users)))
    widths = np.array([half_width(n, 1, alpha=ALPHA, planned_users=users) for n in range(1, users + 1)])
    scale = np.stack([np.append(np.inf, widths), np.append(np.inf, 1.96 / np.sqrt(np.arange(1, users + 1)))])
    totals, counts, run = np.zeros((runs, users)), np.zeros((runs, users)), np.arange(runs)
    seen, seen_differ, first, second = (np.zeros(runs) for _ in range(4))
    missed, looked, truth = np.zeros((2, runs), bool), np.zeros(runs, bool), TRIGGERED * effect
    for user in who:
        count, total, differ = counts[run, user], totals[run, user], differs[run, user]
        old, new_user = total / np.maximum(count, 1), count == 0
        total, count = total + taste[run, user] + differ * rng.normal(0, NOISE_SD, runs), count + 1
        totals[run, user], counts[run, user] = total, count
        new = total / count
        seen, seen_differ = seen + new_user, seen_differ + (new_user & differ)
        first, second = first + new - old, second + new**2 - old**2
        shown = (seen >= MIN_USERS) & (seen_differ >= MIN_DIFFERING)
        if shown.any():
            mean = first / seen
            sd = np.sqrt(np.maximum(second - seen * mean**2, 0) / np.maximum(seen - 1, 1))
            missed |= shown & (abs(mean - truth) > scale[:, seen.astype(int)] * sd)
            looked |= shown
    return Missed(float(missed[0][looked].mean()), float(missed[1][looked].mean()), int(looked.sum()))


def _arrivals(rng: np.random.Generator, runs: int, users: int, events: int) -> NDArray[np.int64]:
    """Return who comes, one row an event, one column a run."""
    activity = np.cumsum(1 + rng.pareto(VISITS, (runs, users)), axis=1)
    at = rng.random((runs, events)) * activity[:, -1:]
    return np.stack([np.searchsorted(one, draws) for one, draws in zip(activity, at, strict=True)], axis=1)


def found_by(effect_sd: float, *, planned: int, runs: int, seed: int = 1) -> tuple[float, float]:
    """Return the share of runs that find an effect of so many sd by `planned` users, and the median look that did."""
    values = np.random.default_rng(seed).normal(effect_sd, 1, (runs, planned))
    n = np.arange(1, planned + 1)
    mean = np.cumsum(values, axis=1) / n
    sd = np.sqrt(np.maximum(np.cumsum(values**2, axis=1) - n * mean**2, 0) / np.maximum(n - 1, 1))
    widths = np.array([half_width(int(k), 1, alpha=ALPHA, planned_users=planned) for k in n])
    found = (mean - widths * sd > 0) & (n >= MIN_USERS)
    looks = np.where(found.any(axis=1), found.argmax(axis=1) + 1, np.inf)
    return float(found.any(axis=1).mean()), float(np.median(looks))


def limit(runs: int) -> float:
    """Return alpha and two standard errors."""
    return float(ALPHA + 2 * (ALPHA * (1 - ALPHA) / runs) ** 0.5)


@pytest.mark.parametrize("effect", [0.0, 0.1], ids=["a-a", "a-b"])
def test_an_experiment_watched_at_every_event_misses_no_more_than_alpha(effect: float) -> None:
    """A share of the long test."""
    found = watch(effect, runs=60, users=6_000, events=9_000)
    assert found.runs >= 50
    assert found.sequence <= limit(found.runs)


@pytest.mark.long
@pytest.mark.parametrize("effect", [0.0, 0.1], ids=["a-a", "a-b"])
def test_400_experiments_watched_at_every_event_miss_no_more_than_alpha_where_1_96_errors_do(effect: float) -> None:
    found = watch(effect, runs=400, users=40_000, events=120_000)
    print(effect, found)
    assert found.runs == 400
    assert found.sequence <= limit(found.runs)
    assert found.fixed > 0.3


def test_an_experiment_finds_a_small_effect_within_its_planned_users() -> None:
    """400 runs: 0.06 sd of the per-user difference in at least 90 %, 0.1 sd in all but a few."""
    small, large = (found_by(effect, planned=5_000, runs=400) for effect in (0.06, 0.1))
    print(small, large)
    assert small[0] >= 0.9
    assert large[0] >= 0.99
    assert large[1] < 1_500


def test_an_experiment_planned_for_too_many_users_finds_little() -> None:
    """The same effect, n* = 500,000: the interval is tuned for a hundred times as many."""
    values = np.random.default_rng(1).normal(0.06, 1, (200, 5_000))
    half = half_width(5_000, 1, alpha=ALPHA, planned_users=500_000)
    assert (values.mean(axis=1) - half * values.std(axis=1, ddof=1) > 0).mean() < 0.2
