"""What a consumer group remembers of its topics, apart from them: Kafka deletes a topic's offsets together with it.

A group of its own, `{group_id}-topics`, without members, holds two things as committed offsets:

    dead-letter and output topic, by partition    metadata: the ids of the input topics that the group reads
    input topic, each partition                   offset: where the group's first start put it; metadata: the topic's id

The ids stand twice, because Kafka deletes them with the topic that they stand on.  The first starts are written for all
partitions in one request, by whichever member comes first, before any of them is read: a member that is late, or that
takes over from one that died, finds where the group started and does not take the commits of its peers for a long
history.  Both age as all offsets do (`offsets.retention.minutes`).  The ids are written again every hour while a worker
runs; a first start has done its work once its partition commits.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from worker.core.records import Partition
from worker.core.topics.topic_history import KnownTopic, Memory, merged, pack
from worker.kafka import client_config as client
from worker.kafka.admin_queries import AdminQueries
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)
Call = Callable[..., dict[str, "Future[ConsumerGroupTopicPartitions]"]]

TIMEOUT_S = 5.0  # of one request
MAX_CHARS = 4_000  # brokers take 4,096 (offset.metadata.max.bytes)
MAX_INPUTS = 100  # entries of `input_topics`, also of settings before: 13 characters each
MAX_PARTS = 16  # partitions of a topic that it stands on that are used: room for about 800 topics


@dataclass(frozen=True, slots=True)
class Remembered:
    """The memory, and the first start of each partition that has one with the id of its topic then."""

    memory: Memory
    first_starts: Mapping[Partition, tuple[int, str]]

    def first_start(self, partition: Partition, topic_id: str) -> int | None:
        """Return where the group's first start put a partition of this very topic, None if it did not."""
        offset, of_topic = self.first_starts.get(partition, (None, ""))
        return offset if of_topic == topic_id else None


class GroupMemory:
    """Reads and writes the memory of one group; may be used by several threads."""

    def __init__(self, settings: KafkaClientSettings, queries: AdminQueries) -> None:
        """Take the settings, and who asks Kafka."""
        self._queries = queries
        self._group = client.topics_group(settings)
        self.anchors = (settings.dead_letter_topic, settings.output_topic)
        self._left_out: list[str] = []
        self._inputs = {one: _digest(one) for one in settings.input_topics}
        self.has_begun = False  # whether this member has found or written the group's start
        self._written_s = 0.0

    def read(self) -> Remembered:
        """Return what the group remembers.  Raises `KafkaException`, `Fatal` without rights."""
        found = self._ask(AdminClient.list_consumer_group_offsets, ConsumerGroupTopicPartitions(self._group))
        kept = [one for one in found if one.offset >= 0]
        texts = [one.metadata or "" for one in kept if one.topic in self.anchors]  # of both, which say the same
        starts = {
            Partition(one.topic, one.partition): (one.offset, one.metadata or "")
            for one in kept
            if one.topic not in self.anchors
        }
        return Remembered(merged(texts), starts)

    def knows(self, memory: Memory, entries: Iterable[str]) -> bool:
        """Say whether the group has started before with all of these entries of `input_topics`, or this member has."""
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

        `begins` says that now every input topic is known: one that is not known later on was born later.  Members write
        at the same time: what one of them overwrites is written again by `keep`.  `sizes` are the numbers of partitions
        of those of the `anchors` that are there.  Raises `KafkaException`.
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
            self._tell(anchor, size, left_out)
            offsets += [TopicPartition(anchor, number, 0, text) for number, text in enumerate(parts)]
        if not offsets:
            return
        self._ask(AdminClient.alter_consumer_group_offsets, ConsumerGroupTopicPartitions(self._group, offsets))
        self._written_s = time.monotonic()

    def keep(self, known: Mapping[str, KnownTopic], sizes: Mapping[str, int], *, every_s: float) -> None:
        """Write what this member knows once more if it is gone from the memory, or if that was long ago.

        Where a peer has written another id, that is newer: this member has not read the topic lately.
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

    def _ask(self, call: Call, request: ConsumerGroupTopicPartitions) -> list[TopicPartition]:
        def question(admin: AdminClient) -> list[TopicPartition]:
            future = call(admin, [request], request_timeout=TIMEOUT_S)[self._group]
            return client.checked(client.answer(future, 2 * TIMEOUT_S).topic_partitions)

        return self._queries.ask(question)

    def _with_own(self, inputs: str) -> str:
        """Return digests with our own among them, once this member has begun; the oldest leave first."""
        every = [one for one in inputs.split(",") if one]
        if self.has_begun:
            every += [one for one in self._inputs.values() if one not in every]
        return ",".join(every[-MAX_INPUTS:])

    def _tell(self, anchor: str, size: int, left_out: list[str]) -> None:
        if left_out and left_out != self._left_out:
            log.warning(
                "too many input topics to remember in %d partitions of %s: if %s and %d others are deleted and made"
                " again while no worker runs, it is not noticed; add partitions to it",
                size, anchor, left_out[0], len(left_out) - 1,
            )  # fmt: skip
        self._left_out = left_out


def _digest(entry: str) -> str:
    return hashlib.blake2b(entry.encode(), digest_size=6).hexdigest()
