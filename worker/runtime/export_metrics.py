"""Metrics over OTLP: the very instruments that `/metrics` shows, vLLM's among them, read at an interval.

Names and labels are Prometheus's, without the `_total` that a collector adds again.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from threading import Event, Thread
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from worker import __version__
from worker.runtime.export_outage import LibraryLog, Outage
from worker.runtime.tracing.names import SCHEMA_URL

INTERVAL_S = 60.0  # the library's default
_SCOPE = InstrumentationScope("mirrorstream", __version__, SCHEMA_URL)
_UNKNOWN: Any = None  # which OTLP allows, and the library's types do not
Labels = tuple[tuple[str, str], ...]


class MetricsExport:
    """Sends what a registry has, every `interval_s` seconds, from a thread of its own."""

    def __init__(
        self,
        exporter: MetricExporter,
        resource: Resource,
        library: LibraryLog,
        *,
        interval_s: float = INTERVAL_S,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self.outage = Outage("metrics", "metrics")
        self._exporter, self._resource, self._library = exporter, resource, library
        self._registry, self._interval_s = registry, interval_s
        self._start_ns = time.time_ns()
        self._ends = Event()
        self._thread = Thread(target=self._run, name="metrics-export", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send once more, and close; returns when that is done."""
        self._ends.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._ends.wait(self._interval_s):
            self._send()
        self._send()

    def _send(self) -> None:
        found: list[Metric] = []
        try:
            now_ns = time.time_ns()
            found += [one for family in self._registry.collect() for one in metrics_of(family, self._start_ns, now_ns)]
            scope = ScopeMetrics(_SCOPE, found, SCHEMA_URL)
            result = self._exporter.export(MetricsData([ResourceMetrics(self._resource, [scope], SCHEMA_URL)]))
            why_not = None if result is MetricExportResult.SUCCESS else self._library.why()
        except Exception as error:  # noqa: BLE001 - as the library's own threads do: the next time may be better
            why_not = type(error).__name__
        self.outage.exported(len(found), why_not)


def metrics_of(family: Family, start_ns: int, now_ns: int) -> Iterator[Metric]:
    """Return a family as OTLP has it; none if it has no series, or is of a kind that OTLP has not."""
    if not family.samples:
        return
    if family.type == "histogram":
        data: Sum | Gauge | Histogram = Histogram(
            list(_histograms(family.samples, start_ns, now_ns)), AggregationTemporality.CUMULATIVE
        )
    elif family.type == "counter":
        totals = [one for one in family.samples if one.name.endswith("_total")]
        data = Sum(_numbers(totals, start_ns, now_ns), AggregationTemporality.CUMULATIVE, is_monotonic=True)
    elif family.type in {"gauge", "unknown", "info"}:
        data = Gauge(_numbers(family.samples, start_ns, now_ns))
    else:
        return
    yield Metric(family.name, family.documentation, family.unit, data)


def _numbers(samples: Iterable[Sample], start_ns: int, now_ns: int) -> list[NumberDataPoint]:
    return [NumberDataPoint(dict(one.labels), start_ns, now_ns, float(one.value)) for one in samples]


def _histograms(samples: Iterable[Sample], start_ns: int, now_ns: int) -> Iterator[HistogramDataPoint]:
    """Turn the series of each set of labels into a point: Prometheus counts up to each bound, OTLP between two.

    Prometheus knows neither the least nor the largest value, and OTLP needs neither.
    """
    buckets: Mapping[Labels, list[tuple[float, float]]] = defaultdict(list)
    sums: dict[Labels, float] = {}
    for one in samples:
        labels = tuple((name, value) for name, value in one.labels.items() if name != "le")
        if one.name.endswith("_bucket"):
            buckets[labels].append((float(one.labels["le"]), one.value))
        elif one.name.endswith("_sum"):
            sums[labels] = one.value
    for labels, found in buckets.items():
        bounds, counts = zip(*sorted(found), strict=True)
        between = [int(count - before) for count, before in zip(counts, (0.0, *counts), strict=False)]
        yield HistogramDataPoint(
            dict(labels),
            start_ns,
            now_ns,
            count=int(counts[-1]),
            sum=sums.get(labels, 0.0),
            bucket_counts=between,
            explicit_bounds=bounds[:-1],  # without +Inf
            min=_UNKNOWN,
            max=_UNKNOWN,
        )
