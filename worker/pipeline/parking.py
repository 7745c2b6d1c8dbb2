"""2 decode: delivered records of a partition that is stuck and has its part of the window; they are not taken on yet.

Such a partition is paused, so only what the client had already delivered is parked: no other partition waits behind it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator

from worker.core.records import Partition, Record
from worker.pipeline.in_flight import Flight

MAX_OVER = 1_000  # records let in past a partition's part: 8 h of probes, then a person must say


class Parking:
    """Keeps records in the order in which they came, by partition."""

    def __init__(self, flight: Flight, stuck: Callable[[], frozenset[Partition]]) -> None:
        """Start empty; `stuck` tells which partitions are."""
        self._flight, self._stuck = flight, stuck
        self._parked: dict[Partition, deque[Record]] = {}
        self._let_in: set[Partition] = set()
        self._num_over = 0

    def __len__(self) -> int:
        """Count the partitions with parked records."""
        return len(self._parked)

    def wants(self, partition: Partition) -> bool:
        """Say whether a delivered record of a partition shall be parked."""
        return partition in self._parked or self._is_shut(partition)

    def park(self, record: Record) -> None:
        """Keep a record."""
        self._parked.setdefault(record.partition, deque()).append(record)

    def ready(self) -> Iterator[Record]:
        """Give back, one by one, what may be taken on now."""
        for partition in list(self._parked):
            while (parked := self._parked.get(partition)) and not self._is_shut(partition):
                record = parked.popleft()
                if not parked:
                    del self._parked[partition]
                yield record

    def let_in(self, partition: Partition) -> None:
        """Let one further record of a partition in that has its part of the window."""
        if self._is_crowded(partition):
            self._let_in.add(partition)

    def taken(self, partition: Partition) -> None:
        """Note that a record is taken on."""
        if partition in self._let_in:
            self._let_in.discard(partition)
            self._num_over += 1

    def reset(self) -> None:
        """Count what is let in anew: nothing is open any more."""
        self._let_in.clear()
        self._num_over = 0

    def drop(self, partitions: Collection[Partition]) -> int:
        """Forget partitions that are no longer ours; return how many records that were."""
        self._let_in -= set(partitions)
        return sum(len(self._parked.pop(partition, ())) for partition in partitions)

    def paused(self, assigned: Collection[Partition]) -> frozenset[Partition]:
        """Return the partitions that shall be paused, for the window or because they have parked records."""
        full = self._flight.paused(assigned, self._stuck())
        return frozenset(self._parked) | {one for one in full if not self._lets_in(one)}

    def _is_shut(self, partition: Partition) -> bool:
        return partition in self._stuck() and self._is_crowded(partition) and not self._lets_in(partition)

    def _is_crowded(self, partition: Partition) -> bool:
        return partition in self._flight.crowded(self._stuck())

    def _lets_in(self, partition: Partition) -> bool:
        return partition in self._let_in and self._num_over < MAX_OVER
