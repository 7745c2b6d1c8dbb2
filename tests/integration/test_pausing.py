"""Pausing keeps a slow worker in its group; and a partition that leaves paused and comes back is read again."""

import re
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.events import impression
from tests.support.harness import WAIT_S, Stage, send
from tests.support.judge import Judge
from tests.support.kafka_broker import KafkaCluster
from worker.core.records import Partition
from worker.kafka.partition_pauser import Pauser


def first_offset(consumer: Consumer) -> int:
    """Return the offset of the next message."""
    deadline_s = time.monotonic() + WAIT_S / 6
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
