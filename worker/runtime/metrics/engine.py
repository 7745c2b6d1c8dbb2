"""Metrics of the engine's life: how often it started, how long that took, and what was asked of it again."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.core.simulation.draws import DrawRetry
from worker.runtime.metrics.labelled import counter_of

STARTED, FAILED = "started", "failed"


class EngineMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._engine_deaths = Counter(prefix + "engine_deaths_total", "Engine crashes and hangs", registry=registry)
        self._starts = counter_of(
            registry, prefix + "engine_starts_total", "Starts of the engine, by outcome", "outcome", (STARTED, FAILED)
        )
        self._load_s = Gauge(
            prefix + "engine_load_seconds", "Time that the last start of the engine took, with its self-test",
            registry=registry,
        )  # fmt: skip
        self._restarts_left = Gauge(
            prefix + "engine_restarts_left", "Deaths in a row after which the engine is still restarted",
            registry=registry,
        )  # fmt: skip
        self._seats = Gauge(prefix + "engine_seats", "Draws that may run in the engine at once", registry=registry)
        self._retries = counter_of(
            registry, prefix + "draw_retries_total", "Draws that were asked again, by reason", "reason", DrawRetry
        )

    def engine_died(self) -> None:
        """Count a death or a hang of the engine."""
        self._engine_deaths.inc()

    def engine_start(self, *, seconds: float, ok: bool) -> None:
        """Count a start of the engine, and keep how long it took, seconds, if it came up."""
        self._starts.labels(STARTED if ok else FAILED).inc()
        if ok:
            self._load_s.set(seconds)

    def restarts_left(self, number: int) -> None:
        """Set how many more deaths in a row the engine is restarted after."""
        self._restarts_left.set(number)

    def seats(self, number: int) -> None:
        """Set how many draws may run in the engine at once."""
        self._seats.set(number)

    def draw_retried(self, reason: DrawRetry) -> None:
        """Count a draw that is asked again."""
        self._retries.labels(reason).inc()
