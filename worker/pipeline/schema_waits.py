"""2 decode: the records whose writer's schema is not known yet, and one task for each such schema that asks for it.

A schema that the registry cannot give holds the records that need it, and what their partitions would commit behind
them; records with other schemas are decoded meanwhile.  What waits counts in the window, so it is bounded.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Protocol

from worker.core.codec.avro_schemas import Schema
from worker.core.codec.framing import SchemaRef
from worker.core.errors import Poison
from worker.core.records import Partition
from worker.core.resilience.decode_breaker import Unit
from worker.pipeline.decoder import Intake
from worker.pipeline.in_flight import Flight, InFlight

MAX_TOLD = 3  # schemas that are named


@dataclass(frozen=True, slots=True)
class Attempt:
    """A record that shall be decoded; `held_by` is what held it when it was decoded before, None if it is new."""

    entry: InFlight
    held_by: frozenset[Unit] | None = None

    @property
    def partition(self) -> Partition:
        """Where it comes from."""
        return self.entry.record.partition

    @property
    def offset(self) -> int:
        """Where it stands there."""
        return self.entry.record.offset


@dataclass(slots=True)
class _Fetch:
    task: asyncio.Task[None]
    waiting: deque[Attempt] = field(default_factory=deque)
    partitions: set[Partition] = field(default_factory=set)


class StaleWatch(Protocol):
    """Who counts what came too late."""

    def stale(self) -> None:
        """Count a record, or a result of one, whose assignment is over: it is dropped, and its next owner has it."""


class SchemaWaits:
    """Takes attempts and gives each back once its schema is there (`decode`) or is refused (`refuse`)."""

    def __init__(
        self,
        intake: Intake,
        flight: Flight,
        watch: StaleWatch,
        *,
        decode: Callable[[Attempt, Schema], Awaitable[None]],
        refuse: Callable[[Attempt, Poison], None],
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        """Start without any; `spawn` runs a task beside the loop."""
        self._intake, self._flight, self._watch = intake, flight, watch
        self._decode, self._refuse, self._spawn = decode, refuse, spawn
        self._fetches: dict[SchemaRef, _Fetch] = {}
        self._offsets: defaultdict[Partition, set[int]] = defaultdict(set)

    @property
    def stuck(self) -> Collection[Partition]:
        """The partitions of which a record waits for a schema that nobody could give so far."""
        fetches = (self._fetches[ref] for ref in self._intake.outages if ref in self._fetches)
        return {partition for fetch in fetches for partition in fetch.partitions}

    @property
    def num_records(self) -> int:
        """How many wait."""
        return sum(map(len, self._offsets.values()))

    @property
    def told(self) -> str:
        """What is missing, why, and how many records wait for it, "" if every schema comes by itself."""
        told = [
            f"{why}: {len(self._fetches[ref].waiting)} records wait for writer schema {ref.kind} {ref.value}"
            for ref, why in self._intake.outages.items()
            if ref in self._fetches
        ]
        more = f"; and {len(told) - MAX_TOLD} more schemas" if len(told) > MAX_TOLD else ""
        return "; ".join(told[:MAX_TOLD]) + more

    def keeps(self, partition: Partition, offset: int) -> bool:
        """Say whether a record waits for its schema."""
        return offset in self._offsets.get(partition, ())

    def wait(self, ref: SchemaRef, attempt: Attempt) -> None:
        """Have a record wait for a schema; the first one asks for it."""
        self._offsets[attempt.partition].add(attempt.offset)
        if ref not in self._fetches:
            self._fetches[ref] = _Fetch(self._spawn(self._fetch(ref)))
        self._fetches[ref].waiting.append(attempt)
        self._fetches[ref].partitions.add(attempt.partition)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours, and schemas that nobody waits for any more."""
        for partition in partitions:
            self._offsets.pop(partition, None)
        for ref, fetch in list(self._fetches.items()):
            fetch.partitions -= set(partitions)
            gone = [one for one in fetch.waiting if not self._flight.holds(one.entry)]
            for one in gone:
                fetch.waiting.remove(one)
                self._watch.stale()
            if not fetch.waiting:
                fetch.task.cancel()
                del self._fetches[ref]

    async def _fetch(self, ref: SchemaRef) -> None:
        """Ask for a schema, for as long as it takes, and hand back what waits for it."""
        found: Schema | Poison
        try:
            found = await self._intake.fetch(ref)
        except Poison as poison:
            found = poison
        for attempt in self._fetches.pop(ref).waiting:
            if not self._flight.holds(attempt.entry):
                self._watch.stale()
                continue
            self._offsets[attempt.partition].discard(attempt.offset)
            if not self._offsets[attempt.partition]:
                del self._offsets[attempt.partition]
            if isinstance(found, Poison):
                self._refuse(attempt, found)
            else:
                await self._decode(attempt, found)
            await asyncio.sleep(0)  # many may wait, and must not keep the loop from answers and rebalances
