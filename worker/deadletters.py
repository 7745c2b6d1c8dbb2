"""A dead letter: the original bytes, key and headers, and headers that say why and where from.

It leaves in the same transaction as its record's offset, so the partition moves on and nothing is lost.
"""

from worker import __version__
from worker.records import DeadLetter, Message

PREFIX = "ms-"
MAX_HEADER_BYTES = 1_000  # of the detail; the rest of it is for people with the original at hand
OVERHEAD_BYTES = 4_000  # room for headers and framing below the topic's limit


def to_message(letter: DeadLetter, topic: str, *, max_bytes: int) -> Message:
    """Return the message of a dead letter; a value too large for the topic is cut and says so."""
    record = letter.record
    why = {
        "reason": letter.reason,
        "detail": letter.detail[:MAX_HEADER_BYTES],
        "source-topic": record.partition.topic,
        "source-partition": str(record.partition.number),
        "source-offset": str(record.offset),
        "source-timestamp-ms": str(record.timestamp_ms),
        "worker-version": __version__,
    }
    original = tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))
    used = sum(len(name) + len(value or b"") for name, value in original) + len(record.key or b"")
    room = max(0, max_bytes - OVERHEAD_BYTES - used)
    value = record.value
    if value is not None and len(value) > room:
        why["truncated"] = str(len(value))
        value = value[:room]
    headers = original + tuple((PREFIX + name, text.encode()) for name, text in why.items())
    return Message(topic, record.key, value, headers)
