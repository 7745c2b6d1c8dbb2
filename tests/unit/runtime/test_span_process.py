"""The process that sends spans: it sends what the SDK would, may die or freeze, and never outlives the worker."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags, TraceState
from prometheus_client import CollectorRegistry

from tests.support.collector import Collector
from tests.support.examples import record
from tests.support.fakes import FakeEngine, jumping
from tests.support.patience import patience
from tests.support.world import POISON, A, World, event, working
from tests.unit.runtime.test_spans import SAMPLED, Traced, marks
from worker.runtime import export, export_traces
from worker.runtime.export import Exports, start_exports
from worker.runtime.span_process import process
from worker.runtime.span_process.pack import pack
from worker.runtime.span_process.unpack import unpack
from worker.runtime.telemetry import Telemetry
from worker.runtime.tracing.plain_spans import PlainSpan


class Word(StrEnum):
    ONE = "one"


# -- what is sent


class Taken(SpanProcessor):
    """Takes the spans of the worker as they are, as the export's queue does."""

    def __init__(self) -> None:
        self.spans: list[PlainSpan] = []
        self.take = self.spans.append


@jumping
async def test_a_whole_event_is_sent_as_the_sdk_would_send_it() -> None:
    """Links, a state, answers, a dead letter, and a skip: all that a span of the worker can have."""
    taken = Taken()
    traced = Traced(processor=taken)
    world = World(telemetry=traced.telemetry)
    async with working(world):
        await world.read(event(), POISON, headers=(*SAMPLED, ("tracestate", b"vendor=1,other=2")))
        await world.read(event("event-2"), first=2)
        await world.committed(A, 3)
    finished = [span.finished() for span in taken.spans]
    assert len(finished) > 2 * 10
    assert {one.status.status_code for one in finished} == {StatusCode.UNSET, StatusCode.ERROR}
    assert {len(one.links) for one in finished} > {0, 1, 2}
    assert encode_spans(unpack(pack(taken.spans))) == encode_spans(finished)
    mixed: list[ReadableSpan | PlainSpan] = [*taken.spans[:5], *spans_of_others(with_events=True), *taken.spans[5:]]
    expected = [*finished[:5], *spans_of_others(with_events=True), *finished[5:]]
    assert len(encode_spans(unpack(pack(mixed))).SerializeToString()) == len(encode_spans(expected).SerializeToString())
    traced.provider.shutdown()


def spans_of_others(name: str = "b", *, with_events: bool) -> Sequence[ReadableSpan]:
    """Links, states, limits, more than one scope: whoever uses the global provider may have them."""
    kept = InMemorySpanExporter()
    limits = SpanLimits(max_span_attributes=9, max_events=1, max_links=1, max_event_attributes=1, max_link_attributes=1)
    provider = TracerProvider(resource=Resource({"a": name, "n": [1, 2]}, "https://schema"), span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    state = TraceState([("vendor", "x"), ("other", "y")])
    remote = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    odd: list[Any] = [
        Word.ONE, "", "long" * 99, "\u00e4", 0, 1, True, False, 1.0, -0.0, -1, (1 << 63) - 1, -(1 << 63), b"", b"bytes",
        (1, True, "x"), ("",), (), ["a", None], {"k": "v"}, None, 1 << 63, "\ud800",
    ]  # fmt: skip
    for scope in ("one", "two", "one"):
        tracer = provider.get_tracer(scope, "1", "https://schema/of/" + scope, {"scope": True})
        links = [Link(remote, {"x": 1, "y": 2.5}), Link(remote)]
        parent = trace.set_span_in_context(NonRecordingSpan(remote), Context())
        for number, value in enumerate(odd):
            attributes = {**{f"cut {one}": one for one in range(number)}, "same": 1, "odd": value}
            span = tracer.start_span("odd \u00e4", parent, SpanKind.SERVER, attributes, links[: number % 3])
            span.set_status(*((StatusCode.ERROR, "why"), (StatusCode.OK, None), (StatusCode.UNSET, None))[number % 3])
            if with_events:
                span.add_event("happened", {"e": "1", "f": 2})
                span.add_event("again")
            span.end()
            parent = trace.set_span_in_context(span, Context())
    provider.shutdown()
    return kept.get_finished_spans()


@pytest.mark.parametrize("with_events", [False, True])
def test_spans_of_others_are_sent_as_the_sdk_would_send_them(*, with_events: bool) -> None:
    found = spans_of_others(with_events=with_events)
    for one in found:
        assert encode_spans(unpack(pack([one]))) == encode_spans([one])
    assert encode_spans(unpack(pack(found))) == encode_spans(found)
    assert {one.dropped_links for one in found} == {0, 1}


def test_spans_of_several_scopes_and_resources_keep_their_own() -> None:
    both = spans_of_others(with_events=False), reversed(spans_of_others("c", with_events=False))
    mixed = [one for pair in zip(*both, strict=True) for one in pair]
    assert encode_spans(unpack(pack(mixed))) == encode_spans(mixed)


# -- the process


@pytest.fixture
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in (("NO_PROXY", "127.0.0.1"), ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda _: None)
    monkeypatch.setattr(process, "MAX_PAUSE_S", 0.0)


@pytest.fixture(params=["http/protobuf", "grpc"])
def collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, _clean: None) -> Iterator[Collector]:
    with Collector(request.param) as found:
        for name, value in found.variables.items():
            monkeypatch.setenv(name, value)
        yield found


