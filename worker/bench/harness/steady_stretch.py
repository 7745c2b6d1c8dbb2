"""The part of a run in which a rate is measured: without the start, and without the end, when work runs out.

>>> stretch = Stretch(100)
>>> for at_s, num in ((5.0, 8), (6.0, 20), (7.0, 40), (8.0, 96), (9.0, 100)): stretch.saw(num, at_s=at_s, cpu_s=at_s)
>>> stretch.passed, stretch.seconds, stretch.num
(True, 2.0, 76)

Outputs become visible commit by commit, so both ends are times at which the count has just increased.
"""

from dataclasses import dataclass, field

FIRST_SHARE = 0.10  # of the outputs: start-up, rebalance, cold caches
LAST_SHARE = 0.05  # of the outputs: there is no longer enough work


@dataclass(slots=True)
class _Moment:
    num: int
    at_s: float
    cpu_s: float


@dataclass(slots=True)
class Stretch:
    """The measured part of a run of `total` outputs."""

    total: int
    last_share: float = LAST_SHARE
    _first: _Moment | None = field(default=None, init=False)
    _last: _Moment | None = field(default=None, init=False)

    def saw(self, num: int, *, at_s: float, cpu_s: float) -> None:
        """Record the number of outputs seen so far, the time, and the CPU time used so far."""
        if self._first is None and num >= FIRST_SHARE * self.total:
            self._first = _Moment(num, at_s, cpu_s)
        if self._last is None and num >= (1 - self.last_share) * self.total:
            self._last = _Moment(num, at_s, cpu_s)

    @property
    def passed(self) -> bool:
        """Whether both ends are known, with outputs between them."""
        return self._first is not None and self._last is not None and self._last.num > self._first.num

    @property
    def seconds(self) -> float:
        """Its duration."""
        first, last = self._ends()
        return last.at_s - first.at_s

    @property
    def num(self) -> int:
        """Its number of outputs."""
        first, last = self._ends()
        return last.num - first.num

    @property
    def cpu_s(self) -> float:
        """Its CPU time, seconds."""
        first, last = self._ends()
        return last.cpu_s - first.cpu_s

    def _ends(self) -> tuple[_Moment, _Moment]:
        assert self._first is not None
        assert self._last is not None
        return self._first, self._last
