"""Two real registries, Apicurio 2 and 3, under the same claims as the registry of our own in `test_registry`."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from google.protobuf import descriptor_pb2

from tests.support.apicurio import ARTIFACTS, Secured, apicurio
from tests.support.events import event_id, impression, payload, schema_text
from tests.support.harness import Stage, as_flags, mirrorstream, send_raw
from tests.support.judge import Judge, confluent
from tests.support.protobuf import NAME, SCHEMAS, descriptor_set, encode_protobuf, plain_protobuf

from .test_dead_letters import dlq

pytestmark = pytest.mark.long
OUR_INPUT = schema_text("RecommendationImpression")


@pytest.fixture(params=sorted(ARTIFACTS))
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with apicurio(request.param, tmp_path) as found:
        yield found


def add(url: str, subject: str, schema: str, *references: tuple[str, str], kind: str = "AVRO") -> int:
    """Register a schema, and what it names: (name of the type or file, subject); return its id."""
    refers = [{"name": name, "subject": of, "version": 1} for name, of in references]
    body = {"schema": schema, "schemaType": kind, "references": refers}
    answer = httpx2.post(f"{url}/subjects/{subject}/versions", json=body, trust_env=False)
    assert answer.status_code == httpx2.codes.OK, answer.text
    return int(answer.json()["id"])


def register(stage: Stage, url: str) -> dict[str, int]:
    """Register ours by the command, twice; return the ids by subject."""
    names = ("input_topics", "output_topic", "dead_letter_topic")
    flags = as_flags({name: stage.settings()[name] for name in names} | {"schema_registry_url": url})
    found: list[dict[str, int]] = []
    for _ in range(2):
        done = mirrorstream("schemas", "register", "--json", *flags)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    return found[0]


def framed(number: int, schema_id: int, data: bytes | None = None) -> tuple[bytes, bytes]:
    return b"user", b"\x00" + schema_id.to_bytes(4, "big") + (payload(impression(number)) if data is None else data)


def judge_of(stage: Stage, schemas: dict[int, str]) -> Judge:
    return Judge(
        stage.bootstrap, topic=stage.topic, responses=stage.responses, dead_letters=stage.dead_letters,
        group=stage.name, decode_in=confluent(schemas), decode_out=confluent(schemas),
    )  # fmt: skip


def test_records_of_three_writers_are_answered_and_an_unknown_id_is_a_dead_letter(stage: Stage, url: str) -> None:
    """Ours, an older one, and one that is made of two schemas; the output has the id that was registered."""
    stage.create(partitions=1)
    ids = register(stage, url)
    ours, out = ids[f"{stage.topic}-value"], ids[f"{stage.responses}-value"]
    older = json.loads(OUR_INPUT)
    older["fields"] = [one for one in older["fields"] if one["name"] not in {"context", "is_test"}]
    before = add(url, "older", json.dumps(older))
    main: dict[str, Any] = json.loads(OUR_INPUT)
    [user] = [one for one in main["fields"] if one["name"] == "user"]
    alone = dict(user["type"], namespace=main["namespace"])
    user["type"] = f"{main['namespace']}.{alone['name']}"
    add(url, "user-value", json.dumps(alone))
    made = add(url, "made-of-two", json.dumps(main), (user["type"], "user-value"))
    send_raw(stage, [framed(1, ours), framed(2, before, payload(impression(2))[:-2]), framed(3, made)])
    send_raw(stage, [framed(number, 9_999) for number in range(4, 30)])
    assert stage.run("--until-end", schema_registry_url=url).exit_code() == 0
    judge = judge_of(stage, {out: schema_text("SimulatedResponse")})
    assert {str(one["event_id"]) for one in judge.answers()} == {event_id(number) for number in (1, 2, 3)}
    assert {message.value()[:5] for message in judge.messages()} == {b"\x00" + out.to_bytes(4, "big")}
    assert dlq(stage, "list")["reasons"] == {"schema": 26}
    assert judge.all_committed()


def split_in_two() -> tuple[str, str]:
    """Return our messages as two file descriptors in base64: what imports `item.proto`, and that file."""
    alone = descriptor_set().file[-1]
    main, item = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
    main.CopyFrom(alone)
    item.name, item.package, item.syntax = "item.proto", alone.package, alone.syntax
    del main.message_type[:], main.enum_type[:]
    for one in alone.message_type:
        (item if one.name == "Item" else main).message_type.append(one)
    for one in alone.enum_type:
        (item if one.name == "ItemKind" else main).enum_type.append(one)
    main.dependency.append(item.name)
    return b64encode(main.SerializeToString()).decode(), b64encode(item.SerializeToString()).decode()


def test_protobuf_is_read_by_a_descriptor_with_and_without_imports_and_a_proto_file_is_told(
    stage: Stage, url: str
) -> None:
    """The `.proto` file's records wait, and none is lost: they are answered once its descriptors are given."""
    stage.create(partitions=1)
    out = register(stage, url)[f"{stage.responses}-value"]
    whole = add(url, "whole", b64encode(descriptor_set().file[-1].SerializeToString()).decode(), kind="PROTOBUF")
    main, item = split_in_two()
    add(url, "item", item, kind="PROTOBUF")
    made = add(url, "made-of-two", main, ("item.proto", "item"), kind="PROTOBUF")
    text = add(url, "text", (SCHEMAS / "RecommendationImpression.proto").read_text(), kind="PROTOBUF")
    sent = [
        b"\x00" + schema_id.to_bytes(4, "big") + b"\x00" + encode_protobuf(impression(number))
        for number, schema_id in enumerate((whole, made, text))
    ]
    send_raw(stage, [(b"user", value) for value in sent])
    settings = {"schema_registry_url": url, "input_format": "protobuf"}
    with stage.worker(**settings) as worker:
        worker.until(lambda: "set protobuf_descriptors" in worker.page("/readyz")[1], "what to do")
        assert f"gives id {text} as a `.proto` file" in worker.page("/readyz")[1]
        worker.until(lambda: worker.metric("held_records") == 1, "the other two")
        assert worker.stop() == 0
    given = {"protobuf_descriptors": str(SCHEMAS / "RecommendationImpression.desc"), "protobuf_message": NAME}
    assert stage.run("--until-end", **settings, **given).exit_code() == 0
    judge = Judge(
        stage.bootstrap, topic=stage.topic, responses=stage.responses, dead_letters=stage.dead_letters,
        group=stage.name, decode_in=lambda value: plain_protobuf(value[6:]),
        decode_out=confluent({out: schema_text("SimulatedResponse")}),
    )  # fmt: skip
    judge.verdict().assert_exactly_once()
    assert {str(one["event_id"]) for one in judge.answers()} == {event_id(number) for number in range(3)}


