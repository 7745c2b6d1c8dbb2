"""Which factors stand out among the reasons given: users are the units, and looking often costs nothing."""

from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import norm

from worker.experiment.quality.reasons import ANY, Named, difference, reasons
from worker.experiment.readout import FactorShare
from worker.experiment.statistics.user_means import Rule

RULE = Rule(0.05, 1_000)
FACTORS, RUNS = 12, 100


def rows(draws: np.ndarray, named: dict[str, np.ndarray]) -> list[Named]:
    """Write arrays of shape (users, 2), the control's draws first."""
    found = {ANY: draws, **named}
    return [
        Named(factor, user, int(table[user, 0]), int(table[user, 1]))
        for factor, table in found.items()
        for user in range(len(table))
        if table[user].any()
    ]


def world(seed: int, users: int, lift: float = 0.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Make users who differ in how often they come, which side they choose, and what they care for.

    Who cares for a factor names it nearly always, whichever side he chose; `lift` is added for factor f0 on the
    candidate's side.
    """
    chance = np.random.default_rng(seed)
    visits = np.minimum(200, np.ceil(4 * chance.pareto(1.5, users) + 1)).astype(int)
    candidate = chance.binomial(visits, chance.beta(0.6, 0.6, users))
    draws = np.stack([visits - candidate, candidate], axis=1)
    cares = chance.beta(0.3, 0.6, (FACTORS, users))
    named = {}
    for index in range(FACTORS):
        shares = np.stack([cares[index], np.minimum(1, cares[index] + lift * (index == 0))], axis=1)
        named[f"f{index}"] = chance.binomial(draws, shares)
    return draws, named


def pooled(draws: np.ndarray, named: np.ndarray) -> float:
    """Return the p-value of two proportions, as if draws were independent."""
    n, k = draws.sum(axis=0), named.sum(axis=0)
    share = k.sum() / n.sum()
    return float(2 * norm.sf(abs(k[1] / n[1] - k[0] / n[0]) / np.sqrt(share * (1 - share) * (1 / n).sum())))


def test_an_experiment_tells_a_factors_share_of_each_sides_draws() -> None:
    """Of a user's draws for a side, on average over the users who have some."""
    draws, named = np.array([[2, 2], [0, 4]]), {"price": np.array([[1, 2], [0, 1]]), "fame": np.array([[2, 0], [0, 0]])}
    assert reasons(rows(draws, named), RULE) == (FactorShare("fame", 1.0, 0.0), FactorShare("price", 0.5, 0.625))
    assert reasons(rows(draws * [1, 0], {}), RULE) == ()
    assert reasons([], RULE) == ()


def test_an_experiment_gives_the_reasons_of_users_and_not_of_one_id_with_most_of_the_draws() -> None:
    """A robot with 60 % of the draws always names the price; it is one of 400 users."""
    chance = np.random.default_rng(4)
    draws = chance.binomial(4, 0.5, (400, 2)) + 1
    price = chance.binomial(draws, 0.2)
    draws[0], price[0] = (0, 4_000), (0, 4_000)
    (found,) = reasons(rows(draws, {"price": price}), RULE)
    assert found.candidate == pytest.approx(found.control, abs=0.05)
    assert not found.notable


def test_an_experiment_takes_the_spread_of_a_factor_over_users_as_a_clustered_regression_does() -> None:
    """A regression of "names it" on the side, clustered by user, without its correction for few clusters."""
    draws, named = world(3, 400)
    told = named["f0"]
    drawn = [
        (user, side, index < told[user, side])
        for user, side in product(range(400), range(2))
        for index in range(draws[user, side])
    ]
    user, side, names = np.array(drawn).T
    words = {"groups": user, "use_correction": False}
    fit = sm.OLS(names, sm.add_constant(side)).fit(cov_type="cluster", cov_kwds=words)
    found = difference(draws.T.astype(float), told.T.astype(float))
    assert found.mean == pytest.approx(fit.params[1], rel=1e-8)
    assert found.sd * np.sqrt(399 / 400) / np.sqrt(400) == pytest.approx(fit.bse[1], rel=1e-8)


def test_an_experiment_lets_no_factor_stand_out_by_watching_where_independent_draws_would() -> None:
    """Experiments without a difference, each watched five times over a dozen factors."""
    missed = naive = 0
    for seed in range(RUNS):
        draws, named = world(seed, 500)
        looks = [slice(0, end) for end in range(100, 501, 100)]
        seen = [(draws[look], {name: table[look] for name, table in named.items()}) for look in looks]
        missed += any(one.notable for look in seen for one in reasons(rows(*look), RULE))
        naive += any(min(pooled(n, table) for table in tables.values()) < 0.05 / FACTORS for n, tables in seen)
    assert missed <= RUNS * (0.05 + 2 * np.sqrt(0.05 * 0.95 / RUNS))
    assert naive > RUNS / 2


def test_an_experiment_sees_a_factor_that_is_named_more_for_one_side() -> None:
    draws, named = world(1, 1_000, lift=0.3)
    found = reasons(rows(draws, named), RULE)
    assert [one.factor for one in found if one.notable] == ["f0"]
    few = reasons(rows(draws[:60], {name: table[:60] for name, table in named.items()}), RULE)
    assert not any(one.notable for one in few)


def test_an_experiment_gives_the_same_reasons_in_any_order_of_rows() -> None:
    there = rows(*world(2, 300, lift=0.2))
    shuffled = [there[index] for index in np.random.default_rng(0).permutation(len(there))]
    assert reasons(shuffled, RULE) == reasons(there, RULE)


def test_an_experiment_needs_users_on_both_sides_for_a_factor_to_stand_out() -> None:
    """One control user with many draws says nothing of others."""
    draws = np.array([[500, 0], *([[0, 5]] * 400)])
    named = np.array([[500, 0], *([[0, user % 2] for user in range(400)])])
    assert [one.notable for one in reasons(rows(draws, {"price": named}), RULE)] == [False]
