"""What Kafka refuses, and what its client cannot read, costs its own records and nothing else."""

import os
import re
import time
from base64 import b64encode
from pathlib import Path
from random import Random
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from tests.support.events import encode, event_id, impression
from tests.support.harness import Stage, Worker, mirrorstream, send, send_raw
from tests.support.judge import Judge
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience

TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def why(letter: object) -> dict[str, str]:
    headers = letter.headers()  # type: ignore[attr-defined]
    return {name[3:]: value.decode() for name, value in headers if name.startswith("ms-")}


def answered(judge: Judge) -> set[str]:
    return {str(answer["event_id"]) for answer in judge.answers()}


def configure(stage: Stage, topic: str, name: str, value: str) -> None:
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(patience(30))


# -- what a broker refuses


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_keyless_letter_on_a_compacted_topic_gets_a_key_and_holds_nothing_up(
    stage: Stage, judge: Judge, delivery: str
) -> None:
    """A worker does not start with such a topic; this one becomes so while it runs."""
    stage.create(partitions=1)
    good = [(b"k", encode(impression(number))) for number in range(30)]
    with stage.worker(delivery=delivery) as worker:
        worker.until_ready()
        configure(stage, stage.dead_letters, "cleanup.policy", "compact")
        send_raw(stage, [*good[:10], (None, b"bad"), *good[10:], (b"key", b"bad")])
        worker.until(judge.all_committed, "everything committed", timeout_s=patience(30))
        assert worker.page("/readyz")[0] == 200
        assert worker.metric("refusals_total") == 1
        assert worker.stop() == 0
    assert answered(judge) == {event_id(number) for number in range(30)}
    letters = judge.read(stage.dead_letters)
    assert {bytes(letter.key()) for letter in letters} == {f"{stage.topic}[0]@10".encode(), b"key"}
    (made,) = [letter for letter in letters if letter.key() != b"key"]
    assert (made.value(), why(made)["added-key"], why(made)["reason"]) == (b"bad", "true", "refused")
    if delivery == "exactly-once":
        judge.verdict().assert_exactly_once()


def test_an_answer_that_a_large_tracestate_makes_too_large_loses_it(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1, config={"max.message.bytes": "20000"})
    noise = b64encode(Random(1).randbytes(9_000)).replace(b"=", b"a")
    event = impression(1)
    event["user"]["segments"] = {f"s{number}": "x" * 1_000 for number in range(11)}
    send_raw(stage, [(b"k", encode(event))], headers=[TRACE, ("tracestate", b"k=" + noise)])
    send(stage, [impression(2)])
    run = stage.run("--until-end", kafka_options={"compression.type": "none"}, calibration_share=1.0)
    assert run.exit_code() == 0
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize("delivery", ["exactly-once", "at-least-once"])
def test_a_limit_that_is_lowered_under_a_running_worker_costs_the_events_that_no_longer_fit(
    stage: Stage, judge: Judge, delivery: str
) -> None:
    stage.create(partitions=1)
    with stage.worker(delivery=delivery, kafka_options={"compression.type": "none"}) as worker:
        worker.until_ready()
        configure(stage, stage.responses, "max.message.bytes", "8000")
        time.sleep(0.5)
        large = impression(7)
        large["user"]["segments"] = {f"s{number}": "x" * 1_000 for number in range(9)}
        send(stage, [*map(impression, range(7)), large, *map(impression, range(8, 20))])
        worker.until(judge.all_committed, "everything committed", timeout_s=patience(30))
        assert worker.page("/readyz")[0] == 200
        assert worker.stop() == 0
    (letter,) = judge.read(stage.dead_letters)
    assert (why(letter)["reason"], why(letter)["source-offset"]) == ("too_large", "7")
    assert answered(judge) == {event_id(number) for number in range(20) if number != 7}