class Running:
    """An export whose dropped spans are counted."""

    def __init__(self) -> None:
        self.exports = start()
        self.dropped: list[int] = []
        self.exports.watch(self.dropped.append)
        assert self.exports.traces is not None
        self.process = self.exports.traces.process
        self._provider = self.exports.traces.provider

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def span(self, name: str) -> None:
        self._provider.get_tracer("test").start_span(name, Context()).end()

    def send(self, name: str) -> None:
        self.span(name)
        self._provider.force_flush()


def start() -> Exports:
    found = start_exports()
    assert found is not None
    return found


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + patience(30)
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.01)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.INFO]


def test_no_process_is_started_until_a_span_is_recorded_and_it_ends_with_the_export(collector: Collector) -> None:
    running = Running()
    assert running.process.pid is None
    running.send("first")
    pid = running.pid
    running.span("last")
    running.exports.stop()
    assert [span.name for span in collector.spans] == ["first", "last"]
    assert not is_there(pid)
    assert running.dropped == [0]


@pytest.mark.parametrize("known", [True, False])
def test_a_workers_spans_are_sent_also_where_the_sdk_keeps_its_queue_elsewhere(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """The queue takes them as they are; it is private, so a newer SDK may have it under another name."""
    if not known:
        monkeypatch.setattr(export_traces, "vars", lambda _: {}, raising=False)
    running = Running()
    assert running.exports.traces is not None
    telemetry = Telemetry(
        FakeEngine.card, registry=CollectorRegistry(), tracer=running.exports.traces.provider.get_tracer("test")
    )
    telemetry.record(record(headers=SAMPLED)).committed(marks())
    running.exports.traces.provider.force_flush()
    running.exports.stop()
    names = ["decode", "wait for batch", "release wait", "process impressions"]
    assert [span.name for span in collector.spans] == names
    assert running.dropped == [0]


def test_signals_to_the_whole_group_do_not_end_it(collector: Collector) -> None:
    """Ctrl-C, or a shell that ends all it started: the worker still has spans to send."""
    running = Running()
    running.send("first")
    assert os.getpgid(running.pid) != os.getpgid(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(running.pid, number)
    running.span("last")
    running.exports.stop()
    assert [span.name for span in collector.spans] == ["first", "last"]


def test_one_that_is_killed_is_started_again_and_what_it_had_is_counted(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    running = Running()
    running.send("first")
    os.kill(running.pid, signal.SIGKILL)
    running.send("lost")
    running.send("last")
    running.exports.stop()
    assert [span.name for span in collector.spans] == ["first", "last"]
    assert sum(running.dropped) == 1
    assert lines(caplog) == [
        "traces: the collector takes no spans (the process that sends them has ended, by SIGKILL); they are dropped",
        "traces: the collector takes spans again; 1 were dropped",
    ]


def test_one_that_dies_again_and_again_is_not_started_at_once(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "MAX_PAUSE_S", 60.0)
    running = Running()
    running.send("first")
    os.kill(running.pid, signal.SIGKILL)
    for _ in range(3):
        running.send("lost")
    assert running.process.pid is None
    assert sum(running.dropped) == 3
    assert len(lines(caplog)) == 1
    running.exports.stop()


def test_one_that_is_frozen_is_replaced(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    running = Running()
    running.send("first")
    pid = running.pid
    monkeypatch.setattr(running.process, "_answer_s", 0.3)
    running.process._child._socket.settimeout(0.3)  # type: ignore[union-attr]
    os.kill(pid, signal.SIGSTOP)
    running.send("lost")
    assert not is_there(pid)
    monkeypatch.setattr(running.process, "_answer_s", patience(30))
    running.send("last")
    running.exports.stop()
    assert [span.name for span in collector.spans] == ["first", "last"]
    assert "did not answer for 0.3 s" in lines(caplog)[0]


def test_one_that_is_frozen_neither_holds_a_stop_nor_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    monkeypatch.setattr(export, "STOP_S", 0.3)
    running = Running()
    running.send("first")
    pid = running.pid
    os.kill(pid, signal.SIGSTOP)
    running.span("lost")
    start_s = time.monotonic()
    running.exports.stop()
    assert time.monotonic() - start_s < patience(2.0, below_s=10.0)
    until(lambda: not is_there(pid), "the end of the process")


def cannot_start() -> None:
    raise OSError(11, "Resource temporarily unavailable")


@pytest.mark.usefixtures("_clean")
def test_one_that_cannot_be_started_is_a_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    running = Running()
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: cannot_start())
    running.send("lost")
    running.exports.stop()
    assert sum(running.dropped) == 1
    (line,) = lines(caplog)
    assert line == (
        "traces: the collector takes no spans (the process that sends them cannot be started:"
        " [Errno 11] Resource temporarily unavailable); they are dropped"
    )


WORKER = """
import time
from opentelemetry.context import Context
from worker.runtime.export import start_exports
exports = start_exports()
exports.traces.provider.get_tracer("test").start_span("first", Context()).end()
exports.traces.provider.force_flush()
print(exports.traces.process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_worker_that_is_killed_leaves_none_behind(collector: Collector, *, is_frozen: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER], stdout=subprocess.PIPE, text=True) as worker:
        try:
            assert worker.stdout is not None
            pid = int(worker.stdout.readline())
            assert is_there(pid)
            if is_frozen:
                os.kill(pid, signal.SIGSTOP)
        finally:
            worker.kill()
        until(lambda: not is_there(pid), "the end of the process")
    assert collector.num_spans == 1
