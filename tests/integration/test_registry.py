"""Confluent's framing with a schema registry: its outage holds records up, its "not found" makes a dead letter."""

import json
import time
from base64 import b64encode
from collections.abc import Iterator

import pytest

from tests.support.events import encode, event_id, impression, payload, schema_text
from tests.support.harness import Stage, Tell, as_flags, mirrorstream, send_raw
from tests.support.judge import Judge, confluent
from tests.support.patience import patience
from tests.support.protobuf import descriptor_set, encode_protobuf, plain_protobuf
from tests.support.schema_registry import Registry, guid

from .test_dead_letters import dlq


@pytest.fixture
def registry(stage: Stage) -> Iterator[Registry]:
    """A registry with this stage's schemas, and a stage that uses it."""
    with Registry() as registry:
        stage.overrides |= {"schema_registry_url": registry.url}
        registry.add(f"{stage.topic}-value", schema_text("RecommendationImpression"))
        registry.add(f"{stage.responses}-value", schema_text("SimulatedResponse"))
        yield registry


@pytest.fixture
def judge(stage: Stage, registry: Registry) -> Judge:
    """Who reads both topics with the registry's schemas."""
    return Judge(
        stage.bootstrap, topic=stage.topic, responses=stage.responses, dead_letters=stage.dead_letters,
        group=stage.name, decode_in=confluent(registry.schemas), decode_out=confluent(registry.schemas),
    )  # fmt: skip


def framed(number: int, schema_id: int = 1) -> tuple[bytes, bytes]:
    return b"user", b"\x00" + schema_id.to_bytes(4, "big") + payload(impression(number))


def test_registered_schemas_frame_both_topics(stage: Stage, judge: Judge, registry: Registry) -> None:
    stage.create(partitions=1)
    names = ("input_topics", "output_topic", "dead_letter_topic", "schema_registry_url")
    done = mirrorstream("schemas", "register", *as_flags({name: stage.settings()[name] for name in names}))
    assert done.returncode == 0, done.stderr
    assert f"{stage.responses}-value: id 2" in done.stdout
    assert set(registry.compatibility.values()) == {"FULL_TRANSITIVE"}
    assert {f"{stage.topic}-value", f"{stage.responses}-value"} <= registry.compatibility.keys()

    send_raw(stage, map(framed, range(20)))
    assert stage.run("--until-end").exit_code() == 0
    judge.verdict().assert_exactly_once()
    assert {message.value()[:5] for message in judge.messages()} == {b"\x00\x00\x00\x00\x02"}
    assert {answer["source"]["schema_id"] for answer in judge.answers()} == {"1"}
    assert registry.asked["GET /schemas/ids/1"] == 1


def test_an_older_writer_a_guid_and_no_registry_framing_are_read_too(
    stage: Stage, judge: Judge, registry: Registry
) -> None:
    """Producers are not all of one age, and some put the schema into a header or need no registry at all."""
    stage.create(partitions=1)
    older = json.loads(schema_text("RecommendationImpression"))
    older["fields"] = [field for field in older["fields"] if field["name"] not in {"context", "is_test"}]
    number = registry.add("older", json.dumps(older))
    without = payload(impression(1))[:-2]  # an empty map and a false, one byte each, stand at the end
    send_raw(stage, [(b"user", b"\x00" + number.to_bytes(4, "big") + without)])
    send_raw(stage, [(b"user", payload(impression(2)))], headers=[("__value_schema_id", b"\x01" + guid(1).bytes)])
    send_raw(stage, [(b"user", encode(impression(3)))])
    assert stage.run("--until-end").exit_code() == 0
    assert {str(answer["event_id"]) for answer in judge.answers()} == {event_id(number) for number in (1, 2, 3)}
    assert judge.read(stage.dead_letters) == []
    assert judge.all_committed()


HTML = "<html><body>Please log in</body></html>"
PAGES = {"a login page": (200, HTML), "an ingress' own 404": (404, HTML)}


