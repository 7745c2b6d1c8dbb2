"""A dead letter: the original bytes, key and headers, and headers that say why and where from.

It leaves in the same transaction as its record's offset, so the partition moves on and nothing is lost.  A record may
be as large as its own topic allows, so what does not fit is cut and named: the value first, then the headers,
then the key.  A letter that the topic refuses would hold its partition for ever.

`put_back` is the way back: the record as it was, and one header that counts how often it was put back.  That header
goes on into the next letter of the same record, so nothing goes round for ever.
"""

from collections.abc import Mapping

from worker import __version__
from worker.errors import Poison
from worker.records import DeadLetter, Headers, Message, Record

PREFIX = "ms-"
ATTEMPT = "attempt"  # how often the record was put back before this letter
MAX_DIGITS = 6  # of a count of ours; anything longer is somebody else's header
CUT = ("truncated", "truncated-key", "dropped-headers")
WHY = ("reason", "detail", "source-topic", "source-partition", "source-offset", "source-timestamp-ms", "worker-version")
OURS = frozenset(PREFIX + name for name in (*WHY, ATTEMPT, *CUT))  # any other header is the producer's
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
    if num_attempts := attempts(record.headers):
        why[ATTEMPT] = str(num_attempts)
    room = max(0, max_bytes - OVERHEAD_BYTES)
    key = _cut(record.key, room, why, "truncated-key")
    room -= len(key or b"")
    original = tuple((name, value) for name, value in record.headers if name not in OURS)
    used = sum(len(name.encode()) + len(value or b"") + FRAME_BYTES for name, value in original)
    if used > room:
        why["dropped-headers"] = str(len(original))
        original, used = (), 0
    value = _cut(record.value, room - used, why, "truncated")
    headers = original + tuple((PREFIX + name, text.encode()) for name, text in why.items())
    return Message(topic, key, value, headers)


def told(headers: Headers) -> Mapping[str, str]:
    """Return what a letter's own headers say, by name without the prefix."""
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }


def attempts(headers: Headers) -> int:
    """Return how often a record was put back so far.

    >>> attempts((("ms-attempt", b"2"),)), attempts((("ms-attempt", b"often"),)), attempts(())
    (2, 0, 0)
    """
    text = told(headers).get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else 0


def put_back(letter: Record) -> Message:
    """Return the original of a letter for its own topic, counted up.  Raises `Poison` if some of it is missing."""
    why = told(letter.headers)
    if letter.problem or why.get("reason") == "headers":
        raise Poison("headers", "its headers could not be read, so the letter does not have them")
    if cut := [name for name in CUT if name in why]:
        raise Poison("truncated", f"it was too large for its topic: {', '.join(PREFIX + name for name in cut)}")
    if not why.get("source-topic"):
        raise Poison("source", f"it has no header {PREFIX}source-topic")
    count = (PREFIX + ATTEMPT, str(min(attempts(letter.headers) + 1, 10**MAX_DIGITS - 1)).encode())
    own = tuple(header for header in letter.headers if header[0] not in OURS)
    return Message(why["source-topic"], letter.key, letter.value, (*own, count))


def _cut(data: bytes | None, room: int, why: dict[str, str], name: str) -> bytes | None:
    """Return what fits, and say in `why` how long the whole was, bytes."""
    if data is None or len(data) <= room:
        return data
    why[name] = str(len(data))
    return data[:room]
