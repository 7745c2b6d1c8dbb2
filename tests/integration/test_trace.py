"""`mirrorstream trace`: what became of an event, and where its records are, on a real Kafka."""

import json
from typing import Any
from uuid import uuid4

from tests.support.events import encode, impression
from tests.support.harness import Stage, send, send_raw
from tests.support.judge import Judge

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = [("traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())]


def traced(stage: Stage, event_id: str, *words: str, code: int = 0, **settings: Any) -> dict[str, Any]:
    done = stage.command("trace", event_id, *words, "--json", **settings)
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_event_is_found_with_what_became_of_it(stage: Stage, judge: Judge) -> None:
    stage.create()
    send(stage, (impression(number) for number in range(20)))
    event, bad = impression(100, num_items=5), impression(101)
    bad["slates"][0]["items"] = []
    pairs = ((one["user"]["user_id"].encode(), encode(one)) for one in (event, bad))
    send_raw(stage, pairs, headers=HEADERS)
    stage.run("--until-end")
    judge.verdict()

    found = traced(stage, event["event_id"])
    assert (found["state"], found["trace_id"]) == ("answered", TRACE)
    answers = [one for one in judge.answers() if one["event_id"] == event["event_id"]]
    assert len(found["responses"]) == len(answers) == 3
    assert {(one["question"], one["variant"], one["status"]) for one in found["responses"]} == {
        (one["question"], one["variant"], one["status"]) for one in answers
    }
    source = answers[0]["source"]
    assert {name: found["record"][name] for name in ("topic", "partition", "offset")} == {
        name: source[name] for name in ("topic", "partition", "offset")
    }
    offsets = sorted(one["offset"] for one in found["responses"])
    assert offsets == list(range(offsets[0], offsets[0] + 3)), "one transaction, side by side"
    assert found["committed"]["offset"] > source["offset"]
    assert [one["stage"] for one in found["stages"]] == ["waited", "queued", "engine", "released"]
    assert sum(one["seconds"] for one in found["stages"]) > 0
    assert stage.topic not in {one["topic"] for one in found["searched"]}, "the response says where the record is"

    dead = traced(stage, bad["event_id"])
    assert (dead["state"], dead["trace_id"], dead["responses"]) == ("dead-lettered", TRACE, [])
    (letter,) = dead["dead_letters"]
    assert (letter["topic"], letter["reason"]) == (stage.dead_letters, "limit")
    assert dead["record"]["topic"] == stage.topic

    text = stage.command("trace", event["event_id"]).stdout
    assert f"event      {event['event_id']}: answered" in text
    assert text.count("█") > 10

    waiting = impression(102)
    send(stage, [waiting])
    assert traced(stage, waiting["event_id"])["state"] == "not answered yet"
    skipping = stage.run("--until-end", experiments=["another"])
    assert skipping.exit_code() == 0, skipping.log
    assert traced(stage, waiting["event_id"])["state"] == "passed without an answer"


def test_what_was_searched_is_told_of_an_event_that_is_not_found(stage: Stage) -> None:
    stage.create(partitions=2)
    send(stage, (impression(number) for number in range(30)))
    found = traced(stage, str(uuid4()), "--limit", "5", code=1)
    assert (found["state"], found["record"], found["committed"]) == ("not found", None, None)
    searched = {one["topic"]: (one["records"], one["whole"]) for one in found["searched"]}
    assert searched == {stage.responses: (0, True), stage.dead_letters: (0, True), stage.topic: (10, False)}
    mentioned = traced(stage, impression(3)["user"]["user_id"], code=1)
    assert (mentioned["state"], mentioned["record"]) == ("not found", None), "a user's id is no event's"
    later = traced(stage, str(uuid4()), "--since", "2100-01-01", code=1)
    assert {one["topic"]: one["records"] for one in later["searched"]}[stage.topic] == 0


def test_headers_that_lead_elsewhere_lead_nowhere(stage: Stage) -> None:
    """Whoever may write to the topic of dead letters may name any place, also that of another event."""
    stage.create()
    send(stage, (impression(number) for number in range(3)))
    for number, (topic, partition) in enumerate(
        [(b"payments", b"0"), (stage.topic.encode(), b"0"), (b"t", b"9" * 5_000)]
    ):
        event = impression(200 + number)
        headers = [("ms-source-topic", topic), ("ms-source-partition", partition), ("ms-source-offset", b"0")]
        send_raw(stage, [(b"u", encode(event))], headers=headers, topic=stage.dead_letters)
        found = traced(stage, event["event_id"], code=0 if number < 2 else 1)
        assert found["record"] is None