@pytest.mark.long
def test_an_output_topic_that_is_deleted_is_named_and_waited_for(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    with stage.worker(transaction_timeout_s=2) as worker:
        worker.until_ready()
        admin = AdminClient({"bootstrap.servers": stage.bootstrap})  # kept: its futures fail when it is collected
        admin.delete_topics([stage.responses])[stage.responses].result(patience(30))
        send(stage, [impression(1)])
        words = f"topic {stage.responses}"
        worker.until(lambda: words in worker.page("/readyz")[1], "a reason that names the topic")
        assert "does not exist" in worker.page("/readyz")[1]
        stage.create_topic(stage.responses)
        worker.until(judge.all_committed, "everything committed", timeout_s=patience(60))
        assert worker.stop() == 0
    assert answered(judge) == {event_id(1)}


# -- what the client cannot read


def batch(stage: Stage, values: list[bytes], *, partition: int = 0, **options: object) -> None:
    """Send some values in one batch of the broker's."""
    producer = Producer({
        "bootstrap.servers": stage.bootstrap, "linger.ms": 500, "message.max.bytes": 1_000_000_000,
        "queue.buffering.max.kbytes": 2_000_000, "batch.size": 1_000_000_000, **options,
    })  # fmt: skip
    for value in values:
        producer.produce(stage.topic, value, b"k", partition=partition)
    assert producer.flush(patience(60)) == 0


def in_a_transaction(stage: Stage, value: bytes) -> None:
    """Send a value, and behind it the marker of a transaction's end."""
    producer = Producer({"bootstrap.servers": stage.bootstrap, "transactional.id": f"{stage.name}-upstream"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(stage.topic, value, b"k", partition=0)
    producer.commit_transaction(30)


def too_large(stage: Stage, num: int = 1) -> None:
    """Send a batch of 2 KB that decompresses to 110 MB."""
    compressed: dict[str, Any] = {"compression.type": "zstd"}
    batch(stage, [bytes(110_000_000 // num)] * num, **compressed)


def waits(worker: Worker, stage: Stage, offset: int) -> bool:
    status, text = worker.page("/readyz")
    return status == 503 and f"{stage.topic}[0]@{offset}" in text and "cannot be read" in text


def test_a_batch_that_cannot_be_decompressed_is_said_and_passed_by_a_persons_word(stage: Stage, judge: Judge) -> None:
    """The other partition goes on meanwhile."""
    stage.create(partitions=2)
    batch(stage, [encode(impression(1))])
    too_large(stage, num=7)
    batch(stage, [encode(impression(2))])
    with stage.worker() as worker:
        worker.until(lambda: waits(worker, stage, 1), "an unready worker that says where")
        assert worker.page("/livez")[0] == 200
        producer = Producer({"bootstrap.servers": stage.bootstrap})
        producer.produce(stage.topic, encode(impression(3)), b"k", partition=1)
        producer.flush(patience(30))
        worker.until(lambda: event_id(3) in answered(judge), "an answer of the other partition")
        time.sleep(2)
        assert worker.log.count("cannot be read") == 1, worker.log
        assert worker.metric("unreadable_batches_total") == 1
        assert worker.metric("unreadable_partitions") == 1
        port = re.search(r"health and metrics on port (\d+)", worker.log)
        assert port is not None
        done = mirrorstream("dlq", "accept", "--url", f"http://127.0.0.1:{port[1]}")
        assert done.returncode == 0, done.stderr
        worker.until(judge.all_committed, "everything committed")
        worker.until(lambda: worker.page("/readyz")[0] == 200, "ready worker")
        assert worker.metric("unreadable_partitions") == 0
        assert worker.stop() == 0
    assert answered(judge) == {event_id(number) for number in (1, 2, 3)}
    (letter,) = judge.read(stage.dead_letters)
    told = why(letter)
    assert (told["reason"], told["source-offset"], told["source-last-offset"]) == ("unreadable", "1", "7")
    assert letter.value() is None


def test_with_skip_batches_that_cannot_be_read_are_passed_at_once(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    in_a_transaction(stage, encode(impression(1)))
    too_large(stage)
    too_large(stage, num=3)
    batch(stage, [encode(impression(2))])
    too_large(stage)
    assert stage.run("--until-end", on_data_loss="skip").exit_code() == 0
    assert answered(judge) == {event_id(1), event_id(2)}
    places = [(why(one)["source-offset"], why(one)["source-last-offset"]) for one in judge.read(stage.dead_letters)]
    assert places == [("2", "2"), ("3", "5"), ("7", "7")]  # the marker is at 1
    assert judge.all_committed()


def test_damaged_batches_are_found_by_their_checksum(stage: Stage, judge: Judge, kafka: KafkaCluster) -> None:
    """librdkafka loses its place behind such a batch, asks for offsets that never were, and fetches no more.

    That comes before the partition pauses or after it: with eight, both are likely.
    """
    stage.create(partitions=8)
    for number in range(8):
        batch(stage, [encode(impression(number))], partition=number)
        batch(stage, [b"a mark that is damaged"] * 20, partition=number)
        batch(stage, [encode(impression(10 + number))], partition=number)
        damage(kafka.segment(stage.topic, number), b"a mark that is damaged")
    assert stage.run("--until-end", on_data_loss="skip").exit_code() == 0
    assert answered(judge) == {event_id(base + number) for base in (0, 10) for number in range(8)}
    places = [(why(one)["source-offset"], why(one)["source-last-offset"]) for one in judge.read(stage.dead_letters)]
    assert places == [("1", "20")] * 8


def test_readers_say_where_they_cannot_read(stage: Stage) -> None:
    stage.create(partitions=1)
    producer = Producer(
        {"bootstrap.servers": stage.bootstrap, "message.max.bytes": 1_000_000_000, "compression.type": "zstd"}
    )
    for topic in (stage.dead_letters, stage.responses):
        producer.produce(topic, bytes(110_000_000), b"k")
    assert producer.flush(patience(60)) == 0
    listed = stage.command("dlq", "list")
    assert listed.returncode == 1
    assert f"{stage.dead_letters}[0]@0: a batch cannot be read" in listed.stderr
    report = stage.command("experiment", "report")
    assert report.returncode == 1
    assert f"{stage.responses}[0]@0: a batch cannot be read" in report.stderr


def damage(segment: Path, mark: bytes) -> None:
    """Change bytes of a batch in the broker's own file, behind its back."""
    at = segment.read_bytes().index(mark)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(mark.upper())
        file.flush()
        os.fsync(file.fileno())
