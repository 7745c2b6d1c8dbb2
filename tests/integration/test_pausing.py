"""What the client makes of a pause when the partition leaves and comes back: it would never be read again."""

import time

from confluent_kafka import Consumer, TopicPartition

from worker.kafka.pausing import Pauser
from worker.records import Partition

from .events import impression
from .harness import WAIT_S, Stage, send


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
