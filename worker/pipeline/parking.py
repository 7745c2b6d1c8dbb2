"""2 decode: delivered records of a stuck partition whose part of the window is full; they are not in flight yet.

Such a partition is paused, so only what the client had already delivered is parked: no other partition waits
behind it.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator

from worker.core.records import Partition, Record
from worker.pipeline.in_flight import RecordsInFlight

MAX_OVER = 1_000  # records admitted beyond a partition's part: 8 h of probes, then a person must decide


class Parking:
    """Parked records by partition, in offset order; `stuck` returns the partitions that are stuck now."""

    def __init__(self, flight: RecordsInFlight, stuck: Callable[[], frozenset[Partition]]) -> None:
        self._flight, self._stuck = flight, stuck
        self._parked: dict[Partition, deque[Record]] = {}
        self._admitted: set[Partition] = set()
        self._num_over = 0

    def __len__(self) -> int:
        """Count the partitions with parked records."""
        return len(self._parked)

    def must_park(self, partition: Partition) -> bool:
        """Return True if a delivered record of this partition must be parked."""
        return partition in self._parked or self._is_shut(partition)

    def park(self, record: Record) -> None:
        """Park a record, behind the others of its partition."""
        self._parked.setdefault(record.partition, deque()).append(record)

    def ready(self) -> Iterator[Record]:
        """Yield the records that may be received now, and remove each as it is yielded."""
        for partition in list(self._parked):
            while (parked := self._parked.get(partition)) and not self._is_shut(partition):
                record = parked.popleft()
                if not parked:
                    del self._parked[partition]
                yield record

    def admit_one(self, partition: Partition) -> None:
        """Allow one more record of a partition whose part of the window is full."""
        if self._is_crowded(partition):
            self._admitted.add(partition)

    def received(self, partition: Partition) -> None:
        """Note that a record of this partition is in flight now."""
        if partition in self._admitted:
            self._admitted.discard(partition)
            self._num_over += 1

    def reset(self) -> None:
        """Count the records beyond the parts from 0 again: no source is open any more."""
        self._admitted.clear()
        self._num_over = 0

    def drop(self, partitions: Collection[Partition]) -> int:
        """Remove partitions that are no longer ours; return how many parked records they had."""
        self._admitted -= set(partitions)
        return sum(len(self._parked.pop(partition, ())) for partition in partitions)

    def paused(self, assigned: Collection[Partition]) -> frozenset[Partition]:
        """Return the partitions to pause: the window asks for it, or records of them are parked."""
        full = self._flight.paused(assigned, self._stuck())
        return frozenset(self._parked) | {one for one in full if not self._admits(one)}

    def _is_shut(self, partition: Partition) -> bool:
        return partition in self._stuck() and self._is_crowded(partition) and not self._admits(partition)

    def _is_crowded(self, partition: Partition) -> bool:
        return partition in self._flight.crowded(self._stuck())

    def _admits(self, partition: Partition) -> bool:
        return partition in self._admitted and self._num_over < MAX_OVER
