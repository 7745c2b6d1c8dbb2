"""Topics read by one process alone, whose positions are kept elsewhere: no group, no commit to Kafka.

All partitions, those that are born later too, committed records only.  A topic that is not there yet is looked for
again.  A position whose records have expired goes on at the first that is left.

A position belongs to a topic's id, not to its name: after each batch the ids are asked, and a topic that was made anew
ends the reader, or is read from its start with `on_data_loss=skip`.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from worker.core.errors import Fatal, Retryable
from worker.core.records import Partition, Record
from worker.kafka import admin, client_config as client, error_text
from worker.kafka.admin_queries import AdminQueries
from worker.kafka.record_reader import to_record
from worker.kafka.topic_ids import TopicIds, TopicState
from worker.kafka.unreadable import ADVICE, refused_by_client
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
AGAIN_S = 0.2
LOOK_S = 30.0  # how often new partitions are looked for, and what could not be read is read again
MAX_BATCH = 2_000  # records, about 6 MB of responses


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a reader stands after a batch: next offsets, the topics' ids, and topics that were made anew before it.

    What was kept of a topic in `made_anew` belongs to another topic: its old positions say nothing any more.
    """

    positions: Mapping[Partition, int]
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    made_anew: tuple[str, ...] = ()


class Following:
    """The reader of some topics; not for several threads."""

    def __init__(self, settings: KafkaClientSettings, topics: Sequence[str], start: Reached) -> None:
        """Start at the positions, and where there is none at the beginning.

        Raises `Retryable` without Kafka, `Fatal` if a topic was made anew and `on_data_loss` is stop.
        """
        self._settings, self._topics = settings, tuple(dict.fromkeys(topics))
        admin.metadata(settings)  # which says why where nobody answers; the questions below only say that
        self._topic_ids = TopicIds(AdminQueries(settings))
        self._consumer = Consumer(client.reader(settings, f"{settings.group_id}-experiment"))
        self._next = dict(start.positions)
        self._ids = dict(start.topic_ids)
        self._made_anew: list[str] = []  # not told yet
        self._assigned: set[Partition] = set()
        self._at_end: set[Partition] = set()
        self._looked_s = float("-inf")
        self._held: set[Partition] = set()  # behind a batch that cannot be read, until the next look
        self._broken = ""  # why, until it is told
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

    def batch(self, timeout_s: float) -> tuple[list[Record], Reached]:
        """Return what came within a time, and where the reader stands after it.  Raises `Retryable`, `Fatal`."""
        try:
            if time.monotonic() - self._looked_s > LOOK_S:
                self._look()
            records = self._records(timeout_s)
            found = self._states({record.partition.topic for record in records})
            if any(self._is_another(topic, state) for topic, state in found.items()):
                records = []  # some may be of the old topic, some of the new: all are read again
                self._look()
        except Retryable:
            self._looked_s, self._assigned = float("-inf"), set()  # what was fetched is fetched again
            raise
        if self._broken and not records:
            broken, self._broken = self._broken, ""
            raise Retryable(f"{broken}; nothing behind it is read; {ADVICE}")
        self._next |= {record.partition: record.offset + 1 for record in records}
        made_anew, self._made_anew = tuple(self._made_anew), []
        moved = {record.partition: self._next[record.partition] for record in records}
        return records, Reached(moved, dict(self._ids), made_anew)

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _records(self, timeout_s: float) -> list[Record]:
        records = []
        for message in self._consumer.consume(MAX_BATCH, timeout_s):
            partition = Partition(message.topic() or "", message.partition() or 0)
            if self._is_record(message, partition):
                records.append(to_record(message, partition, 0))
            elif why := refused_by_client(message):
                self._hold(partition, why)
        return records

    def _is_record(self, message: Message, partition: Partition) -> bool:
        error = message.error()
        if partition in self._held:
            return False  # the client may have lost its place there
        if error is None:
            self._at_end.discard(partition)
            return True
        if error.code() == client.PARTITION_EOF:
            self._at_end.add(partition)
        elif not refused_by_client(message):
            client.raise_if_hopeless(error, f"read {partition}")
            log.warning("read %s: %s; going on", partition, error_text.explain(error))
        return False

    def _hold(self, partition: Partition, why: str) -> None:
        """Read nothing more of a partition until the next look; the others go on."""
        if partition not in self._held:
            self._held.add(partition)
            self._broken = why
            self._consumer.pause([TopicPartition(partition.topic, partition.number)])

    def _states(self, topics: set[str]) -> Mapping[str, TopicState | None]:
        try:
            return self._topic_ids.look(topics)
        except KafkaException as error:
            raise Retryable(
                f"Kafka at {self._settings.bootstrap_servers} does not answer: {error_text.explain(error)}"
            ) from error

    def _is_another(self, topic: str, state: TopicState | None) -> bool:
        return state is not None and self._ids.get(topic, state.topic_id) != state.topic_id

    def _look(self) -> None:
        """Take on partitions that are new, and topics that were made anew."""
        states = {topic: state for topic, state in self._states(set(self._topics)).items() if state is not None}
        found = {Partition(topic, number) for topic, state in states.items() for number in range(state.num_partitions)}
        anew = {topic for topic, state in states.items() if self._is_another(topic, state)}
        anew |= {topic for topic in states.keys() - self._ids.keys() if self._is_past_its_end(topic, found)}
        for topic in sorted(anew):
            self._take_anew(topic, states[topic].topic_id)
        self._ids |= {topic: state.topic_id for topic, state in states.items()}
        if found != self._assigned or anew or self._held:
            self._consumer.resume([TopicPartition(one.topic, one.number) for one in self._held])
            starts = [TopicPartition(one.topic, one.number, self._start(one)) for one in sorted(found, key=str)]
            self._consumer.assign(starts)
            self._assigned, self._at_end, self._held = found, set(), set()
        self._looked_s = time.monotonic()

    def _take_anew(self, topic: str, new_id: str) -> None:
        """Begin a topic from its start that is not the one which was read.  Raises `Fatal` if that is not wanted."""
        problem = f"topic {topic}: was made anew: its id is {new_id}, read was {self._ids.get(topic) or 'another one'}"
        if self._settings.on_data_loss == "stop":
            raise Fatal(
                f"{problem}; nothing more is read: on_data_loss=skip reads the new one from its start and keeps what"
                " was counted, `experiment rebuild` counts only what is there now"
            )
        log.warning("%s; on_data_loss=skip: it is read from its start", problem)
        self._next = {one: offset for one, offset in self._next.items() if one.topic != topic}
        self._made_anew.append(topic)

    def _is_past_its_end(self, topic: str, found: set[Partition]) -> bool:
        """Say whether a position whose topic's id nobody wrote down stands where this topic has not come yet."""
        known = [one for one in self._next if one.topic == topic]
        return any(one not in found or self._next[one] > self._watermarks(one)[1] for one in known)

    def _start(self, partition: Partition) -> int:
        """Return where to read on, which is no earlier than what the broker still has."""
        low, high = self._watermarks(partition)
        wanted = self._next.get(partition, low)
        return min(max(low, wanted), high)

    def _watermarks(self, partition: Partition) -> tuple[int, int]:
        """Return where a partition begins and ends; a topic that was just made has no leader for a moment."""
        asked = TopicPartition(partition.topic, partition.number)
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            try:
                low, high = self._consumer.get_watermark_offsets(asked, TIMEOUT_S)
            except KafkaException as error:
                reason = client.kafka_error(error)
                if time.monotonic() > deadline_s:
                    raise Retryable(f"{partition}: where it ends is not known: {error_text.explain(reason)}") from error
                client.raise_if_hopeless(reason, f"read {partition}")
                time.sleep(AGAIN_S)
            else:
                return int(low), int(high)
