"""Committed offsets, asked for and written by other threads through the poll thread."""

from confluent_kafka import Consumer, TopicPartition

from worker.core.delivery import offset_metadata
from worker.core.records import Partition
from worker.kafka import client_config as client
from worker.kafka.assignment import Assignment
from worker.kafka.poll_thread_queue import Mailbox
from worker.kafka.positions import CALL_TIMEOUT_S, partition_of


class Commits:
    """Both methods block, and are not for the event loop's thread."""

    def __init__(self, consumer: Consumer, mailbox: Mailbox, own: Assignment) -> None:
        self._consumer, self._mailbox, self._own = consumer, mailbox, own

    def committed(self, partitions: frozenset[Partition]) -> dict[Partition, int]:
        """Return the committed offsets, -1 without one.

        One of an older topic of the same name counts as none.  Raises `KafkaException`; `TimeoutError` if it is late.
        """
        wanted = [TopicPartition(partition.topic, partition.number) for partition in partitions]
        found = client.checked(self._mailbox.ask(lambda: self._consumer.committed(wanted, timeout=CALL_TIMEOUT_S)))
        return {partition_of(one): one.offset if self._is_progress(one) else -1 for one in found}

    def commit(self, offsets: list[TopicPartition]) -> None:
        """Commit outside of transactions, for at-least-once."""
        client.checked(self._mailbox.ask(lambda: self._consumer.commit(offsets=offsets, asynchronous=False)))

    def _is_progress(self, one: TopicPartition) -> bool:
        ids = ("", self._own.topic_id(partition_of(one)))
        return bool(one.offset >= 0 and offset_metadata.topic_id_of(one.metadata or "") in ids)
