"""What is in flight: every record received and not yet committed, by partition, with its share of the window.

The window counts memory: the record as it came, then what was decoded and asked in addition, and once it is
answered its messages instead, which wait for their turn to be published.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import takewhile

from worker.core.delivery.window import ShutBy, Window
from worker.core.records import Partition, Record
from worker.pipeline.traces import NO_TRACE, RecordTrace


@dataclass(slots=True, eq=False)
class RecordInFlight:
    """One record in flight."""

    record: Record
    received_s: float  # monotonic
    num_bytes: int = 0  # of memory, beside the record itself
    num_tokens: int = 0
    event_s: float | None = None  # when its event occurred, seconds since 1970; None until it is decoded
    batched_s: float = 0.0  # monotonic, as the next two: when it went into a micro-batch
    asked_s: float = 0.0  # its first draw began
    drawn_s: float = 0.0  # its last draw ended
    answered_s: float | None = None  # monotonic; None until its responses, or its dead letter, are there
    num_letters: int = 0  # dead letters made of it so far; Kafka may refuse one, and then takes a smaller one
    task: asyncio.Task[None] | None = None
    trace: RecordTrace = NO_TRACE


class RecordsInFlight:
    """The records in flight and their window; dropping a partition cancels its tasks and ends its traces."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._entries: dict[Partition, dict[int, RecordInFlight]] = defaultdict(dict)

    def add(self, record: Record, now_s: float) -> RecordInFlight:
        """Add a record that was received at `now_s`, monotonic seconds."""
        entry = RecordInFlight(record, now_s)
        self._entries[record.partition][record.offset] = entry
        self._window.add(record.partition, num_bytes=record.num_bytes)
        return entry

    def grow(self, entry: RecordInFlight, num_tokens: int, num_bytes: int = 0) -> None:
        """Set a record's prompt tokens, and its bytes of memory beside its own; ignored once it is gone."""
        if not self.holds(entry):
            return
        self._window.grow(
            entry.record.partition, num_bytes=num_bytes - entry.num_bytes, num_tokens=num_tokens - entry.num_tokens
        )
        entry.num_tokens, entry.num_bytes = num_tokens, num_bytes

    def find(self, partition: Partition, offset: int) -> RecordInFlight | None:
        """Return a record in flight; None if it is no longer ours, or committed."""
        return self._entries.get(partition, {}).get(offset)

    def holds(self, entry: RecordInFlight) -> bool:
        """Return True if this very entry is still in flight: neither committed nor lost."""
        record = entry.record
        return self._entries.get(record.partition, {}).get(record.offset) is entry

    def release(self, partition: Partition, commit_offset: int) -> list[RecordInFlight]:
        """Remove the records below `commit_offset`, and return them in offset order."""
        entries = self._entries[partition]
        released = [entries.pop(offset) for offset in list(takewhile(lambda one: one < commit_offset, entries))]
        for entry in released:
            self._free(entry)
        return released

    def drop(self, partitions: Collection[Partition]) -> None:
        """Remove partitions that are no longer ours, and cancel the tasks that answer their records."""
        for partition in partitions:
            for entry in self._entries.pop(partition, {}).values():
                if entry.task:
                    entry.task.cancel()
                entry.trace.dropped()
                self._free(entry)

    def paused(self, assigned: Collection[Partition], stuck: Collection[Partition] = ()) -> frozenset[Partition]:
        """Return the partitions that shall pause for the window."""
        return self._window.paused(assigned, stuck)

    def shares(self) -> tuple[float, ...]:
        """Return the share of each of the window's budgets that is in flight: records, bytes, tokens."""
        return self._window.shares()

    @property
    def shut_by(self) -> ShutBy | None:
        """The window's fullest budget while it is shut; None while it is open."""
        return self._window.shut_by

    def full(self, stuck: Collection[Partition] = ()) -> bool:
        """Return True if there is no room for another record of a partition that is not stuck."""
        return self._window.full(stuck)

    def crowded(self, stuck: Collection[Partition]) -> frozenset[Partition]:
        """Return the stuck partitions that hold all that they may."""
        return self._window.crowded(stuck)

    def heads(self) -> Iterable[RecordInFlight]:
        """Return the oldest record in flight of each partition."""
        return (next(iter(entries.values())) for entries in self._entries.values() if entries)

    def head_s(self, now_s: float) -> float:
        """Return how long the oldest head of a partition has been in flight, seconds; 0 if nothing is."""
        return now_s - min((entry.received_s for entry in self.heads()), default=now_s)

    def _free(self, entry: RecordInFlight) -> None:
        record = entry.record
        self._window.remove(record.partition, num_bytes=record.num_bytes + entry.num_bytes, num_tokens=entry.num_tokens)
