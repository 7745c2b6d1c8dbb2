"""One trace tells the whole story of a record, and what several records have in common links to it."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, messaging_attributes
from opentelemetry.semconv.attributes import error_attributes, server_attributes
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from prometheus_client import CollectorRegistry

from tests.support.examples import impression, record
from tests.support.fakes import FakeEngine, jumping
from tests.support.world import DRAWS, POISON, QUESTIONS, A, World, event, events, working
from worker.core.delivery.handover_messages import Aborted, Flush, FlushEnd, Head, Lost
from worker.core.delivery.stages import Marks
from worker.core.records import Headers, Message, Reason
from worker.core.simulation.draw_trace import ModelAnswer, ModelRequest, Pass
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import Depths, Status
from worker.core.simulation.sampling import Sampling
from worker.pipeline.ports import Delivery
from worker.pipeline.traces import RecordTrace
from worker.runtime.export_traces import limits
from worker.runtime.telemetry import Telemetry
from worker.runtime.tracing import names
from worker.runtime.tracing.decision import decision_of
from worker.runtime.tracing.linked_sampler import LinkedSampler
from worker.runtime.tracing.options import TraceOptions
from worker.runtime.tracing.plain_spans import MAX_LINKS, PlainTracer
from worker.runtime.tracing.tracer_spans import TracerSpans
from worker.settings.prompt_profiles import load

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED: Headers = (("traceparent", f"00-{TRACE}-{PARENT}-01".encode()),)
UNSAMPLED: Headers = (("traceparent", f"00-{TRACE}-{PARENT}-00".encode()),)
CLIENT: Mapping[str, Any] = {
    "messaging.system": "kafka",
    "messaging.client.id": "worker-1",
    "server.address": "kafka.example",
    "server.port": 9092,
}
CONSUMER: Mapping[str, Any] = {**CLIENT, "messaging.consumer.group.name": "shadow"}
OPTIONS = TraceOptions(group_id="shadow", client_id="worker-1", server="kafka.example:9092")


class Traced:
    """A `Telemetry` whose spans are kept."""

    def __init__(self, sampler: Sampler = DEFAULT_ON, processor: SpanProcessor | None = None, **options: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=LinkedSampler(sampler), span_limits=limits(os.environ))
        self.provider.add_span_processor(processor or SimpleSpanProcessor(self._exporter))
        self.telemetry = Telemetry(
            FakeEngine.card,
            registry=CollectorRegistry(),
            tracer=self.provider.get_tracer("test"),
            options=replace(OPTIONS, **options),
        )

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """What has ended, in that order."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found


@pytest.fixture
def traced() -> Iterator[Traced]:
    found = Traced()
    yield found
    found.provider.shutdown()


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def marks() -> Marks:
    return Marks(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0)


# -- names


def test_names_are_those_of_the_conventions() -> None:
    """The package marks them as unstable, so the worker does not import it: this test does."""
    modules = (gen_ai_attributes, messaging_attributes, error_attributes, server_attributes)
    known = {value for module in modules for name, value in vars(module).items() if name.isupper()}
    attributes = {value for name, value in vars(names).items() if name.isupper() and "." in str(value)}
    own = {name for name in attributes if name.startswith("mirrorstream.")}
    assert attributes - own - {names.SCHEMA_URL} <= known
    assert len(own) == 8
    assert list(Schemas)[-1].value == names.SCHEMA_URL


def test_deprecated_names_are_not_used() -> None:
    old = {
        messaging_attributes.MESSAGING_KAFKA_CONSUMER_GROUP,
        messaging_attributes.MESSAGING_KAFKA_DESTINATION_PARTITION,
        messaging_attributes.MESSAGING_KAFKA_MESSAGE_OFFSET,
        messaging_attributes.MESSAGING_OPERATION,
        gen_ai_attributes.GEN_AI_SYSTEM,
        gen_ai_attributes.GEN_AI_USAGE_PROMPT_TOKENS,
        gen_ai_attributes.GEN_AI_USAGE_COMPLETION_TOKENS,
    }
    assert old.isdisjoint(str(value) for value in vars(names).values())


# -- the trace of one record


