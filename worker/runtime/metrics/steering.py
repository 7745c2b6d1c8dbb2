"""Metrics of the definitions that a worker follows, and of the budgets that it obeys."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge

from worker.core.steering.budgets import Period
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
        shares = Gauge(
            prefix + "budget_share",
            "Share of users that budgets of tokens pay for now, the least of any experiment and partition", ["period"],
            registry=registry,
        )  # fmt: skip
        self._budget_shares = {period: shares.labels(period) for period in Period}
        self.budgets(dict.fromkeys(Period, 1.0))

    def budgets(self, shares: Mapping[Period, float]) -> None:
        """Set the least share of users that is asked, in any experiment and partition, by period."""
        for period, share in shares.items():
            self._budget_shares[period].set(share)

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
