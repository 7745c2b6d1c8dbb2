"""Where a partition starts, and where a backfill ends.

`start_from` holds only where the group has no committed offset.  The position found then is committed with the first
flush, so a partition that stays quiet, or moves to another member, is not looked up a second time.
"""

import logging
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.kafka import client
from worker.records import Partition
from worker.settings import Settings
from worker.signals import Head

log = logging.getLogger(__name__)
T = TypeVar("T")

CALL_TIMEOUT_S = 2.0  # of one question to the broker inside a callback; between two tries others are answered
AGAIN_S = 0.5


class Start(NamedTuple):
    """Where a partition begins: `resume_at` if no commit stands behind it yet, else the commit and its note."""

    resume_at: int | None
    note: str
    committed: int | None


class Positions:
    """Asks the broker inside rebalance callbacks; one that is away is asked again until the worker stops."""

    def __init__(self, settings: Settings, breathe: Callable[[], bool]) -> None:
        """Take the settings, and what to do between two tries; it says whether to go on."""
        self._settings = settings
        self._breathe = breathe

    def start(self, consumer: Consumer, partitions: list[TopicPartition]) -> dict[Partition, Start]:
        """Set each partition's position; return how it stands with the commits.

        A partition without a committed offset is new to the group.  If the group has read its topic before, the
        partition was born later and starts at its beginning; else `start_from` holds.
        """
        committed = self._committed(consumer, partitions)
        new = [one for one in committed if one.offset < 0]
        known = self._known_topics(consumer, {one.topic for one in new})
        born_later = [one for one in new if one.topic in known]
        first = [one for one in new if one.topic not in known]
        found = self._at_side(consumer, born_later, 0) + self._by_start_from(consumer, first)
        started = {partition_of(one): one.offset for one in found}
        for one, at in zip(partitions, committed, strict=True):
            one.offset = at.offset if at.offset >= 0 else started[partition_of(one)]
        return {
            partition_of(one): Start(
                started.get(partition_of(one)), one.metadata or "", one.offset if one.offset >= 0 else None
            )
            for one in committed
        }

    def ends(
        self, consumer: Consumer, partitions: list[TopicPartition], until: datetime | None
    ) -> dict[Partition, int]:
        """Return where each partition ends: at a time, else now."""
        found = self._at_time(consumer, partitions, until) if until else self._at_side(consumer, partitions, 1)
        return {partition_of(one): one.offset for one in found}

    def _known_topics(self, consumer: Consumer, topics: set[str]) -> set[str]:
        """Return the topics that the group has a committed offset in, on whatever partition."""
        known = set()
        for topic in topics:
            found = self._ask(lambda topic=topic: consumer.list_topics(topic, timeout=CALL_TIMEOUT_S))  # type: ignore[misc]
            every = [TopicPartition(topic, number) for number in found.topics[topic].partitions]
            if any(one.offset >= 0 for one in self._committed(consumer, every)):
                known.add(topic)
        return known

    def _committed(self, consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return self._ask(lambda: client.checked(consumer.committed(partitions, timeout=CALL_TIMEOUT_S)))

    def _by_start_from(self, consumer: Consumer, new: list[TopicPartition]) -> list[TopicPartition]:
        start = self._settings.start_from
        if isinstance(start, datetime):
            return self._at_time(consumer, new, start)
        return self._at_side(consumer, new, 0 if start == "earliest" else 1)

    def _at_side(self, consumer: Consumer, partitions: list[TopicPartition], side: int) -> list[TopicPartition]:
        """Return each partition at its beginning (side 0) or its end (side 1)."""
        return [TopicPartition(one.topic, one.partition, self._watermarks(consumer, one)[side]) for one in partitions]

    def _at_time(self, consumer: Consumer, partitions: list[TopicPartition], when: datetime) -> list[TopicPartition]:
        """Return the first offset at or after a time; the partition's end if there is none."""
        if not partitions:
            return []
        time_ms = int(when.timestamp() * 1000)
        asked = [TopicPartition(one.topic, one.partition, time_ms) for one in partitions]
        found = self._ask(lambda: client.checked(consumer.offsets_for_times(asked, timeout=CALL_TIMEOUT_S)))
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
                reason = client.kafka_error(error)
                client.raise_if_hopeless(reason, "start positions")
                log.warning("start positions: %s; asking again", reason.name())
            if not self._breathe():
                raise Stopped("stopped while the broker was asked for start positions")
            time.sleep(AGAIN_S)


class Stopped(Exception):
    """The worker stops; what was asked does not matter any more."""


def partition_of(one: TopicPartition) -> Partition:
    """Turn the client's partition into ours."""
    return Partition(one.topic, one.partition)


def topic_partitions(heads: Iterable[Head]) -> list[TopicPartition]:
    """Turn offsets to commit, with their notes, into the client's own form."""
    return [TopicPartition(one.partition.topic, one.partition.number, one.commit_offset, one.note) for one in heads]
