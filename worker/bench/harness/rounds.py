"""Results of one contender in one round, and the comparison of two contenders over all rounds.

Machines drift: other load varies, clock rates change.  So contenders take turns within a round, and ratios are taken
within a round only.  The interval is Student's t on the logarithms of those ratios.

>>> rounds = [Measured("worker", n, 90 + n, 10.0) for n in range(5)]
>>> rounds += [Measured("bare", n, 100, 10.0) for n in range(5)]
>>> found = ratio(rounds, "worker", "bare")
>>> round(found.low, 3), round(found.middle, 3), round(found.high, 3)
(0.905, 0.92, 0.935)
>>> verdict(found, at_least=0.9), verdict(found, at_least=0.93), verdict(found, at_least=0.95)
('met', 'not resolved', 'missed')
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

from scipy.stats import t as student

CONFIDENCE = 0.90


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one contender in one round."""

    contender: str
    number: int  # of the round
    events: int
    seconds: float
    figures: Mapping[str, float] = field(default_factory=dict)  # further absolute figures, unit last in the name

    @property
    def events_per_s(self) -> float:
        """Events per second."""
        return self.events / self.seconds


@dataclass(frozen=True, slots=True)
class MeasuredInterval:
    """A figure and its 90 % interval."""

    low: float
    middle: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Return the three values, rounded to four decimal places."""
        return {"low": round(self.low, 4), "middle": round(self.middle, 4), "high": round(self.high, 4)}


def turns(contenders: Sequence[str], number: int) -> list[str]:
    """Return the order of a round: each round starts with the next contender.

    >>> turns("abc", 0), turns("abc", 1)
    (['a', 'b', 'c'], ['b', 'c', 'a'])
    """
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def ratio(measured: Iterable[Measured], one: str, other: str) -> MeasuredInterval:
    """Return the speed of `one` divided by that of `other`, over the rounds with both.  Raises `ValueError` if none."""
    speeds: dict[int, dict[str, float]] = {}
    for each in measured:
        speeds.setdefault(each.number, {})[each.contender] = each.events_per_s
    pairs = [found[one] / found[other] for found in speeds.values() if one in found and other in found]
    if not pairs:
        message = f"no round has both {one} and {other}"
        raise ValueError(message)
    return geometric(pairs)


def geometric(values: Sequence[float]) -> MeasuredInterval:
    """Return the geometric mean of positive figures, one per round, such as speeds and their ratios.

    >>> str(geometric([2.0]))
    'MeasuredInterval(low=-inf, middle=2.0, high=inf)'
    """
    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return interval(values)
    logs = interval([math.log(value) for value in values])
    return MeasuredInterval(math.exp(logs.low), math.exp(logs.middle), math.exp(logs.high))


def interval(values: Sequence[float]) -> MeasuredInterval:
    """Return the mean of one figure per round, and its interval, which is infinite for a single round."""
    middle = fmean(values)
    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return MeasuredInterval(-math.inf, middle, math.inf)
    half = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return MeasuredInterval(middle - half, middle, middle + half)


def verdict(found: MeasuredInterval, *, at_least: float | None = None, at_most: float | None = None) -> str:
    """Return met if the whole interval meets the goal, missed if none of it does, else not resolved."""
    if at_least is not None:
        good, bad = found.low >= at_least, found.high < at_least
    else:
        assert at_most is not None
        good, bad = found.high <= at_most, found.low > at_most
    return "met" if good else "missed" if bad else "not resolved"
