"""Was the simulation right before? Simulated effects against the real lift of finished A/B tests.

    experiment,simulated,real,low,high        simulated: duel share - 0.5, or whatever was read before the test
    home-ranker-5,0.031,0.012,0.004,0.020     low, high: interval of the real lift, optional

    direction    both on the same side of 0: share of tests, Wilson's interval
    rank         Spearman's correlation: did larger simulated effects mean larger real ones?
    slope        of real lift on simulated effect, least squares with an intercept: what a simulated point is worth
    corrected    that slope without the noise of the simulation itself (column simulated_error: its standard error)
    weighted     the corrected slope with each test weighted by the precision of its real lift
    confidence   direction accuracy among the tests with the clearest simulated effects, by the share that is kept
    coverage     tests whose real interval holds what the slope of the *other* tests predicts,
                 beside what their mean alone, and 0 alone, would cover: the slope is worth what it covers more
    passed       direction better than a coin by the exact binomial test, *and* a slope whose interval is above 0

A real lift whose interval holds 0 has no direction, and is left out of the first.  This is the falsification test of
the surrogate: it may be read beside every new result, and under `MIN_TESTS` finished tests it says nothing.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from worker.core.errors import BadSettings
from worker.experiment.real_clicks.real_lifts import checked, is_lift, refuse_mixed, refuse_shares, wilson
from worker.experiment.statistics.confidence import Interval

MIN_TESTS = 5
ALPHA = 0.05
POWER = 0.8
_MIN_RELIABILITY = 0.5  # under it the correction is mostly noise: with no relation, 50 tests gave slopes of -3.7
_COIN = 0.5  # direction accuracy of a simulator that knows nothing
_KEPT = (1.0, 0.8, 0.6, 0.4, 0.2)  # shares of the tests, the clearest simulated effects first
_NO_SPREAD = 1e-12  # values closer than that are equal: squares of such differences have no sums
_NUMBERS = ("simulated", "real", "low", "high", "simulated_error")


@dataclass(frozen=True, slots=True)
class Finished:
    """One A/B test that is over."""

    experiment: str
    simulated: float
    real: float
    interval: Interval | None = None  # of the real lift
    simulated_error: float | None = None  # standard error of the simulated effect

    @property
    def has_direction(self) -> bool:
        """Whether the real lift is surely on one side of 0."""
        return self.interval is None or 0 not in self.interval

    @property
    def is_right(self) -> bool:
        """Whether both effects are on the same side of 0; a simulated 0 is right about nothing."""
        return (self.simulated > 0) == (self.real > 0) and self.simulated != 0


@dataclass(frozen=True, slots=True)
class ByConfidence:
    """The direction accuracy where only the clearest simulated effects are answered."""

    share: float  # of the tests with a direction
    tests: int
    right: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Backtest:
    """How far simulated effects went with real lifts; None where there are too few tests or no spread."""

    tests: int
    with_direction: int
    right: int  # of those with a direction
    direction_accuracy: float | None
    direction_interval: Interval | None
    rank_correlation: float | None
    rank_interval: Interval | None
    slope: float | None
    slope_interval: Interval | None
    covered: int | None
    coverage_of: int  # tests with an interval
    covered_by_mean: int | None  # by the mean of the other tests
    covered_by_zero: int | None
    corrected_slope: float | None  # None also where errors are missing or explain more than half of the spread
    weighted_slope: float | None  # corrected too; None where an interval or an error is missing, and as above
    weighted_slope_interval: Interval | None
    confident_accuracy: float | None  # direction, in the half of the tests with the clearest simulated effect
    tests_for_direction: int | None  # tests with a direction until this accuracy differs from a coin; 80 % power
    passed: bool | None  # None: too few tests
    words: str
    by_confidence: tuple[ByConfidence, ...] = ()  # the largest share first; empty with too few tests


def read(lines: Iterable[str]) -> list[Finished]:
    """Read a CSV table with a header.  Raises `BadSettings` with the row."""
    rows = csv.DictReader(lines)
    missing = {"experiment", "simulated", "real"} - set(rows.fieldnames or ())
    if missing:
        raise BadSettings(f"the table has no column {', '.join(sorted(missing))}; want experiment,simulated,real")
    found = [_finished(number, row) for number, row in enumerate(rows, 2)]
    for name in ("simulated", "real"):
        refuse_shares(name, [getattr(one, name) for one in found])
    refuse_mixed([one.simulated for one in found])
    return found


def backtest(tests: Sequence[Finished]) -> Backtest:
    """Compare; figures that need more than there is are None."""
    directed = [one for one in tests if one.has_direction]
    right = sum(one.is_right for one in directed)
    x, y = (np.array([getattr(one, name) for one in tests]) for name in ("simulated", "real"))
    enough = len(tests) >= MIN_TESTS and bool(np.ptp(x) > _NO_SPREAD and np.ptp(y) > _NO_SPREAD)
    slope, slope_interval = _slope(x, y) if enough else (None, None)
    rank, rank_interval = _rank(x, y) if enough else (None, None)
    covered = _covered(tests, x, y) if enough else None
    weighted, weighted_interval = _weighted(tests) if enough else (None, None)
    direction_interval = _wilson(right, len(directed)) if directed else None
    accuracy = right / len(directed) if directed else None
    intervals = [one.interval for one in tests]
    return Backtest(
        tests=len(tests),
        with_direction=len(directed),
        right=right,
        direction_accuracy=accuracy,
        direction_interval=direction_interval,
        rank_correlation=rank,
        rank_interval=rank_interval,
        slope=slope,
        slope_interval=slope_interval,
        covered=covered,
        coverage_of=sum(one.interval is not None for one in tests),
        covered_by_mean=_held(intervals, (y.sum() - y) / (len(y) - 1)) if enough else None,
        covered_by_zero=_held(intervals, np.zeros(len(y))) if enough else None,
        corrected_slope=_corrected(tests, x, slope),
        weighted_slope=weighted,
        weighted_slope_interval=weighted_interval,
        confident_accuracy=_confident(directed),
        tests_for_direction=_needed(accuracy),
        passed=_passed(right, len(directed), slope_interval),
        words=_words(len(tests), slope_interval, enough=enough),
        by_confidence=tuple(_by_confidence(directed)),
    )


def _finished(number: int, row: Mapping[str, str | None]) -> Finished:
    try:
        values = {name: float(row.get(name) or "nan") for name in _NUMBERS}
    except ValueError as error:
        raise BadSettings(f"row {number}: {error}") from error
    if not (is_lift(values["simulated"]) and is_lift(values["real"])):
        said = f"simulated {row.get('simulated')}, real {row.get('real')}"
        raise BadSettings(f"row {number}: {said}: want two numbers between -1e9 and 1e9")
    interval = checked(number, values["real"], values["low"], values["high"])
    noise = values["simulated_error"]
    if isfinite(noise) and not (noise > 0 and is_lift(noise)):
        raise BadSettings(f"row {number}: simulated_error {noise:g}; want a standard error above 0, up to 1e9")
    known = noise if isfinite(noise) else None
    return Finished(row["experiment"] or "", values["simulated"], values["real"], interval, known)


def _corrected(tests: Sequence[Finished], x: NDArray[np.float64], slope: float | None) -> float | None:
    """Return the slope over the reliability of the simulated effects (errors in variables; Fuller 1987, 1.2)."""
    errors = [one.simulated_error for one in tests if one.simulated_error is not None]
    if slope is None or len(errors) < len(tests):
        return None
    reliability = 1 - float(np.mean(np.square(errors)) / np.var(x, ddof=1))
    return slope / reliability if reliability >= _MIN_RELIABILITY else None


def _weighted(tests: Sequence[Finished]) -> tuple[float | None, Interval | None]:
    """Return the corrected slope, weighted by the precision of the real lifts, with its interval (jackknife).

    A precise test says more of the slope than one whose real interval is wide, but no test says all: the weights are
    those of a meta-regression with random effects (Thompson and Sharp 1999), not 1 / variance alone.  Leaving out each
    test in turn (Tukey 1958) takes in what the correction for the simulation's error adds to the uncertainty.
    """
    if any(one.interval is None or one.simulated_error is None for one in tests):
        return None, None
    x, y, error = (np.array([getattr(one, name) for one in tests]) for name in ("simulated", "real", "simulated_error"))
    width = np.array([one.interval.high - one.interval.low for one in tests if one.interval])
    error_of_real = width / (2 * float(scipy_stats.norm.ppf(1 - ALPHA / 2)))
    if not (width > _NO_SPREAD).all():
        return None, None
    weight = 1 / (error_of_real**2 + _left_over(x, y, error_of_real))
    slope = _weighted_slope(x, y, error, weight)
    others = [_weighted_slope(*(np.delete(each, at) for each in (x, y, error, weight))) for at in range(len(tests))]
    known = [one for one in others if one is not None]
    if slope is None or len(known) < len(tests):
        return slope, None
    spread = (len(tests) - 1) / len(tests) * float(np.sum((np.array(known) - np.mean(known)) ** 2))
    half = float(scipy_stats.t.ppf(1 - ALPHA / 2, len(tests) - 2)) * spread**0.5
    return slope, Interval(slope - half, slope + half)


def _left_over(x: NDArray[np.float64], y: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    """Return the variance around the line of least squares that the errors of the real lifts do not explain."""
    line = scipy_stats.linregress(x, y)
    left = float(np.sum((y - line.intercept - line.slope * x) ** 2)) / (len(x) - 2)
    return max(0.0, left - float(np.mean(error**2)))


def _weighted_slope(
    x: NDArray[np.float64], y: NDArray[np.float64], error: NDArray[np.float64], weight: NDArray[np.float64]
) -> float | None:
    """Return the weighted slope over the weighted reliability, as `_corrected` does; None if that is too low."""
    share = weight / weight.sum()
    dx, dy = x - share @ x, y - share @ y
    spread = float(share @ dx**2)
    if spread == 0:
        return None
    # The weighted mean takes up a part of each test's error: 1 - 1/n of it is left where the weights are equal.
    reliability = 1 - float(share * (1 - share) @ error**2) / spread
    return float(share @ (dx * dy)) / spread / reliability if reliability >= _MIN_RELIABILITY else None


def _clearest_first(directed: Sequence[Finished]) -> list[Finished]:
    known = all(one.simulated_error is not None for one in directed)
    return sorted(directed, key=lambda one: -abs(one.simulated) / ((one.simulated_error if known else None) or 1))


def _confident(directed: Sequence[Finished]) -> float | None:
    if len(directed) < 2 * MIN_TESTS:
        return None
    half = _clearest_first(directed)[: len(directed) // 2]
    return sum(one.is_right for one in half) / len(half)


def _by_confidence(directed: Sequence[Finished]) -> Iterator[ByConfidence]:
    """Yield the accuracy by the share of the tests that is answered, as a curve of risk against coverage."""
    if len(directed) < 2 * MIN_TESTS:
        return
    clear = _clearest_first(directed)
    for share in _KEPT:
        kept = clear[: ceil(share * len(clear))]
        right = sum(one.is_right for one in kept)
        yield ByConfidence(share, len(kept), right, right / len(kept), _wilson(right, len(kept)))


def _needed(accuracy: float | None) -> int | None:
    """Return the tests that tell this accuracy from a coin, by the normal approximation; None at a coin or worse."""
    if accuracy is None or accuracy <= _COIN:
        return None
    z_alpha, z_power = scipy_stats.norm.ppf(1 - ALPHA / 2), scipy_stats.norm.ppf(POWER)
    spread = z_alpha * 0.5 + z_power * (accuracy * (1 - accuracy)) ** 0.5
    return int(np.ceil((spread / (accuracy - _COIN)) ** 2))


def _passed(right: int, of: int, slope: Interval | None) -> bool | None:
    """Return whether it beats a coin, for which Wilson's interval is too sure of few: 4 of 4 come in 1 of 16 tries."""
    if slope is None or not of:
        return None
    better = right / of > _COIN and scipy_stats.binomtest(right, of, _COIN).pvalue < ALPHA
    return bool(better and slope.low > 0)


def _held(intervals: Sequence[Interval | None], predicted: NDArray[np.float64]) -> int:
    return sum(one is not None and float(at) in one for one, at in zip(intervals, predicted, strict=True))


def _wilson(right: int, num: int) -> Interval:
    return Interval(*wilson(right / num, num))


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
    return _held([one.interval for one in tests], predicted)


def _words(num: int, slope: Interval | None, *, enough: bool) -> str:
    if not enough or slope is None:
        return f"{num} finished tests: too few or too similar to judge whether simulated effects predict real ones"
    if slope.low > 0:
        return f"larger simulated effects went with larger real ones (slope {slope}, {num} tests)"
    if slope.high < 0:
        said = f"larger simulated effects went with SMALLER real ones (slope {slope}, {num} tests)"
        return f"{said}: do not use this simulator"
    return f"no relation between simulated and real effects is shown (slope {slope}, {num} tests)"