@jumping
async def test_the_trace_of_a_record_lasts_until_its_commit_and_has_every_stage(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry)
    async with working(world):
        await world.read(event(), headers=SAMPLED)
        await world.committed(A, 1)
    process = traced.one("process impressions")
    assert (process.kind, parent_of(process)) == (SpanKind.CONSUMER, int(PARENT, 16))
    assert f"{process.links[0].context.span_id:016x}" == PARENT
    children = [span for span in traced.spans if parent_of(span) == id_of(process)]
    assert {span.name: len([one for one in children if one.name == span.name]) for span in children} == {
        "decode": 1,
        "wait for batch": 1,
        "chat fake": QUESTIONS * DRAWS,
        "release wait": 1,
        "send responses": QUESTIONS,
    }
    assert attributes_of(process) == {
        **CONSUMER,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "impressions",
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.message.id": "event-0",
        "messaging.message.conversation_id": "r-1",
        "mirrorstream.experiment.id": "exp",
        "mirrorstream.outcome": "answered",
    }
    assert {f"{span.context.trace_id:032x}" for span in (process, *children) if span.context} == {TRACE}


def test_stages_have_the_times_of_the_record_one_behind_the_other(traced: Traced) -> None:
    trace = traced.telemetry.record(record())
    trace.committed(marks())
    process = traced.one("process impressions")
    assert process.start_time is not None

    def seconds(name: str) -> tuple[float, float]:
        span = traced.one(name)
        assert span.start_time is not None
        assert span.end_time is not None
        return tuple(round((at - process.start_time) / 1e9, 2) for at in (span.start_time, span.end_time))  # type: ignore[return-value,operator]

    found = {name: seconds(name) for name in ("decode", "wait for batch", "release wait", "process impressions")}
    assert found == {
        "decode": (0.0, 1.0),
        "wait for batch": (1.0, 2.0),
        "release wait": (4.0, 5.0),
        "process impressions": (0.0, 6.0),
    }


@jumping
async def test_a_responses_headers_have_the_context_of_its_own_send(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry)
    async with working(world):
        await world.read(event(), headers=(*SAMPLED, ("tracestate", b"vendor=1")))
        await world.committed(A, 1)
    sends = traced.named("send responses")
    producers = {id_of(span): span for span in sends if span.kind is SpanKind.PRODUCER}
    given = [dict(message.headers) for message in world.sink.log]
    assert {int((one["traceparent"] or b"").split(b"-")[2], 16) for one in given} == set(producers)
    assert {one["tracestate"] for one in given} == {b"vendor=1"}
    ids = {attributes_of(span)["messaging.message.id"] for span in producers.values()}
    assert len(ids) == QUESTIONS, "one per response"
    first = attributes_of(next(iter(producers.values())))
    assert (
        first.items()
        >= {**CLIENT, "messaging.operation.type": "send", "messaging.destination.name": "responses"}.items()
    )
    assert "messaging.batch.message_count" not in first


def test_a_record_without_context_starts_a_trace(traced: Traced) -> None:
    traced.telemetry.record(record()).committed(marks())
    process = traced.one("process impressions")
    assert (process.parent, process.links) == (None, ())


def test_by_a_setting_the_records_context_is_only_linked() -> None:
    traced = Traced(parent="link")
    traced.telemetry.record(record(headers=SAMPLED)).committed(marks())
    process = traced.one("process impressions")
    assert process.parent is None
    assert [f"{link.context.span_id:016x}" for link in process.links] == [PARENT]


@pytest.mark.parametrize(("policy", "shown"), [("off", None), ("hash", ""), ("plain", "u-1")])
def test_a_key_is_a_users_id_and_shown_as_the_setting_says(policy: str, shown: str | None) -> None:
    traced = Traced(message_key=policy)
    traced.telemetry.record(record()).committed(marks())
    found = attributes_of(traced.one("process impressions")).get("messaging.kafka.message.key")
    if policy == "hash":
        assert found is not None
        assert "u-1" not in found
        assert len(found) == 16
    else:
        assert found == shown


def test_a_tombstone_is_named(traced: Traced) -> None:
    traced.telemetry.record(record(value=None)).committed(marks())
    assert attributes_of(traced.one("process impressions"))["messaging.kafka.message.tombstone"] is True


