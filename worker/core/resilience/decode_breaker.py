"""When nearly nothing of a source decodes any more, the source or the registry is broken, not its records.

Three kinds of sources are judged, each by its own last outcomes:

    a partition    nearly nothing in it decodes, whoever wrote it
    a writer       nearly nothing of one that used to decode: all records with one schema id, GUID or fingerprint
    the worker     nearly nothing decodes anywhere: then 50 records are enough for all partitions together

    closed    bad records become dead letters
    open      bad records of that source are held; good ones go on, and they close it
    closed    again when more than 5 % of its last outcomes are good, or by hand; the counting starts anew

A source opens at 50 bad records in a row, or when more than 95 % of its last 200 are bad.  One that mixes
good and bad records stays closed: the good ones prove that registry and reader work, so its bad ones really
are bad.  So it is with a writer of whom nothing ever decoded, beside others in the same partition who do.  A
tombstone, and what the engine made of a record, say nothing of decoding and are not counted.

>>> here, there = Partition("t", 0), Partition("t", 1)
>>> breaker = Breaker()
>>> for _ in range(150): breaker.good(here, "id 1"); breaker.bad(here, "id 2", Reason.SCHEMA, now_s=0.0)
>>> breaker.holds(here, "id 2")
frozenset()
>>> for _ in range(50): breaker.bad(there, "id 2", Reason.SCHEMA, now_s=0.0)
>>> breaker.why[there]
'50 of the last 50 records of t[1] could not be decoded, most often: schema'
>>> there in breaker.holds(there, "id 2"), breaker.holds(here, "id 2")
(True, frozenset())
>>> breaker.probes(now_s=29.0), breaker.probes(now_s=30.0), breaker.probes(now_s=31.0)
(False, True, False)
>>> for _ in range(3): breaker.good(there, "id 1")
>>> breaker.why
{}
"""

import re
from collections import Counter, deque
from enum import Enum, auto
from typing import TypeAlias

from worker.core.records import Partition, Reason

MAX_ROW = 50  # bad ones one after the other
NUM_LAST = 200
NEARLY_ALL = 0.95  # share of bad ones; so few good ones are leftovers of before, or chance
MAX_WRITERS = 1_000  # remembered as decoding, about 3 KB each
PROBE_S = 30.0
ALLOWED_S = 3_600.0  # how long a person's word holds for records to come: it was about what stood there then


class Everywhere(Enum):
    """The source that all records are of: nearly nothing decodes, whatever its partition and writer."""

    EVERYTHING = auto()


EVERYTHING = Everywhere.EVERYTHING
Unit: TypeAlias = Partition | str | Everywhere  # a partition, a writer's name, or EVERYTHING

MAX_NOTE = 200  # characters beside an offset, as `worker.core.delivery.offset_metadata` keeps them
_BETWEEN = "; "
_WRITER = re.compile(r" records of writer ([a-z0-9 ]+) could ")


