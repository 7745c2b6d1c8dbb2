"""Which partitions this member is assigned, and where it reads them; written by the poll thread.

given     partitions assigned by the group; one without an epoch belongs to a topic that is not read now
epoch     number of one assignment of a partition; the id of the topic that its records come from belongs to it
next      the next offset to hand over to the loop
"""

from collections.abc import Collection, Iterable

from worker.core.delivery.handover_messages import Head
from worker.core.records import Partition


class Assignment:
    """The assigned partitions; only the poll thread writes, any thread may ask for topic ids."""

    def __init__(self) -> None:
        self.given: set[Partition] = set()
        self.epochs: dict[Partition, int] = {}
        self.next: dict[Partition, int] = {}
        self._num_epochs = 0
        self._ids: dict[int, str] = {}  # of topics, by epoch

    def begin(self, partition: Partition, offset: int, topic_id: str) -> int:
        """Start reading a partition at an offset; return the new epoch."""
        self._num_epochs += 1
        self.epochs[partition], self.next[partition] = self._num_epochs, offset
        self._ids[self._num_epochs] = topic_id
        return self._num_epochs

    def end(self, partitions: Iterable[Partition]) -> None:
        """Stop reading these partitions; they stay given."""
        for partition in partitions:
            self._ids.pop(self.epochs.pop(partition, 0), None)
            self.next.pop(partition, None)

    def give_up(self, partitions: Collection[Partition]) -> frozenset[str]:
        """Remove partitions that the group revoked; return the topics of which no partition is left."""
        self.given.difference_update(partitions)
        return frozenset({one.topic for one in partitions} - {one.topic for one in self.given})

    def given_of(self, topics: Collection[str]) -> frozenset[Partition]:
        """Return the given partitions of these topics."""
        return frozenset(one for one in self.given if one.topic in topics)

    def topic_id(self, partition: Partition) -> str:
        """Return the id of the topic that a partition's records come from; "" if the partition is not read."""
        return self._ids.get(self.epochs.get(partition, 0), "")

    def topic_ids(self, heads: Collection[Head]) -> dict[Partition, str]:
        """Return the id of the topic that each head's records came from; "" if that assignment has ended."""
        return {one.partition: self._ids.get(one.epoch, "") for one in heads}
