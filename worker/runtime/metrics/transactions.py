"""Metrics of transactions and rebalances: how they ended, and how long others waited for them."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from worker.core.delivery.handover_messages import FenceCause, FlushEnd, Rebalanced, RebalanceKind
from worker.runtime.metrics.labelled import counter_of

_FLUSH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_REBALANCE_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class TransactionMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._flushes = counter_of(registry, prefix + "flushes_total", "Transactions, by outcome", "outcome", FlushEnd)
        self._flush_s = Histogram(
            prefix + "flush_duration_seconds", "Duration of a transaction", buckets=_FLUSH_SECONDS, registry=registry
        )
        self._in_doubt_s = Histogram(
            prefix + "in_doubt_seconds",
            "Time until a transaction in doubt was settled",
            buckets=_REBALANCE_SECONDS,
            registry=registry,
        )
        self._rebuilt = Counter(
            prefix + "producers_rebuilt_total", "Producers rebuilt to settle a transaction in doubt", registry=registry
        )
        self._fences = counter_of(
            registry,
            prefix + "fences_total",
            "Refusals of our producer or member by a broker, by cause",
            "cause",
            FenceCause,
        )
        rebalances = Histogram(
            prefix + "rebalance_duration_seconds",
            "Duration of rebalance callbacks, by kind",
            ["kind"],
            buckets=_REBALANCE_SECONDS,
            registry=registry,
        )
        self._rebalance_s = {kind: rebalances.labels(kind) for kind in RebalanceKind}
        self._moved = counter_of(
            registry, prefix + "partitions_moved_total", "Partitions of rebalances, by kind", "kind", RebalanceKind
        )

    def flushed(self, end: FlushEnd, seconds: float) -> None:
        """Count a transaction by its end, and its duration, seconds."""
        self._flushes.labels(end).inc()
        self._flush_s.observe(seconds)

    def settled(self, seconds: float) -> None:
        """Count a rebuilt producer, and how long its transaction was in doubt, seconds."""
        self._rebuilt.inc()
        self._in_doubt_s.observe(seconds)

    def fenced(self, fence: FenceCause) -> None:
        """Count a broker's refusal of our producer or member."""
        self._fences.labels(fence).inc()

    def rebalanced(self, rebalanced: Rebalanced) -> None:
        """Count a rebalance, its partitions, and how long it took."""
        self._rebalance_s[rebalanced.kind].observe(rebalanced.seconds)
        self._moved.labels(rebalanced.kind).inc(rebalanced.num_partitions)