def test_a_schema_that_breaks_readers_is_refused_after_ours_is_there(stage: Stage, url: str) -> None:
    """The subject has FULL_TRANSITIVE: a field without a default cannot come."""
    register(stage, url)
    broken = json.loads(OUR_INPUT)
    broken["fields"].append({"name": "needed", "type": "string"})
    answer = httpx2.post(
        f"{url}/subjects/{stage.topic}-value/versions",
        json={"schema": json.dumps(broken), "schemaType": "AVRO"},
        trust_env=False,
    )
    assert answer.status_code == httpx2.codes.CONFLICT


def test_the_second_address_is_asked_where_nobody_is_at_the_first(stage: Stage, url: str) -> None:
    stage.create(partitions=1)
    ours = register(stage, url)[f"{stage.topic}-value"]
    send_raw(stage, [framed(number, ours) for number in range(20)])
    with stage.worker(schema_registry_url=f"http://127.0.0.1:1,{url}") as worker:
        worker.until(lambda: worker.metric("responses_total") > 0, "responses")
        assert worker.stop() == 0


@pytest.mark.parametrize("version", sorted(ARTIFACTS))
def test_tls_with_an_authority_of_our_own(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    secured = Secured(tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    made.cert_chain_pems[0].write_to_path(secured.certificate)
    made.private_key_pem.write_to_path(secured.key)
    authority.cert_pem.write_to_path(secured.authority)
    with apicurio(version, tmp_path, secured=secured) as url:
        flags = as_flags({"schema_registry_url": url, "input_topics": stage.topic})
        strange = mirrorstream("schemas", "register", *flags)
        assert strange.returncode != 0, "the authority is not known yet"
        assert "certificate" in strange.stderr.lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(secured.authority))
        assert mirrorstream("schemas", "register", *flags).returncode == 0