@pytest.mark.parametrize(
    "how",
    [
        "error 500",
        "silence",
        "connection refused",
        "an ingress' own 404",
        pytest.param("a login page", marks=pytest.mark.long),  # two tests below meet one, too
    ],
)
def test_an_outage_holds_records_up_until_it_is_over(
    stage: Stage, judge: Judge, registry: Registry, tell: Tell, how: str
) -> None:
    stage.create(partitions=1)
    with stage.worker(drain_timeout_s=100) as worker:
        worker.until_ready()
        if how == "error 500":
            registry.failing = 500
        elif how in PAGES:
            registry.page = PAGES[how]
        elif how == "silence":  # connections are taken, calls never answered: only a time-out of ours ends them
            registry.speaks.clear()
        else:
            registry.stop()
        send_raw(stage, map(framed, range(100)))  # more than open the breaker, if an outage counted
        worker.until(lambda: "schema registry" in worker.page("/readyz")[1], "reason why it is not ready")
        assert worker.page("/livez")[0] == 200  # a restart would not bring the registry back
        assert judge.read(stage.dead_letters) == judge.messages() == []
        if how != "connection refused":
            registry.failing, registry.page = 0, None
            registry.speaks.set()
            back_s = time.monotonic()
            worker.until(judge.all_committed, "commit to the end")
            tell(f"schema registry, {how}, after it is back", time.monotonic() - back_s)
            assert worker.page("/readyz") == (200, "ok\n")
        assert (
            worker.stop(patience(20, below_s=100)) == 0
        )  # what is not decoded is worth no waiting: it is not committed
    if how == "connection refused":
        with Registry() as again:
            again.schemas = registry.schemas
            again.add(f"{stage.responses}-value", schema_text("SimulatedResponse"))
            assert stage.run("--until-end", schema_registry_url=again.url).exit_code() == 0
    assert judge.read(stage.dead_letters) == []
    judge.verdict().assert_exactly_once()


def test_a_registry_away_at_the_start_is_waited_for(stage: Stage, judge: Judge, registry: Registry) -> None:
    stage.create(partitions=1)
    send_raw(stage, map(framed, range(20)))
    registry.page = PAGES["a login page"]
    with stage.worker("--until-end") as worker:
        worker.until(lambda: "this is not a schema registry" in worker.page("/readyz")[1], "reason why it is not ready")
        registry.page, registry.failing = None, 503
        worker.until(lambda: "returned 503" in worker.page("/readyz")[1], "another reason")
        registry.failing = 0
        assert worker.exit_code() == 0
    assert "Traceback" not in worker.log
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize("words", [("schemas", "register"), ("check",)])
def test_a_command_that_meets_a_login_page_says_so(stage: Stage, registry: Registry, words: tuple[str, ...]) -> None:
    stage.create(partitions=1)
    registry.page = PAGES["a login page"]
    done = stage.command(*words) if words == ("check",) else mirrorstream(
        *words, *as_flags({name: stage.settings()[name] for name in ("schema_registry_url", "input_topics")})
    )  # fmt: skip
    assert done.returncode == 1
    assert "this is not a schema registry" in " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in done.stderr


def test_a_schema_made_of_others_is_fetched_whole(stage: Stage, judge: Judge, registry: Registry) -> None:
    """Some teams register `User` as a schema of its own, which others name under `references`."""
    stage.create(partitions=1)
    main = json.loads(schema_text("RecommendationImpression"))
    [field] = [field for field in main["fields"] if field["name"] == "user"]
    user = dict(field["type"], namespace=main["namespace"])
    field["type"] = f"{main['namespace']}.{user['name']}"
    registry.add("user-value", json.dumps(user))
    number = registry.add("made-of-others", json.dumps(main), ("user-value", 1))
    missing = registry.add("lacks-one", json.dumps(main | {"doc": "another"}), ("nobody", 1))
    send_raw(stage, [framed(1, number), framed(2, missing)])
    send_raw(stage, [(b"user", payload(impression(3)))], headers=[("__value_schema_id", b"\x01" + guid(number).bytes)])
    assert stage.run("--until-end").exit_code() == 0
    assert {str(answer["event_id"]) for answer in judge.answers()} == {event_id(1), event_id(3)}
    [letter] = judge.read(stage.dead_letters)
    assert b"refers to nobody version 1, which is not in the registry" in dict(letter.headers())["ms-detail"]
    assert registry.asked["GET /subjects/user-value/versions/1"] == 1


def test_an_id_that_the_registry_cannot_give_holds_its_own_records(
    stage: Stage, judge: Judge, registry: Registry
) -> None:
    stage.create(partitions=2)
    late = registry.add("late", json.dumps(json.loads(schema_text("RecommendationImpression")) | {"doc": "late"}))
    registry.away = {late}
    with stage.worker() as worker:
        worker.until_ready()
        send_raw(stage, [framed(0), framed(1, late), *map(framed, range(2, 100))])  # one user: one partition
        send_raw(stage, [(b"somebody", value) for _, value in map(framed, range(100, 300))])
        assert sorted(judge.offsets()[1].values()) == [100, 200], "two partitions"
        worker.until(
            lambda: len({str(one["event_id"]) for one in judge.answers()}) == 201, "answers of the other partition"
        )
        worker.until(lambda: "wait for writer schema id" in worker.page("/readyz")[1], "reason why it is not ready")
        assert "error code 50301" in worker.page("/readyz")[1]
        assert worker.metric("held_records") == 1
        assert judge.read(stage.dead_letters) == []
        registry.away = set()
        worker.until(judge.all_committed, "commit to the end")
        assert worker.page("/readyz") == (200, "ok\n")
        assert worker.stop() == 0
    seen = judge.verdict().seen
    assert set(seen.values()) == {1}
    assert {event for event, _, _ in seen} == {event_id(number) for number in range(300)}


