"""Which partitions the consumer pauses, and when that is worth its price: librdkafka then drops what it prefetched."""

import time
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.core.records import Partition
from worker.kafka import client_config as client

HOLD_S = 0.25  # a full window waits this long before partitions pause
NAP_S = 0.005  # not polling for so short a while keeps what is fetched


class Pauser:
    """Pauses and resumes partitions of one consumer, in its poll thread."""

    def __init__(self, consumer: Consumer) -> None:
        """Have nothing paused."""
        self._consumer = consumer
        self._paused: frozenset[Partition] = frozenset()
        self._wanted_since_s: float | None = None
        self._only_generation: int | None = None  # the only valid one while a revoke callback may be late

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
        """Pause these of the assigned partitions now, and resume the others."""
        paused, wanted = self._paused & frozenset(assigned), wanted & frozenset(assigned)
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
        """Fetch nothing of these partitions, which are not read, until `reassign`."""
        if partitions:
            self._consumer.pause([TopicPartition(one.topic, one.number) for one in partitions])

    def seek(self, partition: Partition, offset: int) -> bool:
        """Fetch a partition from this offset on; False if the client no longer fetches it at all."""
        try:
            self._consumer.seek(TopicPartition(partition.topic, partition.number, offset))
        except KafkaException as error:
            if client.kafka_error(error).code() != client.STATE:
                raise
            return False
        return True

    def reassign(
        self, offsets: Mapping[Partition, int], given: Collection[Partition], run_callbacks: Callable[[], None]
    ) -> None:
        """Assign those of these partitions again that are `given`, each from an offset on, whatever their state.

        The client takes an unassign for the answer to a revoke that is still queued, and the group moves on: a peer may
        own revoked partitions before our callback has run.  So `run_callbacks` empties the queue first; a revoke that
        comes in between runs right after, and until it has, `generation` is only valid if it did not change.
        """
        run_callbacks()
        self._only_generation = client.generation(self._consumer.consumer_group_metadata())
        for partition in offsets.keys() & set(given):
            self._paused -= {partition}
            one = TopicPartition(partition.topic, partition.number, offsets[partition])
            self._consumer.incremental_unassign([one])
            self._consumer.incremental_assign([one])
            self._consumer.resume([one])  # the client keeps a pause for a partition that comes back (librdkafka 2.16)
        run_callbacks()
        self._only_generation = None

    def generation(self, metadata: object) -> int:
        """Return the generation to send offsets in, -1 while there is none."""
        found = client.generation(metadata)
        return found if self._only_generation in (None, found) else -1
