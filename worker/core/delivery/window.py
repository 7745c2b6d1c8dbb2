"""The budget of what may be in flight, and which partitions pause for it.

At the high mark everything pauses (polling goes on), at the low mark it resumes.  librdkafka empties its
prefetch queue on pause and fetches again on resume, so the marks stand far apart.  No partition may hold
more than half of the budget while others wait: a partition with a slow head would starve them.

A partition is stuck while one of its records waits for something that nobody here can bring about, such as a
schema: nothing behind that record can be committed.  All stuck partitions together may hold half of the
budget, in equal parts; the others share what they leave, at least half.  So what is in flight can reach one
and a half of the budget, where a partition had taken more than its part before it got stuck.

>>> a, b = Partition("t", 0), Partition("t", 1)
>>> window = Window(max_records=4, max_bytes=1_000, max_tokens=1_000)
>>> for _ in range(3): window.add(a, num_bytes=10)
>>> window.paused({a, b}) == {a}         # a holds more than half
True
>>> window.add(b, num_bytes=10); window.paused({a, b}) == {a, b}
True
>>> for _ in range(2): window.remove(a, num_bytes=10)
>>> window.paused({a, b})
frozenset()
>>> sorted(one.number for one in window.crowded({a, b}))      # each holds a quarter of the budget: its part
[0, 1]
>>> window.paused({a, b}, stuck={a}), window.full(stuck={a})
(frozenset(), False)
"""

from collections.abc import Collection, Sequence
from enum import StrEnum

from worker.core.records import Partition

LOW_MARK = 0.5  # share of the budget at which paused partitions resume
MOST = 0.5  # share of the budget that one partition may hold while others wait, and all stuck ones together
NOTHING = (0, 0, 0)


class ShutBy(StrEnum):
    """Why partitions are paused; a label of the metrics.  The first three are the window's budgets, in their order."""

    RECORDS = "records"
    """The window has `window_max_records`, or has not emptied enough since."""

    BYTES = "bytes"
    """The same for `window_max_bytes`."""

    TOKENS = "tokens"
    """The same for `window_max_tokens`."""

    PARTITION = "partition"
    """Single partitions hold more than their share, or wait for something outside; others are read."""

    ENGINE = "engine"
    """The engine takes no records now."""

    STOPPING = "stopping"
    """The worker starts or stops."""


class Window:
    """Counts records, their bytes of memory and their prompt tokens in flight, against a budget of each."""

    def __init__(self, *, max_records: int, max_bytes: int, max_tokens: int) -> None:
        self._max = (max_records, max_bytes, max_tokens)
        self._held: dict[Partition, list[int]] = {}  # records, bytes and tokens of each partition
        self._full = False

    def full(self, stuck: Collection[Partition] = ()) -> bool:
        """Return True if there is no room for another record of a partition that is not stuck."""
        return self._load(self._totals(without=stuck), self._room(stuck)) >= 1

    def crowded(self, stuck: Collection[Partition]) -> frozenset[Partition]:
        """Return the stuck partitions that hold all that they may."""
        return frozenset(p for p in stuck if self._load(self._held.get(p, NOTHING), self._max) >= MOST / len(stuck))

    def shares(self) -> tuple[float, ...]:
        """Return the share of each budget that is in flight: records, bytes, tokens."""
        return tuple(held / budget for held, budget in zip(self._totals(), self._max, strict=True))

    @property
    def shut_by(self) -> ShutBy | None:
        """The fullest budget while the window is shut, by the last call of `paused`; None while it is open."""
        if not self._full:
            return None
        shares = self.shares()
        return list(ShutBy)[shares.index(max(shares))]

    def add(self, partition: Partition, *, num_bytes: int) -> None:
        """Count one more record of a partition."""
        self._change(partition, 1, num_bytes, 0)

    def grow(self, partition: Partition, *, num_bytes: int = 0, num_tokens: int = 0) -> None:
        """Change what a counted record holds by this much: its size is known once it is decoded, or answered."""
        self._change(partition, 0, num_bytes, num_tokens)

    def remove(self, partition: Partition, *, num_bytes: int, num_tokens: int = 0) -> None:
        """Count one record less: it is committed, or lost."""
        self._change(partition, -1, -num_bytes, -num_tokens)

    def paused(self, assigned: Collection[Partition], stuck: Collection[Partition] = ()) -> frozenset[Partition]:
        """Return the assigned partitions to pause now; a pause lasts until the low mark is reached."""
        room, crowded = self._room(stuck), self.crowded(stuck)
        load = self._load(self._totals(without=stuck), room)
        self._full = load >= 1 or (self._full and load > LOW_MARK)
        shares = {p: self._load(self._held.get(p, NOTHING), room) for p in assigned if p not in stuck}
        if load >= 1:
            return crowded | shares.keys()
        if self._full:  # one that holds little is not to blame, and must not wait for another's slow head
            return crowded | {p for p, share in shares.items() if share > LOW_MARK / len(shares)}
        if len(assigned) < 2:  # noqa: PLR2004 - nobody else waits
            return crowded
        return crowded | {p for p, share in shares.items() if share > MOST}

    def _change(self, partition: Partition, *changes: int) -> None:
        held = [old + change for old, change in zip(self._held.get(partition, NOTHING), changes, strict=True)]
        if any(held):
            self._held[partition] = held
        else:
            self._held.pop(partition, None)

    def _totals(self, *, without: Collection[Partition] = ()) -> Sequence[int]:
        held = (
            [one for partition, one in self._held.items() if partition not in without]
            if without
            else self._held.values()
        )
        return [sum(column) for column in zip(*held, strict=True)] or NOTHING

    def _room(self, stuck: Collection[Partition]) -> Sequence[float]:
        """Return the budget of those that are not stuck."""
        if not stuck:
            return self._max
        taken = [sum(column) for column in zip(*(self._held.get(p, NOTHING) for p in stuck), strict=True)]
        return [max(whole - part, MOST * whole) for whole, part in zip(self._max, taken, strict=True)]

    @staticmethod
    def _load(held: Sequence[int], budget: Sequence[float]) -> float:
        """Return the share of the budget that is nearest to its end."""
        return max(part / whole for part, whole in zip(held, budget, strict=True))
