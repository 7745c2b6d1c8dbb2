"""What the two Kafka clients of a worker say of themselves, with a label for each."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.core.client_stats import ClientStats

Report = Callable[[], ClientStats]

_GAUGES: tuple[tuple[str, str, Callable[[ClientStats], float]], ...] = (
    (
        "round_trip_seconds",
        "99th percentile of a Kafka client's requests, of its slowest broker; a consumer's wait for records is in it",
        lambda one: one.round_trip_s,
    ),
    ("throttle_seconds", "99th percentile of how long brokers throttle a Kafka client", lambda one: one.throttle_s),
    (
        "pending_requests",
        "Requests of a Kafka client that are not sent or not answered yet",
        lambda one: one.num_requests,
    ),
    (
        "queued_messages",
        "Messages in a Kafka client: fetched and not polled, or produced and not delivered",
        lambda one: one.num_messages,
    ),
    ("queued_bytes", "The bytes of these messages", lambda one: one.num_bytes),
)


class ClientMetrics(Collector):
    """Shows the last report of each client; `reports` are set once there are clients."""

    def __init__(self, prefix: str) -> None:
        self.reports: Mapping[str, Report] = {"consumer": ClientStats, "producer": ClientStats}
        self._prefix = f"{prefix}kafka_"

    def collect(self) -> Iterator[Metric]:
        """Yield the families, with one series per client."""
        found = {client: report() for client, report in self.reports.items()}
        for name, text, value_of in _GAUGES:
            family = GaugeMetricFamily(self._prefix + name, text, labels=["client"])
            for client, one in found.items():
                family.add_metric([client], value_of(one))
            yield family
        text = "Requests of a Kafka client that failed or timed out"
        failures = CounterMetricFamily(self._prefix + "request_failures", text, labels=["client"])
        for client, one in found.items():
            failures.add_metric([client], one.num_failures)
        yield failures
