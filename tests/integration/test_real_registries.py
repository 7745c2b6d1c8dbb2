"""Real registries of two products, Apicurio 2 and 3 and Cloudera's, under the claims of `test_registry`."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme
from google.protobuf import descriptor_pb2

from tests.support.events import event_id, impression, payload, schema_text
from tests.support.harness import Stage, as_flags, mirrorstream, send_raw
from tests.support.judge import Judge, confluent
from tests.support.patience import patience
from tests.support.protobuf import NAME, SCHEMAS, descriptor_set, encode_protobuf, plain_protobuf
from tests.support.registries import PRODUCTS, Front, Secured, running

from .test_dead_letters import dlq

pytestmark = pytest.mark.long
OUR_INPUT = schema_text("RecommendationImpression")


WITH_PROTOBUF = [name for name, product in PRODUCTS.items() if product.has_protobuf]


@pytest.fixture(params=PRODUCTS)
def product(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(product: str, tmp_path: Path) -> Iterator[str]:
    with running(product, tmp_path) as found:
        yield found


def add(url: str, subject: str, schema: str, *references: tuple[str, str], kind: str = "AVRO") -> int:
    """Register a schema, and what it names: (name of the type or file, subject); return its id."""
    refers = [{"name": name, "subject": of, "version": 1} for name, of in references]
    body: dict[str, Any] = {"schema": schema}
    body |= ({"schemaType": kind} if kind != "AVRO" else {}) | ({"references": refers} if refers else {})
    answer = httpx2.post(f"{url}/subjects/{subject}/versions", json=body, trust_env=False)
    assert answer.status_code == httpx2.codes.OK, answer.text
    return int(answer.json()["id"])


def register(stage: Stage, url: str, product: str, **access: str) -> dict[str, int]:
    """Register ours by the command, twice; return the ids by subject."""
    names = ("input_topics", "output_topic", "dead_letter_topic")
    flags = as_flags({name: stage.settings()[name] for name in names} | {"schema_registry_url": url} | access)
    found: list[dict[str, int]] = []
    for _ in range(2):
        done = mirrorstream("schemas", "register", "--json", *flags)
        assert done.returncode == 0, done.stderr
        assert ("this registry has no call that sets it" in done.stderr) != PRODUCTS[product].sets_compatibility
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


def test_records_of_three_writers_are_answered_and_an_unknown_id_is_a_dead_letter(
    stage: Stage, url: str, product: str
) -> None:
    """Ours, an older one under its record's name, and one of two schemas; the output has the id that was registered."""
    stage.create(partitions=1)
    ids = register(stage, url, product)
    ours, out = ids[f"{stage.topic}-value"], ids[f"{stage.responses}-value"]
    older = json.loads(OUR_INPUT)
    older["fields"] = [one for one in older["fields"] if one["name"] not in {"context", "is_test"}]
    before = add(url, f"{older['namespace']}.{older['name']}", json.dumps(older))
    sent = [framed(1, ours), framed(2, before, payload(impression(2))[:-2])]
    if PRODUCTS[product].has_references:
        sent.append(framed(3, add_in_two(url)))
    send_raw(stage, sent)
    send_raw(stage, [framed(number, 9_999) for number in range(4, 30)])
    with Front(url) as front:
        assert stage.run("--until-end", schema_registry_url=front.url).exit_code() == 0
    judge = judge_of(stage, {out: schema_text("SimulatedResponse")})
    assert {str(one["event_id"]) for one in judge.answers()} == {event_id(number + 1) for number in range(len(sent))}
    assert {message.value()[:5] for message in judge.messages()} == {b"\x00" + out.to_bytes(4, "big")}
    assert dlq(stage, "list")["reasons"] == {"schema": 26}
    assert judge.all_committed()
    assert front.asked["GET /schemas/ids/9999"] == 1


def add_in_two(url: str) -> int:
    """Register our input as two schemas, one of which names the other; return the id of the whole."""
    main: dict[str, Any] = json.loads(OUR_INPUT)
    [user] = [one for one in main["fields"] if one["name"] == "user"]
    alone = dict(user["type"], namespace=main["namespace"])
    user["type"] = f"{main['namespace']}.{alone['name']}"
    add(url, "user-value", json.dumps(alone))
    return add(url, "made-of-two", json.dumps(main), (user["type"], "user-value"))


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


@pytest.mark.parametrize("product", WITH_PROTOBUF)
def test_protobuf_is_read_by_a_descriptor_with_and_without_imports_and_a_proto_file_is_told(
    stage: Stage, url: str, product: str
) -> None:
    """The `.proto` file's records wait, and none is lost: they are answered once its descriptors are given."""
    stage.create(partitions=1)
    out = register(stage, url, product)[f"{stage.responses}-value"]
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


def test_a_schema_that_breaks_readers_is_refused_after_ours_is_there(stage: Stage, url: str, product: str) -> None:
    """The subject has FULL_TRANSITIVE, or is backward with all versions: a field without a default cannot come."""
    register(stage, url, product)
    broken = json.loads(OUR_INPUT)
    broken["fields"].append({"name": "needed", "type": "string"})
    answer = httpx2.post(
        f"{url}/subjects/{stage.topic}-value/versions",
        json={"schema": json.dumps(broken)},
        trust_env=False,
    )
    assert answer.status_code == httpx2.codes.CONFLICT


