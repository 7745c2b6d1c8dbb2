"""A dead letter: the original bytes, key and headers, and headers that say why and where from.

It leaves in the same transaction as its record's offset, so the partition moves on and nothing is lost.  A
record may be as large as its own topic allows, so what does not fit is cut, and headers say so: the value
first, then the headers, then the key.  If Kafka refuses a letter all the same, the next form of it (`forms`)
is sent instead.

`put_back` makes the original record again, with one header that counts how often it was replayed.  That
header goes on into the next letter of the same record, so that no record is replayed for ever.
"""

from collections.abc import Mapping

from worker import __version__
from worker.core.errors import BadRecord
from worker.core.records import DeadLetter, Headers, LetterForm, Message, Reason, Record, header_bytes

PREFIX = "ms-"
ATTEMPT = "attempt"  # how often the record was replayed before this dead letter
MAX_DIGITS = 6  # of a count of ours; anything longer is somebody else's header
CUT = ("truncated", "truncated-key", "dropped-headers")
ADDED_KEY = "added-key"  # the record had no key, and the topic wants one
LAST = "source-last-offset"  # of several records that no client can read
WHY = ("reason", "detail", "source-topic", "source-partition", "source-offset", "source-timestamp-ms", "worker-version")
OURS = frozenset(PREFIX + name for name in (*WHY, ATTEMPT, ADDED_KEY, LAST, *CUT))  # any other header is the producer's
MAX_DETAIL_BYTES = 1_000  # the rest of it is for people with the original at hand
OVERHEAD_BYTES = 4_000  # room for our headers and framing below the topic's limit
NO_TIMESTAMP_MS = -1  # as Kafka writes it


def forms(record: Record) -> tuple[LetterForm, ...]:
    """Return the forms in which the letter of a record is tried, in order; at least two."""
    full, keyed, bare = LetterForm
    return (full, keyed, bare) if record.key is None else (full, bare)


def to_message(letter: DeadLetter, topic: str, *, max_bytes: int) -> Message:
    """Return the message of a dead letter for this topic, at most `max_bytes` with its framing.

    What does not fit is cut; a bare letter holds nothing of the record.
    """
    why = _why(letter)
    if letter.form is LetterForm.BARE:
        return _bare(letter.record, topic, why)
    record = letter.record
    room = max(0, max_bytes - OVERHEAD_BYTES)
    key = _cut(record.key, room, why, "truncated-key")
    if key is None and letter.form is LetterForm.KEYED:
        key, why[ADDED_KEY] = record.where.encode(), "true"
    room -= len(key or b"")
    original = tuple((name, value) for name, value in record.headers if name not in OURS)
    used = header_bytes(original)
    if used > room:
        why["dropped-headers"] = str(len(original))
        original, used = (), 0
    value = _cut(record.value, room - used, why, "truncated")
    return Message(topic, key, value, original + _headers(why))


def _why(letter: DeadLetter) -> dict[str, str]:
    record = letter.record
    first = record.offset if record.unreadable_from is None else record.unreadable_from
    timestamp_ms = NO_TIMESTAMP_MS if record.timestamp_ms is None else record.timestamp_ms
    why = {
        "reason": letter.reason,
        "detail": letter.detail.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore"),
        "source-topic": record.partition.topic,
        "source-partition": str(record.partition.number),
        "source-offset": str(first),
        "source-timestamp-ms": str(timestamp_ms),
        "worker-version": __version__,
    }
    if record.unreadable_from is not None:
        why[LAST] = str(record.offset)
    if num_attempts := attempts(record.headers):
        why[ATTEMPT] = str(num_attempts)
    return why


def _bare(record: Record, topic: str, why: dict[str, str]) -> Message:
    """Return a letter that says why and where from, with the place as its key, and holds nothing of the record."""
    if record.key is None:
        why[ADDED_KEY] = "true"
    else:
        why["truncated-key"] = str(len(record.key))
    if record.value is not None:
        why["truncated"] = str(len(record.value))
    if record.headers:
        why["dropped-headers"] = str(len(record.headers))
    return Message(topic, record.where.encode(), b"", _headers(why))


def _headers(why: Mapping[str, str]) -> Headers:
    return tuple((PREFIX + name, text.encode()) for name, text in why.items())


def told(headers: Headers) -> Mapping[str, str]:
    """Return the values of a letter's own headers, by name without the prefix; empty for another record."""
    return {
        name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
        for name, value in headers
        if name.startswith(PREFIX)
    }


def attempts(headers: Headers) -> int:
    """Return how often a record was replayed so far; 0 if its header is not a count of ours.

    >>> attempts((("ms-attempt", b"2"),)), attempts((("ms-attempt", b"often"),)), attempts(())
    (2, 0, 0)
    """
    text = told(headers).get(ATTEMPT, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS else 0


def put_back(letter: Record) -> Message:
    """Return the original record of a letter, for its own topic, with its count one higher.

    Raises `BadRecord` if the letter does not hold all of it.
    """
    why = told(letter.headers)
    if why.get("reason") == Reason.UNREADABLE:
        raise BadRecord(Reason.UNREADABLE, "no client could read it, so the letter does not have it")
    if letter.problem or why.get("reason") == Reason.HEADERS:
        raise BadRecord(Reason.HEADERS, "its headers could not be read, so the letter does not have them")
    if cut := [name for name in CUT if name in why]:
        raise BadRecord("truncated", f"it was too large for its topic: {', '.join(PREFIX + name for name in cut)}")
    if not why.get("source-topic"):
        raise BadRecord("source", f"it has no header {PREFIX}source-topic")
    count = (PREFIX + ATTEMPT, str(min(attempts(letter.headers) + 1, 10**MAX_DIGITS - 1)).encode())
    own = tuple(header for header in letter.headers if header[0] not in OURS)
    key = None if ADDED_KEY in why else letter.key
    return Message(why["source-topic"], key, letter.value, (*own, count))


def _cut(data: bytes | None, room: int, why: dict[str, str], name: str) -> bytes | None:
    """Return what fits, and say in `why` how long the whole was, bytes."""
    if data is None or len(data) <= room:
        return data
    why[name] = str(len(data))
    return data[:room]
