"""Converts the client's message to our `Record`, and hands our `Message` to the client."""

import time
from collections.abc import Callable

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message, Producer

from worker.core import records
from worker.core.records import Headers, Partition, Record

OnDelivery = Callable[[KafkaError | None, object], None]


def to_record(message: Message, partition: Partition, epoch: int) -> Record:
    """Return the record of a message; if its headers cannot be read, it has none and `problem` says why."""
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
        polled_s=time.monotonic(),
    )


def produce(producer: Producer, message: records.Message, on_delivery: OnDelivery | None = None) -> None:
    """Queue a message.  Raises `BufferError` while the queue is full, `KafkaException` if the client rejects it."""
    headers = list(message.headers)
    producer.produce(message.topic, message.value, message.key, headers=headers, on_delivery=on_delivery)


def _timestamp_ms(message: Message) -> int | None:
    """Return the timestamp; None without one, as from old producers and bridges (Kafka has -1)."""
    kind, time_ms = message.timestamp()
    return None if kind == TIMESTAMP_NOT_AVAILABLE or time_ms < 0 else int(time_ms)


def _headers(message: Message) -> tuple[Headers, str]:
    """Return the headers, and a problem: this client raises on names that are not UTF-8, which others may write."""
    try:
        return tuple(message.headers() or ()), ""
    except (SystemError, UnicodeDecodeError):
        return (), "a header's name is not UTF-8"
