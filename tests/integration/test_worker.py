"""From a file to responses and a report, by the commands alone: each event answered once, everything committed."""

import csv
import json
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.events import GENRES, encode, event_id, impression
from tests.support.harness import Stage, Worker, as_flags, feeding, mirrorstream, send, send_raw
from tests.support.judge import Decode, Judge, Verdict, judge_of, key_of, plain_json, single_object
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from tests.support.protobuf import encode_protobuf, plain_protobuf

NUM_USERS, NUM_ROUNDS, NUM_FILMS = 40, 12, 59  # a prime, so that no user meets a film twice
NUM_VLLM_EVENTS = 12
DAY_S = 86_400
START_MS = 1_767_225_600_000  # 1 January 2026, UTC


@pytest.fixture
def movielens(tmp_path: Path) -> Path:
    """A folder in MovieLens' format: every user rates one film a day, so every day after the fifth is an event."""
    folder = tmp_path / "ml"
    folder.mkdir()
    with (folder / "movies.csv").open("w", newline="") as file:
        rows = [(i, f"Film {i} (2000)", f"{GENRES[i % 5]}|{GENRES[i * 3 % 5]}") for i in range(1, NUM_FILMS + 1)]
        csv.writer(file).writerows([("movieId", "title", "genres"), *rows])
    with (folder / "ratings.csv").open("w", newline="") as file:
        ratings = [
            (
                user,
                (user * 5 + day * (user % 7 + 3)) % NUM_FILMS + 1,
                3.0 + user * day % 3,
                1_000_000_000 + day * DAY_S + user * 60,
            )
            for user in range(1, NUM_USERS + 1)
            for day in range(NUM_ROUNDS)
        ]
        csv.writer(file).writerows([("userId", "movieId", "rating", "timestamp"), *ratings])
    return folder


def replayed(stage: Stage, folder: Path, *words: str) -> int:
    """Make the topics and replay a folder by the commands; return how many events were sent."""
    assert mirrorstream("topics", "create", "--partitions", "4", *as_flags(stage.settings())).returncode == 0
    done = stage.command("replay", "--movielens", str(folder), *words, "--json")
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["sent"][stage.topic])


def answered_once(stage: Stage, judge: Judge, kafka: KafkaCluster, num_events: int, **settings: Any) -> Verdict:
    """Run a worker to the end; every event is answered once, by the judge's count and by Kafka's own client."""
    assert stage.run("--until-end", **settings).exit_code() == 0
    verdict = judge.verdict()
    verdict.assert_exactly_once()
    assert len(verdict.expected) == 3 * num_events
    rows = kafka.console_consumer(stage.responses, timeout_ms=3_000)
    assert Counter(key_of(single_object(row.value or b"") or {}) for row in rows) == verdict.seen
    assert all(row.key == (single_object(row.value or b"") or {})["user_id"].encode() for row in rows)
    return verdict


def test_a_file_is_replayed_answered_once_and_reported(
    stage: Stage, judge: Judge, kafka: KafkaCluster, movielens: Path
) -> None:
    num_events = replayed(stage, movielens)
    assert num_events >= 100
    verdict = answered_once(stage, judge, kafka, num_events)

    # Measured before the group was joined, for this engine takes no time.
    profiles = [answer["provenance"]["position_profile"] for answer in judge.answers()]
    assert all(len(profile) == 12 and sum(profile) == pytest.approx(1) for profile in profiles)

    # A second run of the group finds nothing left to do.
    assert stage.run("--until-end").exit_code() == 0
    assert judge.verdict() == verdict

    reported = stage.command("experiment", "report", "--json")
    assert reported.returncode == 0, reported.stderr
    report = json.loads(reported.stdout)
    assert report["data_health"] | {"read": 0} == dict.fromkeys(report["data_health"], 0)
    assert report["data_health"]["read"] == 3 * num_events
    (epoch,) = report["readouts"][0]["epochs"]
    (comparison,) = epoch["comparisons"]
    assert (epoch["responses"], epoch["slates"], comparison["events"]) == (
        3 * num_events,
        2 * num_events,
        num_events,
    )
    assert (comparison["control"], comparison["candidate"], comparison["missing"]) == ("popularity", "item-knn", 0)


def test_a_file_is_replayed_and_answered_once_by_a_worker_with_vllm(
    stage: Stage, judge: Judge, kafka: KafkaCluster, movielens: Path
) -> None:
    assert replayed(stage, movielens, "--events", str(NUM_VLLM_EVENTS)) == NUM_VLLM_EVENTS
    answered_once(stage, judge, kafka, NUM_VLLM_EVENTS, engine="vllm", max_tokens=160, max_num_seqs=64)
    answers = judge.answers()
    assert {(answer["status"], answer["provenance"]["engine"]) for answer in answers} == {("OK", "vllm")}
    assert all(draw["text"] for answer in answers for draw in answer["draws"])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_both_group_protocols_answer_once(stage: Stage, judge: Judge, protocol: str) -> None:
    stage.create(partitions=3)
    send(stage, map(impression, range(100)))
    assert stage.run("--until-end", group_protocol=protocol).exit_code() == 0
    judge.verdict().assert_exactly_once()


