"""2 decode: what cannot be decoded is held if its source is broken, and only that; everything else goes on.

    its schema is not known      the record waits for it (`worker.pipeline.schema_waits`)
    bad, its source is closed    its dead letter leaves once every record before it is finished
    bad, its source is open      it is held, without a dead letter.  Every 30 s the oldest one of each partition is
                                 decoded again: a mended registry heals it, and then the others are tried again too
    held, its source closes      it is decoded once more, or leaves as a dead letter if a person said that it is bad

Which sources are open is `resilience.decode_breaker`'s.  What is held is not finished, so its partition commits nothing
behind it.  Records behind it are answered, until the partition has its part of the window (`delivery.window`); then it
pauses, and one further record is let in every 30 s (`pipeline.parking`): a mended producer heals that.  The note beside
the offset opens the same sources for the partition's next owner.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from worker.core.codec.avro_schemas import Schema
from worker.core.delivery.handover import Handover
from worker.core.errors import Poison
from worker.core.records import Partition, Record
from worker.core.resilience.decode_breaker import EVERYTHING, Breaker, Unit
from worker.core.simulation.sampling import Skip
from worker.pipeline.decoder import Decoded, Intake, writer
from worker.pipeline.in_flight import Flight
from worker.pipeline.loop_port import RecordLoop
from worker.pipeline.parking import Parking
from worker.pipeline.schema_waits import Attempt, SchemaWaits, StaleWatch
from worker.pipeline.task_group import Supervisor

log = logging.getLogger(__name__)

TURN_S = 0.01  # how often letters that wait are looked at
MAX_TOLD = 3  # open sources that are named


@dataclass(slots=True, eq=False)
class _Bad:
    """A record that could not be decoded."""

    attempt: Attempt
    poison: Poison
    writer: str
    held_by: frozenset[Unit] = frozenset()  # the open sources that hold it; none: its letter waits for its turn
    again: bool = False  # it shall be decoded once more


class RecordWatch(StaleWatch, Protocol):
    """Who counts what becomes of records."""

    def consumed(self) -> None:
        """Count a record received: it is in flight from now on."""

    def skipped(self, reason: Skip) -> None:
        """Count a record that is not simulated."""

    def breaker(self, *, is_open: bool) -> None:
        """Set whether the breaker is open, for any source; called when that changes."""


class Quarantine:
    """Decodes records, and holds those that cannot be decoded now; `loop` takes what becomes of each."""

    def __init__(
        self,
        loop: RecordLoop,
        intake: Intake,
        watch: RecordWatch,
        *,
        flight: Flight,
        handover: Handover,
        supervisor: Supervisor,
        clock: Callable[[], float],
    ) -> None:
        self._loop, self._intake, self._watch, self._clock = loop, intake, watch, clock
        self._flight, self._handover = flight, handover
        self._waits = SchemaWaits(
            intake, flight, watch, decode=self._decode, refuse=self._on_bad, spawn=supervisor.spawn
        )
        self._parking = Parking(flight, lambda: self._stuck)
        self._breaker = Breaker()
        self._num_changes = 0  # of the breaker, as far as they were heeded
        self._is_open = False
        self._bad: dict[Partition, dict[int, _Bad]] = {}  # by offset
        self._again: deque[_Bad] = deque()
        self._noted: dict[Partition, frozenset[Unit]] = {}  # what its note says is open

    # -- what the loop asks

    @property
    def blocked(self) -> bool:
        """Say whether the worker is not ready: `held_up` without the words."""
        return bool(self._breaker.why or self._intake.outages)

    @property
    def held_up(self) -> str:
        """Why the worker is not ready, "" if it is."""
        return "; ".join(filter(None, (self._told, self._waits.told)))

    @property
    def num_held(self) -> int:
        """How many records the breaker holds."""
        return sum(bool(bad.held_by) for held in self._bad.values() for bad in held.values())

    @property
    def num_waiting(self) -> int:
        """How many records wait for a schema."""
        return self._waits.num_records

    @property
    def parks(self) -> bool:
        """Say whether delivered records are not taken on yet."""
        return len(self._parking) > 0

    def needs_room(self, record: Record) -> bool:
        """Say whether a delivered record is taken on only where there is room; it is parked otherwise."""
        return not self._parking.wants(record.partition)

    def paused(self, assigned: Collection[Partition]) -> frozenset[Partition]:
        """Return the partitions that shall be paused."""
        return self._parking.paused(assigned)

    def full(self) -> bool:
        """Say whether there is no room for a record of a partition that is not stuck."""
        return self._flight.full(self._stuck)

    def keeps(self, partition: Partition, offset: int) -> bool:
        """Say whether a record waits for what nobody here can bring about: the registry, a mend, a person."""
        bad = self._bad.get(partition, {}).get(offset)
        return self._waits.keeps(partition, offset) or (bad is not None and bool(bad.held_by))

    @property
    def _stuck(self) -> frozenset[Partition]:
        held = (one for one, bad in self._bad.items() if any(bad.held_by for bad in bad.values()))
        return frozenset((*self._waits.stuck, *held))

    # -- what the loop tells

    async def offer(self, record: Record) -> None:
        """Take a record on, or park it while its partition has its part of the window."""
        if self._parking.wants(record.partition):
            self._parking.park(record)
        else:
            await self._take(record)

    async def run(self) -> None:
        """Let letters leave, probe, and take on what was parked, for ever."""
        while True:
            await asyncio.sleep(TURN_S)
            if self._breaker.probes(now_s=self._clock()):
                await self._probe()
            await self._decode_again()
            for partition in list(self._bad):
                self._release(partition)
            if self._loop.has_room:
                for record in self._parking.ready():
                    await self._take(record)
                    await asyncio.sleep(0)
                    if not self._loop.has_room:
                        break

    def accept(self, num_next: int) -> str:
        """Close the breaker by hand, and let as many more bad records pass; return what was done."""
        if not self._breaker.why:
            return "the breaker is not open"
        num_held = self.num_held
        self._breaker.accept(num_next, now_s=self._clock())
        self._heed(again=False)
        return f"closed: {num_held} held records leave as dead letters; the counting starts anew"

    def note(self, partition: Partition) -> str:
        """Return what the next owner of a partition shall open, "" for nothing."""
        return self._breaker.note(self._noted.get(partition, frozenset()))

    def restore(self, partition: Partition, why: str) -> None:
        """Take the note of a partition that is ours now."""
        self._noted[partition] = self._breaker.restore(partition, why, now_s=self._clock())
        self._heed()

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        for partition in partitions:
            self._bad.pop(partition, None)
            self._noted.pop(partition, None)
        self._waits.drop(partitions)
        for _ in range(self._parking.drop(partitions)):
            self._watch.stale()

    # -- what becomes of a record

    async def _take(self, record: Record) -> None:
        if not self._handover.start(record.partition, record.epoch, record.offset):
            self._watch.stale()
            return
        self._parking.taken(record.partition)
        entry = self._flight.take(record, self._clock())
        self._watch.consumed()
        await self._try(Attempt(entry))

    async def _try(self, attempt: Attempt) -> None:
        """Decode a record, at once if its schema is known."""
        ref = self._intake.missing(attempt.entry.record)
        if ref is None:
            await self._decode(attempt, None)
        else:
            self._waits.wait(ref, attempt)

    async def _decode(self, attempt: Attempt, schema: Schema | None) -> None:
        try:
            decoded = await self._intake.decode(attempt.entry.record, schema)
        except Poison as poison:
            self._on_bad(attempt, poison)
        else:
            await self._on_good(attempt, decoded)

    async def _on_good(self, attempt: Attempt, decoded: Decoded | Skip) -> None:
        """Go on with a record that is no poison; a rebalance may have taken it meanwhile."""
        entry, partition = attempt.entry, attempt.partition
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        if decoded is not Skip.TOMBSTONE:  # which says nothing of decoding
            self._breaker.good(partition, writer(entry.record))
            if attempt.held_by:
                self._healed(attempt)
            self._heed(partition)
        if any(bad.held_by for bad in self._bad.get(partition, {}).values()):
            self._parking.let_in(partition)  # the next one says more, if a probe let this one in
        if isinstance(decoded, Decoded):
            await self._loop.ready(entry, decoded)
        else:
            self._watch.skipped(decoded)
            self._loop.finish(entry, ())

    def _on_bad(self, attempt: Attempt, poison: Poison) -> None:
        if not self._flight.holds(attempt.entry):
            self._watch.stale()
            return
        partition = attempt.partition
        bad = _Bad(attempt, poison, writer(attempt.entry.record))
        if attempt.held_by is None:
            self._breaker.bad(partition, bad.writer, poison.reason, now_s=self._clock())
        bad.held_by = self._breaker.holds(partition, bad.writer)
        self._bad.setdefault(partition, {})[attempt.offset] = bad
        self._heed(partition)
        self._leave_word(partition)
        self._release(partition)

    def _healed(self, attempt: Attempt) -> None:
        """Try the rest of a partition whose held record decodes now, and close what has nothing more to hold."""
        rest = [bad for bad in self._bad.get(attempt.partition, {}).values() if bad.held_by]
        if not any(bad.again for bad in rest):
            self._decode_later(rest)
        holding = {unit for held in self._bad.values() for bad in held.values() for unit in bad.held_by}
        for unit in (attempt.held_by or frozenset()) - holding:
            self._breaker.close(unit)

    # -- holding and letting go

    def _heed(self, partition: Partition | None = None, *, again: bool = True) -> None:
        """Ask the breaker anew what it holds; what is free now is decoded `again` before its letter leaves."""
        if self._breaker.num_changes != self._num_changes:
            self._num_changes = self._breaker.num_changes
            self._tell()
            partitions = {*self._bad, *self._noted}
        elif partition in self._bad and EVERYTHING in self._breaker.why:  # its own count decides there
            partitions = {partition}
        else:
            return
        for one in partitions:
            for bad in self._bad.get(one, {}).values():
                was_held, bad.held_by = bool(bad.held_by), self._breaker.holds(one, bad.writer)
                if was_held and not bad.held_by and again:
                    self._decode_later([bad])
            self._leave_word(one)

    def _decode_later(self, found: Collection[_Bad]) -> None:
        for bad in found:
            bad.again = True
        self._again.extend(found)

    async def _decode_again(self) -> None:
        while self._again:
            bad = self._again.popleft()
            if bad.again and self._forget(bad):
                await self._try(Attempt(bad.attempt.entry, bad.held_by))
                await asyncio.sleep(0)

    async def _probe(self) -> None:
        """Decode the oldest held record of each partition again, and let one further record in."""
        for partition, found in list(self._bad.items()):
            held = [bad for bad in found.values() if bad.held_by]
            if held:
                self._parking.let_in(partition)
                self._decode_later([min(held, key=lambda bad: bad.attempt.offset)])

    def _release(self, partition: Partition) -> None:
        """Let the letters leave that nothing stands before."""
        while (head := self._handover.oldest(partition)) is not None:
            bad = self._bad.get(partition, {}).get(head)
            if bad is None or bad.held_by or bad.again or not self._forget(bad):
                return
            self._loop.dead_letter(bad.attempt.entry, bad.poison)

    def _forget(self, bad: _Bad) -> bool:
        """Take a bad record out; False if it has left, or is no longer ours."""
        partition = bad.attempt.partition
        found = self._bad.get(partition, {})
        if found.get(bad.attempt.offset) is not bad:
            return False
        del found[bad.attempt.offset]
        if not found:
            del self._bad[partition]
        return self._flight.holds(bad.attempt.entry)

    # -- what others are told

    @property
    def _told(self) -> str:
        if not self._breaker.why:
            return ""
        whys = [self._breaker.why[EVERYTHING]] if EVERYTHING in self._breaker.why else []
        whys += [why for unit, why in self._breaker.why.items() if unit != EVERYTHING and not (whys and _is_part(unit))]
        more = f"; and {len(whys) - MAX_TOLD} more" if len(whys) > MAX_TOLD else ""
        held = [bad for found in self._bad.values() for bad in found.values() if bad.held_by]
        example = f" (such as {held[0].attempt.entry.record.where}: {held[0].poison})" if held else ""
        return (
            f"breaker open: {'; '.join(whys[:MAX_TOLD])}{more}{example}; {len(held)} held, nothing behind them is"
            " committed: mend the producer or the registry, or say that they are bad: `mirrorstream dlq accept`"
        )

    def _tell(self) -> None:
        is_open, self._is_open = bool(self._breaker.why), self._is_open
        if is_open:
            log.error(
                "breaker open: %s; bad records of it are held", "; ".join(list(self._breaker.why.values())[:MAX_TOLD])
            )
        elif self._is_open:
            self._parking.reset()
            log.warning("breaker closed: %d held records go on", self.num_held)
        if is_open != self._is_open:
            self._is_open = is_open
            self._watch.breaker(is_open=is_open)

    def _leave_word(self, partition: Partition) -> None:
        """Have the next owner of a partition open what holds its records, and what its own last note says is open."""
        before = self._noted.get(partition, frozenset())
        held = {unit for bad in self._bad.get(partition, {}).values() for unit in bad.held_by}
        after = frozenset(held | (before & self._breaker.why.keys()))
        if after != before:
            self._noted[partition] = after
            self._loop.note_changed(partition)


def _is_part(unit: Unit) -> bool:
    """Say whether a source is a part of everything, and needs no word beside it."""
    return isinstance(unit, Partition)
