"""What is in flight: every record taken on and not yet committed, by partition, with its share of the window."""

import asyncio
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from worker.records import Partition, Record
from worker.window import Window


@dataclass(slots=True, eq=False)
class InFlight:
    """One record under way."""

    record: Record
    taken_s: float
    num_tokens: int = 0
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

    def grow(self, entry: InFlight, num_tokens: int) -> None:
        """Add the prompt tokens of a record, known once it is decoded."""
        entry.num_tokens = num_tokens
        self._window.grow(entry.record.partition, num_tokens=num_tokens)

    def holds(self, entry: InFlight) -> bool:
        """Say whether a record is still ours to answer."""
        record = entry.record
        return self._entries.get(record.partition, {}).get(record.offset) is entry

    def release(self, partition: Partition, commit_offset: int) -> None:
        """Forget what a commit has covered."""
        entries = self._entries[partition]
        for offset in [offset for offset in entries if offset < commit_offset]:
            self._free(entries.pop(offset))

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
        self._window.remove(record.partition, num_bytes=record.num_bytes, num_tokens=entry.num_tokens)
