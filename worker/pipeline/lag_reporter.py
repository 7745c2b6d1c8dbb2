"""Tells once a second how far the worker is behind; what that means is in `core.delivery.lag`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from worker.core.delivery.handover_messages import Assigned
from worker.core.delivery.lag import LagReport, LagTracker
from worker.core.records import Partition
from worker.pipeline.in_flight import RecordInFlight, RecordsInFlight
from worker.pipeline.latencies import written_at_s
from worker.pipeline.ports import Source

REPORT_S = 1.0  # between two reports


class LagWatch(Protocol):
    """Who shows the lag."""

    def lag(self, report: LagReport) -> None:
        """Replace the lag of all assigned partitions; the series of all others go."""


class LagReporter:
    """Keeps count of commits and reports; `wall` gives seconds since 1970, `clock` monotonic seconds."""

    def __init__(
        self,
        source: Source,
        watch: LagWatch,
        *,
        flight: RecordsInFlight,
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._source, self._watch, self._flight = source, watch, flight
        self._wall, self._clock = wall, clock
        self._tracker = LagTracker()
        self._next_s = 0.0

    def assigned(self, event: Assigned) -> None:
        """Begin a partition."""
        start = event.committed if event.resume_at is None else event.resume_at
        self._tracker.assigned(event.partition, start, now_s=self._wall())
        self._next_s = 0.0

    def released(self, partition: Partition, commit_offset: int, entries: Sequence[RecordInFlight]) -> None:
        """Note a commit, and the records that it covers."""
        last = entries[-1] if entries else None
        self._tracker.committed(
            partition,
            commit_offset,
            num_records=len(entries),
            written_s=written_at_s(last.record) if last else None,
            event_s=last.event_s if last else None,
            now_s=self._wall(),
        )

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        self._tracker.drop(partitions)
        self._next_s = 0.0

    def tick(self, paused: Collection[Partition]) -> None:
        """Report if a second has passed, or partitions came or went."""
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + REPORT_S
            marks = self._source.high_watermarks()
            self._watch.lag(self._tracker.look(marks, self._oldest_s(), paused, now_s=self._wall()))

    def _oldest_s(self) -> Mapping[Partition, float]:
        """Return when the oldest record in flight of each partition was written, or else received."""
        offset_s = self._wall() - self._clock()
        found = {}
        for entry in self._flight.heads():
            written_s = written_at_s(entry.record)
            found[entry.record.partition] = offset_s + entry.received_s if written_s is None else written_s
        return found