BROKEN: Sequence[Headers] = [
    (("traceparent", b"\xff\xfe"),),
    (("traceparent", None),),
    (("traceparent", b""),),
    (("traceparent", b"garbage"),),
    (("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"),),
    (("traceparent", b"x" * 100_000),),
    (("traceparent", "00-\uff10".encode()),),
    (("tracestate", b"vendor=1"),),
    (("baggage", b"user=anna"),),
]


@pytest.mark.parametrize("headers", BROKEN)
def test_a_broken_context_is_none_and_no_crash(traced: Traced, headers: Headers) -> None:
    trace = traced.telemetry.record(record(headers=headers))
    with trace.draw(an_ask(), 1, 1) as draw, draw.request(ModelRequest()) as span:
        assert span.headers.keys() == {"traceparent"}
    trace.committed(marks())
    process = traced.one("process impressions")
    assert (process.parent, process.links) == (None, ())


@pytest.mark.parametrize("state", [b"\xff", b"=,=,=", b"a" * 10_000, b",".join(b"k%d=v" % n for n in range(99))])
def test_a_broken_state_does_not_break_its_parent(traced: Traced, state: bytes) -> None:
    traced.telemetry.record(record(headers=(*SAMPLED, ("tracestate", state)))).committed(marks())
    assert parent_of(traced.one("process impressions")) == int(PARENT, 16)


def test_the_last_of_a_headers_name_wins_whatever_its_case(traced: Traced) -> None:
    headers: Headers = (("traceparent", b"garbage"), ("TraceParent", SAMPLED[0][1]))
    traced.telemetry.record(record(headers=headers)).committed(marks())
    assert parent_of(traced.one("process impressions")) == int(PARENT, 16)


# -- draws


def an_ask() -> Ask:
    asking = Asking(load("mirror-v1"), Depths(), 1, 10, seeded=True, tokenise=None)
    return prepare(record(), impression(), asking)[0].asks[0]


def test_each_request_of_a_draw_is_a_span_that_says_which_draw_try_and_pass(traced: Traced) -> None:
    trace: RecordTrace = traced.telemetry.record(record())
    with trace.draw(an_ask(), 2, 1) as draw:
        with draw.request(ModelRequest(Pass.RATIONALE, 1.0, 0.8, 1024, 7)) as span:
            span.answered(ModelAnswer(10, 8, 5, "stop", lambda: "a prompt", lambda: "a text"))
            rationale = dict(span.headers)
        with draw.request(ModelRequest(Pass.LETTERS, temperature=0.0, max_tokens=1)) as span:
            span.answered(ModelAnswer(16, 15, 1, "length"))
        draw.ended(Drawn(Status.OK, (1.0,)))
    first, second = traced.spans
    assert rationale["traceparent"].split("-")[2] == f"{id_of(first):016x}", "the model's own span is below this one"
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "fake",
        "gen_ai.request.model": "fake",
        "mirrorstream.question": "SLATE:control",
        "mirrorstream.draw": 2,
        "mirrorstream.try": 1,
    }
    assert attributes_of(first) == {
        **common,
        "mirrorstream.pass": "rationale",
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 0.8,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.request.seed": 7,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 8,
    }
    assert attributes_of(second)["mirrorstream.pass"] == "letters"
    assert [span.status.status_code for span in (first, second)] == [StatusCode.UNSET] * 2


@jumping
async def test_a_draw_asked_again_says_which_try_it_is_and_why_the_first_one_ended(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry)
    async with working(world):
        gate = world.engine.gates["event-0"] = asyncio.Event()
        asyncio.get_running_loop().call_later(3.0, gate.set)  # the deadline is at 2 s
        await world.read(event())
        await world.committed(A, 1)
    chats = [attributes_of(span) for span in traced.named("chat fake")]
    found = {(one["mirrorstream.question"], one["mirrorstream.draw"], one["mirrorstream.try"]): one for one in chats}
    assert len(found) == len(chats) == 2 * QUESTIONS * DRAWS
    for (_, _, attempt), one in found.items():
        assert one.get("error.type") == ("TIMEOUT" if attempt == 1 else None)


