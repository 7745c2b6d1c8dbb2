"""2 decode: the records whose writer's schema is not known yet, and one task per such schema that fetches it.

A schema that the registry cannot give holds the records that need it, and what their partitions would commit
behind them; records with other schemas are decoded meanwhile.  What waits counts in the window, so it is
bounded.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Protocol

from worker.core.codec.framing import SchemaRef
from worker.core.codec.input_forms import WriterSchema
from worker.core.errors import Poison
from worker.core.records import Partition
from worker.core.resilience.decode_breaker import Unit
from worker.pipeline.decoder import Decoder
from worker.pipeline.in_flight import RecordInFlight, RecordsInFlight

MAX_NAMED = 3  # schemas in one text


@dataclass(frozen=True, slots=True)
class Attempt:
    """A record that shall be decoded; `held_by` is what held it when it was decoded before, None if it is new."""

    entry: RecordInFlight
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
    """Attempts that wait for their writer's schema.

    Once it is there `decode` is called with the attempt and the schema, else `refuse` with the reason;
    `spawn` runs a task beside the loop.
    """

    def __init__(
        self,
        decoder: Decoder,
        flight: RecordsInFlight,
        watch: StaleWatch,
        *,
        decode: Callable[[Attempt, WriterSchema], Awaitable[None]],
        refuse: Callable[[Attempt, Poison], None],
        spawn: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        self._decoder, self._flight, self._watch = decoder, flight, watch
        self._decode, self._refuse, self._spawn = decode, refuse, spawn
        self._fetches: dict[SchemaRef, _Fetch] = {}
        self._offsets: defaultdict[Partition, set[int]] = defaultdict(set)

    @property
    def stuck(self) -> Collection[Partition]:
        """The partitions with a record that waits for a schema whose fetch has failed so far."""
        fetches = (self._fetches[ref] for ref in self._decoder.outages if ref in self._fetches)
        return {partition for fetch in fetches for partition in fetch.partitions}

    @property
    def num_records(self) -> int:
        """How many wait."""
        return sum(map(len, self._offsets.values()))

    @property
    def text(self) -> str:
        """What is missing, why, and how many records wait for it, for people; "" if no fetch has failed."""
        texts = [
            f"{why}: {len(self._fetches[ref].waiting)} records wait for writer schema {ref.kind} {ref.value}"
            for ref, why in self._decoder.outages.items()
            if ref in self._fetches
        ]
        more = f"; and {len(texts) - MAX_NAMED} more schemas" if len(texts) > MAX_NAMED else ""
        return "; ".join(texts[:MAX_NAMED]) + more

    def is_waiting(self, partition: Partition, offset: int) -> bool:
        """Return True if a record waits for its schema."""
        return offset in self._offsets.get(partition, ())

    def wait(self, ref: SchemaRef, attempt: Attempt) -> None:
        """Add a record that waits for a schema; the first one starts the fetch."""
        self._offsets[attempt.partition].add(attempt.offset)
        if ref not in self._fetches:
            self._fetches[ref] = _Fetch(self._spawn(self._fetch(ref)))
        self._fetches[ref].waiting.append(attempt)
        self._fetches[ref].partitions.add(attempt.partition)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Remove partitions that are no longer ours, and cancel fetches that no record waits for any more."""
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
        """Fetch a schema, for as long as it takes, and pass on what waits for it."""
        found: WriterSchema | Poison
        try:
            found = await self._decoder.fetch(ref)
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