def test_sigterm_ends_a_worker_that_waits_for_the_registry(stage: Stage, registry: Registry) -> None:
    stage.create(partitions=1)
    registry.failing = 503
    with stage.worker() as worker:
        worker.until(lambda: "next try in" in worker.log, "line about the registry")
        assert worker.stop(patience(15, below_s=60)) == 0


def test_an_unregistered_output_is_a_clear_end(stage: Stage) -> None:
    stage.create(partitions=1)
    with Registry() as empty:
        worker = stage.run(schema_registry_url=empty.url)
    assert worker.exit_code() == 2
    assert "mirrorstream schemas register" in worker.log
    assert "Traceback" not in worker.log


def test_letters_of_a_schema_that_is_registered_later_are_answered_after_their_replay(
    stage: Stage, judge: Judge, registry: Registry
) -> None:
    stage.create(partitions=1)
    send_raw(stage, [framed(number, schema_id=3) for number in range(5)])
    assert stage.run("--until-end").exit_code() == 0
    assert dlq(stage, "list")["reasons"] == {"schema": 5}
    late = json.loads(schema_text("RecommendationImpression")) | {"doc": "the same, registered late"}
    assert registry.add("late", json.dumps(late)) == 3
    assert dlq(stage, "replay", "--from-start", "--reason", "schema")["put_back"] == {stage.topic: 5}
    assert stage.run("--until-end").exit_code() == 0
    seen = judge.verdict().seen
    assert set(seen.values()) == {1}
    assert {event for event, _, _ in seen} == {event_id(number) for number in range(5)}
    assert len(judge.read(stage.dead_letters)) == 5


def test_unknown_ids_are_dead_letters_and_a_storm_of_them_asks_once(
    stage: Stage, judge: Judge, registry: Registry
) -> None:
    stage.create(partitions=1)
    send_raw(stage, [framed(number, schema_id=99) for number in range(49)])  # one more would open the breaker
    send_raw(stage, [framed(1)])
    assert stage.run("--until-end").exit_code() == 0
    letters = judge.read(stage.dead_letters)
    assert len(letters) == 49
    assert {dict(letter.headers())["ms-reason"] for letter in letters} == {b"schema"}
    assert registry.asked["GET /schemas/ids/99"] == 1
    judge.verdict().assert_exactly_once()


def test_protobuf_of_a_writers_own_schema_is_answered_once_and_its_schema_is_asked_for_once(
    stage: Stage, registry: Registry
) -> None:
    """A worker that dies and one that goes on; a message of an id that nobody has is a dead letter."""
    stage.create(partitions=1)
    names = ("input_topics", "output_topic", "dead_letter_topic", "schema_registry_url")
    own = as_flags({name: stage.settings()[name] for name in names} | {"input_format": "protobuf"})
    assert mirrorstream("schemas", "register", *own).returncode == 0
    registry.schemas[70] = b64encode(descriptor_set().file[-1].SerializeToString()).decode()
    registry.kinds[70] = "PROTOBUF"
    prefix = b"\x00" + (70).to_bytes(4, "big") + b"\x00"
    messages = [prefix + encode_protobuf(impression(number)) for number in range(100)]
    unknown = b"\x00" + (71).to_bytes(4, "big") + b"\x00" + encode_protobuf(impression(0))
    send_raw(stage, [(b"user", message) for message in [*messages, unknown]])
    with stage.worker(input_format="protobuf", flush_max_records=10) as worker:
        worker.until(lambda: worker.metric("responses_total") > 0, "answer")
        worker.kill()
    assert stage.run("--until-end", input_format="protobuf").exit_code() == 0
    judge = Judge(
        stage.bootstrap, topic=stage.topic, responses=stage.responses, dead_letters=stage.dead_letters,
        group=stage.name, decode_out=confluent({one: registry.schemas[one] for one in registry.schemas if one != 70}),
        decode_in=lambda value: plain_protobuf(value.removeprefix(prefix)) if value.startswith(prefix) else None,
    )  # fmt: skip
    judge.verdict().assert_exactly_once()
    [letter] = judge.read(stage.dead_letters)
    assert dict(letter.headers())["ms-reason"] == b"schema"
    assert registry.asked["GET /schemas/ids/70"] == 2, "once for each worker"
