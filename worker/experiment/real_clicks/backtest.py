"""Was the simulation right before? Simulated effects against the real lift of finished A/B tests.

    experiment,simulated,real,low,high        simulated: duel share - 0.5, or whatever was read before the test
    home-ranker-5,0.031,0.012,0.004,0.020     low, high: interval of the real lift, optional

    direction    both on the same side of 0: share of tests, Wilson's interval
    rank         Spearman's correlation: did larger simulated effects mean larger real ones?
    slope        of real lift on simulated effect, least squares with an intercept: what a simulated point is worth
    coverage     tests whose real interval holds what the slope of the *other* tests predicts

A real lift whose interval holds 0 has no direction, and is left out of the first.  This is the falsification test of
the surrogate: it may be read beside every new result, and under `MIN_TESTS` finished tests it says nothing.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from worker.core.errors import BadSettings
from worker.experiment.statistics.confidence import Interval

MIN_TESTS = 5
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Finished:
    """One A/B test that is over."""

    experiment: str
    simulated: float
    real: float
    interval: Interval | None = None  # of the real lift

    @property
    def has_direction(self) -> bool:
        """Whether the real lift is surely on one side of 0."""
        return self.interval is None or 0 not in self.interval


@dataclass(frozen=True, slots=True)
class Backtest:
    """How far simulated effects went with real lifts; None where there are too few tests or no spread."""

    tests: int
    with_direction: int
    direction_accuracy: float | None
    direction_interval: Interval | None
    rank_correlation: float | None
    rank_interval: Interval | None
    slope: float | None
    slope_interval: Interval | None
    covered: int | None
    coverage_of: int  # tests with an interval
    words: str


def read(lines: Iterable[str]) -> list[Finished]:
    """Read a CSV table with a header.  Raises `BadSettings` with the row."""
    rows = csv.DictReader(lines)
    missing = {"experiment", "simulated", "real"} - set(rows.fieldnames or ())
    if missing:
        raise BadSettings(f"the table has no column {', '.join(sorted(missing))}; want experiment,simulated,real")
    return [_finished(number, row) for number, row in enumerate(rows, 2)]


def backtest(tests: Sequence[Finished]) -> Backtest:
    """Compare; figures that need more than there is are None."""
    directed = [one for one in tests if one.has_direction]
    right = sum((one.simulated > 0) == (one.real > 0) and one.simulated != 0 for one in directed)
    x, y = (np.array([getattr(one, name) for one in tests]) for name in ("simulated", "real"))
    enough = len(tests) >= MIN_TESTS and bool(np.ptp(x) > 0 and np.ptp(y) > 0)
    slope, slope_interval = _slope(x, y) if enough else (None, None)
    rank, rank_interval = _rank(x, y) if enough else (None, None)
    covered = _covered(tests, x, y) if enough else None
    return Backtest(
        tests=len(tests),
        with_direction=len(directed),
        direction_accuracy=right / len(directed) if directed else None,
        direction_interval=_wilson(right, len(directed)) if directed else None,
        rank_correlation=rank,
        rank_interval=rank_interval,
        slope=slope,
        slope_interval=slope_interval,
        covered=covered,
        coverage_of=sum(one.interval is not None for one in tests),
        words=_words(len(tests), slope_interval, enough=enough),
    )


def _finished(number: int, row: Mapping[str, str | None]) -> Finished:
    try:
        values = {name: float(row.get(name) or "nan") for name in ("simulated", "real", "low", "high")}
    except ValueError as error:
        raise BadSettings(f"row {number}: {error}") from error
    if not (isfinite(values["simulated"]) and isfinite(values["real"])):
        raise BadSettings(f"row {number}: simulated {row.get('simulated')}, real {row.get('real')}: want two numbers")
    has_interval = isfinite(values["low"]) and isfinite(values["high"])
    if has_interval and not values["low"] <= values["real"] <= values["high"]:
        raise BadSettings(f"row {number}: real {values['real']:g} is not between low and high")
    interval = Interval(values["low"], values["high"]) if has_interval else None
    return Finished(row["experiment"] or "", values["simulated"], values["real"], interval)


def _wilson(right: int, num: int) -> Interval:
    found = scipy_stats.binomtest(right, num).proportion_ci(1 - ALPHA, method="wilson")
    return Interval(float(found.low), float(found.high))


def _slope(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, Interval]:
    found = scipy_stats.linregress(x, y)
    half = float(scipy_stats.t.ppf(1 - ALPHA / 2, len(x) - 2) * found.stderr)
    return float(found.slope), Interval(float(found.slope) - half, float(found.slope) + half)


def _rank(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, Interval]:
    """Return Spearman's correlation with Fisher's interval, its variance as Fieller, Hartley and Pearson (1957)."""
    rho = float(scipy_stats.spearmanr(x, y).statistic)
    half = float(scipy_stats.norm.ppf(1 - ALPHA / 2)) * (1.06 / max(1, len(x) - 3)) ** 0.5
    z = np.arctanh(np.clip(rho, -0.999_999, 0.999_999))
    return rho, Interval(float(np.tanh(z - half)), float(np.tanh(z + half)))


def _covered(tests: Sequence[Finished], x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """Count the tests whose real interval holds what the line through all others predicts (Allen's PRESS, 1974)."""
    line, centred = scipy_stats.linregress(x, y), x - x.mean()
    leverage = 1 / len(x) + centred**2 / np.sum(centred**2)
    with np.errstate(divide="ignore", invalid="ignore"):  # one test alone has its simulated effect: no line without it
        predicted = y - (y - line.intercept - line.slope * x) / (1 - leverage)
    return sum(one.interval is not None and float(at) in one.interval for one, at in zip(tests, predicted, strict=True))


def _words(num: int, slope: Interval | None, *, enough: bool) -> str:
    if not enough or slope is None:
        return f"{num} finished tests: too few or too similar to judge whether simulated effects predict real ones"
    if slope.low > 0:
        return f"larger simulated effects went with larger real ones (slope {slope}, {num} tests)"
    if slope.high < 0:
        said = f"larger simulated effects went with SMALLER real ones (slope {slope}, {num} tests)"
        return f"{said}: do not use this simulator"
    return f"no relation between simulated and real effects is shown (slope {slope}, {num} tests)"
