"""Export to a collector over HTTP: what the variables say, and what a collector that is away costs."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Event, Thread, enumerate as enumerate_threads
from typing import ClassVar

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import Link, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

from tests.support.examples import record
from tests.support.patience import patience
from worker.core.errors import BadSettings
from worker.core.simulation.draws import EngineCard
from worker.runtime import export
from worker.runtime.export import Exports, start_exports
from worker.runtime.telemetry import Telemetry

CARD = EngineCard("choice-model", "0", "choice-model", None, {}, reads_prompt=False)


@pytest.fixture
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the machine that runs the tests has set, and keep the provider from the other tests."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda _: None)


NOWHERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        NOWHERE | {"OTEL_SDK_DISABLED": "TRUE"},
        NOWHERE | {"OTEL_TRACES_EXPORTER": "none"},
    ],
)
@pytest.mark.usefixtures("_no_variables")
def test_nothing_is_exported_without_an_endpoint_or_where_it_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert start_exports() is None


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "thrift"}, "OTEL_EXPORTER_OTLP_PROTOCOL: thrift; want http/protobuf or grpc"),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/json; want http/protobuf",
        ),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: zipkin; want otlp or none"),
        ({"OTEL_SPAN_LINK_COUNT_LIMIT": "x"}, "OTEL_SPAN_LINK_COUNT_LIMIT must be a non-negative integer but got x"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "2"}, "max_export_batch_size must be less than or equal to max_queue_size"),
        (
            {"OTEL_EXPORTER_OTLP_COMPRESSION": "zip", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_COMPRESSION",
        ),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "could not convert"),
        (
            {"OTEL_METRIC_EXPORT_INTERVAL": "9" * 20},
            "OTEL_METRIC_EXPORT_INTERVAL: 9+; want milliseconds, 1 to 86400000",
        ),
    ],
)
@pytest.mark.usefixtures("_no_variables")
def test_variables_that_cannot_be_used_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    for name, value in (NOWHERE | variables).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=told):
        start_exports()


class Collector(BaseHTTPRequestHandler):
    """Keeps what is posted."""

    posted: ClassVar[list[tuple[str, str | None, bytes]]] = []
    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.posted.append((self.path, self.headers["Content-Type"], body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("protocol", ["", "http/protobuf"])
@pytest.mark.usefixtures("_no_variables")
def test_spans_are_posted_to_the_endpoint_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, collector: str, protocol: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shadow-worker")
    Collector.posted.clear()
    tracing = start_exports()
    assert tracing is not None
    span(tracing)
    tracing.stop()
    ((path, kind, body),) = Collector.posted
    assert (path, kind) == ("/v1/traces", "application/x-protobuf")
    assert b"process impressions" in body
    assert b"shadow-worker" in body


@pytest.mark.usefixtures("_no_variables")
def test_grpc_is_another_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its port is another too, so a collector that takes grpc alone is one of the usual cases."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    tracing = start_exports()
    assert tracing is not None
    assert tracing.traces is not None
    assert "grpc" in tracing.traces.process.made_by[0]
    tracing.stop()


@pytest.mark.usefixtures("_no_variables")
def test_the_resource_is_what_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name or a version of a deployment wins over ours; OTEL_SERVICE_NAME wins over both."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shadow,service.version=7,k8s.pod.name=a-0")

    def attributes() -> dict[str, object]:
        tracing = start_exports()
        assert tracing is not None
        tracing.stop()
        return dict(provider_of(tracing).resource.attributes)

    found = attributes()
    assert (found["service.name"], found["service.version"], found["k8s.pod.name"]) == ("shadow", "7", "a-0")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named")
    assert attributes()["service.name"] == "named"


@pytest.mark.usefixtures("_no_variables")
def test_the_resource_is_hashed_once_and_not_for_each_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's writes itself as JSON each time that a span is encoded."""
    tracing = start_exports(NOWHERE | {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})
    assert tracing is not None
    tracing.stop()
    found = provider_of(tracing).resource
    same = Resource(found.attributes, found.schema_url)
    assert (found, hash(found)) == (same, hash(same))
    monkeypatch.setattr("opentelemetry.sdk.resources.dumps", lambda *_, **__: pytest.fail("written again"))
    assert {found: 1}[found] == 1


