"""Second looks at a mean over users: against statsmodels, and against the truth of simulated experiments."""

import numpy as np
import pytest
import statsmodels.api as sm

from worker.experiment.statistics.confidence import half_width
from worker.experiment.statistics.cuped import by_event, cuped


def test_an_experiment_weighs_events_alike_as_a_clustered_regression_does() -> None:
    """Mean and standard error are those of a regression on a constant, its errors clustered by user (CR1)."""
    rng = np.random.default_rng(1)
    visits = 1 + rng.pareto(1.5, 400).astype(int)
    of_user = np.repeat(np.arange(400), visits)
    values = rng.normal(0.5, 0.1, 400)[of_user] + rng.normal(0, 0.2, of_user.size)
    fit = sm.OLS(values, np.ones(values.size)).fit(cov_type="cluster", cov_kwds={"groups": of_user})
    found = by_event(np.bincount(of_user, values).astype(np.float64), visits.astype(np.float64))
    assert found is not None
    assert found.mean == pytest.approx(fit.params[0], abs=1e-8)
    assert found.sd / 400**0.5 == pytest.approx(fit.bse[0], abs=1e-8)


def test_an_experiment_adjusts_as_a_regression_read_off_at_the_mean_of_everyone_does() -> None:
    """The slope is that of least squares; with all answered, mean and spread are the plain ones."""
    rng = np.random.default_rng(2)
    everyone = rng.random(1_000)
    values = 0.8 - 0.5 * everyone + rng.normal(0, 0.05, 1_000)
    fit = sm.OLS(values[:300], sm.add_constant(everyone[:300])).fit()
    found = cuped(values[:300], everyone[:300], everyone)
    assert found is not None
    assert found.mean == pytest.approx(float(fit.predict([[1.0, everyone.mean()]])[0]), abs=1e-8)
    whole = cuped(values, everyone, everyone)
    assert whole is not None
    assert whole.mean == pytest.approx(values.mean())
    assert whole.sd == pytest.approx(values.std(ddof=1))


def test_an_experiment_that_is_adjusted_covers_the_truth_where_missing_answers_bias_the_mean() -> None:
    """Users whose slates overlap little have no answer more often: the plain mean is off, the adjusted one is not."""
    rng, plain, adjusted, narrower = np.random.default_rng(3), 0, 0, 0
    for _ in range(300):
        overlap = rng.random(2_000)
        values = 0.7 - 0.2 * overlap + rng.normal(0, 0.1, 2_000)  # 0.6 in the mean
        there = rng.random(2_000) < 0.2 + 0.6 * overlap
        found = cuped(values[there], overlap[there], overlap)
        assert found is not None
        n, sd = int(there.sum()), float(values[there].std(ddof=1))
        plain += abs(values[there].mean() - 0.6) > half_width(n, sd, alpha=0.05, planned_users=1_000)
        adjusted += abs(found.mean - 0.6) > half_width(n, found.sd, alpha=0.05, planned_users=1_000)
        narrower += found.sd < sd
    assert plain > 290
    assert adjusted <= 0.05 * 300
    assert narrower > 290


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.6]])
def test_an_experiment_adjusts_nothing_from_too_few(values: list[float]) -> None:
    few = np.array(values)
    assert cuped(few, few, few) is None
    assert cuped(np.array([0.1, 0.2, 0.3]), np.ones(3), np.ones(9)) is None  # nothing to explain with
    assert (by_event(few, np.ones(few.size)) is None) == (not values)


def test_an_experiment_looks_twice_in_any_order_of_users() -> None:
    """Users are numbered as they come, and partitions come as they like: not the last digit may change."""
    rng = np.random.default_rng(4)
    values, covariate, events = rng.random((3, 5_000))
    for _ in range(20):
        order = rng.permutation(5_000)
        assert by_event(values[order], events[order]) == by_event(values, events)
        first = rng.permutation(3_000)
        assert cuped(values[first], covariate[first], covariate[order]) == cuped(
            values[:3_000], covariate[:3_000], covariate
        )
