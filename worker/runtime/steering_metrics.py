"""Metrics of the definitions that a worker follows."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.core.steering.followed import Taken


class SteeringMetrics:
    """A part of `Telemetry`; the series of a topic are there once it is followed."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._followed = Counter(
            prefix + "followed_records_total", "Records of topics that steer this worker, by result",
            ["topic", "result"], registry=registry,
        )  # fmt: skip
        self._following = Gauge(
            prefix + "topic_followed", "1 while this topic, which steers this worker, can be read", ["topic"],
            registry=registry,
        )  # fmt: skip
        self._running = Gauge(
            prefix + "experiments_running", "Experiments whose definition is RUNNING", registry=registry
        )
        self._decided = Gauge(
            prefix + "experiments_decided", "Running experiments whose asking has ended (stop_when_decided)",
            registry=registry,
        )  # fmt: skip

    def followed(self, topic: str, taken: Taken) -> None:
        """Count a record of a topic that is followed."""
        self._followed.labels(topic, taken).inc()

    def following(self, topic: str, *, is_read: bool) -> None:
        """Set whether the newest records of a topic are known."""
        self._following.labels(topic).set(is_read)
        for taken in Taken:
            self._followed.labels(topic, taken)

    def experiments(self, *, running: int, decided: int) -> None:
        """Set how many experiments are running, and how many of these have ended asking."""
        self._running.set(running)
        self._decided.set(decided)
