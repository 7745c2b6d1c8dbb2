"""A broker of three dies without warning and comes back; nothing is lost and nothing comes twice.

Which one matters: the leader of a partition, and the coordinators of the group and of the worker's transactions,
which are the leaders of a partition of Kafka's own topics, chosen by the hash of a name.
"""

from collections.abc import Callable

import pytest
from integration.harness import Stage, Worker
from integration.judge import Judge
from integration.kafka_broker import KafkaCluster

from .group import coordinator, leader
from .traffic import TRANSACTION_S, Tell, Traffic, traffic

INTERNAL_PARTITIONS = 5  # of both topics, in the test brokers
PATIENT_S = 30.0  # a transaction that outlives the choice of a new leader
OUTPUT = "leader of an output partition"
ROLES: dict[str, Callable[[Stage], tuple[str, int]]] = {  # to the topic and partition that its broker leads
    OUTPUT: lambda stage: (stage.responses, 0),
    "leader of an input partition": lambda stage: (stage.topic, 0),
    "transaction coordinator": lambda stage: ("__transaction_state", internal_partition(f"{stage.name}-a")),
    "group coordinator": lambda stage: ("__consumer_offsets", internal_partition(stage.name)),
}


@pytest.mark.parametrize(
    "role",
    [
        pytest.param(OUTPUT, marks=pytest.mark.long),
        pytest.param("leader of an input partition", marks=pytest.mark.long),
        "transaction coordinator",
        pytest.param("group coordinator", marks=pytest.mark.long),
    ],
)
def test_a_killed_broker_is_done_without_until_it_is_back(
    stage: Stage, judge: Judge, kafka: KafkaCluster, tell: Tell, role: str
) -> None:
    with traffic(stage) as load, stage.worker(worker_id="a", transaction_timeout_s=PATIENT_S) as a:
        load.until_flowing()
        kill_and_restart(kafka, load, a, role)
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"{role} killed", load.pause_s())


@pytest.mark.long
def test_a_transaction_whose_time_is_up_before_there_is_a_new_leader_goes_again(
    stage: Stage, judge: Judge, kafka: KafkaCluster, tell: Tell
) -> None:
    """The broker may end it by itself, and whoever has no name knows that it was no other holder of it."""
    with traffic(stage) as load, stage.worker() as a:
        load.until_flowing()
        kill_and_restart(kafka, load, a, OUTPUT)
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"{OUTPUT} killed, transactions of at most {TRANSACTION_S:.0f} s", load.pause_s())


def kill_and_restart(kafka: KafkaCluster, load: Traffic, a: Worker, role: str) -> None:
    """Kill the broker that has a role, wait until answers come without it, and bring it back."""
    dead = leader(load.stage, *ROLES[role](load.stage))
    load.fault()
    kafka.kill(dead)
    try:
        a.until(lambda: leader(load.stage, *ROLES[role](load.stage)) not in {dead, -1}, f"new {role}")
        load.until_again()
    finally:
        kafka.restart(dead)
    load.until_again()


@pytest.mark.long
def test_a_coordinator_is_found_by_the_hash_of_its_name(stage: Stage) -> None:
    with traffic(stage) as load, stage.worker():
        load.until_flowing()
        assert coordinator(stage) == leader(stage, *ROLES["group coordinator"](stage))


def internal_partition(name: str) -> int:
    """Return the partition of Kafka's own topic that a group's or a transactional id's coordinator leads."""
    return abs(java_hash(name)) % INTERNAL_PARTITIONS


def java_hash(text: str) -> int:
    """Return Java's `String.hashCode`."""
    found = 0
    for character in text:
        found = (31 * found + ord(character)) & 0xFFFFFFFF
    return found - (found >> 31 << 32)
