"""Topics read by one process alone, whose positions are kept elsewhere: no group, no commit to Kafka.

All partitions, those that are born later too, committed records only.  A topic that is not there yet is looked for
again.  A position whose records have expired goes on at the first that is left, and `expired` says how many are gone.
"""

import time
from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from worker.errors import Retryable
from worker.kafka import admin, client
from worker.kafka.messages import to_record
from worker.records import Partition, Record
from worker.settings import Settings

TIMEOUT_S = 10.0
LOOK_S = 30.0  # how often new partitions are looked for
MAX_BATCH = 2_000  # records, about 6 MB of responses


class Following:
    """The reader of some topics; not for several threads."""

    def __init__(self, settings: Settings, topics: Sequence[str], positions: Mapping[Partition, int]) -> None:
        """Start at the positions, and where there is none at the beginning.  Raises `Retryable` without Kafka."""
        self._settings, self._topics = settings, tuple(dict.fromkeys(topics))
        self._consumer = Consumer(client.reader(settings, f"{settings.group_id}-experiment"))
        self._next = dict(positions)
        self._assigned: set[Partition] = set()
        self._at_end: set[Partition] = set()
        self._looked_s = 0.0
        self.expired = 0
        try:
            self._look()
        except BaseException:
            self._consumer.close()
            raise

    @property
    def at_end(self) -> bool:
        """Whether every partition was read to where it ended when last seen."""
        return self._at_end >= self._assigned

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the topics that are not there."""
        found = {partition.topic for partition in self._assigned}
        return tuple(topic for topic in self._topics if topic not in found)

    def batch(self, timeout_s: float) -> tuple[list[Record], dict[Partition, int]]:
        """Return what came within a time, and the position after it by partition.  Raises `Retryable`, `Fatal`."""
        if time.monotonic() - self._looked_s > LOOK_S:
            self._look()
        records = []
        for message in self._consumer.consume(MAX_BATCH, timeout_s):
            partition = Partition(message.topic() or "", message.partition() or 0)
            if self._is_record(message, partition):
                record = to_record(message, partition, 0)
                records.append(record)
                self._next[partition] = record.offset + 1
        return records, {record.partition: self._next[record.partition] for record in records}

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _is_record(self, message: Message, partition: Partition) -> bool:
        error = message.error()
        if error is None:
            self._at_end.discard(partition)
            return True
        if error.code() == client.PARTITION_EOF:
            self._at_end.add(partition)
        else:
            client.raise_if_hopeless(error, f"read {partition}")
        return False

    def _look(self) -> None:
        """Take on partitions that are new."""
        numbers = admin.partitions(self._settings)
        found = {Partition(topic, number) for topic in self._topics for number in range(numbers.get(topic, 0))}
        self._looked_s = time.monotonic()
        if found != self._assigned:
            starts = [TopicPartition(one.topic, one.number, self._start(one)) for one in sorted(found, key=str)]
            self._consumer.assign(starts)
            self._assigned, self._at_end = found, set()

    def _start(self, partition: Partition) -> int:
        """Return where to read on, which is no earlier than what the broker still has."""
        try:
            asked = TopicPartition(partition.topic, partition.number)
            low, high = self._consumer.get_watermark_offsets(asked, TIMEOUT_S)
        except KafkaException as error:
            raise Retryable(f"{partition}: {client.kafka_error(error).name()} while its ends were asked for") from error
        wanted = self._next.get(partition, low)
        self.expired += max(0, low - wanted)
        return int(min(max(low, wanted), high))  # past the end: the topic was made anew
