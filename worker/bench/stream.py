"""The worker on Kafka, in this process, with an engine that is warm; timed from its first draw to its last commit.

Joining the group and closing stand outside that time: they are paid once a life, not once an event.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from confluent_kafka.admin import AdminClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from prometheus_client import CollectorRegistry

from worker import app
from worker.bench.engine import BenchEngine
from worker.bench.load import Load
from worker.codec import schema_text
from worker.demo.counting import Count, Reader
from worker.health import State
from worker.kafka import admin, client
from worker.settings import Settings
from worker.telemetry import Telemetry

PARTITIONS = 4
DROP_S = 30.0
TRACED = 0.01  # of the impressions
QUIET_S = 2.0  # without a further response: what comes later than that is not looked for


@dataclass(frozen=True, slots=True)
class Topics:
    """The input that all rounds read."""

    name: str
    load: Load
    embedded: bool  # broker
    made: set[str] = field(default_factory=set)

    @classmethod
    def make(cls, settings: Settings, load: Load, *, embedded: bool) -> "Topics":
        """Make the input topic and fill it."""
        topics = cls(f"mirrorstream-bench-{time.time_ns()}", load, embedded)
        topics.create(settings, topics.input)
        publisher = admin.Publisher(settings)
        for message in load.messages(topics.input):
            publisher.send(message)
        publisher.close()
        return topics

    @property
    def input(self) -> str:
        """Where the events are."""
        return f"{self.name}-in"

    def drop(self, settings: Settings) -> None:
        """Delete all that was made: no run leaves data on somebody's Kafka."""
        if not self.embedded and self.made:
            asked = AdminClient(client.common(settings))
            for future in asked.delete_topics(sorted(self.made)).values():
                future.exception(DROP_S)  # one that cannot be deleted is no reason to lose what was measured

    def settings(self, settings: Settings, run: str) -> Settings:
        """Return the settings of one run, with a group and outputs of its own."""
        name = f"{self.name}-{run}"
        own = {
            "input_topics": [self.input], "output_topic": f"{name}-out", "dead_letter_topic": f"{name}-dlq",
            "group_id": name, "start_from": "earliest",
        }  # fmt: skip
        return settings.model_copy(update=own)

    def create(self, settings: Settings, *names: str) -> None:
        """Make topics; the embedded broker does so when it is asked for them."""
        self.made.update(names)
        if self.embedded:
            admin.touch(settings, names)
        else:
            admin.create(settings, dict.fromkeys(names, PARTITIONS))


@dataclass(frozen=True, slots=True)
class Streamed:
    """What one run did."""

    seconds: float
    cpu_s: float  # of this process, all its threads
    missing: int
    duplicates: int


class Watch(Telemetry):
    """Telemetry that knows when the first draw was sent and the last flush was committed, monotonic seconds."""

    first_s = last_s = 0.0

    def chat(self, ask: object) -> object:  # type: ignore[override]
        """Note the first draw."""
        self.first_s = self.first_s or time.monotonic()
        return super().chat(ask)  # type: ignore[arg-type]

    def flushed(self, outcome: str, seconds: float) -> None:
        """Note the last flush."""
        self.last_s = time.monotonic()
        super().flushed(outcome, seconds)


class _Nowhere(SpanExporter):
    """Where the sampled spans go: their making is measured, not a collector."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the interface's
        return SpanExportResult.SUCCESS


def watch(engine: BenchEngine) -> Watch:
    """Return telemetry of its own for one run, 1 % traced."""
    provider = TracerProvider(sampler=TraceIdRatioBased(TRACED))
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return Watch(engine.card, registry=CollectorRegistry(), tracer=provider.get_tracer("bench"))


async def stream(settings: Settings, engine: BenchEngine, topics: Topics, run: str) -> Streamed:
    """Run the worker over the whole input."""
    own = topics.settings(settings, run)
    await asyncio.to_thread(topics.create, settings, own.output_topic, own.dead_letter_topic)
    seen, cpu_s = watch(engine), time.process_time()
    await app.answer_all(own, app.Backfill(until_end=True), engine, seen, {}, state=State(), stop=asyncio.Event())
    cpu_s = time.process_time() - cpu_s
    count = await asyncio.to_thread(_count, own, topics.load)
    return Streamed(seen.last_s - seen.first_s, cpu_s, count.missing, count.duplicates)


def _count(settings: Settings, load: Load) -> Count:
    """Count what a reader sees, with none of the worker's code."""
    count = Count()
    for one in load.impressions:
        count.expect(one.event_id, [slate.variant for slate in one.slates])
    reader = Reader(settings.bootstrap_servers, schema_text("SimulatedResponse"))
    reader.follow(settings.output_topic)
    last_s = time.monotonic()
    while time.monotonic() - last_s < QUIET_S:
        for _, value in reader.read(0.2):
            last_s = time.monotonic()
            count.add(reader.decode(value))
    reader.close()
    return count
