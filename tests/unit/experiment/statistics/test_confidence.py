"""What the figures promise: watching does no harm, an effect is found, too little data gives no interval."""

from collections.abc import Sequence
from math import exp

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from worker.experiment.statistics.confidence import (
    EVEN,
    MIN_DIFFERING,
    MIN_USERS,
    Estimate,
    Interval,
    at_level,
    estimate,
    excluding,
    half_width,
    holm,
    log_e,
)

ALPHA, PLANNED = 0.05, 5_000
RUNS, USERS, EVENTS = 200, 3_000, 7_500


def _estimate(values: Sequence[float], num_differ: int | None = None) -> Estimate:
    differ = len(values) if num_differ is None else num_differ
    return estimate(values, num_differ=differ, alpha=ALPHA, planned_users=PLANNED)


def _missed_while_watched() -> tuple[float, float]:
    """Run A/A tests with user effects, a look after every event; return the shares of runs that cried effect.

    The first is by the confidence sequence, the second by 1.96 standard errors.  All runs advance together.
    """
    rng = np.random.default_rng(1)
    effects = rng.normal(0, 0.1, (RUNS, USERS))
    who, noise = rng.integers(0, USERS, (EVENTS, RUNS)), rng.normal(0, 0.15, (EVENTS, RUNS))
    always = np.array([np.inf, *(half_width(n, 1, alpha=ALPHA, planned_users=PLANNED) for n in range(1, USERS + 1))])
    once = np.array([np.inf, *(1.96 / n**0.5 for n in range(1, USERS + 1))])
    always[:MIN_USERS] = once[:MIN_USERS] = np.inf
    totals, counts, run = np.zeros((RUNS, USERS)), np.zeros((RUNS, USERS)), np.arange(RUNS)
    seen, first, second = np.zeros(RUNS, int), np.zeros(RUNS), np.zeros(RUNS)  # users; sums of means and squares
    missed = np.zeros((2, RUNS), bool)
    for user, extra in zip(who, noise, strict=True):
        count, total = counts[run, user], totals[run, user]
        old = total / np.maximum(count, 1)
        total, count = total + effects[run, user] + extra, count + 1
        new = total / count
        counts[run, user], totals[run, user] = count, total
        seen, first, second = seen + (count == 1), first + new - old, second + new**2 - old**2
        mean = first / seen
        sd = np.sqrt(np.maximum(second - seen * mean**2, 0) / np.maximum(seen - 1, 1))
        with np.errstate(invalid="ignore"):  # inf * 0 before there are enough users: no miss
            missed |= abs(mean) > np.stack([always[seen], once[seen]]) * sd
    return float(missed[0].mean()), float(missed[1].mean())


def test_watching_an_a_a_test_at_every_event_misses_no_more_than_alpha() -> None:
    """The confidence sequence keeps its promise over all looks; 1.96 standard errors break theirs."""
    always, once = _missed_while_watched()
    assert always <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / RUNS) ** 0.5
    assert once > 0.3


def test_a_tenth_of_a_standard_deviation_is_found_within_the_planned_users() -> None:
    """A small effect is found, and found on the right side."""
    values = np.random.default_rng(2).normal(EVEN + 0.02, 0.2, PLANNED).tolist()
    looks = [_estimate(values[:n]) for n in range(MIN_USERS, PLANNED + 1, 100)]
    found = [look.users for look in looks if look.interval and look.interval.low > EVEN]
    assert found
    assert not [look for look in looks if look.interval and look.interval.high < EVEN]


def test_the_interval_is_as_wide_as_published() -> None:
    """At the planned users it is 1.55 times as wide as a fixed-time one (facts: 1.6)."""
    assert half_width(5_000, 1, alpha=0.05, planned_users=5_000) == pytest.approx(0.04292, abs=1e-5)
    assert half_width(5_000, 2, alpha=0.05, planned_users=5_000) == pytest.approx(0.08585, abs=1e-5)


@pytest.mark.parametrize("other", [500, 50_000])
def test_the_interval_is_tightest_at_the_planned_users(other: int) -> None:
    """Planning for another number of users costs width."""
    planned = half_width(5_000, 1, alpha=0.05, planned_users=5_000)
    assert planned < half_width(5_000, 1, alpha=0.05, planned_users=other)


