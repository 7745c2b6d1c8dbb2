"""A rebalance callback is timed, and what became of it is reported once it has returned."""

from typing import Any, cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support.clock import Clock
from worker.core.delivery.handover_messages import Rebalanced, RebalanceKind
from worker.kafka import rebalances
from worker.kafka.rebalances import timed

PARTITIONS = [TopicPartition("impressions", number) for number in range(3)]
NOBODY = cast("Consumer", cast("Any", None))


def test_a_rebalance_is_reported_with_its_end_its_partitions_and_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(rebalances, "time", clock)
    found: list[Rebalanced] = []

    def callback(_: Consumer, partitions: list[TopicPartition]) -> RebalanceKind:
        clock.sleep(2.5)
        partitions.clear()  # whatever becomes of the list
        return RebalanceKind.LOST

    timed(callback, found.append)(NOBODY, list(PARTITIONS))
    assert found == [Rebalanced(RebalanceKind.LOST, 3, 2.5)]


def test_a_callback_that_raises_was_no_rebalance() -> None:
    found: list[Rebalanced] = []

    def callback(*_: object) -> RebalanceKind:
        raise RuntimeError("the worker stops")

    with pytest.raises(RuntimeError):
        timed(callback, found.append)(NOBODY, PARTITIONS)
    assert found == []
