"""Which partitions the consumer pauses, and when that is worth its price: librdkafka then drops what it prefetched."""

import time
from collections.abc import Collection

from confluent_kafka import Consumer, TopicPartition

from worker.core.records import Partition

HOLD_S = 0.25  # a full window waits this long before partitions pause
NAP_S = 0.005  # not polling for so short a while keeps what is fetched


class Pauser:
    """Pauses and resumes partitions of one consumer, in its poll thread."""

    def __init__(self, consumer: Consumer) -> None:
        """Have nothing paused."""
        self._consumer = consumer
        self._paused: frozenset[Partition] = frozenset()
        self._wanted_since_s: float | None = None

    def apply(self, wanted: frozenset[Partition], assigned: Collection[Partition]) -> None:
        """Resume at once; pause only what has been wanted for a while, and nap until then."""
        wanted &= frozenset(assigned)
        if wanted <= self._paused:
            self._wanted_since_s = None
            self.set(wanted, assigned)
            return
        now_s = time.monotonic()
        self._wanted_since_s = self._wanted_since_s or now_s
        if now_s - self._wanted_since_s >= HOLD_S:
            self.set(wanted, assigned)
        else:
            time.sleep(NAP_S)

    def set(self, wanted: frozenset[Partition], assigned: Collection[Partition]) -> None:
        """Pause these partitions now, and resume the others."""
        paused = self._paused & frozenset(assigned)
        if wanted - paused:
            self._consumer.pause([TopicPartition(one.topic, one.number) for one in wanted - paused])
        if paused - wanted:
            self._consumer.resume([TopicPartition(one.topic, one.number) for one in paused - wanted])
        self._paused = wanted

    def forget(self, partitions: frozenset[Partition]) -> None:
        """Resume what is about to leave: the client keeps a pause for a partition that comes back (librdkafka 2.16)."""
        gone = self._paused & partitions
        if gone:
            self._consumer.resume([TopicPartition(one.topic, one.number) for one in gone])
        self._paused -= partitions

    def hold(self, partitions: frozenset[Partition]) -> None:
        """Fetch nothing of these partitions, which are not read, until `read_from`."""
        if partitions:
            self._consumer.pause([TopicPartition(one.topic, one.number) for one in partitions])

    def read_from(self, partition: Partition, offset: int) -> None:
        """Have the client fetch a partition from this offset on, whatever it was doing with it.

        A seek would not do: the client refuses it (`_STATE`) for a partition whose place it lost.
        """
        self._paused -= {partition}
        one = TopicPartition(partition.topic, partition.number, offset)
        self._consumer.incremental_unassign([one])
        self._consumer.incremental_assign([one])
        self._consumer.resume([one])  # the client keeps a pause for a partition that comes back (librdkafka 2.16)
