"""Calibration names the useless and the over-confident engine, and its figures are those of slow obvious versions."""

from math import log

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray

from worker.experiment.real_clicks import calibration as cal
from worker.experiment.real_clicks.calibration import Calibration, calibration
from worker.experiment.real_clicks.shown_slates import Columns, ShownSlate, columns

N, K = 8_000, 5


def _softmax(u: NDArray[np.float64]) -> NDArray[np.float64]:
    mass = np.exp(u)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def _table(letters: str, seed: int = 1) -> Columns:
    rng = np.random.default_rng(seed)
    u = rng.normal(0, 1, (N, K))
    pick = (np.column_stack([u, np.full(N, 1.0)]) + rng.gumbel(size=(N, K + 1))).argmax(axis=1)
    says = {"true": u, "useless": 0 * u, "sharp": 3 * rng.normal(0, 1, u.shape), "sure": 3 * u}[letters]
    position, every = np.tile(np.arange(K), (N, 1)), np.ones((N, K), bool)
    weight = (pick[:, None] == np.arange(K)).astype(float)
    item = rng.integers(0, 50, (N, K))
    user, everyone = np.arange(N) // 3, np.full(N, "all")
    return Columns(user, np.arange(N), everyone, _softmax(says), position, item, every, weight, np.ones(N))


def _figures(letters: str) -> Calibration:
    result = calibration(_table(letters), seed=1)
    assert result is not None
    return result


def test_a_perfect_engine_is_calibrated_and_has_skill() -> None:
    """The truth has skill over every baseline, surely, and no calibration error beyond chance."""
    result = _figures("true")
    for skill in (result.skill_uniform, result.skill_position, result.skill_popularity):
        assert skill.interval is not None
        assert skill.interval.low > 0.1
        assert skill.label == "fixed-time interval"
    assert abs(result.ece_top1_debiased) < 0.002
    assert result.ece_top1.value < 0.05


def test_a_useless_engine_has_no_skill() -> None:
    """Equal letters are the uniform baseline, and gain nothing from the order of options."""
    result = _figures("useless")
    assert result.skill_uniform.value == pytest.approx(0, abs=1e-12)
    assert result.accuracy_at_1.value == pytest.approx(1 / K)
    assert result.reciprocal_rank.value == pytest.approx(1 / 3)


def test_a_sharp_and_wrong_engine_has_less_than_no_skill() -> None:
    """Sure and wrong is worse than not to know."""
    interval = _figures("sharp").skill_uniform.interval
    assert interval is not None
    assert interval.high < 0


def test_an_over_confident_engine_is_off_by_more_than_chance() -> None:
    """It ranks as well as the truth, and its letters promise too much."""
    sure, true = _figures("sure"), _figures("true")
    assert sure.accuracy_at_1.value == pytest.approx(true.accuracy_at_1.value)
    assert sure.ece_top1.value > true.ece_top1.value + 0.1
    assert sure.ece_classwise_debiased > true.ece_classwise_debiased + 0.005


def test_the_figures_are_those_of_slow_obvious_versions() -> None:
    """Loops over slates give the same to 1e-8."""
    table = _table("sure")
    _, second = table.halves()
    second = second.rows(second.any_click)
    result, rows = _figures("sure"), list(zip(second.probability.tolist(), second.weight.tolist(), strict=True))
    clicked = [(p, w.index(1.0)) for p, w in rows]
    obvious = {
        "log_loss": [-log(max(p[j], 1e-6)) for p, j in clicked],
        "brier": [sum((q - (i == j)) ** 2 for i, q in enumerate(p)) for p, j in clicked],
        "accuracy_at_1": [p[j] == max(p) for p, j in clicked],
        "reciprocal_rank": [1 / (1 + sum(q > p[j] for q in p)) for p, j in clicked],
    }
    for name, values in obvious.items():
        assert getattr(result, name).value == pytest.approx(sum(values) / len(values), abs=1e-8)
    pairs = sorted((max(p), float(p[j] == max(p))) for p, j in clicked)
    parts = [pairs[part[0] : part[-1] + 1] for part in np.array_split(np.arange(len(pairs)), 15)]
    gaps = sum(abs(sum(p - hit for p, hit in part)) for part in parts)
    assert result.ece_top1.value == pytest.approx(gaps / len(pairs), abs=1e-8)


def test_the_interval_is_the_cluster_robust_one_of_statsmodels() -> None:
    """The mean is a regression on a constant with users as clusters."""
    rng = np.random.default_rng(2)
    user = rng.integers(0, 60, 500)
    values = rng.normal(0, 1, 500) + rng.normal(0, 1, 60)[user]
    fit = sm.OLS(values, np.ones(500)).fit(cov_type="cluster", cov_kwds={"groups": user, "use_correction": True})
    half = 1.959963984540054 * float(fit.bse[0])
    interval = cal.mean(values, user, np.ones(values.size)).interval
    assert interval is not None
    assert (interval.high - interval.low) / 2 == pytest.approx(half, abs=1e-8)


def test_several_clicks_weigh_one_together_and_bad_rows_are_counted() -> None:
    """Two clicks weigh a half each; NaN, a sum of 2 and an unknown option are dropped."""
    good = ShownSlate("u", 2, (0.5, 0.25, 0.25), (0, 1, 2), (0, 1), ("x", "y", "z"), "all")
    bad = [
        ShownSlate("u", 1, (float("nan"), 0.5), (0, 1), (0,), ("x", "y"), "all"),
        ShownSlate("u", 1, (1.0, 1.0), (0, 1), (0,), ("x", "y"), "all"),
        ShownSlate("u", 1, (0.5, 0.5), (0, 1), (2,), ("x", "y"), "all"),
    ]
    table = columns([*bad, good])
    assert table.dropped == 3
    assert cal.log_losses(table.probability, table.weight)[0] == pytest.approx(-(log(0.5) + log(0.25)) / 2)


def test_no_clicks_give_no_figures() -> None:
    """Nothing to compare is None, not 0, and no crash."""
    assert calibration(columns([]), seed=1) is None
    assert calibration(columns([ShownSlate("u", 1, (1.0,), (0,), (), ("x",), "all")]), seed=1) is None
