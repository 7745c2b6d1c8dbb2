"""Where a rate is taken: not while a contender starts, and not while it runs dry.

>>> stretch = Stretch(100)
>>> for at_s, num in ((5.0, 8), (6.0, 20), (7.0, 40), (8.0, 96), (9.0, 100)): stretch.saw(num, at_s=at_s, cpu_s=at_s)
>>> stretch.passed, stretch.seconds, stretch.num
(True, 2.0, 76)

Outputs come into sight a commit at a time, so both ends are moments at which the count has just gone up.
"""

from dataclasses import dataclass, field

FIRST_SHARE = 0.10  # of the outputs are start-up, rebalance and warm caches
LAST_SHARE = 0.05  # of them come while there is no longer enough to do


@dataclass(slots=True)
class _Moment:
    num: int
    at_s: float
    cpu_s: float


@dataclass(slots=True)
class Stretch:
    """The part of a run that counts; `total` outputs are the whole."""

    total: int
    last_share: float = LAST_SHARE
    _first: _Moment | None = field(default=None, init=False)
    _last: _Moment | None = field(default=None, init=False)

    def saw(self, num: int, *, at_s: float, cpu_s: float) -> None:
        """Take how many outputs have been seen by now, and the CPU used by then."""
        if self._first is None and num >= FIRST_SHARE * self.total:
            self._first = _Moment(num, at_s, cpu_s)
        if self._last is None and num >= (1 - self.last_share) * self.total:
            self._last = _Moment(num, at_s, cpu_s)

    @property
    def passed(self) -> bool:
        """Say whether it has both ends, and something between them."""
        return self._first is not None and self._last is not None and self._last.num > self._first.num

    @property
    def seconds(self) -> float:
        """How long it took."""
        first, last = self._ends()
        return last.at_s - first.at_s

    @property
    def num(self) -> int:
        """How many outputs came."""
        first, last = self._ends()
        return last.num - first.num

    @property
    def cpu_s(self) -> float:
        """How much CPU it took, seconds."""
        first, last = self._ends()
        return last.cpu_s - first.cpu_s

    def _ends(self) -> tuple[_Moment, _Moment]:
        assert self._first is not None
        assert self._last is not None
        return self._first, self._last
