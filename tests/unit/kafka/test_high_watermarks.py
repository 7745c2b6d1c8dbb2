"""The ends of partitions as the client knows them: nothing here may wait for a broker."""

from collections import Counter
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from worker.core.records import Partition
from worker.kafka.high_watermarks import LOOK_S, HighWatermarks

A, B, GONE = Partition("impressions", 0), Partition("impressions", 1), Partition("deleted", 0)


class FakeConsumer:
    """Knows these ends; librdkafka has -1001 for one that it has not fetched yet."""

    def __init__(self) -> None:
        self.ends: dict[Partition, int] = {A: 130, B: -1001}
        self.calls: Counter[bool] = Counter()

    def get_watermark_offsets(self, one: TopicPartition, *, cached: bool = False) -> tuple[int, int]:
        self.calls[cached] += 1
        partition = Partition(one.topic, one.partition)
        if partition not in self.ends:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
        return 0, self.ends[partition]


def made() -> tuple[HighWatermarks, FakeConsumer]:
    consumer = FakeConsumer()
    return HighWatermarks(cast("Consumer", cast("Any", consumer))), consumer


def test_an_end_is_known_after_the_first_fetch_and_never_asked_for() -> None:
    marks, consumer = made()
    marks.look([A, B, GONE], LOOK_S)
    assert marks() == {A: 130}
    assert consumer.calls.keys() == {True}


def test_ends_are_read_once_a_second_and_go_with_their_partition() -> None:
    marks, consumer = made()
    marks.look([A], 1.0)
    consumer.ends = {A: 140, B: 7}
    marks.look([A, B], 1.0 + LOOK_S / 2)
    assert marks() == {A: 130}
    marks.look([B], 1.0 + LOOK_S)
    assert marks() == {B: 7}
