"""Metrics over OTLP are those of /metrics, written once."""

import logging
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from tests.support.collector import Collector, attributes
from tests.support.patience import patience
from worker.core.errors import BadSettings
from worker.core.simulation.draws import EngineCard
from worker.runtime import export
from worker.runtime.export import Exports, start_exports
from worker.runtime.export_metrics import MetricsExport, metrics_of
from worker.runtime.telemetry import Telemetry

CARD = EngineCard("choice-model", "0", "choice-model", None, {}, reads_prompt=False)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    found = CollectorRegistry()
    made = MetricsExport
    monkeypatch.setattr(export, "MetricsExport", lambda *args, **more: made(*args, **more, registry=found))
    return found


@pytest.fixture(params=["http/protobuf", "grpc"])
def collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector(request.param) as found:
        for name, value in found.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
        monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
        yield found


def started() -> Exports:
    exports = start_exports()
    assert exports is not None
    return exports


def test_every_family_of_a_worker_is_exported_with_its_values(
    collector: Collector, registry: CollectorRegistry
) -> None:
    telemetry = Telemetry(CARD, registry=registry)
    telemetry.consumed()
    telemetry.event_committed((0.0,) * 8, end_to_end_s=0.02)
    telemetry.event_committed((0.0,) * 8, end_to_end_s=7.0)
    started().stop()
    families = {family.name for family in registry.collect() if family.samples}
    assert collector.metrics.keys() == families
    assert len(families) > 40
    (consumed,) = collector.metrics["mirrorstream_records_consumed"].sum.data_points
    assert (consumed.as_double, collector.metrics["mirrorstream_records_consumed"].sum.is_monotonic) == (1.0, True)
    (latency,) = collector.metrics["mirrorstream_end_to_end_seconds"].histogram.data_points
    assert (latency.count, latency.sum) == (2, 7.02)
    by_bound = dict(zip(latency.explicit_bounds, latency.bucket_counts, strict=False))
    assert {bound: count for bound, count in by_bound.items() if count} == {0.025: 1, 10.0: 1}
    assert len(latency.bucket_counts) == len(latency.explicit_bounds) + 1
    build = collector.metrics["mirrorstream_build_info"].gauge.data_points[0]
    assert attributes(build.attributes)["engine"] == "choice-model"


def test_metrics_are_sent_at_the_interval_too(
    collector: Collector, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    Gauge("now", "A gauge", registry=registry).set(7)
    exports = started()
    patience_left = int(patience(30) / 0.01)
    for _ in range(patience_left):
        if collector.requests.total() > 2:
            break
        exports.metrics._ends.wait(0.01)  # type: ignore[union-attr]
    exports.stop()
    assert collector.requests.total() > 2
    assert collector.metrics["now"].gauge.data_points[0].as_double == 7.0


@pytest.mark.parametrize("text", ["soon", "-1", "0"])
def test_an_interval_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", text)
    with pytest.raises(BadSettings, match="OTEL_METRIC_EXPORT_INTERVAL"):
        start_exports()


def test_each_signal_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    assert start_exports() is None


def test_an_outage_is_one_line_when_it_begins(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(export, "STOP_S", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    Gauge("now", "A gauge", registry=registry)
    started().stop()
    said = [one.getMessage().partition("(")[0] for one in caplog.records]
    assert len(said) == 1
    assert said[0].startswith("metrics: the collector ")


def test_labels_and_kinds_are_kept() -> None:
    registry = CollectorRegistry()
    Counter("done_total", "Done", ["kind"], registry=registry).labels("a").inc(2)
    sizes = Histogram("size", "Sizes", ["of"], buckets=(1, 2), registry=registry)
    for of, size in (("a", 0.5), ("a", 5), ("b", 1.5)):
        sizes.labels(of).observe(size)
    Summary("s", "A summary, which OTLP has only for old times' sake", registry=registry)
    found = {metric.name: metric.data for family in registry.collect() for metric in metrics_of(family, 1, 2)}
    assert found.keys() == {"done", "size"}
    (done,) = found["done"].data_points
    assert (dict(done.attributes or {}), done.value) == ({"kind": "a"}, 2.0)  # type: ignore[union-attr]
    points = {dict(one.attributes or {})["of"]: one.bucket_counts for one in found["size"].data_points}  # type: ignore[union-attr]
    assert points == {"a": [1, 0, 1], "b": [0, 1, 0]}
