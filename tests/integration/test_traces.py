"""One trace from a producer's span to a reader of responses: real Kafka, real vLLM, and an OTLP receiver."""

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.collector import Collector, attributes
from tests.support.events import encode, event_id, impression
from tests.support.harness import Stage, send_raw
from tests.support.judge import Judge
from tests.support.served import TOKEN, Served

KINDS = Span.SpanKind
QUESTIONS, DRAWS, PASSES = 3, 2, 2
PRODUCER_SPAN = "b7ad6b7169203331"
ANY = object()  # in a table of attributes: there, whatever its value is


class Story:
    """The spans of one trace."""

    def __init__(self, spans: Iterable[Span], trace_id: str) -> None:
        self.spans = [span for span in spans if span.trace_id.hex() == trace_id]
        self._by_id = {span.span_id: span for span in self.spans}

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> Span:
        (found,) = self.named(name)
        return found

    def parent(self, span: Span) -> Span:
        return self._by_id[span.parent_span_id]

    @property
    def is_connected(self) -> bool:
        """True if every span has its parent in the trace, but for the first, whose parent is the producer's."""
        roots = [span for span in self.spans if span.parent_span_id not in self._by_id]
        return [span.parent_span_id.hex() for span in roots] == [PRODUCER_SPAN]


def in_table(span: Span, table: Mapping[str, Any]) -> None:
    """See that a span has the attributes of a table, no more and no less."""
    found = attributes(span.attributes)
    assert found.keys() == table.keys(), span.name
    assert found == {name: found[name] if value is ANY else value for name, value in table.items()}


def client_of(stage: Stage) -> dict[str, Any]:
    host, _, port = stage.bootstrap.partition(",")[0].rpartition(":")
    return {
        "messaging.system": "kafka",
        "messaging.client.id": "mirrorstream",
        "server.address": host,
        "server.port": int(port),
    }


def process_of(stage: Stage) -> dict[str, Any]:
    return {
        **client_of(stage),
        "messaging.consumer.group.name": stage.name,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": stage.topic,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": ANY,
        "mirrorstream.outcome": "answered",
    }


EVENT = {
    "messaging.message.id": event_id(0),
    "messaging.message.conversation_id": "request-0",
    "mirrorstream.experiment.id": "shelf",
}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "vllm",
    "gen_ai.request.model": "mirror-tiny",
    "gen_ai.request.max_tokens": ANY,
    "gen_ai.request.temperature": ANY,
    "gen_ai.response.finish_reasons": ANY,
    "gen_ai.usage.input_tokens": ANY,
    "gen_ai.usage.output_tokens": ANY,
    "gen_ai.usage.cache_read.input_tokens": ANY,
    "mirrorstream.question": ANY,
    "mirrorstream.draw": ANY,
    "mirrorstream.try": 1,
    "mirrorstream.pass": ANY,
}


def answer_two(stage: Stage, collector: Collector, **settings: Any) -> tuple[str, str]:
    """Have a good and a bad record answered, each in a trace of its producer's; return the traces' ids."""
    good, bad = secrets.token_hex(16), secrets.token_hex(16)
    stage.create(partitions=1)
    for trace_id, value in ((good, encode(impression(0))), (bad, b"not Avro")):
        headers = (("traceparent", f"00-{trace_id}-{PRODUCER_SPAN}-01".encode()),)
        send_raw(stage, [(b"user-0", value)], headers=headers)
    stage.variables |= collector.variables | {"OTEL_RESOURCE_ATTRIBUTES": "service.namespace=shadow"}
    worker = stage.run("--until-end", **settings)
    assert worker.process.returncode == 0, worker.log[-2_000:]
    return good, bad


