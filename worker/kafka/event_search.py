"""Finds the records of one event: its responses or dead letter, and its own record.

Topics have no index, so they are read: the newest records of each partition, as many as asked for.  A response says
where the record is that it answers, and a dead letter too; the input topics are read only if there is neither.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from uuid import UUID

from confluent_kafka import Consumer, TopicPartition

from worker.core.records import Partition, Record
from worker.core.topics.topic_patterns import TopicPatterns
from worker.kafka import admin, client_config as client
from worker.kafka.topic_reader import TIMEOUT_S, ask, between, bounds, since
from worker.settings.groups import KafkaClientSettings

TELL_EVERY = 1_000  # records
MAX_HITS = 200  # records of the event that are kept of a topic, the newest: anybody may write any number of them


@dataclass(frozen=True, slots=True)
class Searched:
    """What was read of a topic: how many records, and whether that was all of it since the time that was asked for."""

    topic: str
    num_records: int
    whole: bool
    num_left_out: int = 0  # older records of the event, beyond `MAX_HITS`


@dataclass(slots=True)
class EventRecords:
    """What was found; the record may be missing although it was answered, if its topic has deleted it."""

    record: Record | None = None
    responses: list[Record] = field(default_factory=list)
    dead_letters: list[Record] = field(default_factory=list)
    searched: list[Searched] = field(default_factory=list)
    commit_offset: int | None = None  # of the record's partition, by the worker's group; None if there is none


class EventSearch:
    """Searches for one event.

    Of the records that hold its id, `is_of` tells those of the event from others, such as of a user or an item with
    such an id.  `source_of` returns the place of the record that a response or dead letter is about.

    `since_ms` is the record time from which on topics are read, 0 for their beginning; of each partition at most the
    newest `limit` records.  `tell` gets what is read, and how many records so far.
    """

    def __init__(
        self,
        settings: KafkaClientSettings,
        event_id: str,
        source_of: Callable[[Record], tuple[Partition, int] | None],
        is_of: Callable[[Record], bool],
        *,
        since_ms: int,
        limit: int,
        tell: Callable[[str, int], None],
    ) -> None:
        self._settings, self._source_of, self._is_of, self._tell = settings, source_of, is_of, tell
        self._needles = needles(event_id)
        self._since_ms, self._limit = since_ms, limit

    def run(self) -> EventRecords:
        """Return what there is.  Raises `Retryable` if Kafka does not answer, `Fatal` if it cannot be asked."""
        settings, found = self._settings, EventRecords()
        there = admin.partitions(settings)
        with closing(Consumer(client.reader(settings, settings.group_id))) as consumer:
            if settings.output_topic in there:
                found.responses = self._search(consumer, settings.output_topic, found)
            if settings.dead_letter_topic in there:
                found.dead_letters = self._search(consumer, settings.dead_letter_topic, found)
            answers = [*found.responses, *found.dead_letters]
            places = dict.fromkeys(place for one in answers if (place := self._source_of(one)) is not None)
            known = ((one, at) for one, at in places if one.number < there.get(one.topic, 0))  # headers say anything
            found.record = next((one for place in known for one in self._at(consumer, *place)), None)
            if not answers:
                found.record = self._in_inputs(consumer, there, found)
            if found.record is not None:
                found.commit_offset = self._committed(consumer, found.record.partition)
        return found

    def _in_inputs(self, consumer: Consumer, there: dict[str, int], found: EventRecords) -> Record | None:
        """Return the newest record of the event in the input topics."""
        patterns = TopicPatterns(self._settings.input_topics, self._settings.group_protocol)
        records = [one for topic in patterns.read(there) for one in self._search(consumer, topic, found)]
        return max(records, key=lambda one: one.timestamp_ms or 0, default=None)

    def _search(self, consumer: Consumer, topic: str, found: EventRecords) -> list[Record]:
        starts, ends = bounds(self._settings, consumer, topic)
        asked = since(consumer, starts, ends, self._since_ms)
        bounded = {one: max(start, ends[one] - self._limit) for one, start in asked.items()}
        hits, number, num_hits = deque[Record](maxlen=MAX_HITS), 0, 0
        for record in between(consumer, bounded, ends, waits=False):
            number += 1
            if number % TELL_EVERY == 0:
                self._tell(topic, number)
            if self._is_hit(record):
                hits.append(record)
                num_hits += 1
        found.searched.append(Searched(topic, number, bounded == asked, num_hits - len(hits)))
        return list(hits)

    def _is_hit(self, record: Record) -> bool:
        return any(needle in (record.value or b"") for needle in self._needles) and self._is_of(record)

    def _at(self, consumer: Consumer, partition: Partition, offset: int) -> Iterator[Record]:
        """Yield the record at an offset, if its topic still has it, and it is of the event."""
        starts, ends = bounds(self._settings, consumer, partition.topic)
        if partition in ends and starts[partition] <= offset < ends[partition]:
            records = between(consumer, {partition: offset}, {partition: offset + 1}, waits=False)
            yield from (one for one in records if one.offset == offset and self._is_hit(one))

    def _committed(self, consumer: Consumer, partition: Partition) -> int | None:
        wanted = [TopicPartition(partition.topic, partition.number)]
        (told,) = ask(lambda: client.checked(consumer.committed(wanted, timeout=TIMEOUT_S)), self._settings.group_id)
        return told.offset if told.offset >= 0 else None


def needles(event_id: str) -> Sequence[bytes]:
    """Return what the value of a record of the event holds: the id as text, or as the bytes of a UUID."""
    try:
        return event_id.encode(), UUID(event_id).bytes
    except ValueError:
        return (event_id.encode(),)
