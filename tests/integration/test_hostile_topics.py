"""Odd records by the hundred beside good ones, on every topic that is followed: nobody stops, and the good ones count.

The good ones come before and behind the odd ones, so a reader that passed over too much, or stayed at one of them, is
seen.  The seeds are fixed; `tests.fuzz` tries many more on the decoders alone.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_experiment import serving
from tests.integration.test_steering import DEFINED, define, obeyed, tell, topics as steering_topics
from tests.support import catalogue
from tests.support.answered import encoder, records_of, responses, send as send_answers
from tests.support.catalogue import create_one, ids_only, item, user
from tests.support.events import START_US, event_id, impression, schema_text
from tests.support.harness import Stage, Worker, send, send_raw, until
from tests.support.judge import Judge, confluent
from tests.support.odd_records import ANY_TIME, odd_records, send_odd
from tests.support.patience import patience
from tests.support.schema_registry import Registry
from worker.experiment.definition import as_record, from_record

ODD = 250  # records of each kind
SINGLE_OBJECT = 10  # bytes before a payload without a registry
ALL_READ_S = 60.0


def lines_of(worker: Worker) -> list[str]:
    return [line for line in worker.log.splitlines() if "cannot be used" in line]


def send_bad(stage: Stage, topic: str, good: list[tuple[bytes, bytes]], *, seed: int) -> int:
    return send_odd(stage.bootstrap, topic, odd_records(good, ODD, seed=seed, prefix_bytes=SINGLE_OBJECT))


def read_all(worker: Worker, metric: str, number: int) -> None:
    worker.until(lambda: worker.metric(metric) == number, f"{metric} of {number:,}", timeout_s=patience(ALL_READ_S))


def facts_topics(stage: Stage) -> dict[str, str]:
    """Make the topics of items and users as carelessly as can be: they take any time, and records without a key."""
    found = catalogue.names(stage)
    for name in found.values():
        create_one(stage, name, ANY_TIME)
    return found


@pytest.mark.parametrize("first", [False, True], ids=["while it runs", "before it starts"])
def test_odd_records_of_items_and_users_are_counted_and_the_good_ones_are_joined(
    stage: Stage, judge: Judge, first: bool
) -> None:
    stage.create(partitions=1)
    topics = facts_topics(stage)
    catalogue.publish(stage, items=range(5), users=range(5))
    # Without `valid_from`, the record's own time is taken.
    good = {"items": [item(number, since_us=None) for number in range(5)], "users": [user(one) for one in range(5)]}
    number = 10

    def attack() -> int:
        odd = sum(send_bad(stage, topics[f"{kind}_topic"], good[kind], seed=1) for kind in good)
        catalogue.publish(stage, items=range(5, 15), users=range(5, 10))
        return odd + 15

    number += attack() if first else 0
    with stage.worker(join_wait_s=patience(60), **topics) as worker:
        worker.until_ready()
        number += 0 if first else attack()
        read_all(worker, "facts_records_total", number)
        assert re.search(r'facts_records_total\{kind="items",result="refused"\} [1-9]\d\d', worker.page("/metrics")[1])
        send(stage, map(ids_only, range(10)))
        worker.until(judge.all_committed, "all events")
        assert worker.page("/readyz")[0] == 200
        assert worker.stop() == 0
    judge.verdict().assert_exactly_once()
    assert judge.read(stage.dead_letters) == []
    shown = {
        one["item_id"]: one["attributes"].get("category") for answer in judge.answers() for one in answer["options"]
    }
    assert shown.keys() >= {f"film-{film}" for film in range(1, 14)}
    assert all(shown.values())
    assert len(lines_of(worker)) == 2 * 10  # the rest is counted
    assert "Traceback" not in worker.log
    assert "\x1b" not in worker.log


def test_odd_definitions_and_readouts_are_counted_and_the_good_ones_are_obeyed(stage: Stage, judge: Judge) -> None:
    stage.create(partitions=1)
    topics = steering_topics(stage)
    for name in topics.values():
        create_one(stage, name, ANY_TIME)
    define(stage, state="STOPPED")
    definition = encoder("ExperimentDefinition")(as_record(from_record(DEFINED)))
    with stage.worker(**topics, calibration_share=0.0) as worker:
        worker.until_ready()
        number = 1 + send_bad(stage, topics["experiments_topic"], [(b"shelf", definition)], seed=2)
        define(stage, stop_when_decided=True)
        send(stage, map(impression, range(10)))
        worker.until(lambda: len(judge.answers()) == 30, "answers of the running experiment")
        fingerprint = judge.answers()[0]["provenance"]["config_fingerprint"]
        tell(stage, "CANDIDATE_PREFERRED", fingerprint)
        [readout] = records_of(stage.bootstrap, topics["readouts_topic"], "ExperimentReadout")
        value = encoder("ExperimentReadout")(readout | {"experiment_id": "other"})
        number += 1 + send_bad(stage, topics["readouts_topic"], [(b"other", value)], seed=3)
        tell(stage, "CANDIDATE_PREFERRED", fingerprint)
        number += 2
        obeyed(worker, decided=1)
        read_all(worker, "followed_records_total", number)
        assert worker.page("/readyz")[0] == 200
        assert worker.stop() == 0
    assert judge.verdict().committed == judge.verdict().ends
    assert "Traceback" not in worker.log


def test_odd_responses_outcomes_and_definitions_are_counted_and_readouts_go_on(stage: Stage, tmp_path: Path) -> None:
    """The page's reader and the publisher of readouts, which both end at the good ones behind the odd ones."""
    names = {"definitions": f"{stage.name}-defined", "outcomes": f"{stage.name}-outcomes"}
    readouts = f"{stage.name}-readouts"
    for name in (*names.values(), readouts, stage.responses):
        create_one(stage, name, ANY_TIME)
    stage.create_topic(stage.topic)
    log, state = tmp_path / "serve.log", tmp_path / "state.db"
    definition = as_record(from_record(DEFINED | {"candidates": ["candidate"]}))
    outcome = {
        "outcome_id": event_id(1), "event_id": event_id(1), "user_id": "user-1", "variant": "control", "actions": [],
        "window_closed": True, "observed_at": START_US,
    }  # fmt: skip
    good: dict[str, list[tuple[bytes, bytes]]] = {
        stage.responses: [(b"u", encoder("SimulatedResponse")(one)) for one in responses(5)],
        names["definitions"]: [(b"shelf", encoder("ExperimentDefinition")(definition))],
        names["outcomes"]: [(b"u", encoder("Outcome")(outcome))],
    }
    words = (
        "--state", str(state), "--definitions-topic", names["definitions"], "--outcomes-topic", names["outcomes"],
        "--readouts-topic", readouts,
    )  # fmt: skip
    sent = send_answers(stage.bootstrap, stage.responses, responses(200))
    send_raw(stage, good[names["definitions"]], topic=names["definitions"])
    with serving(stage, log, *words):
        for seed, (topic, pairs) in enumerate(good.items(), 4):
            sent += send_bad(stage, topic, pairs, seed=seed)
        send_raw(stage, good[names["outcomes"]], topic=names["outcomes"])
        last = send_answers(stage.bootstrap, stage.responses, responses(200, seed=9, experiment="last"))
        until(lambda: _published(stage, readouts, "last"), "a readout of what came last", timeout_s=patience(60))
    assert "Traceback" not in log.read_text()
    found = stage.command("experiment", "report", "--json", *words[:6])
    assert found.returncode == 0, found.stderr
    health: dict[str, int] = json.loads(found.stdout)["data_health"]
    assert health["read"] + health["outcomes"] >= sent + last - ODD  # definitions are not counted in `read`
    assert health.get("unexpected", 0) == 0
    assert {"tombstone", "magic", "avro", "schema"} <= health.keys()


