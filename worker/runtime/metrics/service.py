"""Metrics of the services that a worker asks: the schema registry, and vLLM servers."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.core.service_requests import RegistryEnd, ServerEnd
from worker.runtime.metrics.labelled import counter_of

_REGISTRY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SERVER_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class ServiceMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start, of servers from when they are named."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._registry_requests = counter_of(
            registry, prefix + "registry_requests_total", "Requests to the schema registry, by how they ended",
            "outcome", RegistryEnd,
        )  # fmt: skip
        self._registry_s = Histogram(
            prefix + "registry_request_seconds", "Duration of requests to the schema registry",
            buckets=_REGISTRY_SECONDS, registry=registry,
        )  # fmt: skip
        self._server_up = Gauge(
            prefix + "server_up", "1 while draws are sent to this vLLM server", ["server"], registry=registry
        )
        self._server_yielding = Gauge(
            prefix + "server_yielding", "1 while this shared vLLM server is left to others, and its draws wait",
            ["server"], registry=registry,
        )  # fmt: skip
        self._server_seats = Gauge(
            prefix + "server_seats", "Draws that this shared vLLM server may have from this worker now", ["server"],
            registry=registry,
        )  # fmt: skip
        self._server_in_flight = Gauge(
            prefix + "server_requests_in_flight", "Requests of draws that this vLLM server has not answered yet",
            ["server"], registry=registry,
        )  # fmt: skip
        self._server_requests = Counter(
            prefix + "server_requests_total", "Requests of draws to this vLLM server, by how they ended",
            ["server", "outcome"], registry=registry,
        )  # fmt: skip
        self._server_s = Histogram(
            prefix + "server_request_seconds", "Duration of requests that this vLLM server answered", ["server"],
            buckets=_SERVER_SECONDS, registry=registry,
        )  # fmt: skip

    def registry_asked(self, end: RegistryEnd, seconds: float) -> None:
        """Count a request to the registry by how it ended, and how long that took, seconds."""
        self._registry_requests.labels(end).inc()
        self._registry_s.observe(seconds)

    def server_up(self, url: str, *, is_up: bool) -> None:
        """Set whether a server is asked."""
        self._server_up.labels(url).set(is_up)
        self._server_in_flight.labels(url)
        self._server_s.labels(url)
        for end in ServerEnd:
            self._server_requests.labels(url, end)

    def server_yields(self, url: str, *, yields: bool, seats: int) -> None:
        """Set whether a server that is shared is left to others, and how many draws it may have from us."""
        self._server_yielding.labels(url).set(yields)
        self._server_seats.labels(url).set(seats)

    def server_asked(self, url: str) -> None:
        """Count a request to a server as in flight."""
        self._server_in_flight.labels(url).inc()

    def server_done(self, url: str, end: ServerEnd, seconds: float) -> None:
        """Count the end of a request to a server, and how long it was in flight, seconds."""
        self._server_in_flight.labels(url).dec()
        self._server_requests.labels(url, end).inc()
        if end is ServerEnd.ANSWERED:
            self._server_s.labels(url).observe(seconds)
