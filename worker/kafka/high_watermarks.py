"""The ends of the assigned partitions, as far as the client knows them: no request is made, and nothing waits."""

from collections.abc import Collection, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.core.records import Partition

LOOK_S = 1.0  # between two looks


class HighWatermarks:
    """Called in any thread, it returns the ends that are known; `look` is for the poll thread.

    The client learns an end with every fetch, also with one that brings no record.  A paused partition is not fetched:
    its end is that of the last fetch.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._known: Mapping[Partition, int] = {}
        self._consumer = consumer
        self._look_again_s = 0.0

    def __call__(self) -> Mapping[Partition, int]:
        """Return the end offset of each assigned partition, as far as it is known."""
        return self._known

    def look(self, partitions: Collection[Partition], now_s: float) -> None:
        """Read the ends of these partitions, at most every `LOOK_S`."""
        if now_s >= self._look_again_s:
            self._look_again_s = now_s + LOOK_S
            ends = {one: self._end(one) for one in partitions}
            self._known = {one: end for one, end in ends.items() if end is not None}

    def _end(self, partition: Partition) -> int | None:
        """Return the end of a partition; None before its first fetch."""
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(partition.topic, partition.number), cached=True)
        except KafkaException:  # a topic that was deleted
            return None
        return found[1] if found and found[1] >= 0 else None
