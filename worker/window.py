"""The budget of what may be in flight, and which partitions pause for it.

At the high mark everything pauses (polling goes on), at the low mark it resumes.  librdkafka empties its
prefetch queue on pause and fetches again on resume, so the marks stand far apart.  No partition may hold
more than half of the budget while others wait: a partition with a slow head would starve them.

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
"""

from collections import Counter
from collections.abc import Collection

from worker.records import Partition

LOW_MARK = 0.5  # share of the budget at which paused partitions resume


class Window:
    """Counts records, their bytes and their prompt tokens in flight."""

    def __init__(self, *, max_records: int, max_bytes: int, max_tokens: int) -> None:
        """Take the budget."""
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._max_tokens = max_tokens
        self._records: Counter[Partition] = Counter()
        self._bytes = 0
        self._tokens = 0
        self._full = False

    @property
    def num_records(self) -> int:
        """Records in flight."""
        return self._records.total()

    @property
    def num_bytes(self) -> int:
        """Bytes in flight."""
        return self._bytes

    def add(self, partition: Partition, *, num_bytes: int) -> None:
        """Take a record into the budget."""
        self._records[partition] += 1
        self._bytes += num_bytes

    def grow(self, *, num_tokens: int) -> None:
        """Add the prompt tokens of a record taken before; they are known only once it is decoded."""
        self._tokens += num_tokens

    def remove(self, partition: Partition, *, num_bytes: int, num_tokens: int = 0) -> None:
        """Give a record's share back."""
        self._records[partition] -= 1
        self._bytes -= num_bytes
        self._tokens -= num_tokens
        if not self._records[partition]:
            del self._records[partition]

    def paused(self, assigned: Collection[Partition]) -> frozenset[Partition]:
        """Return the assigned partitions that shall be paused now."""
        load = max(self.num_records / self._max_records, self._bytes / self._max_bytes, self._tokens / self._max_tokens)
        self._full = load >= 1 or (self._full and load > LOW_MARK)
        if self._full:
            return frozenset(assigned)
        if len(assigned) < 2:  # noqa: PLR2004 - nobody else waits
            return frozenset()
        return frozenset(p for p in assigned if self._records[p] > self._max_records / 2)
