"""Which partitions this member has, and what of them it reads: the book of the poll thread.

given     by the group; those without an epoch are of topics that are not read
epoch     one assignment of a partition, with the id of the topic that its records come from
next      the first offset that was not handed over
"""

from collections.abc import Collection, Iterable

from worker.core.delivery.handover_messages import Head
from worker.core.records import Partition


class Assignment:
    """Written by the poll thread alone; ids may be asked in any."""

    def __init__(self) -> None:
        """Have nothing."""
        self.given: set[Partition] = set()
        self.epochs: dict[Partition, int] = {}
        self.next: dict[Partition, int] = {}
        self._num_epochs = 0
        self._ids: dict[int, str] = {}  # of topics, by epoch

    def begin(self, partition: Partition, offset: int, topic_id: str) -> int:
        """Read a partition from an offset on; return the new epoch."""
        self._num_epochs += 1
        self.epochs[partition], self.next[partition] = self._num_epochs, offset
        self._ids[self._num_epochs] = topic_id
        return self._num_epochs

    def end(self, partitions: Iterable[Partition]) -> None:
        """Read these partitions no more."""
        for partition in partitions:
            self._ids.pop(self.epochs.pop(partition, 0), None)
            self.next.pop(partition, None)

    def give_up(self, partitions: Collection[Partition]) -> frozenset[str]:
        """Take that the group took partitions away; return the topics of which none is left."""
        self.given.difference_update(partitions)
        return frozenset({one.topic for one in partitions} - {one.topic for one in self.given})

    def given_of(self, topics: Collection[str]) -> frozenset[Partition]:
        """Return the partitions of these topics that the group gave."""
        return frozenset(one for one in self.given if one.topic in topics)

    def topic_id(self, partition: Partition) -> str:
        """Return the id of the topic that a partition's records come from now, "" if none is read."""
        return self._ids.get(self.epochs.get(partition, 0), "")

    def topic_ids(self, heads: Collection[Head]) -> dict[Partition, str]:
        """Return the ids of the topics that these heads' records came from, "" where that assignment is over."""
        return {one.partition: self._ids.get(one.epoch, "") for one in heads}
