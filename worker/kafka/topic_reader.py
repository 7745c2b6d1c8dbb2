"""Reads what is in a topic now, partition by partition: for commands that look for something and end."""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.core.errors import Retryable
from worker.core.records import Partition, Record
from worker.kafka import admin, client_config as client, error_text
from worker.kafka.positions import partition_of
from worker.kafka.record_reader import to_record
from worker.kafka.unreadable import ADVICE, refused_by_client
from worker.settings.groups import KafkaClientSettings

T = TypeVar("T")

TIMEOUT_S = 10.0


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
