"""Events with ids only, joined with the topics of items and users: answered once, whatever happens to either."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.support import catalogue
from tests.support.catalogue import ids_only, item
from tests.support.events import event_id, film
from tests.support.harness import WAIT_S, Stage, Worker, feeding, send, send_raw, until
from tests.support.judge import Judge
from tests.support.patience import patience

NUM_EVENTS = 60
NUM_FILMS = NUM_EVENTS + 10


def categories(answers: list[dict[str, Any]]) -> dict[str, str]:
    """Return what each option's item carries along, the newest answer's last."""
    return {option["item_id"]: option["attributes"].get("category", "") for one in answers for option in one["options"]}


def known(number: int) -> dict[str, Any]:
    """Return an event whose items are among the first 1,000, however many are sent."""
    return ids_only(number % 900, event_id=event_id(number))


def lines(worker: Worker, words: str) -> int:
    return worker.log.count(words)


@pytest.mark.long
def test_events_with_ids_alone_are_answered_with_what_the_topics_say(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=3)
    topics = catalogue.create(stage)
    catalogue.publish(stage, items=range(NUM_FILMS), users=range(NUM_EVENTS))
    send(stage, map(ids_only, range(NUM_EVENTS)))
    assert stage.run("--until-end", **topics).exit_code() == 0
    judge.verdict().assert_exactly_once()
    answers = judge.answers()
    assert categories(answers)["film-7"] == film(7)["genres"]
    assert not any("enriched_later" in one["flags"] for one in answers)
    assert judge.read(stage.dead_letters) == []


def test_a_worker_that_is_killed_goes_on_with_its_store_and_answers_each_event_once(
    stage: Stage, judge: Judge, tmp_path: Path
) -> None:
    stage.create(partitions=3)
    settings = {**catalogue.create(stage), "join_folder": str(tmp_path / "store"), "choice_latency_s": 0.02}
    catalogue.publish(stage, items=range(1_000), users=range(100))
    with feeding(stage, rate=150, least=600, make=known) as end:
        for enough in (60, 180):
            with stage.worker(**settings) as worker:
                worker.until(lambda: worker.metric("responses_total") >= enough, f"{enough} responses")  # noqa: B023 - at once
                worker.kill()
        with stage.worker(**settings) as worker:
            worker.until_ready()
            assert end() >= 600
            worker.until(judge.all_committed, "all committed")
            assert lines(worker, ": 0 records read") == 2  # of both topics, which the first one had read
            assert worker.metric("facts_held") == 1_100
            assert worker.stop() == 0
    judge.verdict().assert_exactly_once()
    assert judge.read(stage.dead_letters) == []


def test_a_late_item_is_waited_for_a_changed_one_is_seen_and_one_that_never_comes_is_a_dead_letter(
    stage: Stage, judge: Judge
) -> None:
    stage.create(partitions=1)
    topics = catalogue.create(stage)
    catalogue.publish(stage, items=range(3))
    with stage.worker(join_wait_s=8, **topics) as worker:
        worker.until_ready()
        send(stage, [ids_only(1)])  # films 1 to 5: 3, 4 and 5 are not there yet
        worker.until(lambda: worker.metric("joins_waiting") == 1, "a waiting event")
        catalogue.publish(stage, items=range(3, 6))
        worker.until(judge.all_committed, "the late items' event committed")

        send_raw(stage, [item(3, genres="Western")], topic=topics["items_topic"])
        worker.until(lambda: worker.metric("facts_records_total") == 7, "the change read")
        send(stage, [ids_only(1, event_id="b9a1c2d0-0000-4000-8000-000000000001")])
        worker.until(judge.all_committed, "the changed item's event committed")
        assert categories(judge.answers())["film-3"] == "Western"

        send(stage, [ids_only(7)])
        worker.until(judge.all_committed, "the unknown item's event dead-lettered")
        [letter] = judge.read(stage.dead_letters)
        assert dict(letter.headers())["ms-reason"] == b"item_unknown"
        assert worker.page("/readyz")[0] == 200
        assert worker.stop() == 0
    assert not any("" in categories([one]).values() for one in judge.answers())


@pytest.mark.long
def test_a_store_goes_on_where_it_ends_and_is_filled_anew_from_a_topic_made_anew(
    stage: Stage, judge: Judge, tmp_path: Path
) -> None:
    stage.create(partitions=1)
    topics = catalogue.create(stage)
    settings = {**topics, "join_folder": str(tmp_path / "store"), "join_wait_s": 0.5}
    catalogue.publish(stage, items=range(10))
    send(stage, [ids_only(1)])
    assert ": 10 records read" in stage.run("--until-end", **settings).log
    send_raw(stage, [(b"film-9", None), item(1, genres="Western")], topic=topics["items_topic"])
    send(stage, [ids_only(1, event_id="b9a1c2d0-0000-4000-8000-000000000001")])
    assert ": 2 records read" in stage.run("--until-end", **settings).log
    assert categories(judge.answers())["film-1"] == "Western"

    delete(stage, topics["items_topic"])
    stage.create_topic(topics["items_topic"])
    catalogue.publish(stage, items=range(5, 15))
    send(stage, [ids_only(1, event_id="b9a1c2d0-0000-4000-8000-000000000002"), ids_only(6)])
    again = stage.run("--until-end", **settings)
    assert "was recreated" in again.log
    assert ": 10 records read" in again.log
    assert len(judge.read(stage.dead_letters)) == 1  # films 1 to 4 were of the old topic
    assert {one["event_id"] for one in judge.answers()} >= {ids_only(6)["event_id"]}


@pytest.mark.long
def test_a_store_older_than_the_topics_tombstones_or_records_is_filled_anew(stage: Stage, tmp_path: Path) -> None:
    stage.create(partitions=1)
    topics = catalogue.names(stage)
    catalogue.create_one(stage, topics["items_topic"], {"cleanup.policy": "compact,delete"})  # else none can be deleted
    catalogue.create_one(stage, topics["users_topic"], {"cleanup.policy": "compact"})
    settings = {**topics, "join_folder": str(tmp_path / "store"), "join_wait_s": 0.5}
    catalogue.publish(stage, items=range(10))
    send(stage, [ids_only(1)])
    stage.run("--until-end", **settings)
    catalogue.publish(stage, items=range(10, 14))
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    place = TopicPartition(topics["items_topic"], 0, 12)
    for future in admin.delete_records([place]).values():
        future.result(patience(WAIT_S))
    gone = stage.run("--until-end", **settings)
    assert "records after the position have expired" in gone.log
    assert ": 2 records read" in gone.log

    delete(stage, topics["items_topic"])
    catalogue.create_one(stage, topics["items_topic"], {"cleanup.policy": "compact", "delete.retention.ms": "1"})
    catalogue.publish(stage, items=range(10))
    stage.run("--until-end", **settings)
    old = stage.run("--until-end", **settings)
    assert "the topic keeps tombstones for 0 s" in old.log
    assert ": 10 records read" in old.log


def test_plain_json_is_joined_too_and_check_looks_at_the_topics(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    topics = catalogue.create(stage)
    items = ((f"film-{number}".encode(), json.dumps({"attributes": film(number)}).encode()) for number in range(10))
    send_raw(stage, items, topic=topics["items_topic"])
    send_raw(stage, [(b"user-1", json.dumps(ids_only(1)).encode())])
    assert stage.run("--until-end", input_format="json", **topics).exit_code() == 0
    answers = judge.answers()
    assert categories(answers)["film-1"] == film(1)["genres"]
    assert all("enriched_later" in one["flags"] for one in answers)  # the records say no valid_from: they are of now

    told = stage.command("check", input_format="json", **topics)
    assert f"ok   topic {topics['items_topic']}: 2 partitions" in told.stdout
    delete(stage, topics["users_topic"])
    told = stage.command("check", input_format="json", **topics)
    assert f"FAIL topic {topics['users_topic']}: run `mirrorstream topics create`" in told.stdout


@pytest.mark.long
def test_a_file_takes_the_place_of_a_topic(stage: Stage, judge: Judge, tmp_path: Path) -> None:
    stage.create(partitions=1)
    path = tmp_path / "items.csv"
    rows = [f"film-{number},2025-12-01T00:00:00Z,Film {number},Drama" for number in range(10)]
    path.write_text("\n".join(["item_id,valid_from,title,genres", *rows, "", ",,no id,"]) + "\n")
    send(stage, [ids_only(1)])
    settings = {"items_file": str(path), "join_folder": str(tmp_path / "store")}
    first = stage.run("--until-end", **settings)
    assert f"{path}: 10 rows in " in first.log
    assert "row 11: cannot be used" in first.log
    assert "is in the store as it is" in stage.run("--until-end", **settings).log
    judge.verdict().assert_exactly_once()
    assert set(categories(judge.answers()).values()) == {"Drama"}


def delete(stage: Stage, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": stage.bootstrap})
    admin.delete_topics([topic])[topic].result(patience(WAIT_S))
    until(lambda: topic not in admin.list_topics(timeout=patience(10)).topics, "the topic gone")
