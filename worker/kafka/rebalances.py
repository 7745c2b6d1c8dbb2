"""Times the rebalance callbacks: the group waits for each of them, and nothing is polled meanwhile."""

import time
from collections.abc import Callable

from confluent_kafka import Consumer, TopicPartition

from worker.core.delivery.handover_messages import Rebalanced, RebalanceKind

Callback = Callable[[Consumer, list[TopicPartition]], RebalanceKind]


def timed(callback: Callback, report: Callable[[Rebalanced], None]) -> Callable[[Consumer, list[TopicPartition]], None]:
    """Return a callback that reports how long it took, and how it ended."""

    def run(consumer: Consumer, partitions: list[TopicPartition]) -> None:
        num, began_s = len(partitions), time.monotonic()
        kind = callback(consumer, partitions)
        report(Rebalanced(kind, num, time.monotonic() - began_s))

    return run
