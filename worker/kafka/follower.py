"""Reads whole topics in one process that stores its positions itself: no group, no commit to Kafka.

It reads all partitions, also those that are added later, and committed records only.  It waits for a topic that does
not exist yet.  A position whose records have expired continues at the oldest that is left, with a warning.

A position is valid for a topic's id, not for its name: topic ids are read after each batch, and a topic that was
recreated ends the reader, or is read from its start with `on_data_loss=skip`.
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
LOOK_S = 30.0  # between two checks for new partitions, and two tries of a batch that could not be read
MAX_BATCH = 2_000  # records, about 6 MB of responses


@dataclass(frozen=True, slots=True)
class Reached:
    """The state of a reader after a batch: next offsets, topic ids, and the topics that were recreated before it.

    Stored positions of a topic in `made_anew` belong to the old topic and are no longer valid.
    """

    positions: Mapping[Partition, int]
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    made_anew: tuple[str, ...] = ()


class Following:
    """Reads topics from `start.positions`, or from the beginning without a position; not thread-safe.

    New partitions and recreated topics are looked for every `look_s` seconds.  `group` names the consumer; it joins
    nothing.  `is_replaced`: a recreated topic is read from its start whatever `on_data_loss` is, since it replaces what
    was read before.  With `wants_all` a topic whose records after the position have expired is read anew, as one that
    was recreated.  The constructor raises `Retryable` if Kafka does not answer, `Fatal` if a topic was recreated,
    `on_data_loss` is stop and it is not to be replaced.
    """

    def __init__(
        self,
        settings: KafkaClientSettings,
        topics: Sequence[str],
        start: Reached,
        *,
        group: str | None = None,
        look_s: float = LOOK_S,
        is_replaced: bool = False,
        wants_all: bool = False,
    ) -> None:
        self._is_replaced = is_replaced
        self._settings, self._topics = settings, tuple(dict.fromkeys(topics))
        admin.metadata(settings)  # which says why where nobody answers; the questions below only say that
        self._topic_ids = TopicIds(AdminQueries(settings))
        self._consumer = Consumer(client.reader(settings, group or f"{settings.group_id}-experiment"))
        self._look_s, self._wants_all = look_s, wants_all
        self._next = dict(start.positions)
        self._ids = dict(start.topic_ids)
        self._made_anew: list[str] = []  # not reported yet
        self._assigned: set[Partition] = set()
        self._at_end: set[Partition] = set()
        self._was_at_end: set[Partition] = set()  # once, since the start
        self._end_s: dict[Partition, float] = {}  # when each was last at its end, seconds since 1970
        self._looked_s = float("-inf")
        self._held: set[Partition] = set()  # paused at a batch that cannot be read, until the next check
        self._broken = ""  # why a batch cannot be read, until it is raised
        try:
            self._look()
        except BaseException:
            self._consumer.close()
            raise

    @property
    def at_end(self) -> bool:
        """Whether every partition is read to its end."""
        return self._at_end >= self._assigned

    @property
    def was_at_end(self) -> bool:
        """Whether every partition was read to its end once; on a busy topic they are seldom there all at once."""
        return self._was_at_end >= self._assigned

    @property
    def whole_until_s(self) -> float:
        """Up to when nothing that was written is unread, seconds since 1970; 0 if an end was never reached."""
        return min((self._end_s.get(one, 0.0) for one in self._assigned), default=0.0)

    def lag(self) -> int:
        """Count the offsets up to the ends of the partitions, as the last answers of the brokers have them."""
        ends = {
            one: self._consumer.get_watermark_offsets(TopicPartition(one.topic, one.number), cached=True)[1]
            for one in self._assigned
        }
        return sum(max(0, end - self._next.get(one, 0)) for one, end in ends.items() if end >= 0)

    @property
    def missing(self) -> tuple[str, ...]:
        """The topics that do not exist."""
        found = {partition.topic for partition in self._assigned}
        return tuple(topic for topic in self._topics if topic not in found)

    def batch(self, timeout_s: float) -> tuple[list[Record], Reached]:
        """Return the records that arrive within `timeout_s`, and the state of the reader after them.

        Raises `Retryable` if Kafka does not answer or a batch cannot be read, `Fatal` if a topic was recreated.
        """
        try:
            if time.monotonic() - self._looked_s > self._look_s:
                self._look()
            records = self._records(timeout_s)
            found = self._states({record.partition.topic for record in records})
            if any(self._is_another(topic, state) for topic, state in found.items()):
                records = []  # from the old and the new topic, in part: all of them are read again
                self._look()
        except Retryable:
            self._looked_s, self._assigned = float("-inf"), set()  # the records of this call are fetched again
            raise
        if self._broken and not records:
            broken, self._broken = self._broken, ""
            raise Retryable(f"{broken}; nothing after it is read; {ADVICE}")
        self._next |= {record.partition: record.offset + 1 for record in records}
        made_anew, self._made_anew = tuple(self._made_anew), []
        moved = {record.partition: self._next[record.partition] for record in records}
        return records, Reached(moved, dict(self._ids), made_anew)

    def close(self) -> None:
        """Close the consumer."""
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
            return False  # the client's position there may be wrong
        if error is None:
            self._at_end.discard(partition)
            return True
        if error.code() == client.PARTITION_EOF:
            self._at_end.add(partition)
            self._was_at_end.add(partition)
            self._end_s[partition] = time.time()
        elif not refused_by_client(message):
            client.raise_if_hopeless(error, f"read {partition}")
            log.warning("read %s: %s; going on", partition, error_text.explain(error))
        return False

    def _hold(self, partition: Partition, why: str) -> None:
        """Pause a partition until the next check; the others are read on."""
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
        """Assign new partitions, and recreated topics from their start."""
        states = {topic: state for topic, state in self._states(set(self._topics)).items() if state is not None}
        found = {Partition(topic, number) for topic, state in states.items() for number in range(state.num_partitions)}
        anew = {topic for topic, state in states.items() if self._is_another(topic, state)}
        anew |= {topic for topic in states.keys() - self._ids.keys() if self._is_past_its_end(topic, found)}
        for topic in sorted(anew):
            self._take_anew(topic, states[topic].topic_id)
        if self._wants_all and found != self._assigned:
            anew |= self._expired(found)
        self._ids |= {topic: state.topic_id for topic, state in states.items()}
        if found != self._assigned or anew or self._held:
            self._consumer.resume([TopicPartition(one.topic, one.number) for one in self._held])
            starts = [TopicPartition(one.topic, one.number, self._start(one)) for one in sorted(found, key=str)]
            self._consumer.assign(starts)
            self._assigned, self._at_end, self._held = found, set(), set()
            self._end_s = {one: at_s for one, at_s in self._end_s.items() if one in found and one.topic not in anew}
        self._looked_s = time.monotonic()
        self._end_s |= dict.fromkeys(self._at_end, time.time())  # the brokers answer, and had nothing more

    def _take_anew(self, topic: str, new_id: str) -> None:
        """Read a recreated topic from its start.  Raises `Fatal` if `on_data_loss` is stop and it is not replaced."""
        problem = (
            f"topic {topic} was recreated: its id is {new_id}, read before was {self._ids.get(topic) or 'another one'}"
        )
        if self._is_replaced:
            log.warning(
                "topic %s was recreated; what it says now replaces what was known of it, once all is read", topic
            )
        elif self._settings.on_data_loss == "stop":
            raise Fatal(
                f"{problem}; reading stops: on_data_loss=skip reads the new topic from its start and keeps what was"
                " counted, `experiment rebuild` counts only what exists now"
            )
        else:
            log.warning("%s; reading it from its start (on_data_loss=skip)", problem)
        self._next = {one: offset for one, offset in self._next.items() if one.topic != topic}
        self._made_anew.append(topic)

    def _expired(self, found: set[Partition]) -> set[str]:
        """Forget the positions of topics that lost records after them, and return these topics."""
        gone = {one.topic for one in found if one in self._next and self._next[one] < self._watermarks(one)[0]}
        for topic in sorted(gone):
            log.warning("topic %s: records after the position have expired; reading it from its start", topic)
            self._made_anew.append(topic)
        self._next = {one: offset for one, offset in self._next.items() if one.topic not in gone}
        return gone

    def _is_past_its_end(self, topic: str, found: set[Partition]) -> bool:
        """Return True if a position stored without a topic id is beyond the end of this topic: it is of another one."""
        known = [one for one in self._next if one.topic == topic]
        return any(one not in found or self._next[one] > self._watermarks(one)[1] for one in known)

    def _start(self, partition: Partition) -> int:
        """Return the offset to continue at, within what the broker has."""
        low, high = self._watermarks(partition)
        wanted = self._next.get(partition, low)
        if wanted < low:
            log.warning("%s: %d records after the position are gone, from %d on; they are in no figure", partition,
                        low - wanted, wanted)  # fmt: skip
        return min(max(low, wanted), high)

    def _watermarks(self, partition: Partition) -> tuple[int, int]:
        """Return the first and the end offset of a partition; a topic that was just created has no leader yet."""
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