@jumping
async def test_a_draw_that_failed_says_how(traced: Traced) -> None:
    def breaks(_: Ask) -> Drawn:
        raise ValueError("this prompt breaks the engine")

    world = World(telemetry=traced.telemetry)
    world.engine.answer = breaks
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
    for span in traced.named("chat fake"):
        assert (span.status.status_code, attributes_of(span)["error.type"]) == (StatusCode.ERROR, "ENGINE_ERROR")


# -- what becomes of a record instead of answers


@jumping
async def test_a_dead_letter_ends_its_trace_with_the_reason(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry)
    async with working(world):
        await world.read(POISON, headers=SAMPLED)
        await world.committed(A, 1)
    process, send = traced.one("process impressions"), traced.named("send impressions.dlq")
    assert process.status.status_code is StatusCode.ERROR
    assert attributes_of(process).items() >= {"error.type": "magic", "mirrorstream.outcome": "dead_lettered"}.items()
    assert parent_of(process) == int(PARENT, 16)
    assert {span.kind: parent_of(span) for span in send} == {
        SpanKind.PRODUCER: id_of(process),
        SpanKind.CLIENT: None,
    }
    (letter,) = world.sink.log
    assert dict(letter.headers)["traceparent"] == SAMPLED[0][1], "the letter has the headers that the record came with"


def test_what_is_raised_within_a_record_is_not_in_its_span(traced: Traced) -> None:
    """It may hold the text of an event, and its traceback what only the log leaves out."""
    trace = traced.telemetry.record(record())
    with pytest.raises(ValueError, match="Anna"), trace.active():
        raise ValueError("a user called Anna")
    trace.committed(marks())
    process = traced.one("process impressions")
    assert (process.events, process.status.status_code) == ((), StatusCode.UNSET)


@jumping
async def test_a_skipped_record_is_a_span_only_if_its_writer_sampled_it(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry, sampling=Sampling(sample_rate=1e-9))
    async with working(world):
        await world.read(event(), headers=SAMPLED)
        await world.read(event("event-1"), first=1)
        await world.committed(A, 2)
    process = traced.one("process impressions")
    assert attributes_of(process).items() >= {"error.type": "sample", "mirrorstream.outcome": "skipped"}.items()
    assert (parent_of(process), process.status.status_code) == (int(PARENT, 16), StatusCode.UNSET)


@jumping
async def test_a_record_whose_partition_is_lost_ends_its_trace(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry)
    async with working(world):
        world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event(), headers=SAMPLED)
        lost: Delivery = Lost(frozenset({A}))
        world.source.deliver(lost)
        process = traced.one("process impressions")
        assert attributes_of(process)["error.type"] == "partition_revoked"
    assert not any(one.recorded for one in traced.telemetry._of_partition.values()), "nothing of it is remembered"


# -- polls and transactions


@jumping
async def test_polls_and_transactions_link_to_their_records_and_drop_no_link() -> None:
    traced = Traced()
    num = 256
    headers = [(("traceparent", f"00-{TRACE}-{number + 1:016x}-01".encode()),) for number in range(num)]
    records = [replace(record(headers=headers[number]), offset=number) for number in range(num)]
    traced.telemetry.polled(records)
    poll = traced.one("poll impressions")
    assert (poll.kind, poll.parent, poll.dropped_links) == (SpanKind.CLIENT, None, 0)
    assert {link.context.span_id for link in poll.links} == set(range(1, num + 1))
    assert [dict(link.attributes or {}) for link in poll.links][7] == {
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 7,
    }
    assert attributes_of(poll) == {
        **CONSUMER,
        "messaging.operation.name": "poll",
        "messaging.operation.type": "receive",
        "messaging.destination.name": "impressions",
        "messaging.batch.message_count": num,
    }
    traces = [traced.telemetry.record(one) for one in records]
    for trace in traces:
        trace.unanswered(Reason.AVRO)
    letter = Message("impressions.dlq", None, b"")
    head = Head(records[0].partition, 1, num, (letter,) * num, "", tuple(range(num)))
    with traced.telemetry.flush(Flush((head,))) as span:
        span.ended(FlushEnd.COMMITTED)
    flush = traced.one("send impressions.dlq")
    assert (flush.kind, flush.parent, len(flush.links), flush.dropped_links) == (SpanKind.CLIENT, None, num, 0)
    assert attributes_of(flush) == {
        **CLIENT,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "impressions.dlq",
        "messaging.batch.message_count": num,
        "mirrorstream.transaction.end": "committed",
    }
    for trace in traces:
        trace.committed(marks())
    linked = {link.context.span_id for link in flush.links}
    assert linked == {id_of(span) for span in traced.named("send impressions.dlq") if span.parent}
    polled = {link.context.span_id for span in traced.named("process impressions") for link in span.links}
    assert id_of(poll) in polled, "both ways navigate"


