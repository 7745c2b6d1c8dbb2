"""What finished A/B tests measured: the lift in click rate of each candidate, with its interval.

    experiment,candidate,control,real,low,high          the table that `experiment backtest --real` reads
    home-ranker-5,b,control,0.012,0.004,0.020           real: click rate of the candidate minus that of control

The interval is Newcombe's, from Wilson's of each rate: it keeps its level at the low rates of clicks, and with no click
at all, where the normal approximation (Wald) is too narrow or has no width.

>>> lift, interval = difference(56, 70, 48, 80)
>>> f"{lift:.4f} ({interval.low:.4f} to {interval.high:.4f})"
'0.2000 (0.0524 to 0.3339)'
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import numpy as np
from scipy.special import ndtri

from worker.core.errors import BadSettings
from worker.experiment.statistics.confidence import Interval

HEADER = ("experiment", "candidate", "control", "real", "low", "high")
NEEDED = ("experiment", "real")
MAX_LIFT = 1e9  # either way, whatever the unit; squares of numbers near the largest double have no sums
_ALPHA = 0.05
_SHARES = Interval(0.2, 0.8)  # duel shares lie in here, with their median in the next; effects lie around 0
_MEDIAN_SHARE = Interval(0.35, 0.65)
_SMALL = 0.15  # half of the effects are smaller: then one of 0.35 and more is something else
_LARGEST = 0.5  # of a duel share's effect


@dataclass(frozen=True, slots=True)
class RealLift:
    """The lift of one candidate in one finished test; `candidate` "" where the table does not name it."""

    experiment: str
    lift: float
    interval: Interval | None = None
    candidate: str = ""
    control: str = ""

    @property
    def cells(self) -> tuple[str | float, ...]:
        """The row of the table, as `HEADER` has it."""
        ends = (self.interval.low, self.interval.high) if self.interval else ("", "")
        return (self.experiment, self.candidate, self.control, self.lift, *ends)


def difference(clicked: int, shown: int, clicked_control: int, shown_control: int) -> tuple[float, Interval]:
    """Return the difference of two click rates with its 95 % interval; both were shown at least once.

    R. G. Newcombe, "Interval estimation for the difference between independent proportions" (1998), method 10.
    """
    rate, control = clicked / shown, clicked_control / shown_control
    (low, high), (low_control, high_control) = wilson(rate, shown), wilson(control, shown_control)
    lift = rate - control
    below = sqrt((rate - low) ** 2 + (high_control - control) ** 2)
    above = sqrt((high - rate) ** 2 + (control - low_control) ** 2)
    return lift, Interval(lift - below, lift + above)


def read(lines: Iterable[str]) -> list[RealLift]:
    """Read the table.  Raises `BadSettings` with the row."""
    rows = csv.DictReader(lines)
    missing = set(NEEDED) - set(rows.fieldnames or ())
    if missing:
        raise BadSettings(f"the table has no column {', '.join(sorted(missing))}; want {','.join(HEADER)}")
    found = [_lift(number, row) for number, row in enumerate(rows, 2)]
    refuse_shares("real", [one.lift for one in found])
    _check_once(found)
    return found


def _lift(number: int, row: Mapping[str, str | None]) -> RealLift:
    try:
        real, low, high = (float(row.get(name) or "nan") for name in ("real", "low", "high"))
    except ValueError as error:
        raise BadSettings(f"row {number}: {error}") from error
    if not is_lift(real):
        raise BadSettings(f"row {number}: real {row.get('real')}: want a number between -1e9 and 1e9")
    interval = checked(number, real, low, high)
    name = row["experiment"] or ""
    if not name:
        raise BadSettings(f"row {number}: experiment is empty; want the id of the experiment")
    return RealLift(name, real, interval, row.get("candidate") or "", row.get("control") or "")


def is_lift(value: float) -> bool:
    """Return whether a number can be computed with, as a lift or an effect; NaN cannot."""
    return abs(value) <= MAX_LIFT


def refuse_shares(name: str, values: Sequence[float]) -> None:
    """Raise `BadSettings` where a column holds duel shares: around 0.5, where an effect is around 0."""
    if values and all(value in _SHARES for value in values) and float(np.median(values)) in _MEDIAN_SHARE:
        raise BadSettings(f"column {name}: looks like raw duel shares (around 0.5); want effects: duel share - 0.5")


def refuse_mixed(values: Sequence[float]) -> None:
    """Raise `BadSettings` where single rows of simulated effects are raw duel shares, or in per cent."""
    size = float(np.median(np.abs(values))) if values else 0.0
    if size >= _SMALL:
        return
    for row, value in enumerate(values, 2):
        if value in _MEDIAN_SHARE or abs(value) > _LARGEST:
            looks = "a raw duel share" if value in _MEDIAN_SHARE else "per cent"
            raise BadSettings(
                f"row {row}: simulated {value:g}: looks like {looks}, as half of the rows are within {size:.2g} of 0;"
                " want effects: duel share - 0.5, such as 0.031"
            )


def checked(number: int, real: float, low: float, high: float) -> Interval | None:
    """Return the interval of a row's lift, None where an end is NaN.  Raises `BadSettings` if it is not around it."""
    if not (isfinite(low) and isfinite(high)):
        return None
    if not (is_lift(low) and is_lift(high)):
        raise BadSettings(f"row {number}: low {low:g}, high {high:g}: want numbers between -1e9 and 1e9")
    if not low <= real <= high:
        raise BadSettings(f"row {number}: real {real:g} is not between low and high")
    return Interval(low, high)


def _check_once(found: Iterable[RealLift]) -> None:
    seen: set[tuple[str, str]] = set()
    for one in found:
        if (one.experiment, one.candidate) in seen:
            about = f"{one.experiment}, candidate {one.candidate or '(not named)'}"
            raise BadSettings(f"{about}: stands in two rows; want one row per test and candidate")
        seen.add((one.experiment, one.candidate))


def first_of_each(lifts: Iterable[RealLift]) -> Iterator[RealLift]:
    """Yield the first candidate of each test in the order of the table.

    The arms of one test share its control, so their directions are not independent, as every interval of a backtest
    takes them to be.  The first is chosen without a look at what it did.
    """
    seen: set[str] = set()
    for one in lifts:
        if one.experiment not in seen:
            seen.add(one.experiment)
            yield one


def wilson(rate: float, num: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate among `num` (Wilson 1927)."""
    z2 = float(ndtri(1 - _ALPHA / 2)) ** 2
    middle = (rate + z2 / (2 * num)) / (1 + z2 / num)
    half = sqrt(z2 * (rate * (1 - rate) / num + z2 / (4 * num**2))) / (1 + z2 / num)
    return max(0.0, middle - half), min(1.0, middle + half)  # rounding may pass an end
