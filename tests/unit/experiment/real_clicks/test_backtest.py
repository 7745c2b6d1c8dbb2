"""Whether simulated effects of the past became real ones."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from worker.core.errors import BadSettings
from worker.experiment.real_clicks.backtest import MIN_TESTS, Backtest, Finished, backtest, read
from worker.experiment.statistics.confidence import Interval


def finished(num: int, slope: float, *, noise: float = 0.002, seed: int = 1) -> list[Finished]:
    """Make tests whose real lift is `slope` times the simulated effect, with noise of a known size."""
    rng = np.random.default_rng(seed)
    simulated = rng.normal(0, 0.03, num)
    real = slope * simulated + rng.normal(0, noise, num)
    return [
        Finished(f"e{index}", float(x), float(y), Interval(float(y) - 1.96 * noise, float(y) + 1.96 * noise))
        for index, (x, y) in enumerate(zip(simulated, real, strict=True))
    ]


def test_an_experiment_backtest_finds_a_slope_that_is_there() -> None:
    """The interval holds the truth in about 95 % of tables, and excludes 0."""
    found = [backtest(finished(30, 0.4, seed=seed)) for seed in range(200)]
    held = [one.slope_interval is not None and 0.4 in one.slope_interval for one in found]
    assert 0.90 <= np.mean(held) <= 0.99
    assert all(one.slope_interval is not None and one.slope_interval.low > 0 for one in found)
    assert "went with larger real ones" in found[0].words


def test_an_experiment_backtest_finds_no_slope_where_there_is_none() -> None:
    """A simulator that knows nothing is not made to look as if it did: 5 % of tables at most, about."""
    found = [backtest(finished(30, 0.0, seed=seed)) for seed in range(200)]
    assert np.mean(["no relation" in one.words for one in found]) >= 0.90
    assert np.mean([one.rank_interval is not None and 0 in one.rank_interval for one in found]) >= 0.90


def test_an_experiment_backtest_warns_of_a_simulator_that_is_the_wrong_way_round() -> None:
    found = backtest(finished(30, -0.4))
    assert "do not use this simulator" in found.words
    assert found.direction_accuracy is not None
    assert found.direction_accuracy < 0.2


def test_an_experiment_backtest_counts_a_direction_only_where_there_is_one() -> None:
    """A lift whose interval holds 0 has none; a simulated 0 is right about nothing."""
    tests = [
        Finished("a", 0.1, 0.02), Finished("b", 0.1, -0.02), Finished("c", 0.1, 0.01, Interval(-0.01, 0.03)),
        Finished("d", 0.0, 0.02),
    ]  # fmt: skip
    found = backtest(tests)
    assert (found.tests, found.with_direction) == (4, 3)
    assert found.direction_accuracy == pytest.approx(1 / 3)
    assert str(found.direction_interval) == "0.061 to 0.792"  # Wilson's, of 1 in 3
    assert (found.slope, found.rank_correlation, found.covered) == (None, None, None)
    assert "too few" in found.words


def test_an_experiment_backtest_covers_as_often_as_the_intervals_promise() -> None:
    """Each test is predicted by the others; a little less than 95 %, for the line is not known exactly."""
    found = [backtest(finished(60, 0.4, seed=seed)) for seed in range(20)]
    share = sum(one.covered or 0 for one in found) / sum(one.coverage_of for one in found)
    assert 0.90 <= share <= 0.97


def test_an_experiment_backtest_predicts_each_test_by_the_others_alone() -> None:
    """The closed form counts what fitting a line without each test counts."""
    tests = finished(12, 0.4, noise=0.01, seed=3)
    covered = 0
    for index, one in enumerate(tests):
        others = tests[:index] + tests[index + 1 :]
        slope, intercept = np.polyfit([each.simulated for each in others], [each.real for each in others], 1)
        covered += one.interval is not None and intercept + slope * one.simulated in one.interval
    assert backtest(tests).covered == covered


def test_an_experiment_backtest_of_tests_that_are_all_alike_says_so() -> None:
    found = backtest([Finished(f"e{index}", 0.1, 0.02) for index in range(2 * MIN_TESTS)])
    assert (found.slope, found.direction_accuracy) == (None, 1.0)
    assert "too similar" in found.words
    assert backtest([]).direction_accuracy is None


def test_an_experiment_backtest_reads_a_table() -> None:
    rows = ["experiment,simulated,real,low,high", "a,0.1,0.02,0.01,0.03", "b,-0.1,-0.02,,"]
    assert read(rows) == [Finished("a", 0.1, 0.02, Interval(0.01, 0.03)), Finished("b", -0.1, -0.02)]


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "no column experiment, real, simulated"),
        (["experiment,real", "a,1"], "no column simulated"),
        (["experiment,simulated,real", "a,high,1"], "row 2"),
        (["experiment,simulated,real", "a,1,2", "b,,1"], "row 3"),
        (["experiment,simulated,real", "a,nan,1"], "row 2"),
        (["experiment,simulated,real,low,high", "a,1,1,2,3"], "not between"),
        (["experiment,simulated,real", "a,1,1e300"], "row 2: simulated 1, real 1e300: want two numbers between"),
        (["experiment,simulated,real,low,high", "a,1,1,-1e300,1e300"], "row 2: low -1e\\+300, high 1e\\+300: want"),
        (["experiment,simulated,real,simulated_error", "a,1,1,1e300"], "row 2: simulated_error 1e\\+300"),
    ],
)
def test_an_experiment_backtest_says_which_row_is_wrong(rows: list[str], problem: str) -> None:
    with pytest.raises(BadSettings, match=problem):
        read(rows)


@pytest.mark.parametrize("size", [1e9, 1e-9, 1e-160, 1e-300])
def test_an_experiment_backtest_has_no_figure_that_is_no_number(size: float) -> None:
    """Effects of any size, with errors and intervals of their size: None where there is no spread, never NaN."""
    tests = [
        Finished(f"t{n}", size * n / 10, size * (n % 7) / 10, Interval(-size, size), size / 10 or None)
        for n in range(10)
    ]
    json.dumps(asdict(backtest(tests)), allow_nan=False)


def _runs(knows: float, *, runs: int = 200, tests: int = 50) -> list[Backtest]:
    """Backtests of a simulator whose effects are `knows` times the true lift and noise of sd 0.01."""
    found = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        truth = rng.normal(0, 0.02, tests)
        real = truth + rng.normal(0, 0.005, tests)
        simulated = knows * truth + rng.normal(0, 0.01, tests)
        found.append(
            backtest(
                [
                    Finished(f"t{at}", s, r, Interval(r - 0.01, r + 0.01), 0.01)
                    for at, (s, r) in enumerate(zip(simulated.tolist(), real.tolist(), strict=True))
                ]
            )
        )
    return found


def test_an_experiment_backtest_fails_a_useless_simulator_and_passes_a_true_one() -> None:
    assert sum(one.passed is True for one in _runs(0.0)) <= 0.05 * 200
    assert sum(one.passed is True for one in _runs(1.0)) >= 0.95 * 200


def test_an_experiment_backtests_corrected_slope_is_free_of_the_simulations_noise() -> None:
    found = _runs(1.0)
    corrected = [one.corrected_slope for one in found if one.corrected_slope is not None]
    raw = [one.slope for one in found if one.slope is not None]
    assert len(corrected) == 200
    assert abs(float(np.mean(corrected)) - 1) < 0.03
    assert abs(float(np.mean(raw)) - 0.8) < 0.03  # 0.02^2 / (0.02^2 + 0.01^2)


def test_a_useless_simulator_covers_no_more_than_the_mean_alone() -> None:
    found = _runs(0.0)
    assert sum(one.covered or 0 for one in found) <= 1.02 * sum(one.covered_by_mean or 0 for one in found)


@pytest.mark.parametrize("row", ["a,0.53,0.01", "a,0.02,0.51"])
def test_raw_duel_shares_are_refused(row: str) -> None:
    with pytest.raises(BadSettings, match="raw duel shares"):
        read(["experiment,simulated,real", row])


def test_an_experiment_backtests_weighted_slope_holds_the_truth_where_tests_differ_in_precision() -> None:
    """Corrected for the simulation's error, and more exact than the slope that gives every test the same weight."""
    held, weighted, plain = [], [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        truth, sd = rng.normal(0, 0.03, 50), rng.choice([0.002, 0.02], 50)
        real, simulated = 0.5 * truth + rng.normal(0, sd), truth + rng.normal(0, 0.01, 50)
        rows = zip(simulated.tolist(), real.tolist(), sd.tolist(), strict=True)
        found = backtest([Finished("t", x, y, Interval(y - 2 * e, y + 2 * e), 0.01) for x, y, e in rows])
        if found.weighted_slope is not None and found.weighted_slope_interval is not None and found.corrected_slope:
            held.append(0.5 in found.weighted_slope_interval)
            weighted.append(found.weighted_slope)
            plain.append(found.corrected_slope)
    assert len(held) >= 195
    assert 0.90 <= np.mean(held) <= 0.99
    assert abs(np.mean(weighted) - 0.5) < 0.03
    assert np.std(weighted) < 0.8 * np.std(plain)


def test_an_experiment_backtest_has_no_weighted_slope_without_every_interval_and_error() -> None:
    tests = finished(12, 0.4)
    assert backtest(tests).weighted_slope is None
    with_errors = [Finished(one.experiment, one.simulated, one.real, one.interval, 0.001) for one in tests]
    assert backtest(with_errors).weighted_slope is not None
    assert backtest([*with_errors, Finished("x", 0.1, 0.1, None, 0.001)]).weighted_slope is None


def test_an_experiment_backtest_shows_accuracy_against_the_share_that_is_answered() -> None:
    """The clearest are right here, the rest is a coin: fewer answers are better answers."""
    clear = [Finished(f"c{n}", sign * 0.1, sign * 0.02) for n, sign in enumerate([1, -1] * 4)]
    vague = [Finished(f"v{n}", 0.001 * (n + 1), sign * 0.02) for n, sign in enumerate([1, -1] * 6)]
    found = backtest([*vague, *clear])
    assert [(one.share, one.right, one.tests) for one in found.by_confidence] == [
        (1.0, 14, 20), (0.8, 12, 16), (0.6, 10, 12), (0.4, 8, 8), (0.2, 4, 4),
    ]  # fmt: skip
    assert found.by_confidence[0].interval == found.direction_interval
    assert backtest(clear).by_confidence == ()


def test_confidence_is_measured_in_errors_where_they_are_known() -> None:
    sure = [Finished(f"s{n}", 0.01, 0.02, None, 0.001) for n in range(5)]
    unsure = [Finished(f"u{n}", 0.1, -0.02, None, 0.1) for n in range(5)]
    accuracies = [one.accuracy for one in backtest([*unsure, *sure]).by_confidence]
    assert accuracies[0] == 0.5
    assert accuracies[-1] == 1.0


@pytest.mark.parametrize(
    ("right", "of", "passed"), [(4, 4, False), (5, 5, False), (6, 6, True), (9, 10, True), (7, 10, False)]
)
def test_an_experiments_backtest_passes_by_more_than_a_coin_may_do(right: int, of: int, passed: bool) -> None:
    """4 of 4 come in 1 of 8 tries of a coin, on either side: no proof, though Wilson's interval says so."""
    wrong = of - right  # those of the smallest effects
    tests = [Finished(f"t{n}", 0.01 * (n + 1), (-0.0001 if n < wrong else 0.01) * (n + 1)) for n in range(of)]
    found = backtest(tests)
    assert found.with_direction == of
    if of >= MIN_TESTS:
        assert (found.passed is True) is passed


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0.02, -0.01, 0.531, 0.04], "row 4: simulated 0.531: looks like a raw duel share"),
        ([0.02, -0.01, 3.1, 0.04], "row 4: simulated 3.1: looks like per cent"),
        ([0.02, -4.0, 0.03, 0.04], "row 3: simulated -4: looks like per cent"),
        ([0.02, -0.01, 0.3, -0.33], ""),
        ([2.0, -1.0, 3.1, 0.4], ""),  # all in another unit
    ],
)
def test_an_experiment_backtest_refuses_rows_in_another_unit(values: list[float], problem: str) -> None:
    rows = ["experiment,simulated,real", *(f"e{number},{value},0.01" for number, value in enumerate(values))]
    if problem:
        with pytest.raises(BadSettings, match=problem):
            read(rows)
    else:
        assert [one.simulated for one in read(rows)] == values
