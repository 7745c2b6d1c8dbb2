"""Reads what is in a topic now, partition by partition: for commands that look for something and end."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.core.errors import BadSettings, Retryable
from worker.core.records import Partition, Record
from worker.kafka import admin, client_config as client, error_text
from worker.kafka.positions import partition_of
from worker.kafka.record_reader import to_record
from worker.kafka.unreadable import ADVICE, refused_by_client
from worker.settings.groups import KafkaClientSettings

T = TypeVar("T")
Spans = Mapping[Partition, tuple[int, int]]  # the first offset, and the end offset

TIMEOUT_S = 10.0


def spans(settings: KafkaClientSettings, topics: Iterable[str], *, since_ms: int) -> Spans:
    """Return where topics have all record times from `since_ms` on, up to their ends; 0 is no bound.

    Nothing tells where a time ends: Kafka finds the first record of a time or a later one, and one clock that is ahead
    would hide all that follows.  What is written while this is asked for is not in it.  Raises as `ask`.
    """
    found: dict[Partition, tuple[int, int]] = {}
    with closing(Consumer(client.reader(settings, settings.group_id))) as consumer:
        for topic in topics:
            starts, ends = bounds(settings, consumer, topic)
            first = since(consumer, starts, ends, since_ms)
            found |= {one: (first[one], ends[one]) for one in starts}
    return found


def span_records(settings: KafkaClientSettings, wanted: Spans) -> Iterator[Record]:
    """Yield the records of spans, partition by partition.  Raises `BadSettings` if some are gone, else as `between`."""
    with closing(Consumer(client.reader(settings, settings.group_id))) as consumer:
        for topic in dict.fromkeys(one.topic for one in wanted):
            starts, ends = bounds(settings, consumer, topic)
            for one, (first, end) in wanted.items():
                if one.topic == topic and (first < starts.get(one, end) or end > ends.get(one, 0)) and first < end:
                    raise BadSettings(
                        f"{one}: offsets {first} to {end} were to be read, and the topic has"
                        f" {starts.get(one, 0)} to {ends.get(one, 0)}: records have expired, or the topic was recreated"
                    )
        yield from between(consumer, *({one: span[at] for one, span in wanted.items()} for at in (0, 1)))


def since(
    consumer: Consumer, starts: Mapping[Partition, int], ends: Mapping[Partition, int], at_ms: int
) -> dict[Partition, int]:
    """Return the offsets from which on records are of a time or later; a partition without such is at its end.

    0 is the beginning.  Raises as `ask`.
    """
    if not at_ms or not starts:
        return dict(starts)
    wanted = [TopicPartition(one.topic, one.number, at_ms) for one in starts]
    told = ask(lambda: client.checked(consumer.offsets_for_times(wanted, timeout=TIMEOUT_S)), wanted[0].topic)
    return {one: at.offset if at.offset >= 0 else ends[one] for at in told for one in (partition_of(at),)}


def bounds(
    settings: KafkaClientSettings, consumer: Consumer, topic: str
) -> tuple[Mapping[Partition, int], Mapping[Partition, int]]:
    """Return the first offset and the end offset of each partition of a topic.  Raises as `ask`."""
    number = admin.num_partitions(settings, topic)
    starts, ends = {}, {}
    for index in range(number):
        one = TopicPartition(topic, index)
        marks = ask(lambda one=one: consumer.get_watermark_offsets(one, timeout=TIMEOUT_S), topic)  # type: ignore[misc]
        starts[partition_of(one)], ends[partition_of(one)] = marks
    return starts, ends


def between(
    consumer: Consumer, starts: Mapping[Partition, int], ends: Mapping[Partition, int], *, waits: bool = True
) -> Iterator[Record]:
    """Yield the records from the starts up to the ends; records that arrive later are left to another run.

    With `waits`, an open transaction before an end is waited for; else that partition ends before it.  Raises
    `Retryable` if Kafka does not answer or a batch cannot be read.
    """
    for partition, start in starts.items():
        if start < ends[partition]:
            consumer.assign([TopicPartition(partition.topic, partition.number, start)])
            yield from _until(consumer, partition, ends[partition], waits=waits)


def _until(consumer: Consumer, partition: Partition, end: int, *, waits: bool) -> Iterator[Record]:
    while True:
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            raise Retryable(f"Kafka does not answer while {partition} is read")
        error = message.error()
        if why := refused_by_client(message):
            raise Retryable(f"{why}; nothing after it was read; {ADVICE}")
        is_at_end = error is not None and error.code() == client.PARTITION_EOF
        if error is not None and not is_at_end:
            client.raise_if_hopeless(error, f"read {partition}")
        elif error is None and message.offset() < end:
            yield to_record(message, partition, 0)
        if (error is None or is_at_end) and (message.offset() >= end - 1 or (is_at_end and not waits)):
            return


def ask(call: Callable[[], T], what: str) -> T:
    """Call the broker.  Raises `Fatal` if retrying cannot help, else `Retryable`; both begin with `what`."""
    try:
        return call()
    except KafkaException as error:
        reason = client.kafka_error(error)
        client.raise_if_hopeless(reason, what)
        raise Retryable(f"{what}: {error_text.explain(reason)}; try again") from error
