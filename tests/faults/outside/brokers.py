"""What scenarios ask of the broker beside sending and reading: topics by name, and a group's offsets."""

import time
from collections.abc import Mapping
from contextlib import suppress

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from confluent_kafka.cimpl import NewPartitions, NewTopic

from tests.support.patience import patience

from .outcome import QUIET

CALL_S = 30.0  # of one call to the broker
POLL_S = 0.05


class Topics:
    """The topics of one run."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": QUIET})
        self._made: set[str] = set()

    def create(self, topic: str, partitions: int, config: Mapping[str, str]) -> None:
        """Make a topic, perhaps one that is still being deleted, and wait until clients are told of it."""
        until_s = time.monotonic() + patience(CALL_S)
        while True:
            try:
                made = self._admin.create_topics([NewTopic(topic, partitions, config=dict(config))])
                made[topic].result(patience(CALL_S))
                break
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or time.monotonic() > until_s:
                    raise
                time.sleep(POLL_S)
        self._until_there(topic, partitions)
        self._made.add(topic)

    def delete(self, topic: str) -> None:
        """Delete a topic."""
        self._admin.delete_topics([topic], operation_timeout=patience(CALL_S))[topic].result(patience(CALL_S))
        self._made.discard(topic)

    def delete_all(self) -> None:
        """Delete what is left, and do not wait for it."""
        with suppress(KafkaException, ValueError):
            self._admin.delete_topics(list(self._made))

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions, up to so many."""
        self._admin.create_partitions([NewPartitions(topic, partitions)])[topic].result(patience(CALL_S))
        self._until_there(topic, partitions)

    def id_of(self, topic: str, *, unless: str = "") -> str:
        """Return a topic's id, in Base64, once it is there and is not `unless`: brokers hear of a change in turn."""
        until_s = time.monotonic() + patience(CALL_S)
        while True:
            found = self._admin.describe_topics(TopicCollection([topic]), request_timeout=patience(CALL_S))[topic]
            try:
                if (topic_id := str(found.result(patience(CALL_S)).topic_id)) != unless:
                    return topic_id
            except KafkaException:
                if time.monotonic() > until_s:
                    raise
            assert time.monotonic() < until_s, f"{topic} still has the id {unless}"
            time.sleep(POLL_S)

    def ends(self, topic: str) -> dict[int, int]:
        """Return where a topic's partitions end."""
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in self._partitions(topic)}
        found = self._admin.list_offsets(asked, request_timeout=patience(CALL_S))
        return {one.partition: future.result(patience(CALL_S)).offset for one, future in found.items()}

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Return a group's offsets, by topic and partition."""
        asked = [ConsumerGroupTopicPartitions(group)]
        [future] = self._admin.list_consumer_group_offsets(asked, request_timeout=patience(CALL_S)).values()
        return {(one.topic, one.partition): one.offset for one in future.result(patience(CALL_S)).topic_partitions}

    def reset(self, group: str, topic: str, *, to_end: bool) -> None:
        """Set a group's offsets in a topic, as an operator does while no worker runs."""
        parts = [TopicPartition(topic, one, end if to_end else 0) for one, end in self.ends(topic).items()]
        asked = [ConsumerGroupTopicPartitions(group, parts)]
        for future in self._admin.alter_consumer_group_offsets(asked, request_timeout=patience(CALL_S)).values():
            future.result(patience(CALL_S))

    def _until_there(self, topic: str, partitions: int) -> None:
        until_s = time.monotonic() + patience(CALL_S)
        while len(self._partitions(topic)) != partitions and time.monotonic() < until_s:
            time.sleep(POLL_S)

    def _partitions(self, topic: str) -> list[int]:
        found = self._admin.list_topics(topic, timeout=patience(CALL_S)).topics.get(topic)
        return list(found.partitions) if found and found.error is None else []
