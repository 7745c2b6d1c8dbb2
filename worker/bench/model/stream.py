"""The worker on Kafka, in this process, with an engine that is warm; timed from its first record to its last commit.

Joining the group and closing stand outside that time: they are paid once a life, not once an event.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from prometheus_client import CollectorRegistry

from worker.bench.harness import traffic
from worker.bench.harness.processes import cpu_s
from worker.bench.harness.topics import new_name, topics
from worker.bench.model.engine import BenchEngine
from worker.bench.model.load import Load
from worker.core.codec.avro_schemas import schema_text
from worker.core.delivery.handover_messages import FlushEnd
from worker.demo.independent_count import Count, Reader
from worker.kafka import admin, client_config as client
from worker.runtime.answering import Backfill, WorkerRun, answer_all
from worker.runtime.health_state import HealthState
from worker.runtime.telemetry import Telemetry
from worker.settings import Settings

TRACED = 0.01  # of the impressions
FAILURES = frozenset({"LENGTH", "TIMEOUT", "ENGINE_ERROR", "OUT_OF_BUDGET"})
QUIET_S = 2.0  # without a further response: what comes later than that is not looked for


@dataclass(frozen=True, slots=True)
class InputStream:
    """A Kafka with an input that all rounds read."""

    settings: Settings
    load: Load
    name: str
    embedded: bool  # broker

    @property
    def input(self) -> str:
        """Where the events are."""
        return f"{self.name}-in"

    @contextmanager
    def run(self, name: str, *, empty: bool = False) -> Iterator[Settings]:
        """Give a run's settings, with a group and outputs of its own; with `empty` also an input of its own."""
        name = f"{self.name}-{name}"
        topic, output, dead_letters = f"{name}-in" if empty else self.input, f"{name}-out", f"{name}-dlq"
        own = {
            "input_topics": [topic], "output_topic": output, "dead_letter_topic": dead_letters,
            "group_id": name, "start_from": "earliest",
        }  # fmt: skip
        with self.topics(output, dead_letters, *([topic] if empty else [])):
            yield self.settings.model_copy(update=own)

    def topics(self, *names: str) -> AbstractContextManager[None]:
        """Have topics for a block."""
        return topics(client.common(self.settings), dict.fromkeys(names, traffic.PARTITIONS), embedded=self.embedded)


@contextmanager
def staged(settings: Settings, load: Load, *, embedded: bool) -> Iterator[InputStream]:
    """Give a stage with the load on it."""
    stage = InputStream(settings, load, new_name(), embedded)
    with stage.topics(stage.input):
        publisher = admin.Publisher(settings)
        for message in load.messages(stage.input):
            publisher.send(message)
        publisher.close()
        yield stage


@dataclass(frozen=True, slots=True)
class Streamed:
    """What one run did."""

    seconds: float
    cpu_s: float  # in that time
    missing: int
    duplicates: int
    failed: int  # answers without probabilities


class Watch(Telemetry):
    """Telemetry that knows when the first record was taken on, when the last flush was committed, and its CPU."""

    pids: Sequence[int] = ()  # whose CPU counts
    first_s = last_s = first_cpu_s = last_cpu_s = 0.0

    def consumed(self) -> None:
        """Note the first record: decoding and prompts are part of what is measured."""
        if not self.first_s:
            self.first_s, self.first_cpu_s = time.monotonic(), cpu_s(self.pids)
        super().consumed()

    def flushed(self, end: FlushEnd, seconds: float) -> None:
        """Note the last flush."""
        self.last_s, self.last_cpu_s = time.monotonic(), cpu_s(self.pids)
        super().flushed(end, seconds)


class _Nowhere(SpanExporter):
    """Where the sampled spans go: their making is measured, not a collector."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface's
        return SpanExportResult.SUCCESS


def watch(engine: BenchEngine) -> Watch:
    """Return telemetry of its own for one run, 1 % traced."""
    provider = TracerProvider(sampler=TraceIdRatioBased(TRACED))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return Watch(engine.card, registry=CollectorRegistry(), tracer=provider.get_tracer("bench"))


async def stream(stage: InputStream, engine: BenchEngine, run: str, pids: Sequence[int]) -> Streamed:
    """Run the worker over the whole input; the CPU is that of these processes."""
    with stage.run(run) as settings:
        seen = watch(engine)
        seen.pids = pids
        await answer_all(
            WorkerRun(
                settings=settings, engine=engine, telemetry=seen, state=HealthState(), stop=asyncio.Event(),
                backfill=Backfill(until_end=True),
            ),
            {},
        )  # fmt: skip
        count, failed = await asyncio.to_thread(_count, settings, stage.load)
    used_s = seen.last_cpu_s - seen.first_cpu_s
    return Streamed(seen.last_s - seen.first_s, used_s, count.missing, count.duplicates, failed)


def _count(settings: Settings, load: Load) -> tuple[Count, int]:
    """Count what a reader sees, with none of the worker's code, and how many of it failed."""
    count, failed = Count(), 0
    for one in load.impressions:
        count.expect(one.event_id, [slate.variant for slate in one.slates])
    reader = Reader(settings.bootstrap_servers, schema_text("SimulatedResponse"))
    reader.follow(settings.output_topic)
    last_s = time.monotonic()
    while time.monotonic() - last_s < QUIET_S:
        for _, value in reader.read(0.2):
            last_s = time.monotonic()
            response = reader.decode(value)
            count.add(response)
            failed += response["status"] in FAILURES
    reader.close()
    return count, failed
