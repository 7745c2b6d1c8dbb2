"""Which dead letters of one partition were replayed: a commit offset, and a note of those behind a gap.

Every dead letter before the commit offset is settled: replayed, or impossible to replay.  They are also
replayed out of order, by reason or by age, so the settled ones behind one that was left are noted beside the
offset: one bit each, compressed, in the commit's metadata, which brokers limit to 4,096 bytes.

>>> replayed = Replayed(100)
>>> for offset, settled in ((100, True), (101, False), (103, True)): replayed.look(offset, settled=settled)
>>> again = Replayed(replayed.commit_offset, replayed.note)
>>> again.commit_offset, [offset for offset in range(101, 105) if again.settled(offset)]
(101, [103])
"""

import binascii
import zlib
from base64 import b64decode, b64encode
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from worker.core.delivery.dead_letter import attempts, told
from worker.core.errors import Fatal
from worker.core.records import Reason, Record

KILLER = Reason.ENGINE_KILLER  # replayed, it would kill two engines again
MAX_NOTE = 4_000  # characters; brokers take 4,096 (offset.metadata.max.bytes)
MAX_SPAN = 100_000_000  # dead letters between the first that was left and the last that was replayed


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters to replay."""

    topics: AbstractSet[str]  # where records may go: the worker's own inputs
    reason: str | None = None
    since_ms: int = 0
    max_attempts: int = 3

    def left(self, letter: Record) -> str:
        """Return why a dead letter is not replayed, "" if it is."""
        why = told(letter.headers)
        if self.reason is not None and why.get("reason") != self.reason:
            return "another reason"
        if self.reason is None and why.get("reason") == KILLER:
            return f"reason {KILLER}: replayed only with --reason {KILLER}"
        if self.since_ms and (letter.timestamp_ms or 0) < self.since_ms:
            return "older than --since"
        if attempts(letter.headers) >= self.max_attempts:
            return f"already replayed {self.max_attempts} times or more"
        if why.get("source-topic") and why["source-topic"] not in self.topics:
            return "its topic is not an input topic"
        return ""


class Replayed:
    """One partition of the dead-letter topic, read in offset order."""

    def __init__(self, commit_offset: int, note: str = "") -> None:
        """Continue where the last run ended.  Raises `Fatal` if its note cannot be read."""
        self._settled = set(_offsets(commit_offset, note))
        self._first_left: int | None = None
        self._next = commit_offset

    def settled(self, offset: int) -> bool:
        """Return True if a dead letter was replayed, or cannot be."""
        return offset in self._settled

    def look(self, offset: int, *, settled: bool) -> None:
        """Note what became of the next dead letter."""
        self._next = offset + 1
        if not settled and self._first_left is None:
            self._first_left = offset
        keep = settled and self._first_left is not None  # else the commit offset says it
        (self._settled.add if keep else self._settled.discard)(offset)

    @property
    def commit_offset(self) -> int:
        """Where the next run begins: the first dead letter that was left, else behind the last one read."""
        return self._next if self._first_left is None else self._first_left

    @property
    def note(self) -> str:
        """What is settled from there on, "" for nothing.  Raises `Fatal` if that is more than Kafka holds."""
        bits = _bits(self._settled, self.commit_offset)
        note = b64encode(zlib.compress(bits, 9)).decode() if bits else ""
        if len(note) > MAX_NOTE or len(bits) > MAX_SPAN // 8:
            raise Fatal(
                f"too many dead letters were replayed behind offset {self.commit_offset}, which was left, for Kafka to"
                " store which ones; replay what was left (without --reason and --since), then go on"
            )
        return note


def _bits(settled: set[int], first: int) -> bytes:
    behind = [offset - first for offset in settled if offset >= first]
    bits = bytearray(max(behind) // 8 + 1) if behind else bytearray()
    for place in behind:
        bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def _offsets(first: int, note: str) -> list[int]:
    try:
        unpacker = zlib.decompressobj()
        bits = unpacker.decompress(b64decode(note, validate=True), MAX_SPAN // 8) if note else b""
    except (binascii.Error, zlib.error, ValueError) as error:
        raise Fatal(
            "the replay's consumer group has metadata at its offset that this program did not write; nothing was"
            " replayed, because what was replayed before is unknown"
        ) from error
    return [first + 8 * place + bit for place, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1]