def test_links_beyond_the_limit_are_counted(traced: Traced) -> None:
    many = [replace(record(headers=SAMPLED), offset=number) for number in range(MAX_LINKS + 3)]
    traced.telemetry.polled(many)
    poll = traced.one("poll impressions")
    assert len(poll.links) + poll.dropped_links == MAX_LINKS
    assert attributes_of(poll)["mirrorstream.links.dropped"] == 3


@jumping
async def test_an_aborted_transaction_says_so_and_one_without_messages_is_no_span(traced: Traced) -> None:
    world = World(telemetry=traced.telemetry)
    async with working(world):
        world.sink.ends.append(Aborted(0.0))
        await world.read(event(), headers=SAMPLED)
        await world.committed(A, 1)
        await world.read(None, first=1)
        await world.committed(A, 2)
    flushes = [span for span in traced.named("send responses") if span.kind is SpanKind.CLIENT]
    ends = [(attributes_of(span)["mirrorstream.transaction.end"], span.status.status_code) for span in flushes]
    assert ends == [("aborted", StatusCode.ERROR), ("committed", StatusCode.UNSET)]
    assert attributes_of(flushes[0])["error.type"] == "aborted"
    assert len(world.sink.flushes) > len(flushes)


def test_an_empty_poll_is_no_span(traced: Traced) -> None:
    traced.telemetry.polled([])
    assert traced.spans == ()


# -- sampling


@jumping
async def test_an_unsampled_record_is_no_span_and_its_context_goes_on() -> None:
    traced = Traced(DEFAULT_ON)
    world = World(telemetry=traced.telemetry)
    async with working(world):
        await world.read(event(), headers=UNSAMPLED)
        await world.committed(A, 1)
    assert {span.name for span in traced.spans} == {"poll impressions", "send responses"}
    assert {span.kind for span in traced.spans} == {SpanKind.CLIENT}
    assert all(span.links == () for span in traced.spans)
    for message in world.sink.log:
        assert (dict(message.headers)["traceparent"] or b"").endswith(b"-00")
        assert TRACE in str(dict(message.headers)["traceparent"])


@jumping
async def test_what_is_common_to_sampled_records_is_sampled_with_them() -> None:
    """Else the transaction of a sampled event would be recorded as rarely as any other."""
    traced = Traced(DEFAULT_OFF)
    world = World(telemetry=traced.telemetry)
    async with working(world):
        await world.read(*events(3))
        await world.committed(A, 3)
        assert len(traced.spans) == 0
        await world.read(event("event-3"), first=3, headers=SAMPLED)
        await world.committed(A, 4)
    assert {span.name for span in traced.spans if span.parent is None} == {"poll impressions", "send responses"}
    assert parent_of(traced.one("process impressions")) == int(PARENT, 16)


def test_whoever_switches_sampling_off_gets_no_span() -> None:
    traced = Traced(ALWAYS_OFF)
    traced.telemetry.polled([record(headers=SAMPLED)])
    traced.telemetry.record(record(headers=SAMPLED)).committed(marks())
    assert traced.spans == ()


def test_without_an_exporter_only_the_records_context_is_handed_on() -> None:
    telemetry = Telemetry(FakeEngine.card, registry=CollectorRegistry())
    given = []
    for headers in ((), SAMPLED):
        trace = telemetry.record(record(headers=headers))
        with trace.draw(an_ask(), 1, 1) as draw, draw.request(ModelRequest()) as asked:
            given.append((trace.trace_id, dict(asked.headers)))
    unsampled = telemetry.record(record(headers=(("traceparent", f"00-{TRACE}-{PARENT}-00".encode()),)))
    assert given == [("", {}), (TRACE, {"traceparent": f"00-{TRACE}-{PARENT}-01"})]
    assert unsampled.trace_id == "", "nobody keeps it"


