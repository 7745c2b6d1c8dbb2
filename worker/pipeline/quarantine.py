"""2 decode: what cannot be decoded is held if its source is broken, and only that; everything else goes on.

    its schema is not known      the record waits for it (`worker.pipeline.schema_waits`)
    bad, its source is closed    it is dead-lettered once every record before it is finished
    bad, its source is open      it is held, without a dead letter.  Every 30 s the oldest one of each partition is
                                 decoded again: if the registry is repaired that succeeds, and the others are tried too
    held, its source closes      it is decoded once more, or dead-lettered if a person said that it is bad

`resilience.decode_breaker` decides which sources are open.  A held record is not finished, so its partition
commits nothing behind it.  Records behind it are answered until the partition's part of the window is full
(`delivery.window`); then the partition pauses, and one more record is admitted every 30 s
(`pipeline.parking`), in case the producer is repaired.  The note beside the offset opens the same sources for
the partition's next owner.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from worker.core.blockers import Blocker, Blockers, told
from worker.core.codec.input_forms import WriterSchema
from worker.core.delivery.handover import Handover
from worker.core.errors import Poison
from worker.core.records import Partition, Record
from worker.core.resilience.decode_breaker import EVERYTHING, Breaker, Unit
from worker.core.simulation.sampling import Skip
from worker.pipeline.decoder import Decoded, Decoder, writer
from worker.pipeline.in_flight import RecordsInFlight
from worker.pipeline.loop_port import RecordLoop
from worker.pipeline.parking import Parking
from worker.pipeline.schema_waits import Attempt, SchemaWaits, StaleWatch
from worker.pipeline.task_group import TaskGroup
from worker.pipeline.traces import RecordTraces

log = logging.getLogger(__name__)

TURN_S = 0.01  # how often waiting dead letters are checked
MAX_NAMED = 3  # open sources in one text


@dataclass(slots=True, eq=False)
class _Bad:
    """A record that could not be decoded."""

    attempt: Attempt
    poison: Poison
    writer: str
    held_by: frozenset[Unit] = frozenset()  # the open sources that hold it; none: its dead letter waits for its turn
    again: bool = False  # it will be decoded once more


class RecordWatch(StaleWatch, RecordTraces, Protocol):
    """Who counts and traces what becomes of records."""

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
        decoder: Decoder,
        watch: RecordWatch,
        *,
        flight: RecordsInFlight,
        handover: Handover,
        tasks: TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self._loop, self._decoder, self._watch, self._clock = loop, decoder, watch, clock
        self._flight, self._handover = flight, handover
        self._waits = SchemaWaits(decoder, flight, watch, decode=self._decode, refuse=self._on_bad, spawn=tasks.spawn)
        self._parking = Parking(flight, lambda: self._stuck)
        self._breaker = Breaker()
        self._num_changes = 0  # of the breaker, as far as they were applied
        self._is_open = False
        self._bad: dict[Partition, dict[int, _Bad]] = {}  # by offset
        self._again: deque[_Bad] = deque()
        self._noted: dict[Partition, frozenset[Unit]] = {}  # what its note says is open

    # -- what the loop asks

    @property
    def blocked(self) -> bool:
        """True if the worker is not ready: `held_up` without the text."""
        return bool(self._breaker.why or self._decoder.outages)

    @property
    def held_up(self) -> str:
        """Why the worker is not ready, "" if it is."""
        return told(self.blockers)

    @property
    def blockers(self) -> Blockers:
        """What of its own keeps the worker from being ready."""
        return {Blocker.BREAKER: self._breaker_text, Blocker.SCHEMA: self._waits.text}

    @property
    def num_held(self) -> int:
        """How many records the breaker holds."""
        return sum(bool(bad.held_by) for held in self._bad.values() for bad in held.values())

    @property
    def num_waiting(self) -> int:
        """How many records wait for a schema."""
        return self._waits.num_records

    @property
    def has_parked(self) -> bool:
        """True if delivered records are parked: not in flight yet."""
        return len(self._parking) > 0

    def needs_room(self, record: Record) -> bool:
        """Return True if a delivered record must wait for room in the window; False: it will be parked instead."""
        return not self._parking.must_park(record.partition)

    def paused(self, assigned: Collection[Partition]) -> frozenset[Partition]:
        """Return the partitions that shall be paused."""
        return self._parking.paused(assigned)

    def full(self) -> bool:
        """Return True if there is no room for a record of a partition that is not stuck."""
        return self._flight.full(self._stuck)

    def is_held(self, partition: Partition, offset: int) -> bool:
        """Return True if a record waits for something outside: the registry, a repair, a person."""
        bad = self._bad.get(partition, {}).get(offset)
        return self._waits.is_waiting(partition, offset) or (bad is not None and bool(bad.held_by))

    @property
    def _stuck(self) -> frozenset[Partition]:
        held = (one for one, bad in self._bad.items() if any(bad.held_by for bad in bad.values()))
        return frozenset((*self._waits.stuck, *held))

    # -- what the loop reports

    async def receive(self, record: Record) -> None:
        """Receive a delivered record: decode it, or park it while its partition's part of the window is full."""
        if self._parking.must_park(record.partition):
            self._parking.park(record)
        else:
            await self._start(record)

    async def run(self) -> None:
        """Release dead letters, probe, and receive what was parked; runs until it is cancelled."""
        while True:
            await asyncio.sleep(TURN_S)
            if self._breaker.probes(now_s=self._clock()):
                await self._probe()
            await self._decode_again()
            for partition in list(self._bad):
                self._release(partition)
            if self._loop.has_room:
                for record in self._parking.ready():
                    await self._start(record)
                    await asyncio.sleep(0)
                    if not self._loop.has_room:
                        break

    def accept(self, num_next: int) -> str:
        """Close the breaker by hand, and let the next `num_next` bad records be dead-lettered.

        Returns what was done, a sentence for people.
        """
        if not self._breaker.why:
            return "the breaker is not open"
        num_held = self.num_held
        self._breaker.accept(num_next, now_s=self._clock())
        self._apply_breaker(again=False)
        return f"closed: {num_held} held records leave as dead letters; the counting starts anew"

    def note(self, partition: Partition) -> str:
        """Return the note that opens the same sources for a partition's next owner; "" if there are none."""
        return self._breaker.note(self._noted.get(partition, frozenset()))

    def restore(self, partition: Partition, why: str) -> None:
        """Open the sources in the note of a partition that was just assigned."""
        self._noted[partition] = self._breaker.restore(partition, why, now_s=self._clock())
        self._apply_breaker()

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        for partition in partitions:
            self._bad.pop(partition, None)
            self._noted.pop(partition, None)
        self._waits.drop(partitions)
        for _ in range(self._parking.drop(partitions)):
            self._watch.stale()

    # -- what becomes of a record

    async def _start(self, record: Record) -> None:
        if not self._handover.start(record.partition, record.epoch, record.offset):
            self._watch.stale()
            return
        self._parking.received(record.partition)
        entry = self._flight.add(record, self._clock())
        entry.trace = self._watch.record(record)
        self._watch.consumed()
        await self._try(Attempt(entry))

    async def _try(self, attempt: Attempt) -> None:
        """Decode a record, at once if its schema is known."""
        ref = self._decoder.missing(attempt.entry.record)
        if ref is None:
            await self._decode(attempt, None)
        else:
            self._waits.wait(ref, attempt)

    async def _decode(self, attempt: Attempt, schema: WriterSchema | None) -> None:
        try:
            decoded = await self._decoder.decode(attempt.entry.record, schema)
        except Poison as poison:
            self._on_bad(attempt, poison)
        else:
            await self._on_good(attempt, decoded)

    async def _on_good(self, attempt: Attempt, decoded: Decoded | Skip) -> None:
        """Continue with a decoded or skipped record, unless a rebalance has taken its partition meanwhile."""
        entry, partition = attempt.entry, attempt.partition
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        if decoded is not Skip.TOMBSTONE:  # which says nothing of decoding
            self._breaker.good(partition, writer(entry.record))
            if attempt.held_by:
                self._healed(attempt)
            self._apply_breaker(partition)
        if any(bad.held_by for bad in self._bad.get(partition, {}).values()):
            self._parking.admit_one(partition)  # the next one tells more, if a probe admitted this one
        if isinstance(decoded, Decoded):
            await self._loop.ready(entry, decoded)
        else:
            self._watch.skipped(decoded)
            entry.trace.unanswered(decoded)
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
        self._apply_breaker(partition)
        self._update_note(partition)
        self._release(partition)

    def _healed(self, attempt: Attempt) -> None:
        """Decode the other held records of a partition again, and close the sources that hold nothing any more."""
        rest = [bad for bad in self._bad.get(attempt.partition, {}).values() if bad.held_by]
        if not any(bad.again for bad in rest):
            self._decode_later(rest)
        holding = {unit for held in self._bad.values() for bad in held.values() for unit in bad.held_by}
        for unit in (attempt.held_by or frozenset()) - holding:
            self._breaker.close(unit)

    # -- holding and letting go

    def _apply_breaker(self, partition: Partition | None = None, *, again: bool = True) -> None:
        """Update what the breaker holds; what is free now is decoded `again` before it is dead-lettered."""
        if self._breaker.num_changes != self._num_changes:
            self._num_changes = self._breaker.num_changes
            self._report_breaker()
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
            self._update_note(one)

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
        """Decode the oldest held record of each partition again, and admit one more record."""
        for partition, found in list(self._bad.items()):
            held = [bad for bad in found.values() if bad.held_by]
            if held:
                self._parking.admit_one(partition)
                self._decode_later([min(held, key=lambda bad: bad.attempt.offset)])

    def _release(self, partition: Partition) -> None:
        """Dead-letter the bad records that are at the head of their partition."""
        while (head := self._handover.oldest(partition)) is not None:
            bad = self._bad.get(partition, {}).get(head)
            if bad is None or bad.held_by or bad.again or not self._forget(bad):
                return
            self._loop.dead_letter(bad.attempt.entry, bad.poison)

    def _forget(self, bad: _Bad) -> bool:
        """Remove a bad record; False if it was removed before, or its assignment is over."""
        partition = bad.attempt.partition
        found = self._bad.get(partition, {})
        if found.get(bad.attempt.offset) is not bad:
            return False
        del found[bad.attempt.offset]
        if not found:
            del self._bad[partition]
        return self._flight.holds(bad.attempt.entry)

    # -- what others see

    @property
    def _breaker_text(self) -> str:
        if not self._breaker.why:
            return ""
        whys = [self._breaker.why[EVERYTHING]] if EVERYTHING in self._breaker.why else []
        whys += [why for unit, why in self._breaker.why.items() if unit != EVERYTHING and not (whys and _is_part(unit))]
        more = f"; and {len(whys) - MAX_NAMED} more" if len(whys) > MAX_NAMED else ""
        held = [bad for found in self._bad.values() for bad in found.values() if bad.held_by]
        example = f" (such as {held[0].attempt.entry.record.where}: {held[0].poison})" if held else ""
        return (
            f"breaker open: {'; '.join(whys[:MAX_NAMED])}{more}{example}; {len(held)} held, nothing behind them is"
            " committed: mend the producer or the registry, or say that they are bad: `mirrorstream dlq accept`"
        )

    def _report_breaker(self) -> None:
        is_open, self._is_open = bool(self._breaker.why), self._is_open
        if is_open:
            log.error(
                "breaker open: %s; bad records of it are held", "; ".join(list(self._breaker.why.values())[:MAX_NAMED])
            )
        elif self._is_open:
            self._parking.reset()
            log.warning("breaker closed: %d held records go on", self.num_held)
        if is_open != self._is_open:
            self._is_open = is_open
            self._watch.breaker(is_open=is_open)

    def _update_note(self, partition: Partition) -> None:
        """Note for the next owner of a partition what holds its records, and what its own last note says is open."""
        before = self._noted.get(partition, frozenset())
        held = {unit for bad in self._bad.get(partition, {}).values() for unit in bad.held_by}
        after = frozenset(held | (before & self._breaker.why.keys()))
        if after != before:
            self._noted[partition] = after
            self._loop.note_changed(partition)


def _is_part(unit: Unit) -> bool:
    """Return True if a source is a part of everything, and need not be named beside it."""
    return isinstance(unit, Partition)
