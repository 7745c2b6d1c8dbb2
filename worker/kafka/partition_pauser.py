"""Pauses and resumes partitions.  Pausing is delayed: librdkafka drops the prefetched records of a paused partition."""

import time
from collections.abc import Callable, Collection, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.core.records import Partition
from worker.kafka import client_config as client

HOLD_S = 0.25  # how long a pause must be wanted before partitions pause
NAP_S = 0.005  # not polling for this long keeps the prefetched records


class Pauser:
    """Pauses and resumes partitions of one consumer, in its poll thread."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._paused: frozenset[Partition] = frozenset()
        self._wanted_since_s: float | None = None
        self._only_generation: int | None = None  # the only valid one while a revoke callback may be queued

    def apply(self, wanted: frozenset[Partition], assigned: Collection[Partition]) -> None:
        """Resume at once; pause only after `wanted` has asked for it during `HOLD_S`, sleeping `NAP_S` until then."""
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
        """Pause the wanted ones of the assigned partitions now, and resume the others."""
        paused, wanted = self._paused & frozenset(assigned), wanted & frozenset(assigned)
        if wanted - paused:
            self._consumer.pause([TopicPartition(one.topic, one.number) for one in wanted - paused])
        if paused - wanted:
            self._consumer.resume([TopicPartition(one.topic, one.number) for one in paused - wanted])
        self._paused = wanted

    def forget(self, partitions: frozenset[Partition]) -> None:
        """Resume partitions before they are unassigned: a pause would survive a reassignment (librdkafka 2.16)."""
        gone = self._paused & partitions
        if gone:
            self._consumer.resume([TopicPartition(one.topic, one.number) for one in gone])
        self._paused -= partitions

    def hold(self, partitions: frozenset[Partition]) -> None:
        """Pause partitions that are assigned but not read, until `reassign`."""
        if partitions:
            self._consumer.pause([TopicPartition(one.topic, one.number) for one in partitions])

    def seek(self, partition: Partition, offset: int) -> bool:
        """Continue fetching a partition at an offset; return False if the client no longer fetches it at all."""
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
        """Reassign the `given` ones of these partitions, each at its offset, whatever the client's state.

        The client takes an unassign for the answer to a revoke that is still queued, and the rebalance continues: a
        peer may own revoked partitions before our callback has run.  So `run_callbacks` empties the queue first.  A
        revoke that arrives in between runs right after; until then `generation` is only valid if it did not change.
        """
        run_callbacks()
        self._only_generation = client.generation(self._consumer.consumer_group_metadata())
        for partition in offsets.keys() & set(given):
            self._paused -= {partition}
            one = TopicPartition(partition.topic, partition.number, offsets[partition])
            self._consumer.incremental_unassign([one])
            self._consumer.incremental_assign([one])
            self._consumer.resume([one])  # a pause survives a reassignment (librdkafka 2.16)
        run_callbacks()
        self._only_generation = None

    def generation(self, metadata: object) -> int:
        """Return the generation to commit offsets with; -1 while none is valid."""
        found = client.generation(metadata)
        return found if self._only_generation in (None, found) else -1
