"""How a flush is divided among partitions: each gets its share of records and of bytes, and nothing is left over.

What one partition does not need the others get.  A record is never split: one that is larger than a whole
share goes all the same, if there is any room.

>>> a, b = Partition("t", 0), Partition("t", 1)
>>> taken = divide([(a, iter([(10, 1), (11, 1), (12, 1)])), (b, iter([(70, 1)]))], Room(3, 100))
>>> taken[a], taken[b]
([10, 11], [70])
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from worker.core.records import Partition


@dataclass(slots=True)
class Room:
    """What is left of a flush, or of a share of it."""

    records: int
    num_bytes: float

    def __bool__(self) -> bool:
        """Return True if one more record may be taken."""
        return self.records > 0 and self.num_bytes > 0

    def take(self, num_bytes: int) -> None:
        """Count one record of this size."""
        self.records -= 1
        self.num_bytes -= num_bytes


class _Queue:
    """The finished records of a partition; `first` is the next one to take, None at the end."""

    def __init__(self, partition: Partition, records: Iterator[tuple[int, int]]) -> None:
        self.partition, self._records = partition, records
        self.first = next(records, None)

    def take(self) -> None:
        self.first = next(self._records, None)


def divide(heads: Iterable[tuple[Partition, Iterator[tuple[int, int]]]], room: Room) -> dict[Partition, list[int]]:
    """Return the offsets that leave, by partition, and take them out of the room.

    `heads` are the finished records of each partition in order: offset and bytes.  In rounds: each takes at
    least one record of each partition in it, so this is linear in what is taken.
    """
    taken: dict[Partition, list[int]] = {}
    going = [_Queue(*head) for head in heads]
    while going and room:
        share = (max(1, room.records // len(going)), room.num_bytes / len(going))
        for queue in going:
            _take_share(queue, Room(*share), room, taken.setdefault(queue.partition, []))
        going = [queue for queue in going if queue.first is not None]
    return {partition: offsets for partition, offsets in taken.items() if offsets}


def _take_share(queue: _Queue, share: Room, room: Room, taken: list[int]) -> None:
    """Return a partition's share of one round, but at least one record; only a first one may be more than the share."""
    is_first = True
    while queue.first is not None and room and share:
        offset, num_bytes = queue.first
        if num_bytes > share.num_bytes and not is_first:
            return
        is_first = False
        taken.append(offset)
        room.take(num_bytes)
        share.take(num_bytes)
        queue.take()
