"""Where marks stand on a scale: the drawings that the server makes, as plain SVG, and the points of the timeline.

    0.40       0.45       0.50       0.55       0.60
     |----------|----------|----------|----------|      Scale: the null in the middle, all that is shown inside
                           :   <--o-->                  Mark: a value with its interval, in per cent of the width

Positions are per cent with one decimal, so that the drawing fits any width without a script or a style attribute.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.experiment import wording
from worker.experiment.page import text
from worker.experiment.readout import Effect, Point
from worker.experiment.statistics.confidence import Estimate, Interval

MAX_POINTS = 400  # of a timeline: more than a screen has columns for, and a table of that length is still read
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # half widths of a scale; the last is all of a share
_ROOM = 1.15  # so that no mark touches the edge


@dataclass(frozen=True, slots=True)
class Mark:
    """A value and its interval, in per cent of the scale; None where there is none."""

    at: float | None
    low: float | None
    high: float | None

    @property
    def width(self) -> float:
        """The length of the interval."""
        return 0.0 if self.low is None or self.high is None else round(self.high - self.low, 1)


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis with the null in its middle."""

    null: float
    half: float

    @property
    def ends(self) -> tuple[float, float]:
        """The values at the left and the right."""
        return self.null - self.half, self.null + self.half

    def place(self, value: float) -> float:
        """Return where a value stands, in per cent; what lies outside stands at the edge."""
        return round(min(100.0, max(0.0, 50 + 50 * (value - self.null) / self.half)), 1)

    def mark(self, one: Estimate) -> Mark:
        """Return where an estimate stands; nowhere without an interval."""
        if one.interval is None:
            return Mark(None, None, None)
        at = None if one.value is None else self.place(one.value)
        return Mark(at, self.place(one.interval.low), self.place(one.interval.high))


def scale(null: float, shown: Iterable[Estimate], *, margin: float = 0.0) -> Scale:
    """Return the smallest scale that holds the estimates and the margin.

    >>> scale(0.5, [Estimate(500, 0.53, Interval(0.51, 0.55))])
    Scale(null=0.5, half=0.1)
    """
    far = max([margin, *(abs(value - null) for one in shown for value in _values(one))]) * _ROOM
    return Scale(null, next((step for step in _STEPS if step >= far), far if null == 0 and far else _STEPS[-1]))


def _values(one: Estimate) -> Iterable[float]:
    if one.interval is not None:
        yield from (one.interval.low, one.interval.high)
        if one.value is not None:
            yield one.value


def thinned(timeline: Sequence[Point], most: int = MAX_POINTS) -> tuple[Point, ...]:
    """Return at most so many points, evenly chosen, the last among them.

    >>> [point.until for point in thinned([Point(until, 1, 0.5, None, None) for until in range(10)], 4)]
    [0, 3, 6, 9]
    """
    if len(timeline) <= most:
        return tuple(timeline)
    return tuple(timeline[round(i * (len(timeline) - 1) / (most - 1))] for i in range(most))


def described(timeline: Sequence[Point], primary: Effect) -> str:
    """Describe the chart of a timeline in words, for readers who cannot see it."""
    if not timeline:
        return "No points yet."
    first, last = timeline[0], timeline[-1]
    if first is last:
        now = wording.value(last.value, wording.notation_of(primary.metric, primary.null))
        return f"One point so far: {now} from {last.users:,} users. The chart starts with the second point."
    null, interval = primary.null, None
    side = "no interval yet"
    if last.low is not None and last.high is not None:
        interval = Interval(last.low, last.high)
        where = "is above" if last.low > null else "is below" if last.high < null else "includes"
        side = f"an interval that {where} {wording.tie(null)}"
    scale = wording.notation_of(primary.metric, null)
    now, before = wording.value(last.value, scale), wording.value(first.value, scale)
    if interval is not None:
        now = wording.figure(Estimate(last.users, last.value, interval), null, primary.metric, primary.alpha)
    return (
        f"From {text.moment(first.until)} to {text.moment(last.until)}, {len(timeline):,} points. The value was "
        f"{before} at first and is {now} now, with {side}, from {last.users:,} users."
    )
