"""Metrics of time: of a draw, of an event in each stage, and until its commit."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.core.delivery.stages import LatencyStage

_LLM_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_END_TO_END_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
_STAGE_SECONDS = (0.001, 0.005, *_END_TO_END_SECONDS)


class LatencyMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._draw_s = Histogram(
            prefix + "draw_duration_seconds",
            "Duration of a draw in the engine",
            buckets=_LLM_SECONDS,
            registry=registry,
        )
        self._end_to_end_s = Histogram(
            prefix + "end_to_end_seconds",
            "Time from a record's timestamp to the commit of its answer",
            buckets=_END_TO_END_SECONDS,
            registry=registry,
        )
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
        self._observe_stage = [stages.labels(stage).observe for stage in LatencyStage]

    def event_committed(self, stages_s: Sequence[float], *, end_to_end_s: float | None, trace_id: str = "") -> None:
        """Count a committed event's seconds by stage and in all; without the latter, None, as one without time.

        A recorded trace is the exemplar of both.
        """
        exemplar = _exemplar(trace_id)
        for observe, seconds in zip(self._observe_stage, stages_s, strict=True):
            observe(seconds, exemplar)
        if end_to_end_s is None:
            self._untimed.inc()
        else:
            self._end_to_end_s.observe(end_to_end_s, exemplar)

    def draw_ended(self, seconds: float, *, trace_id: str = "") -> None:
        """Count how long a draw took, seconds; a recorded trace is the exemplar."""
        self._draw_s.observe(seconds, _exemplar(trace_id))


def _exemplar(trace_id: str) -> dict[str, str] | None:
    return {"trace_id": trace_id} if trace_id else None
