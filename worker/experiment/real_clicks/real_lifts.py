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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite, sqrt

from scipy.special import ndtri

from worker.core.errors import BadSettings
from worker.experiment.statistics.confidence import Interval

HEADER = ("experiment", "candidate", "control", "real", "low", "high")
NEEDED = ("experiment", "real")
_ALPHA = 0.05


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
    (low, high), (low_control, high_control) = _wilson(rate, shown), _wilson(control, shown_control)
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
    _check_once(found)
    return found


def _lift(number: int, row: Mapping[str, str | None]) -> RealLift:
    try:
        real, low, high = (float(row.get(name) or "nan") for name in ("real", "low", "high"))
    except ValueError as error:
        raise BadSettings(f"row {number}: {error}") from error
    if not isfinite(real):
        raise BadSettings(f"row {number}: real {row.get('real')}: want a number")
    has_interval = isfinite(low) and isfinite(high)
    if has_interval and not low <= real <= high:
        raise BadSettings(f"row {number}: real {real:g} is not between low and high")
    interval = Interval(low, high) if has_interval else None
    name = row["experiment"] or ""
    if not name:
        raise BadSettings(f"row {number}: experiment is empty; want the id of the experiment")
    return RealLift(name, real, interval, row.get("candidate") or "", row.get("control") or "")


def _check_once(found: Iterable[RealLift]) -> None:
    seen: set[tuple[str, str]] = set()
    for one in found:
        if (one.experiment, one.candidate) in seen:
            about = f"{one.experiment}, candidate {one.candidate or '(not named)'}"
            raise BadSettings(f"{about}: stands in two rows; want one row per test and candidate")
        seen.add((one.experiment, one.candidate))


def _wilson(rate: float, num: int) -> tuple[float, float]:
    z2 = float(ndtri(1 - _ALPHA / 2)) ** 2
    middle = (rate + z2 / (2 * num)) / (1 + z2 / num)
    half = sqrt(z2 * (rate * (1 - rate) / num + z2 / (4 * num**2))) / (1 + z2 / num)
    return middle - half, middle + half
