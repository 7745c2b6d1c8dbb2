"""5 generate: how many draws a shared server may have from us: what is idle, and none while others wait.

A seat is one draw.  The server's own figures are judged at each scrape:

    a figure above its high mark             0 seats at once: yielding
    none, or none that is a number, for 2 s  0 seats: what is not known is taken for busy
    requests wait, fewer than the mark       as many seats fewer as wait, and one at least
    all at their low marks, seats all taken  a few seats more, at most every half a second
    between the marks                        as it is

Two marks (hysteresis) keep it from flapping: seats return only after all figures were at their low marks for a while.
As TCP's window does, they double up to a threshold, then grow by one eighth.  The threshold is what the server bore
the last time: all seats if it had borne them for a while, so that others made it busy, else those before the last step.
One eighth of that returns first: an eighth of what all workers had together, however many return at once.  Where
nothing is known yet, it is one.  Each wait has a part of chance, so that workers do not take the same step together.

All requests that wait count, ours too: a server does not tell whose they are, and if ours wait there is no room.

>>> seats = SpareSeats(HighMarks(waiting=4, kv_usage=0.9), most=8, seed="worker-1 http://gpu-1:8000")
>>> seats.seats, seats.why
(0, 'its load is not known yet')
>>> for now_s in (0.0, 1.0, 2.0, 3.0): seats.update(ServerLoad(waiting=0, kv_usage=0.1), taken=seats.seats, now_s=now_s)
>>> seats.seats > 0, seats.why
(True, '')
>>> seats.update(ServerLoad(waiting=5, kv_usage=0.1), taken=1, now_s=3.5)
>>> seats.seats, seats.why
(0, '5 requests wait there, want at most 4')
"""

import math
from dataclasses import dataclass

from worker.core.seeding import unit

STALE_S = 2.0  # four scrapes: one that is lost is chance
CALM_S, CALM_CHANCE_S = 1.0, 1.0  # all figures at their low marks for so long, and up to so much more, before we return
GROW_S, GROW_CHANCE_S = 0.3, 0.3  # between two steps, one or two scrapes: each must show in the figures before the next
BORNE_S = 2.0  # since the last step: the server bears what it has
LOW = 0.8  # low mark of a share or a time, as a part of its high mark
SLOW = 8  # beyond the threshold, seats grow by one for each of so many
FIRST = 8  # of as many seats as the server bore, one returns first


@dataclass(frozen=True, slots=True)
class HighMarks:
    """Above which figure a server is left to others."""

    waiting: int  # requests
    kv_usage: float  # share of the KV cache, 0 to 1
    token_s: float = math.inf  # mean time per token of all its requests, seconds


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """What a server says of itself at one moment."""

    waiting: float  # requests in its queue
    kv_usage: float  # share of its KV cache that is in use, 0 to 1
    token_s: float = 0.0  # mean time per token since the last scrape, seconds; 0 if none was written

    @property
    def is_known(self) -> bool:
        """True if all figures are such: a figure that is NaN is above no mark."""
        figures = (self.waiting, self.kv_usage, self.token_s)
        return all(math.isfinite(figure) and figure >= 0 for figure in figures)


class SpareSeats:
    """The seats at one server, never above `most`; `seed` gives the waits their part of chance."""

    def __init__(self, marks: HighMarks, *, most: int, seed: str) -> None:
        self.seats = 0
        self.why = "its load is not known yet"  # why it is left to others, "" if it is not
        self._marks, self._most, self._seed = marks, most, seed
        self._fast_to, self._first, self._before = most, 1, 0  # before the last step
        self._known_s: float | None = None  # when a load was known last
        self._calm_s: float | None = None  # since when all figures are at their low marks
        self._grown_s = -math.inf
        self._num_waits = 0
        self._wait_s = self._next(CALM_S, CALM_CHANCE_S)

    def update(self, load: ServerLoad | None, *, taken: int, now_s: float) -> None:
        """Judge a scrape that ended at `now_s`, monotonic seconds; None if it failed; `taken` seats are in use."""
        if load is None or not load.is_known:
            self._calm_s = None
            if self._known_s is None or now_s - self._known_s >= STALE_S:
                self._yield("it tells no load that can be read", now_s)
            return
        self._known_s = now_s
        if why := self._too_much(load):
            self._yield(why, now_s)
        elif not self._is_calm(load):
            self._calm_s = None
            if self.seats and load.waiting >= 1:
                self.seats = max(1, min(self.seats, taken) - int(load.waiting))
        else:
            self._calm_s = now_s if self._calm_s is None else self._calm_s
            self._give(taken, now_s)

    def _give(self, taken: int, now_s: float) -> None:
        """Return, or grow, once it is time."""
        if self.why:
            if self._calm_s is not None and now_s - self._calm_s >= self._wait_s:
                self._grow(min(self._first, self._most), now_s)
                self.why = ""
        elif self._most > self.seats <= taken and now_s - self._grown_s >= self._wait_s:
            steady = min(self._most, self.seats + max(1, self.seats // SLOW))
            self._grow(max(steady, min(self._fast_to, 2 * self.seats)), now_s)

    def _grow(self, seats: int, now_s: float) -> None:
        self.seats, self._before = seats, self.seats
        self._grown_s, self._wait_s = now_s, self._next(GROW_S, GROW_CHANCE_S)

    def _yield(self, why: str, now_s: float) -> None:
        if not self.why:
            is_borne = now_s - self._grown_s >= BORNE_S
            self._fast_to = max(1, self.seats if is_borne else min(self.seats, self._before))
            self._first = max(1, self._fast_to // FIRST)
            self._wait_s = self._next(CALM_S, CALM_CHANCE_S)
        self.seats, self.why, self._calm_s = 0, why, None

    def _next(self, least_s: float, chance_s: float) -> float:
        self._num_waits += 1
        return least_s + chance_s * unit(self._seed, str(self._num_waits))

    def _too_much(self, load: ServerLoad) -> str:
        """Return which figure is above its high mark, for people; "" if none is."""
        if load.waiting > self._marks.waiting:
            return f"{load.waiting:.0f} requests wait there, want at most {self._marks.waiting}"
        if load.kv_usage > self._marks.kv_usage:
            return f"{load.kv_usage:.0%} of its KV cache is in use, want at most {self._marks.kv_usage:.0%}"
        if load.token_s > self._marks.token_s:
            return f"a token takes {load.token_s:.3g} s there, want at most {self._marks.token_s:.3g} s"
        return ""

    def _is_calm(self, load: ServerLoad) -> bool:
        marks = self._marks
        return load.waiting < 1 and load.kv_usage <= LOW * marks.kv_usage and load.token_s <= LOW * marks.token_s
