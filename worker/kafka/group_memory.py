"""The topic ids and first offsets of a consumer group, stored apart from its topics.

Kafka deletes a topic's committed offsets together with the topic.  So a second group, `{group_id}-topics`, without
members, stores two things as committed offsets:

    dead-letter and output topic, by partition    metadata: the ids of the input topics that the group reads
    input topic, each partition                   offset: the group's first start position; metadata: the topic's id

The ids are stored on two topics, because Kafka deletes them with the topic that they are stored on.  The first member
writes the first starts of all partitions in one request, before any record is read.  A member that joins late, or takes
over from one that died, then knows where the group started and does not mistake the commits of its peers for a long
history.  Both expire as all offsets do (`offsets.retention.minutes`).  A running worker writes the ids again every
hour; a first start is no longer needed once its partition has a commit.

They are read by a consumer of that group that never subscribes, not by an admin client: librdkafka 2.16 ends the
process when a broker that is no longer the coordinator answers an admin client's request for offsets (librdkafka#5040,
#5315).  An admin client's request to write them is safe, and has a time-out, which a consumer's commit has not.
"""

import hashlib
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from worker.core.records import Partition
from worker.core.topics.topic_history import KnownTopic, Memory, merged, pack
from worker.kafka import client_config as client
from worker.kafka.admin_queries import AdminQueries
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

ABSENT = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART})
TIMEOUT_S = 5.0  # of one request
MAX_CHARS = 4_000  # brokers accept 4,096 (offset.metadata.max.bytes)
MAX_INPUTS = 100  # entries of `input_topics`, also of earlier settings: 13 characters each
MAX_PARTS = 16  # partitions of the dead-letter or output topic that are used: room for about 800 topics


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the group stored: topics, and by partition its first start with the topic's id at that time."""

    memory: Memory
    first_starts: Mapping[Partition, tuple[int, str]]

    def first_start(self, partition: Partition, topic_id: str) -> int | None:
        """Return the offset of the group's first start in a partition of this topic id; None if there is none."""
        offset, of_topic = self.first_starts.get(partition, (None, ""))
        return offset if of_topic == topic_id else None


class GroupMemory:
    """Reads and writes the memory of one group; thread-safe."""

    def __init__(self, settings: KafkaClientSettings, queries: AdminQueries) -> None:
        self._queries = queries
        self._group = client.topics_group(settings)
        self._reader = Consumer(client.reader(settings, self._group))
        self.anchors = (settings.dead_letter_topic, settings.output_topic)
        self._left_out: list[str] = []
        self._inputs = {one: _digest(one) for one in settings.input_topics}
        self.has_begun = False  # whether this member has found or written the group's start
        self._written_s = 0.0

    def read(self, partitions: Iterable[Partition] = ()) -> Remembered:
        """Return the topics that the group has stored, and the first starts of these partitions.

        Raises `KafkaException`.
        """
        wanted = [TopicPartition(topic, number) for topic in self.anchors for number in range(MAX_PARTS)]
        wanted += [TopicPartition(one.topic, one.number) for one in partitions]
        answered = self._reader.committed(wanted, timeout=TIMEOUT_S)
        # Kafka has no offset of a partition that is not there; librdkafka's own broker has an error instead.
        found = client.checked([one for one in answered if one.error is None or one.error.code() not in ABSENT])
        kept = [one for one in found if one.offset >= 0]
        texts = [one.metadata or "" for one in kept if one.topic in self.anchors]  # the same content, twice
        starts = {
            Partition(one.topic, one.partition): (one.offset, one.metadata or "")
            for one in kept
            if one.topic not in self.anchors
        }
        return Remembered(merged(texts), starts)

    def knows(self, memory: Memory, entries: Iterable[str]) -> bool:
        """Return True if the group, or this member, has already started with all of these entries of `input_topics`."""
        known = set(memory.inputs.split(","))
        return self.has_begun or all(self._inputs[one] in known for one in entries)

    def write(
        self,
        known: Mapping[str, KnownTopic],
        first_starts: Mapping[Partition, int],
        sizes: Mapping[str, int],
        *,
        begins: bool = False,
    ) -> None:
        """Add topics to the memory, with the first starts of their partitions.

        With `begins` every input topic that exists is known from now on: one that is not known was created later.
        Members may write at the same time: `keep` writes again what one of them overwrote.  `sizes` gives the number of
        partitions of each of the `anchors` that exists.  Raises `KafkaException`.
        """
        memory = self.read().memory
        self.has_begun = self.has_begun or begins
        memory = Memory({**memory.topics, **known}, self._with_own(memory.inputs))
        offsets = [
            TopicPartition(one.topic, one.number, offset, known[one.topic].topic_id)
            for one, offset in first_starts.items()
        ]
        for anchor, size in sizes.items():
            parts, left_out = pack(memory, max_chars=MAX_CHARS, num_parts=min(size, MAX_PARTS))
            self._warn_left_out(anchor, size, left_out)
            offsets += [TopicPartition(anchor, number, 0, text) for number, text in enumerate(parts)]
        if not offsets:
            return
        self._store(ConsumerGroupTopicPartitions(self._group, offsets))
        self._written_s = time.monotonic()

    def keep(self, known: Mapping[str, KnownTopic], sizes: Mapping[str, int], *, every_s: float) -> None:
        """Write this member's topics again if they are missing from the memory, or `every_s` after the last write.

        If a peer has written another id, that one is newer: this member has not read the topic lately.
        """
        memory = self.read().memory
        mine = {
            topic: one
            for topic, one in known.items()
            if topic not in memory.topics or memory.topics[topic].topic_id == one.topic_id
        }
        is_there = mine.items() <= memory.topics.items() and self._with_own(memory.inputs) == memory.inputs
        if not is_there or time.monotonic() - self._written_s > every_s:
            self.write(mine, {}, sizes)

    def _store(self, request: ConsumerGroupTopicPartitions) -> None:
        def question(admin: AdminClient) -> None:
            future = admin.alter_consumer_group_offsets([request], request_timeout=TIMEOUT_S)[self._group]
            client.checked(client.answer(future, 2 * TIMEOUT_S).topic_partitions)

        self._queries.ask(question)

    def _with_own(self, inputs: str) -> str:
        """Return digests of entries, with this member's once it has begun; at most `MAX_INPUTS`, the newest."""
        every = [one for one in inputs.split(",") if one]
        if self.has_begun:
            every += [one for one in self._inputs.values() if one not in every]
        return ",".join(every[-MAX_INPUTS:])

    def _warn_left_out(self, anchor: str, size: int, left_out: list[str]) -> None:
        if left_out and left_out != self._left_out:
            log.warning(
                "too many input topics to store their ids in %d partitions of %s: if %s or one of %d others is"
                " recreated while no worker runs, no worker will notice; add partitions to that topic",
                size, anchor, left_out[0], len(left_out) - 1,
            )  # fmt: skip
        self._left_out = left_out


def _digest(entry: str) -> str:
    return hashlib.blake2b(entry.encode(), digest_size=6).hexdigest()
