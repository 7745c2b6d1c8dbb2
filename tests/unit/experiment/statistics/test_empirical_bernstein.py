"""The sequence over closed users: it covers while watched, from the first user on, in any order of arrival."""

from math import nan

import numpy as np
import pytest

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Estimate, Interval, half_width
from worker.experiment.statistics.empirical_bernstein import Values, half_width as expected_half_width, interval
from worker.experiment.store.database import State

ALPHA = 0.05
DAY = 24 * 60  # minutes
SLACK = 2 * (ALPHA * (1 - ALPHA)) ** 0.5  # two standard errors, times the root of the number of runs


def missed(draw: str, runs: int, users: int, *, seed: int = 1) -> float:
    """Return the share of runs whose interval left out the truth at any look."""
    rng, wrong = np.random.default_rng(seed), 0
    for _ in range(runs):
        values, truth = drawn(draw, rng, users)
        wrong += any(found is not None and truth not in found for found in watched(values))
    return wrong / runs


def watched(values: Values) -> list[Interval | None]:
    """Return the interval at every user up to 20, and at every tenth from there on."""
    looks = [*range(1, 20), *range(20, values.size + 1, 10)]
    moments = np.arange(values.size)
    return [interval(values[:look], moments[:look], low=0.0, high=1.0, alpha=ALPHA) for look in looks]


def drawn(draw: str, rng: np.random.Generator, users: int) -> tuple[Values, float]:
    if draw == "even":
        return rng.beta(0.4, 0.4, users), 0.5
    if draw == "rare":
        return (rng.random(users) < 0.02).astype(np.float64), 0.02
    return np.where(rng.random(users) < 0.98, 0.5, rng.random(users) < 0.9).astype(np.float64), 0.98 * 0.5 + 0.02 * 0.9


@pytest.mark.parametrize("draw", ["even", "rare", "triggered"])
def test_a_watched_experiment_of_closed_users_misses_no_more_than_alpha(draw: str) -> None:
    runs = 60
    assert missed(draw, runs, 300) <= ALPHA + SLACK / runs**0.5


@pytest.mark.long
@pytest.mark.parametrize("draw", ["even", "rare", "triggered"])
def test_400_watched_experiments_of_closed_users_miss_no_more_than_alpha(draw: str) -> None:
    runs = 400
    found = missed(draw, runs, 2_000)
    print(draw, found)
    assert found <= ALPHA + SLACK / runs**0.5


def test_closed_users_of_an_experiment_cost_little_width() -> None:
    """At 5,000 users of sd 0.2 at most 1.5 times the asymptotic half width (1.28 in theory and here)."""
    values = np.clip(np.random.default_rng(0).normal(0.53, 0.2, 5_000), 0, 1)
    found = interval(values, np.arange(values.size), low=0.0, high=1.0, alpha=ALPHA)
    assert found is not None
    asymptotic = half_width(values.size, float(values.std(ddof=1)), alpha=ALPHA, planned_users=5_000)
    assert asymptotic < (found.high - found.low) / 2 < 1.5 * asymptotic


@pytest.mark.parametrize("at_once", [10, 200, 1_000])
@pytest.mark.parametrize("draw", ["even", "rare", "triggered"])
def test_closed_users_of_an_experiment_may_close_at_once(draw: str, at_once: int) -> None:
    """Sorted by value within a moment, as they stand, they still miss no more than alpha."""
    rng, runs, wrong = np.random.default_rng(1), 200, 0
    for _ in range(runs):
        values, truth = drawn(draw, rng, 1_000)
        moments = np.arange(values.size) // at_once
        values = values[np.lexsort((values, moments))]
        looks = range(at_once, values.size + 1, at_once)
        found = [interval(values[:look], moments[:look], low=0.0, high=1.0, alpha=ALPHA) for look in looks]
        wrong += any(one is not None and truth not in one for one in found)
    assert wrong / runs <= ALPHA + SLACK / runs**0.5


def test_closed_users_of_an_experiment_that_close_in_a_minute_stand_in_no_order() -> None:
    values, moments = np.random.default_rng(2).random(600), np.arange(600) // 30
    turned = np.concatenate([part[::-1] for part in np.split(values, 20)])
    one, other = (interval(each, moments, low=0.0, high=1.0, alpha=ALPHA) for each in (values, turned))
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-12)


@pytest.mark.parametrize(("users", "sd"), [(300, 0.2), (1_000, 0.08), (5_000, 0.02)])
def test_the_width_of_an_interval_of_closed_users_is_known_before_the_experiment(users: int, sd: float) -> None:
    """As far as a plan needs it: within a tenth."""
    rng = np.random.default_rng(1)
    found = [
        interval(0.5 + rng.normal(0, sd, users).clip(-0.5, 0.5), np.arange(users), low=0, high=1, alpha=ALPHA)
        for _ in range(10)
    ]
    widths = [one.high - one.low for one in found if one]
    assert np.mean(widths) / 2 == pytest.approx(expected_half_width(users, sd, alpha=ALPHA), rel=0.1)


@pytest.mark.parametrize("value", [nan, -0.1, 1.1])
def test_a_closed_value_of_an_experiment_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="want values in"):
        interval(np.array([0.5, value]), np.arange(2), low=0.0, high=1.0, alpha=ALPHA)


def closed(*records: dict[str, object]) -> Estimate | None:
    """Count responses and return what stands of the closed users."""
    state = State()
    state.take(answers(records), health={}, positions={})
    ((comparison,),) = (epoch.comparisons for one in report(state, Defaults()).readouts for epoch in one.epochs)
    return comparison.closed


def test_an_experiment_counts_a_user_once_the_first_day_is_over() -> None:
    """User 0 has two events on its first day and one after it, which closes it once another one agrees on the time.

    User 1 has not had its day.
    """
    records = [response(0, 0, duel_share=0.2), response(0, 60, duel_share=0.4), response(0, DAY, duel_share=1.0),
               response(1, DAY - 5, duel_share=0.9), response(2, DAY, duel_share=0.5)]  # fmt: skip
    assert closed(*records[:2]) is None
    assert closed(*records[:4]) is None
    for order in (1, -1):
        found = closed(*records[::order])
        assert found is not None
        assert found.users == 1
        assert found.value == pytest.approx(0.3)
    assert records[0]["occurred_at"] == AT_US
    assert records[2]["occurred_at"] == AT_US + DAY * MINUTE_US