def assert_the_whole_story(stage: Stage, judge: Judge, collector: Collector, ids: tuple[str, str], kind: Any) -> None:
    story = Story(collector.spans, ids[0])
    assert story.is_connected
    assert Counter(span.name for span in story.spans) == {
        f"process {stage.topic}": 1,
        "decode": 1,
        "wait for batch": 1,
        "chat mirror-tiny": QUESTIONS * DRAWS * PASSES,
        "llm_request": QUESTIONS * DRAWS * PASSES,
        "release wait": 1,
        f"send {stage.responses}": QUESTIONS,
    }
    process = story.one(f"process {stage.topic}")
    in_table(process, process_of(stage) | EVENT)
    assert process.kind == KINDS.SPAN_KIND_CONSUMER
    for engine in story.named("llm_request"):
        assert story.parent(engine).name == "chat mirror-tiny"
    asked: Counter[tuple[Any, ...]] = Counter()
    for chat in story.named("chat mirror-tiny"):
        told = attributes(chat.attributes)
        written = {"gen_ai.request.top_p", "gen_ai.request.seed"} if told["mirrorstream.pass"] == "rationale" else ()
        in_table(chat, CHAT | dict.fromkeys(written, ANY))
        assert chat.kind == kind
        asked[told["mirrorstream.question"], told["mirrorstream.draw"], told["mirrorstream.pass"]] += 1
    assert set(asked.values()) == {1}
    sends = story.named(f"send {stage.responses}")
    sent = {
        **client_of(stage),
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": stage.responses,
        "messaging.message.id": ANY,
        "messaging.message.conversation_id": "request-0",
    }
    for span in sends:
        in_table(span, sent)
        assert process.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= process.end_time_unix_nano
    read = {dict(message.headers() or ())["traceparent"].decode() for message in judge.messages()}
    assert read == {f"00-{ids[0]}-{span.span_id.hex()}-01" for span in sends}, "a reader goes on from there"


def assert_a_dead_letter_and_what_is_common(stage: Stage, collector: Collector, ids: tuple[str, str]) -> None:
    story = Story(collector.spans, ids[1])
    assert story.is_connected
    process = story.one(f"process {stage.topic}")
    assert process.status.code == Status.STATUS_CODE_ERROR
    in_table(process, process_of(stage) | {"mirrorstream.outcome": "dead_lettered", "error.type": "magic"})
    assert story.parent(story.one(f"send {stage.dead_letters}")) is process
    traced = {bytes.fromhex(one) for one in ids}
    common = [span for span in collector.spans if span.trace_id not in traced and span.links]
    polled = {link.trace_id for span in common if span.name == f"poll {stage.topic}" for link in span.links}
    sent = {link.trace_id for span in common if span.name.startswith("send") for link in span.links}
    assert (polled, sent) == (traced, traced)
    assert {span.dropped_links_count for span in common} == {0}
    assert "https://opentelemetry.io/schemas/1.44.0" in collector.schema_urls
    of_all = {"service.name": "mirrorstream", "service.namespace": "shadow"}.items()
    assert all(resource.items() >= of_all for resource in collector.resources), "vLLM's own, too"
    assert any({"service.version", "service.instance.id"} <= resource.keys() for resource in collector.resources)


@pytest.mark.parametrize("protocol", [pytest.param("http/protobuf", marks=pytest.mark.long), "grpc"])
def test_a_trace_goes_from_the_producer_through_vllm_to_whoever_reads(
    stage: Stage, judge: Judge, protocol: str
) -> None:
    with Collector(protocol) as collector:
        ids = answer_two(stage, collector, engine="vllm", max_tokens=64, kv_cache_bytes=128 << 20)
    assert_the_whole_story(stage, judge, collector, ids, KINDS.SPAN_KIND_INTERNAL)
    assert_a_dead_letter_and_what_is_common(stage, collector, ids)


@pytest.mark.long
def test_a_trace_goes_through_a_server_too(stage: Stage, judge: Judge, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with Collector() as collector:
        traced = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
        endpoint = f"--otlp-traces-endpoint=http://127.0.0.1:{collector.port}/v1/traces"
        with Served(tmp_path / "serve.log", flags=(endpoint,), variables=traced) as served:
            served.until_ready()
            ids = answer_two(
                stage, collector, engine="vllm-server", server_urls=served.url, server_auth_file=str(token),
                max_tokens=64, max_model_len=4_096,
            )  # fmt: skip
        # Whatever the server still had is there: it ends before the receiver does.
    assert_the_whole_story(stage, judge, collector, ids, KINDS.SPAN_KIND_CLIENT)
