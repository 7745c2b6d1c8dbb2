"""Metrics of what is let in: micro-batches, and the window of what may be in flight."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram

from worker.core.delivery.micro_batcher import BatchEnd
from worker.core.delivery.window import ShutBy
from worker.runtime.metrics.labelled import counter_of

_BUDGETS = (ShutBy.RECORDS, ShutBy.BYTES, ShutBy.TOKENS)
_BATCH_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)


class AdmissionMetrics:
    """A part of `Telemetry`; every series is there at 0 from the start."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._batches = counter_of(
            registry, prefix + "batches_total", "Micro-batches, by why they closed", "reason", BatchEnd
        )
        self._batch_records = Histogram(
            prefix + "batch_records", "Events of a micro-batch", buckets=_BATCH_RECORDS, registry=registry
        )
        shares = Gauge(
            prefix + "window_share", "Share of each of the window's budgets in flight", ["of"], registry=registry
        )
        self._shares = [shares.labels(budget) for budget in _BUDGETS]
        shut = Gauge(prefix + "window_shut", "1 while partitions are paused for this", ["reason"], registry=registry)
        self._shut = {reason: shut.labels(reason) for reason in ShutBy}
        self._shut_by: ShutBy | None = None

    def batch(self, num_records: int, ended_by: BatchEnd) -> None:
        """Count a micro-batch that closed."""
        self._batches.labels(ended_by).inc()
        self._batch_records.observe(num_records)

    def window(self, shares: Sequence[float], shut_by: ShutBy | None) -> None:
        """Set the shares of the window's budgets (records, bytes, tokens), and why partitions are paused."""
        for gauge, share in zip(self._shares, shares, strict=True):
            gauge.set(share)
        if shut_by is not self._shut_by:
            for reason in (self._shut_by, shut_by):
                if reason is not None:
                    self._shut[reason].set(reason is shut_by)
            self._shut_by = shut_by