@pytest.mark.parametrize(
    ("users", "differing", "why"),
    [
        (0, 0, "0 users so far, at least 100 needed; 0 users whose lists differ so far, at least 50 needed"),
        (99, 99, "99 users so far, at least 100 needed"),
        (1_000, 49, "49 users whose lists differ so far, at least 50 needed"),
    ],
)
def test_too_few_users_give_no_interval_but_say_how_many_are_wanted(users: int, differing: int, why: str) -> None:
    """With few users the interval would be too narrow, even 0 wide."""
    result = _estimate([0.4, 0.6] * (users // 2) + [0.5] * (users % 2), differing)
    assert result.interval is None
    assert result.withheld == why


def test_the_interval_starts_at_100_users_of_whom_50_differ() -> None:
    """Both limits are wanted, and no more."""
    values = [0.4, 0.6] * (MIN_DIFFERING // 2) + [EVEN] * (MIN_USERS - MIN_DIFFERING)
    assert _estimate(values, MIN_DIFFERING).interval is not None


def test_equal_values_give_no_interval() -> None:
    """A simulator that always says the same is not a certain one."""
    result = _estimate([0.1 * 3] * 500 + [0.3] * 500)  # 0.1 * 3 is not quite 0.3
    assert result.interval is None
    assert result.withheld == "all 1,000 users have the same value, 0.300: no interval can be computed"


def test_the_order_of_users_does_not_show() -> None:
    """A readout rebuilt from the topic, in another order of partitions, has the same figures to the last bit."""
    values = np.random.default_rng(3).random(2_000).tolist()
    assert _estimate(values) == _estimate(sorted(values))


def test_the_interval_stays_within_the_shares_there_are() -> None:
    """No share is below 0 or above 1."""
    low_end, high_end = (_estimate([end] * 60 + [1 - end] + [end] * 60).interval for end in (0.0, 1.0))
    assert low_end is not None
    assert high_end is not None
    assert (low_end.low, high_end.high) == (0.0, 1.0)


@pytest.mark.parametrize(("alpha", "planned_users"), [(0.0, 100), (1.0, 100), (float("nan"), 100), (0.05, 0)])
def test_a_senseless_plan_is_refused(alpha: float, planned_users: int) -> None:
    """An alpha is a probability, and a plan has users."""
    with pytest.raises(ValueError, match="want an alpha"):
        half_width(100, 1, alpha=alpha, planned_users=planned_users)


@pytest.mark.parametrize("shift", [-0.03, -0.01, 0.0, 0.005, 0.012, 0.03])
def test_an_experiment_has_an_e_value_that_says_what_its_interval_says(shift: float) -> None:
    """It passes 1 / alpha where the interval leaves the null, at any alpha that the interval was made with."""
    for users in (150, 1_000, 4_000):
        values = np.random.default_rng(users).normal(EVEN + shift, 0.2, users).clip(0, 1).tolist()
        found = _estimate(values)
        e_value = log_e(found, null=EVEN, alpha=ALPHA, planned_users=PLANNED)
        assert found.interval is not None
        assert e_value is not None
        assert (EVEN not in found.interval) == (e_value > -np.log(ALPHA))
    assert log_e(_estimate([0.6] * 10), null=EVEN, alpha=ALPHA, planned_users=PLANNED) is None


def test_an_experiment_corrects_for_several_candidates_by_holm() -> None:
    """The smallest is multiplied by all, the next by one less, and none gets smaller than the one before."""
    assert holm([0.01]) == [0.01]
    assert holm([0.01, 0.04, None, 0.03]) == pytest.approx([0.04, 0.09, None, 0.09])
    assert holm([]) == []
    assert holm([0.01], of=3) == pytest.approx([0.03])
    assert holm([None], of=3) == [None]


@pytest.mark.parametrize("candidates", [2, 3, 12])
def test_an_experiment_corrects_as_statsmodels_does(candidates: int) -> None:
    """To the last bit, also with equal ones and with some that are not there yet."""
    p_values = [1.0, 1.0, *np.random.default_rng(candidates).uniform(0, 0.2, candidates).round(2).tolist()]
    absent = [1.0] * 3
    wanted = multipletests(p_values + absent, method="holm")[1][: len(p_values)].tolist()
    assert holm(p_values, of=len(p_values) + len(absent)) == wanted


def test_an_experiment_widens_an_interval_for_a_smaller_alpha() -> None:
    values = [0.4, 0.6] * 500
    one, other = (estimate(values, num_differ=1_000, alpha=alpha, planned_users=5_000) for alpha in (0.05, 0.0125))
    found = at_level(one, 0.0125, planned_users=5_000)
    assert found is not None
    assert other.interval is not None
    assert (found.low, found.high) == pytest.approx((other.interval.low, other.interval.high))
    assert at_level(Estimate(3, 0.5, None), 0.01, planned_users=5_000) is None


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_an_experiment_gives_no_figure_of_values_that_are_no_numbers(odd: float) -> None:
    """Neither a value nor an interval, whether there are enough users or not."""
    for others in (3, 300):
        found = estimate([0.4, 0.6] * others + [odd], num_differ=100, alpha=0.05, planned_users=5_000)
        assert (found.value, found.interval, found.users) == (None, None, 2 * others + 1)
        assert found.withheld == f"the values of {2 * others + 1} users have no finite mean and spread"


@pytest.mark.parametrize("candidates", [1, 3, 20])
def test_a_mean_is_excluded_where_holms_p_value_is_alpha(candidates: int) -> None:
    """Of the first of so many candidates; of one it is where the interval ends."""
    far = excluding(900, 0.3, alpha=ALPHA, planned_users=PLANNED, candidates=candidates)
    found = log_e(Estimate(900, EVEN + far, Interval(0, 1), sd=0.3), null=EVEN, alpha=ALPHA, planned_users=PLANNED)
    assert found is not None
    (p_value,) = holm([exp(-found)], of=candidates)
    assert p_value == pytest.approx(ALPHA)
    if candidates == 1:
        assert far == half_width(900, 0.3, alpha=ALPHA, planned_users=PLANNED)
