"""A dead letter: the original bytes, key and headers, and headers that say why and where from.

It leaves in the same transaction as its record's offset, so the partition moves on and nothing is lost.  A record may
be as large as its own topic allows, so what does not fit is cut and named: the value first, then the headers,
then the key.  A letter that the topic refuses would hold its partition for ever.
"""

from worker import __version__
from worker.records import DeadLetter, Message

PREFIX = "ms-"
MAX_DETAIL_BYTES = 1_000  # the rest of it is for people with the original at hand
OVERHEAD_BYTES = 4_000  # room for our headers and framing below the topic's limit
FRAME_BYTES = 10  # of one header: its two lengths, 5 bytes each at most


def to_message(letter: DeadLetter, topic: str, *, max_bytes: int) -> Message:
    """Return the message of a dead letter, at most `max_bytes` with its framing."""
    record = letter.record
    why = {
        "reason": letter.reason,
        "detail": letter.detail.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore"),
        "source-topic": record.partition.topic,
        "source-partition": str(record.partition.number),
        "source-offset": str(record.offset),
        "source-timestamp-ms": str(record.timestamp_ms),
        "worker-version": __version__,
    }
    room = max(0, max_bytes - OVERHEAD_BYTES)
    key = _cut(record.key, room, why, "truncated-key")
    room -= len(key or b"")
    original = tuple((name, value) for name, value in record.headers if not name.startswith(PREFIX))
    used = sum(len(name.encode()) + len(value or b"") + FRAME_BYTES for name, value in original)
    if used > room:
        why["dropped-headers"] = str(len(original))
        original, used = (), 0
    value = _cut(record.value, room - used, why, "truncated")
    headers = original + tuple((PREFIX + name, text.encode()) for name, text in why.items())
    return Message(topic, key, value, headers)


def _cut(data: bytes | None, room: int, why: dict[str, str], name: str) -> bytes | None:
    """Return what fits, and say in `why` how long the whole was, bytes."""
    if data is None or len(data) <= room:
        return data
    why[name] = str(len(data))
    return data[:room]