class Breaker:
    """The state machine: outcomes of decoding in, which bad records are held out.  Closed at the start.

    `why` gives the reason, a sentence, for each source that is open.
    """

    def __init__(self) -> None:
        self.why: dict[Unit, str] = {}
        self.num_changes = 0  # how often something has opened or closed
        self._counts: dict[Unit, _Count] = {}
        self._writers: dict[str, None] = {}  # those of whom something decoded, least recently first
        self._probe_s = 0.0
        self._allowed = 0
        self._allowed_until_s = 0.0

    def good(self, partition: Partition, writer: str) -> None:
        """Count a record that could be decoded; it may close what is open."""
        self._remember(writer)
        for unit in (EVERYTHING, partition, writer):
            count = self._counts.setdefault(unit, _Count())
            count.add(None)
            if unit in self.why and not count.nearly_all_bad:
                self.close(unit)

    def bad(self, partition: Partition, writer: str, reason: Reason, *, now_s: float) -> None:
        """Count a record that could not be decoded; the one too many opens its source."""
        if self._allowed and now_s < self._allowed_until_s:
            self._allowed -= 1
            return
        units = (EVERYTHING, partition, writer) if writer in self._writers else (EVERYTHING, partition)
        for unit in units:
            count = self._counts.setdefault(unit, _Count())
            count.add(reason)
            if unit not in self.why and count.opens:
                self._open(
                    unit, f"{count.counted} records{_of(unit)} could not be decoded, most often: {count.most}", now_s
                )

    def holds(self, partition: Partition, writer: str) -> frozenset[Unit]:
        """Return the open sources that hold a bad record of this partition and writer; none: it is a dead letter."""
        if not self.why:
            return frozenset()
        held: set[Unit] = {unit for unit in (partition, writer) if unit in self.why}
        count = self._counts.get(partition)
        if EVERYTHING in self.why and (count is None or count.nearly_all_bad):  # a healthy partition is no part of it
            held.add(EVERYTHING)
        return frozenset(held)

    def restore(self, partition: Partition, note: str, *, now_s: float) -> frozenset[Unit]:
        """Open what the note of a partition's last owner says is open, and return it.

        The partition is counted anew: another member has read it meanwhile.
        """
        self.close(partition)
        found: set[Unit] = set()
        for why in filter(None, note.split(_BETWEEN)):
            writer = _WRITER.search(why)
            unit: Unit = writer[1] if writer else partition
            if isinstance(unit, str):
                self._remember(unit)
            if unit not in self.why:
                self._counts[unit] = _Count(num_bad=MAX_ROW)  # a restart forgets the counts, not what they have shown
                self._open(unit, why, now_s)
            found.add(unit)
        return frozenset(found)

    def note(self, units: frozenset[Unit]) -> str:
        """Return what the next owner of a partition must know of these: whether it is open itself, and its writers.

        At most `MAX_NOTE` characters: of more writers those that fit, each whole.
        """
        writers = [self.why[unit] for unit in sorted(units & self.why.keys(), key=str) if isinstance(unit, str)]
        others = [self.why[unit] for unit in units & self.why.keys() if not isinstance(unit, str)]
        kept: list[str] = []
        for one in [*sorted(others, key=len)[:1], *writers]:
            if len(_BETWEEN.join([*kept, one])) <= MAX_NOTE:
                kept.append(one)
        return _BETWEEN.join(kept)

    def close(self, unit: Unit) -> None:
        """Close one source and count it anew."""
        self.num_changes += self.why.pop(unit, None) is not None
        self._counts.pop(unit, None)

    def accept(self, num_next: int = 0, *, now_s: float) -> None:
        """Close everything by hand: the records really are bad.

        The next `num_next` bad records within an hour are not counted.
        """
        self.num_changes += bool(self.why)
        self.why.clear()
        self._counts.clear()
        self._allowed, self._allowed_until_s = num_next, now_s + ALLOWED_S

    def probes(self, *, now_s: float) -> bool:
        """Return True if a probe is due, once every 30 s while anything is open."""
        if not self.why or now_s < self._probe_s:
            return False
        self._probe_s = now_s + PROBE_S
        return True

    def _open(self, unit: Unit, why: str, now_s: float) -> None:
        if not self.why:
            self._probe_s = now_s + PROBE_S
        self.why[unit] = why
        self.num_changes += 1

    def _remember(self, writer: str) -> None:
        self._writers.pop(writer, None)
        self._writers[writer] = None
        if len(self._writers) > MAX_WRITERS:
            old = next(one for one in self._writers if one not in self.why)
            del self._writers[old]
            self._counts.pop(old, None)


def _of(unit: Unit) -> str:
    if isinstance(unit, Partition):
        return f" of {unit}"
    return f" of writer {unit}" if isinstance(unit, str) else ""


class _Count:
    """The last outcomes of one source: reasons, None for a good one."""

    __slots__ = ("_last", "_num_bad", "_row")

    def __init__(self, num_bad: int = 0) -> None:
        self._last: deque[str | None] = deque([""] * num_bad, maxlen=NUM_LAST)
        self._num_bad = self._row = num_bad

    def add(self, reason: str | None) -> None:
        if len(self._last) == NUM_LAST and self._last[0] is not None:
            self._num_bad -= 1
        self._last.append(reason)
        self._num_bad += reason is not None
        self._row = 0 if reason is None else self._row + 1

    @property
    def nearly_all_bad(self) -> bool:
        return self._num_bad > NEARLY_ALL * len(self._last)

    @property
    def opens(self) -> bool:
        return self._row >= MAX_ROW or (len(self._last) == NUM_LAST and self.nearly_all_bad)

    @property
    def counted(self) -> str:
        """How many are bad of how many: of the row, if that is what opens it."""
        if self._row == MAX_ROW:
            return f"{MAX_ROW} of the last {MAX_ROW}"
        return f"{self._num_bad} of the last {len(self._last)}"

    @property
    def most(self) -> str:
        """The commonest reason of those that are in `counted`."""
        last = list(filter(None, self._last))
        return Counter(last[-MAX_ROW:] if self._row == MAX_ROW else last).most_common(1)[0][0]
