"""What the spans of an event cost the worker, without Kafka: CPU per event of the choice model, paired in one process.

    off          no endpoint
    unsampled    an endpoint, and no trace is recorded
    all          every trace is recorded, and sent to a collector that keeps nothing

All that the pipeline says of an event to `Telemetry` for its spans and its exemplars is said, in the same order: three
questions of two draws each, 64 events per poll and per transaction.  Contenders take turns.

    python -m worker.bench.plain.span_costs

`thread` is the CPU of the thread that makes spans, `process` that of all threads: with packing spans and handing them
to the process that sends them.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, NamedTuple

import typer
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from worker import __version__
from worker.bench.harness import traffic
from worker.bench.harness.rounds import turns
from worker.bench.plain.handler import Handler
from worker.bench.plain.tracing import collector
from worker.core.delivery.handover_messages import Flush, FlushEnd, Head
from worker.core.delivery.stages import Marks, durations
from worker.core.records import Impression, Message, Partition, Record
from worker.core.simulation.draw_trace import ModelAnswer, ModelRequest
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.prepare import prepare
from worker.core.simulation.questions import Status
from worker.core.simulation.response import SimulatedResponse
from worker.engines.choice_model import ChoiceModel
from worker.pipeline.traces import RecordTrace
from worker.runtime import pipeline_config
from worker.runtime.answering import GC_THRESHOLD
from worker.runtime.export_outage import Outage
from worker.runtime.export_traces import TracesExport
from worker.runtime.telemetry import Telemetry
from worker.runtime.tracing import names
from worker.settings import Settings

SHARES = {"off": None, "unsampled": "0", "all": "1"}
BATCH = 64  # events of a poll, and of a transaction
_EXPORTER = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "OTLPSpanExporter")
_REQUEST, _ANSWER, _DRAWN = ModelRequest(), ModelAnswer(finish_reason="stop"), Drawn(Status.OK, (1.0,))
_MESSAGE = Message("responses", None, b"")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; in each all contenders take a turn.")] = 40,
    batches: Annotated[int, typer.Option(min=1, help=f"Batches of {BATCH} events per turn.")] = 3,
) -> None:
    """Measure what spans cost, and print the least of all rounds as a table."""
    found: dict[str, list[_Cost]] = {name: [] for name in SHARES}
    event = _event()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)  # as in a worker
    with collector() as endpoint, _telemetries(endpoint) as telemetries:
        for one in telemetries.values():
            _turn(one, event, 1)
        for number in range(rounds):
            for name in turns(list(SHARES), number):
                found[name].append(_turn(telemetries[name], event, batches))
    typer.echo(table(found))


class _Cost(NamedTuple):
    """CPU per event, seconds."""

    thread_s: float
    process_s: float


def table(found: Mapping[str, list[_Cost]]) -> str:
    """Return the least of all rounds, and what each contender costs beyond `off`, as Markdown; microseconds.

    Other work on the machine can only make a turn dearer.
    """
    least = {name: _Cost(*(min(column) for column in zip(*costs, strict=True))) for name, costs in found.items()}
    lines = ["| traces | thread, µs | process, µs | thread, beyond off | process, beyond off |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for name, cost in least.items():
        seconds = (*cost, *(one - off for one, off in zip(cost, least["off"], strict=True)))
        lines.append(f"| {name} | {' | '.join(f'{1e6 * one:.1f}' for one in seconds)} |")
    return "\n".join(lines)


class _Event(NamedTuple):
    """One event of the bench's traffic: its record, the draws of its questions, and an answer to each question."""

    record: Record
    impression: Impression
    asks: tuple[tuple[Ask, ...], ...]  # per question
    responses: tuple[SimulatedResponse, ...]


class _Telling(NamedTuple):
    """One contender, and how it hands over all spans that wait."""

    telemetry: Telemetry
    hand_over: Callable[[], object]


@contextmanager
def _telemetries(endpoint: str) -> Iterator[Mapping[str, _Telling]]:
    """Make one `Telemetry` for each contender."""
    card = ChoiceModel().card
    exports: list[TracesExport] = []
    found: dict[str, _Telling] = {}
    for name, share in SHARES.items():
        tracer: Tracer | None = None
        hand_over: Callable[[], object] = _nothing
        if share is not None:
            os.environ |= {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": share,
                           "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}  # fmt: skip
            exports.append(TracesExport(_EXPORTER, Resource.create(), Outage("traces", "spans"), os.environ))
            provider = exports[-1].provider
            tracer = provider.get_tracer("mirrorstream", __version__, names.SCHEMA_URL)
            hand_over = provider.force_flush
        found[name] = _Telling(Telemetry(card, registry=CollectorRegistry(), tracer=tracer), hand_over)
    try:
        yield found
    finally:
        for one in exports:
            one.stop()


def _nothing() -> None:
    return None


def _event() -> _Event:
    [impression] = traffic.impressions(1)
    user = impression.user.user_id.encode()
    record = Record(Partition("impressions", 0), 0, 0, user, b"", timestamp_ms=1_000_000_000_000)
    asking = pipeline_config.asking(Settings.model_construct(), ChoiceModel())
    asks = tuple(one.asks for one in prepare(record, impression, asking))
    return _Event(record, impression, asks, Handler("responses").responses(record, impression, "1"))


def _turn(traced: _Telling, event: _Event, batches: int) -> _Cost:
    """Say a number of batches, and return the CPU that this took until the last span had left."""
    gc.collect()
    thread_s, process_s = 0.0, time.process_time()
    for number in range(batches):
        began_s = time.thread_time()
        _batch(traced.telemetry, event, number * BATCH)
        thread_s += time.thread_time() - began_s
        traced.hand_over()
    num = batches * BATCH
    return _Cost(thread_s / num, (time.process_time() - process_s) / num)


def _batch(telemetry: Telemetry, event: _Event, first: int) -> None:
    """Say what becomes of one poll's records, all of them answered in one transaction."""
    records = [replace(event.record, offset=first + number) for number in range(BATCH)]
    telemetry.polled(records)
    traced = [(one, telemetry.record(one)) for one in records]
    for _, trace in traced:
        _answer(telemetry, event, trace)
    offsets = tuple(one.offset for one in records for _ in event.responses)
    head = Head(event.record.partition, 0, first + BATCH, (_MESSAGE,) * len(offsets), origins=offsets)
    now_s = time.monotonic()
    with telemetry.flush(Flush((head,))) as span:
        span.ended(FlushEnd.COMMITTED)
    for _, trace in traced:
        marks = Marks(now_s - 1.0, *(now_s,) * 8)
        telemetry.event_committed(durations(marks), end_to_end_s=1.0, trace_id=trace.trace_id)
        trace.committed(marks)


def _answer(telemetry: Telemetry, event: _Event, trace: RecordTrace) -> None:
    trace.decoded(event.impression)
    with trace.active():
        for asks in event.asks:
            for number, ask in enumerate(asks, 1):
                with trace.draw(ask, number, 1) as drawing:
                    with drawing.request(_REQUEST) as request:
                        request.answered(_ANSWER)
                    drawing.ended(_DRAWN)
                telemetry.drawn(_DRAWN, 0.001, trace_id=trace.trace_id)
        for response in event.responses:
            tuple((name, value.encode()) for name, value in trace.send(response).items())


if __name__ == "__main__":
    typer.run(main)
