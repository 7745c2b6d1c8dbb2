"""The bench without an LLM, in short: it reports, and the contenders write the same bytes on a real Kafka."""

import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from worker.bench.harness.rounds import Measured
from worker.bench.plain.contenders import PLAIN
from worker.bench.plain.run import run_plain

PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"  # made by `make test-long`
NUM_EVENTS = 600


def check(kafka: KafkaCluster, contenders: set[str], peers: Path | None) -> list[str]:
    said: list[str] = []
    measured: list[Measured] = []
    run_plain(kafka.bootstrap_servers, measured, events=NUM_EVENTS, rounds=1, peers=peers, say=said.append)
    assert {one.contender for one in measured} == contenders
    for one in measured:
        assert one.events_per_s > 0
        assert one.figures["cpu_s_per_event"] > 0
        assert one.figures["peak_bytes"] > 1 << 20
        assert (one.figures["missing"], one.figures["duplicates"]) == (0, 0)
    assert any(line.startswith("same bytes from bare, ") for line in said)
    until_deleted(kafka)
    return said


def until_deleted(kafka: KafkaCluster) -> None:
    """Wait for the broker to forget the topics: it says so before it has."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    deadline_s = time.monotonic() + patience(30)
    while left := [
        name for name in admin.list_topics(timeout=patience(10)).topics if name.startswith("mirrorstream-bench")
    ]:
        assert time.monotonic() < deadline_s, left
        time.sleep(0.1)


def test_the_worker_and_a_bare_loop_write_the_same_bytes_and_are_measured(kafka: KafkaCluster) -> None:
    said = check(kafka, {"bare", "plain-worker"}, None)
    assert any("Quix Streams and FastStream are left out" in line for line in said)


@pytest.mark.long
def test_the_other_frameworks_write_the_same_bytes_and_are_measured(kafka: KafkaCluster) -> None:
    check(kafka, set(PLAIN), PEERS)