def test_an_output_that_is_not_registered_is_a_clear_end(stage: Stage, url: str) -> None:
    """Neither where the subject is unknown, nor where it has another schema than this worker's."""
    stage.create(partitions=1)
    for _ in range(2):
        worker = stage.run(schema_registry_url=url)
        assert worker.exit_code() == 2
        assert "mirrorstream schemas register" in worker.log
        ours = json.loads(schema_text("SimulatedResponse"))
        add(url, f"{stage.responses}-value", json.dumps(ours | {"doc": "another"}))


@pytest.mark.parametrize("how", ["away", "slow"])
def test_an_outage_holds_records_up_until_it_is_over(stage: Stage, url: str, product: str, how: str) -> None:
    """Slow is longer than a whole call may take; none is lost, and each is answered once."""
    stage.create(partitions=1)
    ids = register(stage, url, product)
    ours, out = ids[f"{stage.topic}-value"], ids[f"{stage.responses}-value"]
    with Front(url) as front, stage.worker(schema_registry_url=front.url, drain_timeout_s=100) as worker:
        worker.until_ready()
        front.away, front.slow_s = how == "away", 12.0 if how == "slow" else 0.0
        send_raw(stage, [framed(number, ours) for number in range(20)])
        worker.until(lambda: "schema registry" in worker.page("/readyz")[1], "reason why it is not ready")
        assert worker.page("/livez")[0] == 200
        judge = judge_of(stage, {ours: OUR_INPUT, out: schema_text("SimulatedResponse")})
        assert judge.messages() == []
        front.away, front.slow_s = False, 0.0
        worker.until(judge.all_committed, "commit to the end")
        assert worker.stop(patience(20, below_s=100)) == 0
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize(
    "login",
    [("worker:pass:word", f"Basic {b64encode(b'worker:pass:word').decode()}"), ("Bearer a.b-c", "Bearer a.b-c")],
    ids=["basic", "bearer"],
)
def test_a_login_before_it_is_met_with_what_the_file_says(
    stage: Stage, url: str, product: str, tmp_path: Path, login: tuple[str, str]
) -> None:
    stage.create(partitions=1)
    file = tmp_path / "login"
    file.write_text("other:one", encoding="utf-8")
    said, header = login
    with Front(url, header) as front:
        flags = as_flags({"schema_registry_url": front.url, "schema_registry_auth_file": str(file)})
        strange = mirrorstream("schemas", "register", *flags)
        assert strange.returncode == 1
        assert "rejects the credentials (401): check schema_registry_auth_file" in " ".join(strange.stderr.split())
        assert "other:one" not in strange.stderr
        file.write_text(said, encoding="utf-8")
        ids = register(stage, front.url, product, schema_registry_auth_file=str(file))
        send_raw(stage, [framed(number, ids[f"{stage.topic}-value"]) for number in range(5)])
        worker = stage.run("--until-end", schema_registry_url=front.url, schema_registry_auth_file=str(file))
        assert worker.exit_code() == 0
    assert dlq(stage, "list")["reasons"] == {}
    assert said.removeprefix("Bearer ") not in worker.log


def test_the_second_address_is_asked_where_nobody_is_at_the_first(stage: Stage, url: str, product: str) -> None:
    stage.create(partitions=1)
    ours = register(stage, url, product)[f"{stage.topic}-value"]
    send_raw(stage, [framed(number, ours) for number in range(20)])
    with stage.worker(schema_registry_url=f"http://127.0.0.1:1,{url}") as worker:
        worker.until(lambda: worker.metric("responses_total") > 0, "responses")
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("product", "asks"),
    [(name, False) for name in PRODUCTS]
    + [(name, True) for name, one in PRODUCTS.items() if one.can_ask_for_certificates],
)
def test_tls_with_an_authority_of_our_own(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, product: str, *, asks: bool
) -> None:
    """And with certificates of ours, which one of the products asks for."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    secured = Secured(tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem", asks)
    made.cert_chain_pems[0].write_to_path(secured.certificate)
    made.private_key_pem.write_to_path(secured.key)
    authority.cert_pem.write_to_path(secured.authority)
    with running(product, tmp_path, secured=secured) as url:
        flags = as_flags({"schema_registry_url": url, "input_topics": stage.topic})
        strange = mirrorstream("schemas", "register", *flags)
        assert strange.returncode != 0, "the authority is not known yet"
        assert "certificate" in strange.stderr.lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(secured.authority))
        if asks:
            assert mirrorstream("schemas", "register", *flags).returncode == 1, "no certificate of ours yet"
            access = {"schema_registry_certificate_file": secured.certificate, "schema_registry_key_file": secured.key}
            flags += as_flags({name: str(file) for name, file in access.items()})
        assert mirrorstream("schemas", "register", *flags).returncode == 0
