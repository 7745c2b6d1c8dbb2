"""The metrics that each assigned partition has: their series come and go with the partition.

Ages are computed when they are asked for, so that they grow also while nothing happens.
"""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.core.delivery.lag import LagReport, PartitionLag

Value = Callable[[PartitionLag, float], float | None]  # at a time, seconds since 1970; None if it is not known

_METRICS: tuple[tuple[str, str, Value], ...] = (
    ("lag_records", "Records of a partition that are not committed", lambda one, _: one.lag),
    (
        "lag_seconds",
        "Age of the oldest record of a partition that is not committed, by its timestamp; 0 if none waits",
        lambda one, now_s: _age_s(one.behind_since_s, now_s) or 0.0,
    ),
    ("high_watermark", "End of a partition in Kafka, as of its last fetch", lambda one, _: one.high_watermark),
    ("committed_offset", "Offset of a partition at which a restart goes on", lambda one, _: one.commit_offset),
    (
        "commit_age_seconds",
        "Time since a partition was last committed, or assigned",
        lambda one, now_s: _age_s(one.committed_s, now_s),
    ),
    (
        "event_time_watermark_age_seconds",
        "Age of the event of a partition that was committed last, by its own time",
        lambda one, now_s: _age_s(one.event_s, now_s),
    ),
)


class LagMetrics(Collector):
    """Shows the last report."""

    def __init__(self, prefix: str, wall: Callable[[], float] = time.time) -> None:
        self.report = LagReport((), 0.0)
        self._prefix, self._wall = prefix, wall

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families, with one series per assigned partition."""
        report, now_s = self.report, self._wall()
        for name, text, value_of in _METRICS:
            family = GaugeMetricFamily(self._prefix + name, text, labels=["topic", "partition"])
            for one in report.partitions:
                value = value_of(one, now_s)
                if value is not None:
                    family.add_metric([one.partition.topic, str(one.partition.number)], value)
            yield family
        text = "Lag of this worker's partitions by the records that it commits per second while it is behind"
        yield GaugeMetricFamily(self._prefix + "drain_seconds", text, value=report.drain_s)


def _age_s(then_s: float | None, now_s: float) -> float | None:
    return None if then_s is None else max(0.0, now_s - then_s)