@jumping
async def test_a_poll_that_is_recorded_for_one_of_its_records_does_not_record_the_others() -> None:
    """Else one record in a hundred that brings a sampled context has all records of a hundred recorded."""
    traced = Traced(DEFAULT_OFF)
    world = World(telemetry=traced.telemetry)
    async with working(world):
        world.source.assign(A)
        records = [record(headers=SAMPLED), record()]
        traced.telemetry.polled([replace(one, offset=number) for number, one in enumerate(records)])
        for number, one in enumerate(records):
            traced.telemetry.record(replace(one, offset=number)).committed(marks())
    assert [attributes_of(span)["messaging.kafka.offset"] for span in traced.named("process impressions")] == [0]
    assert len(traced.named("poll impressions")) == 1


WHOLE = Counter({"process impressions": 1, "decode": 1, "wait for batch": 1, "release wait": 1,
                 "chat fake": QUESTIONS * DRAWS, "send responses": QUESTIONS})  # fmt: skip


@jumping
@pytest.mark.parametrize("sampler", [TraceIdRatioBased(0.2), ParentBased(TraceIdRatioBased(0.2))])
async def test_where_a_share_is_recorded_each_recorded_trace_is_whole(sampler: Sampler) -> None:
    """Answers and dead letters alike, and the share is that of the setting."""
    traced, num = Traced(sampler), 200
    world = World(telemetry=traced.telemetry, max_records=2 * num)
    async with working(world):
        await world.read(*(event(f"event-{number}") if number % 2 else POISON for number in range(num)))
        await world.committed(A, num)
    found: dict[int, Counter[str]] = {}
    for span in traced.spans:
        assert span.context is not None
        if span.parent is not None or span.name == "process impressions":  # no poll, and no transaction
            found.setdefault(span.context.trace_id, Counter())[span.name] += 1
    letter = Counter({"process impressions": 1, "decode": 1, "release wait": 1, "send impressions.dlq": 1})
    assert 15 <= len(found) <= 75
    assert {tuple(sorted(one.items())) for one in found.values()} <= {
        tuple(sorted(whole.items())) for whole in (WHOLE, letter)
    }
    responses = [dict(one.headers) for one in world.sink.log if one.topic == "responses"]
    flags = [(headers["traceparent"] or b"")[-2:] for headers in responses]
    is_random = 2 if hasattr(TraceFlags, "RANDOM_TRACE_ID") else 0  # which the SDK says since 1.42
    unrecorded, recorded = (f"{flag | is_random:02x}".encode() for flag in (0, 1))
    assert Counter(flags)[recorded] == sum(one["send responses"] for one in found.values())
    assert set(flags) == {unrecorded, recorded}, "those that are not recorded say so; all of a random id"


# -- content


async def _all_of_a_trace(traced: Traced) -> str:
    """Return everything that the spans of one answered and one bad record say."""
    world = World(telemetry=traced.telemetry)
    world.engine.text = "Stimulus: a secret rationale.\nBehavior: ["
    async with working(world):
        await world.read(event(), POISON, headers=SAMPLED)
        await world.committed(A, 2)
    return " ".join(span.to_json() for span in traced.spans)


@jumping
async def test_spans_have_no_content_unless_it_is_wanted(traced: Traced) -> None:
    text = await _all_of_a_trace(traced)
    leaks = ("secret rationale", "a prompt", "Film A", '"user"', "male", POISON.decode())
    assert [leak for leak in leaks if leak in text] == []


@jumping
async def test_content_is_in_the_form_of_the_conventions_if_it_is_wanted() -> None:
    traced = Traced(content=True)
    await _all_of_a_trace(traced)
    found = attributes_of(traced.named("chat fake")[0])
    assert found["gen_ai.input.messages"] == '[{"role": "user", "parts": [{"type": "text", "content": "a prompt"}]}]'
    assert "secret rationale" in found["gen_ai.output.messages"]


# -- spans without the tracer


