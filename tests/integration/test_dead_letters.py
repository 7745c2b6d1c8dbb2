"""Dead letters on a real Kafka: shown, replayed exactly once, and held by a breaker when most records are bad."""

import json
import re
import time
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from typer.testing import CliRunner

from tests.support.events import encode, event_id, impression, payload
from tests.support.harness import Stage, Tell, Worker, as_flags, mirrorstream, send_raw
from tests.support.judge import Judge
from tests.support.patience import patience
from worker.cli.main import app
from worker.core.errors import Fatal

BAD = [(b"user", b"hello"), (b"user", encode(impression(0, slates=[])))]  # reasons magic and limit
NUM_LETTERS = 3_000
UNKNOWN = b"\xc3\x01" + bytes(8)  # the prefix of a schema that nobody has


def dlq(stage: Stage, *words: str) -> Any:
    """Run one command of `dlq`, in this process for speed, and return what it prints as JSON."""
    done = CliRunner().invoke(app, ["dlq", *words, "--json", *as_flags(stage.settings())], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def first(stage: Stage, *words: str) -> Any:
    """Run the first replay of a group."""
    return dlq(stage, "replay", "--from-start", *words)


@pytest.fixture
def letters(stage: Stage) -> Stage:
    """One partition each; two dead letters, and a good record between them."""
    stage.create(partitions=1)
    send_raw(stage, [BAD[0], (b"user", encode(impression(1))), BAD[1]], headers=[("tenant", b"t1"), ("none", None)])
    assert stage.run("--until-end").exit_code() == 0
    return stage


def test_list_and_show_tell_why_and_what(letters: Stage) -> None:
    found = dlq(letters, "list")
    assert (found["letters"], found["reasons"]) == (2, {"magic": 1, "limit": 1})
    assert {row["source"] for row in found["newest"]} == {f"{letters.topic}[0]@0", f"{letters.topic}[0]@2"}
    assert len(dlq(letters, "list", "--limit", "1")["newest"]) == 1
    by_reason = {row["reason"]: row["at"] for row in found["newest"]}

    magic = dlq(letters, "show", by_reason["magic"])
    assert (magic["hex"], magic["key"], magic["source"]) == (b"hello".hex(), "user", f"{letters.topic}[0]@0")
    assert magic["headers"][:2] == [["tenant", "t1"], ["none", None]]
    limit = dlq(letters, "show", by_reason["limit"])
    assert (limit["record"]["event_id"], limit["record"]["slates"]) == (event_id(0), [])

    text = letters.command("dlq", "list").stdout
    assert f"{letters.dead_letters}: 2 dead letters" in text
    assert "1  magic" in text
    assert "header ms-reason: magic" in letters.command("dlq", "show", by_reason["magic"]).stdout
    nowhere = letters.command("dlq", "show", "0@999")
    assert nowhere.returncode == 1
    assert "no dead letter has this offset" in nowhere.stderr
    assert letters.command("dlq", "show", "first").returncode == 2


def test_replay_puts_each_record_back_once_as_it_was(letters: Stage, judge: Judge) -> None:
    before = judge.read(letters.topic)
    assert first(letters, "--dry-run")["put_back"] == {letters.topic: 2}
    assert len(judge.read(letters.topic)) == len(before), "a dry run sends nothing"
    assert first(letters, "--reason", "limit")["put_back"] == {letters.topic: 1}
    assert dlq(letters, "replay", "--limit", "1")["put_back"] == {letters.topic: 1}
    for words in ((), ("--from-start",)):  # where the position is known, it stands
        assert dlq(letters, "replay", *words)["put_back"] == {}, "nothing goes back again, in whatever order"
    again = judge.read(letters.topic)[len(before) :]
    assert [(one.key(), one.value()) for one in again] == [BAD[1], BAD[0]]
    for one in again:
        assert one.headers() == [("tenant", b"t1"), ("none", None), ("ms-attempt", b"1")]


def test_a_record_that_is_bad_for_ever_is_put_back_a_few_times(letters: Stage, judge: Judge) -> None:
    for attempt in (1, 2):
        assert first(letters, "--max-attempts", "2")["put_back"] == {letters.topic: 2}
        assert letters.run("--until-end").exit_code() == 0
        assert [row["attempts"] for row in dlq(letters, "list", "--limit", "2")["newest"]] == [attempt] * 2
    for _ in range(2):
        outcome = dlq(letters, "replay", "--max-attempts", "2")
        assert (outcome["put_back"], outcome["left"]) == ({}, {"already replayed 2 times or more": 2})
    assert dlq(letters, "replay")["put_back"] == {letters.topic: 2}, "with a higher bound they go"


def test_where_the_broker_has_forgotten_nothing_goes_back_by_itself(stage: Stage, judge: Judge) -> None:
    """The group has no members, so its positions are deleted after `offsets.retention.minutes`."""
    stage.create(partitions=1)
    send_raw(stage, [BAD[0], BAD[1]])
    assert stage.run("--until-end").exit_code() == 0
    assert stage.command("dlq", "replay").returncode == 1
    for _ in range(2):
        for words in ((), ("--dry-run", "--since", "2020-01-01T00:00Z")):
            with pytest.raises(Fatal) as refused:
                dlq(stage, "replay", *words)
            assert f"{stage.dead_letters}[0]: group {stage.name}-dlq-replay has no position" in str(refused.value)
            assert "--from-start" in str(refused.value)
        before = len(judge.read(stage.topic))
        assert first(stage)["put_back"] == {stage.topic: 2}
        assert dlq(stage, "replay")["put_back"] == {}
        assert len(judge.read(stage.topic)) == before + 2
        admin = AdminClient({"bootstrap.servers": stage.bootstrap})
        for deleted in admin.delete_consumer_groups([f"{stage.name}-dlq-replay"]).values():
            deleted.result(patience(10))


def test_each_replay_commits_where_it_stands_in_every_partition(stage: Stage, judge: Judge) -> None:
    """Else the one without new letters is forgotten before the others."""
    stage.create(partitions=3)
    send_raw(stage, [BAD[0]])
    assert stage.run("--until-end").exit_code() == 0
    assert first(stage)["put_back"] == {stage.topic: 1}
    group = ConsumerGroupTopicPartitions(f"{stage.name}-dlq-replay")
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    (found,) = admin.list_consumer_group_offsets([group]).values()
    offsets = [one.offset for one in found.result(patience(10)).topic_partitions]
    assert len(offsets) == 3
    assert sorted(offsets)[:2] == [0, 0]


def test_what_goes_back_fits_its_topic_and_what_never_can_is_told(stage: Stage, judge: Judge) -> None:
    """The broker holds a whole batch against the topic's limit, so small records could be too large together."""
    stage.create(partitions=1)
    stage.overrides["kafka_options"] = {"compression.type": "none"}
    producer = Producer({"bootstrap.servers": stage.bootstrap})
    headers = [("ms-reason", b"schema"), ("ms-source-topic", stage.topic.encode())]
    for _ in range(20):
        producer.produce(stage.dead_letters, bytes(2_000), b"user", headers=headers)
    assert producer.flush(patience(30)) == 0
    limit_topic(stage, 11_000)
    assert first(stage)["put_back"] == {stage.topic: 20}
    producer.produce(stage.dead_letters, bytes(12_000), b"user", headers=headers)
    assert producer.flush(patience(30)) == 0
    refused = stage.command("dlq", "replay")
    assert refused.returncode == 1
    said = " ".join(refused.stderr.split())  # a line as long as this is folded
    assert f"raise max.message.bytes of {stage.topic}" in said
    assert "the longest value has 12000 bytes" in said
    assert f"rejects the record of {stage.dead_letters}[0]@20" in said
    limit_topic(stage, 20_000)
    assert dlq(stage, "replay")["put_back"] == {stage.topic: 1}
    assert len(judge.read(stage.topic)) == 21


def limit_topic(stage: Stage, max_bytes: int) -> None:
    """Set the input topic's `max.message.bytes`."""
    entry = ConfigEntry("max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, stage.topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})  # kept: its futures fail when it is collected
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(patience(10))


def test_a_letter_that_is_cut_and_one_of_another_topic_stay(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1, config={"max.message.bytes": "20000"})
    send_raw(stage, [(b"user", bytes(range(256)) * 100), (b"user", b"hello")])
    assert stage.run("--until-end", kafka_options={"compression.type": "none"}).exit_code() == 0
    outcome = first(stage, "--dry-run")
    assert (outcome["put_back"], outcome["left"]) == ({stage.topic: 1}, {"cannot be replayed": 1})
    assert "ms-truncated" in outcome["impossible"][f"{stage.dead_letters}[0]@0"]
    stage.overrides["input_topics"] = stage.responses.replace("-out", "-other")
    assert first(stage, "--dry-run")["left"]["its topic is not an input topic"] == 2


def test_reason_and_age_choose_which_letters_go(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    send_raw(stage, [(b"user", UNKNOWN + payload(impression(1)))])
    assert stage.run("--until-end").exit_code() == 0
    assert dlq(stage, "list")["reasons"] == {"schema": 1}
    assert first(stage, "--since", "2100-01-01T00:00Z")["left"] == {"older than --since": 1}
    assert dlq(stage, "replay", "--reason", "magic")["left"] == {"another reason": 1}
    assert dlq(stage, "replay", "--reason", "schema")["put_back"] == {stage.topic: 1}
    assert judge.read(stage.topic)[-1].value() == UNKNOWN + payload(impression(1))


def test_a_replay_that_is_killed_is_ended_by_the_next_one(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    producer = Producer({"bootstrap.servers": stage.bootstrap, "enable.idempotence": True})
    headers = [("ms-reason", b"schema"), ("ms-source-topic", stage.topic.encode())]
    for number in range(NUM_LETTERS):
        producer.produce(stage.dead_letters, str(number).encode(), b"user", headers=headers)
    assert producer.flush(patience(30)) == 0
    words = ("dlq", "replay", "--from-start", *as_flags(stage.settings(flush_max_records=5)))
    killed = Worker(words, stage.folder / "replay.log")
    stage.workers.append(killed)
    killed.until(lambda: len(judge.read(stage.topic)) > 0, "first replayed records")
    killed.kill()
    found = [int(one.value()) for one in judge.read(stage.topic)]
    assert 0 < len(found) < NUM_LETTERS, "it was killed too late to tell"
    left = dlq(stage, "replay")["put_back"][stage.topic]
    found = [int(one.value()) for one in judge.read(stage.topic)]
    assert found == list(range(NUM_LETTERS)), "each once, in order"
    assert 0 < left < NUM_LETTERS


def test_a_mistake_is_told_without_a_traceback(stage: Stage) -> None:
    for words in (("list",), ("replay", "--dry-run")):
        done = stage.command("dlq", *words)
        assert done.returncode == 1
        assert "topics create" in done.stderr
    nobody = mirrorstream("dlq", "accept", "--url", "http://127.0.0.1:1")
    assert nobody.returncode == 1
    assert "no worker answers there" in nobody.stderr
    assert "Traceback" not in nobody.stderr


# -- the breaker

NUM_BAD = 200
LETTERS = 49  # that leave before 50 in a row open it


def breaker_open(worker: Worker) -> bool:
    return "breaker open: 50 of the last 50 records" in worker.page("/readyz")[1]


def accept(worker: Worker, *words: str) -> str:
    """Run `dlq accept` against this worker."""
    found = re.search(r"health and metrics on port (\d+)", worker.log)
    assert found
    done = mirrorstream("dlq", "accept", "--url", f"http://127.0.0.1:{found[1]}", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("delivery", ["exactly-once", pytest.param("at-least-once", marks=pytest.mark.long)])
def test_a_broken_topic_is_held_over_a_restart_until_somebody_accepts_it(
    stage: Stage, judge: Judge, delivery: str
) -> None:
    stage.create(partitions=2)
    stage.overrides["delivery"] = delivery
    send_raw(stage, [(b"user", b"bad")] * NUM_BAD)
    send_raw(stage, [(b"user", encode(impression(number))) for number in range(5)])  # too few to close it
    send_raw(stage, [(b"somebody", encode(impression(number))) for number in range(5, 15)])  # of the other partition
    with stage.worker() as worker:
        worker.until(lambda: breaker_open(worker), "open breaker")
        assert worker.page("/livez") == (200, "ok\n")
        assert worker.page("/readyz")[0] == 503
        assert worker.metric("breaker_open") == 1
        worker.until(lambda: worker.metric("held_records") == NUM_BAD - LETTERS, "all bad ones held")
        worker.until(lambda: sorted(judge.offsets()[0].values()) == [10, LETTERS], "commits up to it and beside it")
        assert worker.stop(patience(20, below_s=60)) == 0  # far less than drain_timeout_s
    with stage.worker() as worker:
        worker.until(lambda: worker.metric("held_records") == NUM_BAD - LETTERS, "all of them held again")
        assert breaker_open(worker)
        time.sleep(2.0)
        assert len(judge.read(stage.dead_letters)) == LETTERS
        assert len({str(answer["event_id"]) for answer in judge.answers()}) == 10
        assert f"closed: {NUM_BAD - LETTERS} held" in accept(worker)
        worker.until(judge.all_committed, "commit to the end")
        assert worker.page("/readyz") == (200, "ok\n")
        assert worker.metric("breaker_open") == worker.metric("held_records") == 0
        assert "not open" in accept(worker)
        send_raw(stage, [(b"user", b"bad")] * 50)
        worker.until(lambda: breaker_open(worker), "breaker open again")
        assert "closed: 1 held" in accept(worker, "--next", "1000")
        send_raw(stage, [(b"user", b"bad")] * 60)
        worker.until(judge.all_committed, "commit to the end")
        assert worker.metric("breaker_open") == 0
        assert worker.stop() == 0
    letters = judge.read(stage.dead_letters)
    assert len({dict(letter.headers())["ms-source-offset"] for letter in letters}) == len(letters) == NUM_BAD + 110
    judge.verdict().assert_exactly_once()


def test_a_quarter_of_bad_records_from_one_source_throttles_nobody(stage: Stage, judge: Judge, tell: Tell) -> None:
    """900 records took 121 s, in steps of 30."""
    stage.create(partitions=2)
    keys = (b"user", b"somebody")
    send_raw(stage, ((keys[n // 4 % 2], b"bad" if n % 4 == 3 else encode(impression(n))) for n in range(900)))
    with stage.worker(choice_latency_s=0) as worker:
        worker.until_ready()
        ready_s = time.monotonic()
        worker.until(judge.all_committed, "commit to the end", timeout_s=patience(30, below_s=121))
        tell("900 records, a quarter of them bad", time.monotonic() - ready_s)
        assert worker.page("/readyz") == (200, "ok\n")
        assert worker.stop() == 0
    assert len(judge.read(stage.dead_letters)) == 225
    judge.verdict().assert_exactly_once()


@pytest.mark.long
def test_a_producer_that_is_mended_closes_it(stage: Stage, judge: Judge, tell: Tell) -> None:
    """At once: what comes behind is read, and what was held is looked at once more."""
    stage.create(partitions=1)
    send_raw(stage, [(b"user", b"bad")] * 50)
    with stage.worker() as worker:
        worker.until(lambda: breaker_open(worker), "open breaker")
        send_raw(stage, [(b"user", encode(impression(number))) for number in range(5)])
        mended_s = time.monotonic()
        worker.until(judge.all_committed, "commit to the end", timeout_s=patience(90))
        tell("breaker, after the producer is mended", time.monotonic() - mended_s)
        assert worker.page("/readyz") == (200, "ok\n")
        assert worker.stop() == 0
    assert len(judge.read(stage.dead_letters)) == 50
    judge.verdict().assert_exactly_once()
