"""Metrics of time: of a draw, of an event in each stage, and until its commit."""

import time
from bisect import bisect_left
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.core.delivery.stages import LatencyStage

_LLM_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_END_TO_END_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
_STAGE_SECONDS = (0.001, 0.005, *_END_TO_END_SECONDS)
# How old a bucket's exemplar is before it is replaced, seconds; a scrape reads the last one only.  The client checks
# each: for the 15 observations of an event with six draws that took 28 µs of CPU, and takes 4 (2026-11).
EXEMPLAR_S = 1.0


class LatencyMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        draw_s = Histogram(
            prefix + "draw_duration_seconds",
            "Duration of a draw in the engine",
            buckets=_LLM_SECONDS,
            registry=registry,
        )
        self._draw_s = _WithExemplars(draw_s, _LLM_SECONDS)
        end_to_end_s = Histogram(
            prefix + "end_to_end_seconds",
            "Time from a record's timestamp to the commit of its answer",
            buckets=_END_TO_END_SECONDS,
            registry=registry,
        )
        self._end_to_end_s = _WithExemplars(end_to_end_s, _END_TO_END_SECONDS)
        self._untimed = Counter(
            prefix + "records_without_time_total", "Answered records without a usable timestamp", registry=registry
        )
        stages = Histogram(
            prefix + "stage_seconds",
            "Time of an event in each stage until its commit",
            ["stage"],
            buckets=_STAGE_SECONDS,
            registry=registry,
        )
        self._stages_s = [_WithExemplars(stages.labels(stage), _STAGE_SECONDS) for stage in LatencyStage]

    def event_committed(self, stages_s: Sequence[float], *, end_to_end_s: float | None, trace_id: str = "") -> None:
        """Count a committed event's seconds by stage and in all; without the latter, None, as one without time.

        A recorded trace is the exemplar of both.
        """
        for stage_s, seconds in zip(self._stages_s, stages_s, strict=True):
            stage_s.observe(seconds, trace_id)
        if end_to_end_s is None:
            self._untimed.inc()
        else:
            self._end_to_end_s.observe(end_to_end_s, trace_id)

    def draw_ended(self, seconds: float, *, trace_id: str = "") -> None:
        """Count how long a draw took, seconds; a recorded trace is the exemplar."""
        self._draw_s.observe(seconds, trace_id)


class _WithExemplars:
    """A histogram that gives a bucket an exemplar where its last one is old; `bounds` are its buckets."""

    def __init__(self, histogram: Histogram, bounds: Sequence[float]) -> None:
        self._observe, self._bounds = histogram.observe, bounds
        self._until_s = [0.0] * (len(bounds) + 1)  # monotonic

    def observe(self, seconds: float, trace_id: str) -> None:
        """Count a number of seconds; `trace_id` is "" if nobody keeps the trace."""
        if trace_id:
            now_s, bucket = time.monotonic(), bisect_left(self._bounds, seconds)
            if now_s >= self._until_s[bucket]:
                self._until_s[bucket] = now_s + EXEMPLAR_S
                self._observe(seconds, {"trace_id": trace_id})
                return
        self._observe(seconds)