@pytest.mark.usefixtures("_no_variables")
def test_a_collector_that_is_away_is_one_line_and_a_count(
    monkeypatch: pytest.MonkeyPatch, collector: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One when it begins, with why, and one when it ends, however many batches there are."""
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
    Collector.posted.clear()
    tracing, dropped = start_exports(), list[int]()
    assert tracing is not None
    tracing.watch(dropped.append)
    for number in (3, 2):
        Collector.status = 404
        for _ in range(number):
            span(tracing)
            provider_of(tracing).force_flush()
        Collector.status = 200
        span(tracing)
        provider_of(tracing).force_flush()
    tracing.stop()
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.INFO]
    assert [line.partition("(")[0] for line in lines] == [
        "traces: the collector takes no spans ",
        "traces: the collector takes spans again; 3 were dropped",
        "traces: the collector takes no spans ",
        "traces: the collector takes spans again; 2 were dropped",
    ]
    assert "404" in lines[0]
    assert sum(dropped) == 5


@pytest.mark.usefixtures("_no_variables")
def test_a_batch_that_an_exporter_cannot_write_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracing, dropped = start_exports(), list[int]()
    assert tracing is not None
    tracing.watch(dropped.append)
    monkeypatch.setattr("worker.runtime.span_process.process.pack", lambda _: "\ud800".encode())
    span(tracing)
    tracing.stop()
    assert sum(dropped) == 1
    assert [one.getMessage() for one in caplog.records] == [
        "traces: the collector takes no spans (UnicodeEncodeError); they are dropped"
    ]


@pytest.mark.usefixtures("_no_variables")
def test_a_collector_that_hangs_does_not_hold_a_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The library's own end takes up to 30 s; a pod that stops has not got them."""
    monkeypatch.setattr(export, "STOP_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        tracing = start_exports()
        assert tracing is not None
        span(tracing)
        start_s = time.monotonic()
        tracing.stop()
        assert time.monotonic() - start_s < patience(2.0, below_s=10.0)
        # Once nothing listens any more, the library's own thread says so.
        assert [one.getMessage() for one in caplog.records] == [
            "traces: the collector did not take the last spans within 0.3 s; they are dropped"
        ]
    for thread in enumerate_threads():
        if thread.name == "export-stop":
            thread.join(patience(30))


@pytest.mark.usefixtures("_no_variables")
def test_what_a_full_queue_drops_is_counted_without_a_line_each(
    monkeypatch: pytest.MonkeyPatch, collector: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    entered, released = Event(), Event()
    tracing, dropped = start_exports(), list[int]()
    assert tracing is not None
    tracing.watch(dropped.append)

    def hold(_: object) -> None:
        entered.set()
        released.wait(patience(30))

    assert tracing.traces is not None
    monkeypatch.setattr(tracing.traces.process, "why_not", hold)
    span(tracing)
    span(tracing)
    assert entered.wait(patience(30))
    for _ in range(5):
        span(tracing)
    released.set()
    tracing.stop()
    assert sum(dropped) == 3
    assert caplog.records == []


def provider_of(exports: Exports) -> TracerProvider:
    assert exports.traces is not None
    return exports.traces.provider


def span(tracing: Exports) -> None:
    """Trace one impression."""
    own = Telemetry(CARD, registry=CollectorRegistry(), tracer=provider_of(tracing).get_tracer("test"))
    own.record(record()).dropped()


@pytest.mark.usefixtures("_no_variables")
def test_a_transaction_has_room_for_its_links_and_is_sampled_with_its_records(
    monkeypatch: pytest.MonkeyPatch, collector: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    tracing = start_exports()
    assert tracing is not None
    sampled = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    found = provider_of(tracing).get_tracer("test").start_span("send", Context(), links=[Link(sampled)] * 256)
    assert isinstance(found, ReadableSpan)
    assert (len(found.links), found.dropped_links) == (256, 0)
    assert not provider_of(tracing).get_tracer("test").start_span("send", Context()).is_recording()
    tracing.stop()
