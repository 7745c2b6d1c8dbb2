"""The client's message to our `Record`."""

from confluent_kafka import Message

from worker.records import Headers, Partition, Record


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
        timestamp_ms=message.timestamp()[1],
        problem=problem,
    )


def _headers(message: Message) -> tuple[Headers, str]:
    """Read the headers once: other clients may write names that are not UTF-8, on which this client raises."""
    try:
        return tuple(message.headers() or ()), ""
    except (SystemError, UnicodeDecodeError):
        return (), "a header's name is not UTF-8"
