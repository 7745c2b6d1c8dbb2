"""A broker of three dies without warning and comes back; nothing is lost and nothing comes twice.

Which one matters: the leader of a partition, and the coordinators of the group and of the worker's transactions,
which are the leaders of a partition of Kafka's own topics, chosen by the hash of a name.
"""

from contextlib import suppress

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.support.harness import WAIT_S, Stage, Tell, Worker, until
from tests.support.judge import Judge
from tests.support.kafka_broker import KafkaCluster
from tests.support.patience import patience

from .group import coordinator, leader
from .traffic import TRANSACTION_S, Traffic, traffic

INTERNAL_PARTITIONS = 5  # of both topics, in the test brokers
PATIENT_S = 30.0  # a transaction that outlives the choice of a new leader
OUTPUT, INPUT = "leader of an output partition", "leader of an input partition"
TRANSACTIONS, GROUP = "transaction coordinator", "group coordinator"
BOTH = "coordinator of the group and of transactions"  # of which librdkafka#5511 tells that the client would hang


@pytest.mark.parametrize(
    "role",
    [
        pytest.param(OUTPUT, marks=pytest.mark.long),
        pytest.param(INPUT, marks=pytest.mark.long),
        pytest.param(TRANSACTIONS, marks=pytest.mark.long),
        pytest.param(GROUP, marks=pytest.mark.long),
        BOTH,
    ],
)
def test_a_killed_broker_is_done_without_until_it_is_back(
    stage: Stage, judge: Judge, kafka: KafkaCluster, tell: Tell, role: str
) -> None:
    name = worker_id(stage, both=role == BOTH)
    with traffic(stage) as load, stage.worker(worker_id=name, transaction_timeout_s=PATIENT_S) as a:
        load.until_flowing()
        kill_and_restart(kafka, load, a, led_by(role, stage, name))
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"{role} killed", load.pause_s())


@pytest.mark.long
def test_a_transaction_whose_time_is_up_before_there_is_a_new_leader_goes_again(
    stage: Stage, judge: Judge, kafka: KafkaCluster, tell: Tell
) -> None:
    """It is aborted for records that nobody takes; where the broker was first, who has no name asks it."""
    with traffic(stage) as load, stage.worker() as a:
        load.until_flowing()
        kill_and_restart(kafka, load, a, (stage.responses, 0))
        load.settle(judge)
        num_failed = a.metric("flushes_total") - a.metric('flushes_total{outcome="committed"}')
        assert num_failed > 0, "no transaction met the fault"
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"{OUTPUT} killed, transactions of at most {TRANSACTION_S:.0f} s", load.pause_s())


def kill_and_restart(kafka: KafkaCluster, load: Traffic, a: Worker, place: tuple[str, int]) -> None:
    """Kill the broker that leads a topic's partition, wait until answers come without it, and bring it back."""
    dead = leader(load.stage, *place)
    load.fault()
    kafka.kill(dead)
    try:
        a.until(lambda: leader(load.stage, *place) not in {dead, -1}, f"new leader of {place}")
        load.until_again()
    finally:
        kafka.restart(dead)
    load.until_again()


@pytest.mark.long
def test_a_coordinator_is_found_by_the_hash_of_its_name(stage: Stage) -> None:
    with traffic(stage) as load, stage.worker():
        load.until_flowing()
        assert coordinator(stage) == leader(stage, *offsets_of(stage))


def led_by(role: str, stage: Stage, name: str) -> tuple[str, int]:
    """Return the topic and partition whose leader has a role for a worker of this name."""
    return {
        OUTPUT: (stage.responses, 0),
        INPUT: (stage.topic, 0),
        TRANSACTIONS: transactions_of(stage, name),
        GROUP: offsets_of(stage),
        BOTH: offsets_of(stage),
    }[role]


def worker_id(stage: Stage, *, both: bool) -> str:
    """Return a name for a worker; the broker that coordinates its transactions is the group's too, or is not."""
    client = {"bootstrap.servers": stage.bootstrap}
    Producer({**client, "transactional.id": stage.name}).init_transactions(patience(WAIT_S))
    consumer = Consumer({**client, "group.id": stage.name})

    def is_coordinated() -> bool:  # what asks for Kafka's own topics makes them
        with suppress(KafkaException):
            return bool(consumer.committed([TopicPartition(stage.topic, 0)], patience(WAIT_S)))
        return False

    until(is_coordinated, "group coordinator")
    of_group = leader(stage, *offsets_of(stage))
    return next(
        name for name in "abcdefghijklmnop" if (leader(stage, *transactions_of(stage, name)) == of_group) == both
    )


def transactions_of(stage: Stage, name: str) -> tuple[str, int]:
    """Return where the transactions of a worker of this name are kept."""
    return "__transaction_state", internal_partition(f"{stage.name}-{name}")


def offsets_of(stage: Stage) -> tuple[str, int]:
    """Return where the group's offsets are kept."""
    return "__consumer_offsets", internal_partition(stage.name)


def internal_partition(name: str) -> int:
    """Return the partition of Kafka's own topic that a group's or a transactional id's coordinator leads."""
    return abs(java_hash(name)) % INTERNAL_PARTITIONS


def java_hash(text: str) -> int:
    """Return Java's `String.hashCode`."""
    found = 0
    for character in text:
        found = (31 * found + ord(character)) & 0xFFFFFFFF
    return found - (found >> 31 << 32)
