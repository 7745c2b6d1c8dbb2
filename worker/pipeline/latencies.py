"""How long an event took, once its answer is durable: from its record's timestamp to the commit, and by stage.

Answers that wait behind an older record, or for a transaction, are not there yet for any reader.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from worker.core.delivery.stages import Marks, durations
from worker.core.records import Record
from worker.pipeline.in_flight import RecordInFlight

# A record from before 2000 has a time in seconds, or none: it would count as one that waited for decades.
MIN_WRITTEN_MS = 946_684_800_000


class LatencyWatch(Protocol):
    """Who counts latencies."""

    def event_committed(self, stages_s: Sequence[float], *, end_to_end_s: float | None, trace_id: str) -> None:
        """Count an answered event that was committed: seconds by stage, in the order of `LatencyStage`, and in all.

        Without a usable timestamp `end_to_end_s` is None, and the first stage, in the topic, 0.  `trace_id` is "" for
        an event whose trace nobody keeps.
        """


class Latencies:
    """Reports the latency of committed events; `wall` gives seconds since 1970, `clock` monotonic seconds."""

    def __init__(self, watch: LatencyWatch, *, wall: Callable[[], float], clock: Callable[[], float]) -> None:
        self._watch, self._wall, self._clock = watch, wall, clock

    def released(self, entries: Iterable[RecordInFlight], sent_s: float) -> None:
        """Report the answered ones of records that were committed just now, and end the traces of all.

        The others have no answer to wait for.  `sent_s` is when their transaction began, monotonic.
        """
        wall_s, now_s = self._wall(), self._clock()
        for entry in entries:
            written_s = written_at_s(entry.record)
            whole_s = None if written_s is None else max(0.0, wall_s - written_s)
            marks = _marks(entry, whole_s, sent_s=sent_s, now_s=now_s)
            if entry.answered_s is not None and not entry.num_letters:
                trace_id = entry.trace.trace_id
                self._watch.event_committed(durations(marks), end_to_end_s=whole_s, trace_id=trace_id)
            entry.trace.committed(marks)


def written_at_s(record: Record) -> float | None:
    """Return when a record was written, seconds since 1970; None without a time, or with one that is none."""
    written_ms = record.timestamp_ms
    return written_ms / 1000 if written_ms is not None and written_ms >= MIN_WRITTEN_MS else None


def _marks(entry: RecordInFlight, whole_s: float | None, *, sent_s: float, now_s: float) -> Marks:
    polled_s = entry.record.polled_s or entry.received_s
    return Marks(
        polled_s if whole_s is None else now_s - whole_s,
        polled_s,
        entry.received_s,
        entry.batched_s,
        entry.asked_s,
        entry.drawn_s,
        entry.answered_s or entry.drawn_s,
        sent_s,
        now_s,
    )
