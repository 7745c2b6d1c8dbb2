"""Where a partition starts, and where a backfill ends.

`start_from` holds only where the group has no committed offset.  The position found then is committed with the first
flush, so a partition that stays quiet, or moves to another member, is not looked up a second time.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.kafka import client
from worker.records import Partition
from worker.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")

CALL_TIMEOUT_S = 30.0  # of one question to the broker inside a callback
AGAIN_S = 1.0


class Positions:
    """Asks the broker inside rebalance callbacks; one that is away is asked again until the worker stops."""

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        """Take the settings, and what ends the asking."""
        self._settings = settings
        self._stopping = stopping

    def start(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[Partition, int]:
        """Set each partition's position; return those that came from `start_from` and are to be committed."""
        committed = self._ask(lambda: consumer.committed(partitions, timeout=CALL_TIMEOUT_S))
        new = [one for one in committed if one.offset < 0]
        started = {partition_of(one): one.offset for one in self._by_start_from(consumer, new)}
        for one, found in zip(partitions, committed, strict=True):
            one.offset = found.offset if found.offset >= 0 else started[partition_of(one)]
        return started

    def ends(
        self, consumer: Consumer, partitions: list[TopicPartition], until: datetime | None
    ) -> dict[Partition, int]:
        """Return where each partition ends: at a time, else now."""
        if until:
            return {partition_of(one): one.offset for one in self._at_time(consumer, partitions, until)}
        return {partition_of(one): self._watermarks(consumer, one)[1] for one in partitions}

    def _by_start_from(self, consumer: Consumer, new: list[TopicPartition]) -> list[TopicPartition]:
        start = self._settings.start_from
        if isinstance(start, datetime):
            return self._at_time(consumer, new, start)
        side = 0 if start == "earliest" else 1
        return [TopicPartition(one.topic, one.partition, self._watermarks(consumer, one)[side]) for one in new]

    def _at_time(self, consumer: Consumer, partitions: list[TopicPartition], when: datetime) -> list[TopicPartition]:
        """Return the first offset at or after a time; the partition's end if there is none."""
        if not partitions:
            return []
        time_ms = int(when.timestamp() * 1000)
        asked = [TopicPartition(one.topic, one.partition, time_ms) for one in partitions]
        found: list[TopicPartition] = self._ask(lambda: consumer.offsets_for_times(asked, timeout=CALL_TIMEOUT_S))
        for one in found:
            if one.offset < 0:
                one.offset = self._watermarks(consumer, one)[1]
        return found

    def _watermarks(self, consumer: Consumer, one: TopicPartition) -> tuple[int, int]:
        low, high = self._ask(lambda: consumer.get_watermark_offsets(one, timeout=CALL_TIMEOUT_S))
        return int(low), int(high)

    def _ask(self, call: Callable[[], T]) -> T:
        while True:
            try:
                return call()
            except KafkaException as error:
                client.raise_if_hopeless(client.kafka_error(error), "start positions")
                log.warning("start positions: %s; asking again", client.kafka_error(error).name())
                if self._stopping.wait(AGAIN_S):
                    raise


def partition_of(one: TopicPartition) -> Partition:
    """Turn the client's partition into ours."""
    return Partition(one.topic, one.partition)


def topic_partitions(offsets: dict[Partition, int]) -> list[TopicPartition]:
    """Turn offsets to commit into the client's own form."""
    return [TopicPartition(partition.topic, partition.number, offset) for partition, offset in offsets.items()]