def _published(stage: Stage, topic: str, experiment: str) -> bool:
    found: list[dict[str, Any]] = records_of(stage.bootstrap, topic, "ExperimentReadout")
    return any(one["experiment_id"] == experiment for one in found)


def test_a_schema_of_items_that_the_registry_cannot_give_holds_what_needs_it_and_no_more(stage: Stage) -> None:
    """Events with known items are answered; those with others wait, the worker says why, and none is a dead letter."""
    with Registry() as registry:
        stage.overrides |= {"schema_registry_url": registry.url}
        for name, schema in ((stage.topic, "RecommendationImpression"), (stage.responses, "SimulatedResponse")):
            registry.add(f"{name}-value", schema_text(schema))
        changed = json.loads(schema_text("ItemFacts")) | {"doc": "of another writer"}
        number = registry.add("items-value", json.dumps(changed))
        stage.create(partitions=1)
        judge = Judge(
            stage.bootstrap, topic=stage.topic, responses=stage.responses, dead_letters=stage.dead_letters,
            group=stage.name, decode_out=confluent(registry.schemas),
        )  # fmt: skip
        topics = facts_topics(stage)
        catalogue.publish(stage, items=range(6), users=range(5))
        with stage.worker(join_wait_s=1, **topics) as worker:
            worker.until_ready()
            registry.away = {number}
            key, value = item(6)
            framed = b"\x00" + number.to_bytes(4, "big") + value[SINGLE_OBJECT:]
            send_raw(stage, [(key, framed)], topic=topics["items_topic"])
            worker.until(lambda: worker.metric("facts_followed") == 1, "items that cannot be read")  # users can
            assert worker.page("/readyz")[0] == 200
            send(stage, [ids_only(1)])  # films 1 to 5
            worker.until(judge.all_committed, "an event with known items")
            send(stage, [ids_only(2)])  # film 6, too
            worker.until(lambda: "topic " + topics["items_topic"] in worker.page("/readyz")[1], "why it is not ready")
            worker.until(lambda: worker.metric("joins_waiting") == 1, "a waiting event")
            assert judge.read(stage.dead_letters) == []
            registry.away = set()
            worker.until(judge.all_committed, "the waiting event")
            worker.until(lambda: worker.page("/readyz")[0] == 200, "a ready worker")
            assert worker.stop() == 0
        assert judge.read(stage.dead_letters) == []
        assert len({one["event_id"] for one in judge.answers()}) == 2
        assert worker.log.count("going on with the items that are known") == 1