def test_json_is_answered_once_plain_and_framed_without_asking_a_registry(stage: Stage) -> None:
    """A worker that dies and one that goes on, as with Avro; half of the events name a schema that nobody has."""
    stage.create(partitions=3)
    texts = [json.dumps(impression(number)).encode() for number in range(200)]
    framed = [b"\x00\x00\x00\x00\x07" + text if number % 2 else text for number, text in enumerate(texts)]
    send_raw(stage, ((b"user-%d" % number, text) for number, text in enumerate(framed)))
    judge = judge_of(stage, decode_in=lambda value: plain_json(value.removeprefix(b"\x00\x00\x00\x00\x07")))
    with stage.worker(input_format="json", flush_max_records=10) as worker:
        worker.until(lambda: worker.metric("responses_total") > 0, "answer")
        worker.kill()
    assert stage.run("--until-end", input_format="json").exit_code() == 0
    verdict = judge.verdict()
    verdict.assert_exactly_once()
    assert len(verdict.expected) == 600
    assert Counter(answer["source"]["schema_id"] for answer in judge.answers()) == {None: 300, "7": 300}


def test_protobuf_is_answered_once_plain_and_framed(stage: Stage) -> None:
    """A worker that dies and one that goes on, as with Avro; half of them name a schema, and no registry is set."""
    stage.create(partitions=3)
    prefix = b"\x00\x00\x00\x00\x07\x00"
    plain = [encode_protobuf(impression(number)) for number in range(200)]
    framed = [prefix + data if number % 2 else data for number, data in enumerate(plain)]
    send_raw(stage, ((b"user-%d" % number, data) for number, data in enumerate(framed)))
    judge = judge_of(stage, decode_in=lambda value: plain_protobuf(value.removeprefix(prefix)))
    with stage.worker(input_format="protobuf", flush_max_records=10) as worker:
        worker.until(lambda: worker.metric("responses_total") > 0, "answer")
        worker.kill()
    assert stage.run("--until-end", input_format="protobuf").exit_code() == 0
    verdict = judge.verdict()
    verdict.assert_exactly_once()
    assert len(verdict.expected) == 600
    assert Counter(answer["source"]["schema_id"] for answer in judge.answers()) == {None: 300, "7": 300}


def test_foreign_events_are_answered_once_by_a_mapping(stage: Stage) -> None:
    """A worker that dies and one that goes on; events that are not meant leave nothing but their offset."""
    stage.create(partitions=3)
    path = Path(__file__).parents[1] / "unit" / "settings" / "mappings" / "segment.json"
    event = json.loads(path.read_text(encoding="utf-8"))["event"]
    events = [event | {"messageId": event_id(n), "event": "x" if n % 10 == 9 else event["event"]} for n in range(200)]
    send_raw(stage, ((b"user-%d" % number, json.dumps(one).encode()) for number, one in enumerate(events)))

    def meant(value: bytes) -> dict[str, Any] | None:
        found = json.loads(value)
        slates = [{"variant": "control", "role": "CONTROL"}]
        return {"event_id": found["messageId"], "slates": slates} if found["event"] != "x" else None

    settings = {"input_format": "json", "mapping": "segment"}
    with stage.worker(**settings, flush_max_records=10) as worker:
        worker.until(lambda: worker.metric("responses_total") > 0, "answer")
        worker.kill()
    assert stage.run("--until-end", **settings).exit_code() == 0
    verdict = judge_of(stage, decode_in=meant).verdict()
    verdict.assert_exactly_once()
    assert len(verdict.expected) == 180


@pytest.mark.parametrize(("form", "read"), [("json", plain_json), ("protobuf", plain_protobuf)])
def test_a_replay_writes_the_format_that_the_worker_reads(
    stage: Stage, movielens: Path, form: str, read: Decode
) -> None:
    settings = as_flags(stage.settings(input_format=form))
    assert mirrorstream("topics", "create", "--partitions", "1", *settings).returncode == 0
    assert mirrorstream("replay", "--movielens", str(movielens), "--events", "20", *settings).returncode == 0
    assert stage.run("--until-end", input_format=form).exit_code() == 0
    verdict = judge_of(stage, decode_in=read).verdict()
    verdict.assert_exactly_once()
    assert len(verdict.expected) == 60


def test_at_least_once_answers_everything_without_a_transaction(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=3)
    send(stage, map(impression, range(100)))
    worker = stage.run("--until-end", delivery="at-least-once")
    assert worker.exit_code() == 0
    judge.verdict().assert_at_least_once()
    # No marker stands between the records: the offsets of each partition have no gap.
    assert all(last - first + 1 == count for first, last, count in _runs(judge))


