"""What is in flight: every record taken on and not yet committed, by partition, with its share of the window.

The window counts memory: the record as it came, then what was decoded and asked in addition, and once it is answered
its messages instead, which wait for their turn to be published.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import takewhile

from worker.core.delivery.window import Window
from worker.core.records import Partition, Record


@dataclass(slots=True, eq=False)
class InFlight:
    """One record under way."""

    record: Record
    taken_s: float
    num_bytes: int = 0  # of memory, beside the record itself
    num_tokens: int = 0
    num_letters: int = 0  # dead letters made of it so far; Kafka may refuse one, and then takes a smaller one
    task: asyncio.Task[None] | None = None


class Flight:
    """Keeps the records in flight and their window; dropping a partition cancels its tasks."""

    def __init__(self, window: Window) -> None:
        """Start empty."""
        self._window = window
        self._entries: dict[Partition, dict[int, InFlight]] = defaultdict(dict)

    def take(self, record: Record, now_s: float) -> InFlight:
        """Take a record on."""
        entry = InFlight(record, now_s)
        self._entries[record.partition][record.offset] = entry
        self._window.add(record.partition, num_bytes=record.num_bytes)
        return entry

    def grow(self, entry: InFlight, num_tokens: int, num_bytes: int = 0) -> None:
        """Set the prompt tokens of a record, and the bytes of memory that it takes beside its own."""
        if not self.holds(entry):
            return
        self._window.grow(
            entry.record.partition, num_bytes=num_bytes - entry.num_bytes, num_tokens=num_tokens - entry.num_tokens
        )
        entry.num_tokens, entry.num_bytes = num_tokens, num_bytes

    def find(self, partition: Partition, offset: int) -> InFlight | None:
        """Return a record in flight; None if it is no longer ours, or committed."""
        return self._entries.get(partition, {}).get(offset)

    def holds(self, entry: InFlight) -> bool:
        """Say whether a record is still ours to answer."""
        record = entry.record
        return self._entries.get(record.partition, {}).get(record.offset) is entry

    def release(self, partition: Partition, commit_offset: int) -> list[InFlight]:
        """Forget what a commit has covered, and return it."""
        entries = self._entries[partition]
        released = [entries.pop(offset) for offset in list(takewhile(lambda one: one < commit_offset, entries))]
        for entry in released:
            self._free(entry)
        return released

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours; what the engine still works on for them is aborted."""
        for partition in partitions:
            for entry in self._entries.pop(partition, {}).values():
                if entry.task:
                    entry.task.cancel()
                self._free(entry)

    def paused(self, assigned: Collection[Partition], stuck: Collection[Partition] = ()) -> frozenset[Partition]:
        """Return the partitions that shall pause for the window."""
        return self._window.paused(assigned, stuck)

    def full(self, stuck: Collection[Partition] = ()) -> bool:
        """Say whether no further record shall be taken on now, of a partition that is not stuck."""
        return self._window.full(stuck)

    def crowded(self, stuck: Collection[Partition]) -> frozenset[Partition]:
        """Return the stuck partitions that hold all that they may."""
        return self._window.crowded(stuck)

    def head_s(self, now_s: float) -> float:
        """Return how long the record has waited that stands longest at the head of its partition, 0 without one."""
        heads = (next(iter(entries.values())).taken_s for entries in self._entries.values() if entries)
        return now_s - min(heads, default=now_s)

    def _free(self, entry: InFlight) -> None:
        record = entry.record
        self._window.remove(record.partition, num_bytes=record.num_bytes + entry.num_bytes, num_tokens=entry.num_tokens)
