"""How long an event took, once its answer is durable: from its record's timestamp to the commit.

Answers that wait behind an older record, or for a transaction, are not there yet for any reader.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from worker.core.records import Record
from worker.pipeline.in_flight import RecordInFlight

# A record from before 2000 has a time in seconds, or none: it would count as one that waited for decades.
MIN_WRITTEN_MS = 946_684_800_000


class LatencyWatch(Protocol):
    """Who counts latencies."""

    def event_committed(self, *, end_to_end_s: float | None) -> None:
        """Count an answered event that was committed: seconds since its record was written, None if unknown."""


class Latencies:
    """Reports the latency of committed events; `wall` gives seconds since 1970."""

    def __init__(self, watch: LatencyWatch, *, wall: Callable[[], float]) -> None:
        self._watch, self._wall = watch, wall

    def released(self, entries: Iterable[RecordInFlight]) -> None:
        """Report the answered ones of records that were committed just now; others have no answer to wait for."""
        now_s = self._wall()
        for entry in entries:
            if entry.answered_s is not None and not entry.num_letters:
                written_s = written_at_s(entry.record)
                self._watch.event_committed(end_to_end_s=None if written_s is None else max(0.0, now_s - written_s))


def written_at_s(record: Record) -> float | None:
    """Return when a record was written, seconds since 1970; None without a time, or with one that is none."""
    written_ms = record.timestamp_ms
    return written_ms / 1000 if written_ms is not None and written_ms >= MIN_WRITTEN_MS else None