def test_a_backfill_answers_what_came_between_two_times(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=3)
    send(stage, map(impression, range(60)), start_ms=START_MS, step_ms=60_000)
    begin, end = (datetime.fromtimestamp(START_MS / 1000 + 60 * minute, UTC).isoformat() for minute in (20, 40))
    assert stage.run("--until-end", "--from", begin, "--to", end).exit_code() == 0
    answered = Counter(str(answer["event_id"]) for answer in judge.answers())
    assert answered == {event_id(number): 3 for number in range(20, 40)}

    # The same group goes on from there to the end, without the first twenty.
    assert stage.run("--until-end").exit_code() == 0
    verdict = judge.verdict()
    assert {event for event, _, _ in verdict.seen} == {event_id(number) for number in range(20, 60)}
    assert not verdict.duplicated
    assert verdict.committed == verdict.ends


def test_a_worker_shows_its_lag_and_hands_its_series_over_with_a_partition(stage: Stage) -> None:
    """Records that cannot be decoded are held, soon after the first ones: what is behind them is not committed."""
    stage.create(partitions=2)
    hour_ago_ms = int(1000 * (time.time() - 3_600))
    bad = [(str(number).encode(), b"not Avro") for number in range(200)]
    send_raw(stage, bad, start_ms=hour_ago_ms)

    def shows_all(worker: Worker) -> bool:
        lag = worker.metric("lag_records")
        return lag > 100 and lag + worker.metric("committed_offset") == worker.metric("high_watermark") == 200

    with stage.worker() as first:
        first.until(lambda: first.metric("held_records") >= 50, "held records")
        first.until(lambda: shows_all(first), "all that is not committed as lag")
        first.until(lambda: first.metric("lag_seconds") > 2 * 3_590, "an hour of lag in both partitions")
        with stage.worker() as second:
            second.until(lambda: 0 < second.metric("high_watermark") < 200, "one partition at the second")
            first.until(lambda: first.page("/metrics")[1].count("mirrorstream_lag_records{") == 1, "one series left")
            assert second.stop() == 0
        first.until(lambda: shows_all(first), "both partitions again")
        page = first.page("/metrics")[1]
    assert 'mirrorstream_partitions_moved_total{kind="assigned"} 3.0' in page, "two, and one that came back"
    assert 'mirrorstream_partitions_moved_total{kind="revoked"} 1.0' in page
    assert 'mirrorstream_partitions_moved_total{kind="lost"} 0.0' in page
    assert 'mirrorstream_rebalance_duration_seconds_count{kind="revoked"} 1.0' in page


def test_the_stages_of_events_explain_their_whole_latency(stage: Stage) -> None:
    """To within 5 %, as the clocks of two processes and of the broker see it."""
    stage.create(partitions=3)
    with stage.worker() as worker:
        worker.until_ready()
        with feeding(stage, rate=40, least=200) as end:
            worker.until(lambda: worker.metric("records_consumed_total") >= 200, "200 events")
            num_events = end()
        worker.until(lambda: worker.metric("end_to_end_seconds_count") == num_events, "all events committed")
        assert worker.metric("stage_seconds_count") == 8 * num_events
        whole_s, stages_s = worker.metric("end_to_end_seconds_sum"), worker.metric("stage_seconds_sum")
    assert stages_s == pytest.approx(whole_s, rel=0.05)


def test_lag_ends_with_the_last_commit(stage: Stage) -> None:
    stage.create(partitions=2)
    send(stage, map(impression, range(100)))
    with stage.worker(kafka_options={"statistics.interval.ms": "1000"}) as worker:
        worker.until(lambda: worker.metric("committed_offset") == 100, "everything committed")
        worker.until(lambda: worker.metric("high_watermark") == 100, "known ends")
        worker.until(lambda: worker.metric("lag_records") == worker.metric("lag_seconds") == 0, "no lag")
        assert worker.metric("drain_seconds") == 0
        assert worker.metric("commit_age_seconds") < 2 * patience(60)
        worker.until(lambda: worker.metric("kafka_round_trip_seconds") > 0, "report of a Kafka client")
        both = [f'mirrorstream_kafka_pending_requests{{client="{client}"}}' for client in ("consumer", "producer")]
        assert all(one in worker.page("/metrics")[1] for one in both)
        assert worker.metric("kafka_request_failures_total") == 0


def test_a_trace_goes_from_the_impression_to_its_responses(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = [("traceparent", f"00-{trace_id}-b7ad6b7169203331-01".encode()), ("tenant", b"t1"), ("secret", b"s")]
    send_raw(stage, [(b"user", encode(impression(0)))], headers=headers)
    assert stage.run("--until-end", pass_headers="tenant").exit_code() == 0  # noqa: S106 - no password
    found = [dict(message.headers() or []) for message in judge.messages()]
    assert [found_headers["traceparent"].decode().split("-")[1] for found_headers in found] == [trace_id] * 3
    assert all(found_headers["tenant"] == b"t1" and "secret" not in found_headers for found_headers in found)


def test_an_empty_topic_ends_a_backfill(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=2)
    assert stage.run("--until-end").exit_code() == 0
    assert judge.answers() == []


def _runs(judge: Judge) -> list[tuple[int, int, int]]:
    """Return first offset, last offset and number of responses by partition."""
    offsets: dict[int, list[int]] = {}
    for message in judge.messages():
        offsets.setdefault(message.partition(), []).append(message.offset())
    return [(min(found), max(found), len(found)) for found in offsets.values()]