class WithoutStages(ParentBased):
    """A sampler of somebody's own, that looks at more than the trace."""

    def should_sample(self, parent_context: Context | None, trace_id: int, name: str, *rest: Any) -> SamplingResult:
        sampler = ALWAYS_OFF if name in {names.DECODE, names.RELEASE_WAIT} else ALWAYS_ON
        return sampler.should_sample(parent_context, trace_id, name, *rest)


@pytest.mark.parametrize(
    "sampler",
    [ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF, TraceIdRatioBased(0.3), ParentBased(TraceIdRatioBased(0.3)),
     ParentBased(ALWAYS_OFF, remote_parent_sampled=TraceIdRatioBased(0.5), remote_parent_not_sampled=ALWAYS_ON)],
)  # fmt: skip
@pytest.mark.parametrize("wrap", [LinkedSampler, lambda sampler: sampler])
@given(trace_id=st.integers(1, (1 << 128) - 1), flags=st.sampled_from([None, 0, 1, 2, 3]), linked=st.booleans())
def test_a_decision_is_that_of_the_sampler(
    sampler: Sampler, wrap: Callable[[Sampler], Sampler], trace_id: int, flags: int | None, *, linked: bool
) -> None:
    parent = None if flags is None else SpanContext(trace_id, 1, is_remote=True, trace_flags=TraceFlags(flags))
    context = set_span_in_context(NonRecordingSpan(parent), Context()) if parent else Context()
    links = [Link(SpanContext(1, 1, is_remote=True, trace_flags=TraceFlags(1)))] if linked else []
    wrapped = wrap(sampler)
    decision = decision_of(wrapped)
    assert decision is not None
    expected = wrapped.should_sample(context, trace_id, "", None, None, links).decision
    assert decision.records(trace_id, parent, linked=linked) is (expected is Decision.RECORD_AND_SAMPLE)


def test_a_sampler_that_may_look_at_more_has_no_decision() -> None:
    several = (WithoutStages(ALWAYS_ON), ParentBased(WithoutStages(ALWAYS_ON)), StaticSampler(Decision.RECORD_ONLY),
               ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF))  # fmt: skip
    assert [decision_of(LinkedSampler(one)) for one in several] == [None] * len(several)


def committed(traced: Traced) -> list[str]:
    record_trace: RecordTrace = traced.telemetry.record(record())
    record_trace.committed(marks())
    return [span.name for span in traced.spans]


def test_a_sampler_of_somebodys_own_decides_on_each_child() -> None:
    assert committed(Traced(WithoutStages(ALWAYS_ON))) == ["wait for batch", "process impressions"]


@pytest.mark.parametrize(
    "sampler", [DEFAULT_ON, ALWAYS_ON, TraceIdRatioBased(1.0), ParentBased(TraceIdRatioBased(1.0))]
)
def test_the_usual_samplers_need_no_tracer(sampler: Sampler) -> None:
    traced = Traced(sampler)
    assert committed(traced) == ["decode", "wait for batch", "release wait", "process impressions"]
    assert isinstance(traced.telemetry._spans, PlainTracer)
    assert len({(span.resource, span.instrumentation_scope) for span in traced.spans}) == 1
    assert len({span.context.trace_flags for span in traced.spans if span.context}) == 1


def test_an_sdk_without_the_flag_of_random_ids_has_spans_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before 1.42 have neither it nor the question for it; a worker that exports traces did not start."""
    monkeypatch.delattr(TraceFlags, "RANDOM_TRACE_ID", raising=False)
    monkeypatch.delattr(RandomIdGenerator, "is_trace_id_random", raising=False)
    monkeypatch.delattr(IdGenerator, "is_trace_id_random", raising=False)
    traced = Traced()
    traced.telemetry.record(record(headers=SAMPLED)).committed(marks())
    assert len(committed(traced)) == 8
    assert {span.context.trace_flags for span in traced.spans if span.context} == {TraceFlags.SAMPLED}


@pytest.mark.parametrize(
    "limit",
    [
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
        "OTEL_SPAN_LINK_COUNT_LIMIT",
    ],
)
def test_where_a_limit_may_cut_something_off_spans_are_the_tracers(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv(limit, "3")
    traced = Traced()
    assert len(committed(traced)) == 4
    assert isinstance(traced.telemetry._spans, TracerSpans)
