"""Pausing keeps a slow worker in its group; and a partition that leaves paused and comes back is read again."""

import re
import threading
import time
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.events import impression
from tests.support.harness import WAIT_S, Stage, send
from tests.support.judge import Judge
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience
from worker.core.records import Partition
from worker.kafka.partition_pauser import Pauser


def first_offset(consumer: Consumer) -> int:
    """Return the offset of the next message."""
    deadline_s = time.monotonic() + patience(WAIT_S / 6)
    while (message := consumer.poll(0.1)) is None:
        assert time.monotonic() < deadline_s, "the partition is still paused"
    assert message.error() is None
    return int(message.offset())


def test_a_partition_that_left_paused_comes_back_unpaused(stage: Stage) -> None:
    stage.create(partitions=1)
    send(stage, map(impression, range(100)))
    consumer = Consumer({
        "bootstrap.servers": stage.bootstrap, "group.id": stage.name, "enable.auto.commit": False,
        "partition.assignment.strategy": "cooperative-sticky", "auto.offset.reset": "error",
    })  # fmt: skip
    try:
        ours, theirs = Partition(stage.topic, 0), TopicPartition(stage.topic, 0, 0)
        pauser = Pauser(consumer)
        consumer.incremental_assign([theirs])
        assert first_offset(consumer) == 0
        pauser.set(frozenset({ours}), {ours})
        assert consumer.poll(0.5) is None
        pauser.forget(frozenset({ours}))
        consumer.incremental_unassign([theirs])
        consumer.incremental_assign([TopicPartition(stage.topic, 0, 50)])
        assert first_offset(consumer) == 50
    finally:
        consumer.close()


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.long)])
def test_a_queued_revoke_runs_before_partitions_are_reassigned(stage: Stage, protocol: str) -> None:
    """The client takes the unassign for the answer to it: a peer had the partitions before our callback ran."""
    stage.create(partitions=4)
    classic = {"partition.assignment.strategy": "cooperative-sticky", "heartbeat.interval.ms": 500}
    options: dict[str, Any] = {
        "bootstrap.servers": stage.bootstrap, "group.id": stage.name, "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "group.protocol": protocol, **(classic if protocol == "classic" else {}),
    }  # fmt: skip
    ours, peer = Consumer(options), Consumer(options)
    given: set[Partition] = set()
    owned_by_peer: set[int] = set()
    overlaps: list[set[int]] = []
    over = threading.Event()

    def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        given.update(Partition(one.topic, one.partition) for one in partitions)
        consumer.incremental_assign(partitions)

    def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        overlaps.append({one.partition for one in partitions} & owned_by_peer)
        given.difference_update(Partition(one.topic, one.partition) for one in partitions)
        consumer.incremental_unassign(partitions)

    def of_peer(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        owned_by_peer.update(one.partition for one in partitions)
        consumer.incremental_assign(partitions)

    def run_peer() -> None:
        while not over.is_set():
            peer.poll(0.05)

    def run_callbacks() -> None:
        while ours.poll(0) is not None:
            pass

    thread = threading.Thread(target=run_peer)
    try:
        ours.subscribe([stage.topic], on_assign=assigned, on_revoke=revoked)
        deadline_s = time.monotonic() + patience(WAIT_S)
        while len(given) < 4:
            ours.poll(0.1)
            assert time.monotonic() < deadline_s, "no assignment"
        peer.subscribe([stage.topic], on_assign=of_peer)
        thread.start()
        time.sleep(5)  # without a poll, while the peer joins: the revoke waits
        Pauser(ours).reassign(dict.fromkeys(given, 0), given, run_callbacks)
        time.sleep(3)  # enough for the peer to be given what our unassign would have freed
        while not owned_by_peer:
            ours.poll(0.1)
            assert time.monotonic() < deadline_s, "nothing moved"
        assert overlaps == [set()]
        assert not {one.number for one in given} & owned_by_peer
    finally:
        over.set()
        thread.join()
        ours.close()
        peer.close()


@pytest.mark.long
def test_an_engine_slower_than_the_poll_interval_costs_no_rebalance(
    stage: Stage, judge: Judge, kafka: KafkaCluster
) -> None:
    """20 s an event, over a limit of 6 s between polls: the partitions are paused, and polling goes on."""
    stage.create(partitions=2)
    send(stage, map(impression, range(8)))
    slow = {"choice_latency_s": 20, "window_max_records": 4, "kafka_options": {"max.poll.interval.ms": "6000"}}
    worker = stage.run("--until-end", **slow)
    assert worker.exit_code() == 0
    judge.verdict().assert_exactly_once()
    assert len(judge.verdict().expected) == 8 * 3
    joins = re.findall(rf"Stabilized group {stage.name} generation \d+", kafka.log)
    assert len(joins) == 1, joins
