"""The client's message to our `Record`, and our `Message` to the client."""

from collections.abc import Callable

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message, Producer

from worker.core import records
from worker.core.records import Headers, Partition, Record

OnDelivery = Callable[[KafkaError | None, object], None]


def to_record(message: Message, partition: Partition, epoch: int) -> Record:
    """Return a message as read; one whose headers cannot be read has none, and says so."""
    headers, problem = _headers(message)
    return Record(
        partition=partition,
        epoch=epoch,
        offset=message.offset() or 0,
        key=message.key(),
        value=message.value(),
        headers=headers,
        timestamp_ms=_timestamp_ms(message),
        problem=problem,
    )


def produce(producer: Producer, message: records.Message, on_delivery: OnDelivery | None = None) -> None:
    """Give a message to the client.  Raises `BufferError` while its queue is full, `KafkaException` if it refuses."""
    headers = list(message.headers)
    producer.produce(message.topic, message.value, message.key, headers=headers, on_delivery=on_delivery)


def _timestamp_ms(message: Message) -> int | None:
    """Return its time; old producers and bridges give none, which Kafka writes as -1."""
    kind, time_ms = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE or time_ms < 0 else int(time_ms)


def _headers(message: Message) -> tuple[Headers, str]:
    """Read the headers once: other clients may write names that are not UTF-8, on which this client raises."""
    try:
        return tuple(message.headers() or ()), ""
    except (SystemError, UnicodeDecodeError):
        return (), "a header's name is not UTF-8"
