"""The demo on a bare machine: nothing but Python, an embedded broker, and a count that nobody can argue with."""

import json

from tests.support.harness import mirrorstream
from tests.support.kafka_broker import KafkaCluster

NAMES = {
    "consumed", "responses", "dead_letters", "missing", "duplicates", "events_per_s", "first_response_s", "engine",
    "broker", "guarantee",
}  # fmt: skip


def test_the_demo_answers_everything_within_seconds() -> None:
    done = mirrorstream("demo", "--engine", "choice-model", "--events", "60", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary.keys() >= NAMES
    assert (summary["consumed"], summary["responses"]) == (60, 180)
    assert (summary["missing"], summary["duplicates"], summary["dead_letters"]) == (0, 0, 0)
    assert summary["first_response_s"] < 20
    assert summary["events_per_s"] > 0
    assert (summary["engine"], summary["broker"]) == ("choice-model", "embedded")
    assert "not proven" in summary["guarantee"]  # librdkafka's own broker has no transactions worth the name


def test_the_demo_runs_on_a_real_kafka_too(kafka: KafkaCluster) -> None:
    done = mirrorstream(
        "demo", "--engine", "choice-model", "--events", "60", "--bootstrap", kafka.bootstrap_servers, "--json"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["responses"], summary["missing"], summary["duplicates"]) == (180, 0, 0)
    assert "exactly once" in summary["guarantee"]
