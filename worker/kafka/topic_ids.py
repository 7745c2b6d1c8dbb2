"""Which topics exist, by their ids (KIP-516): a recreated topic has another id under the same name.

The client's metadata has no ids; the admin API returns them in 2 to 4 ms (one local broker, 2026-11).  A broker that
has not yet received the metadata of a new topic reports it as unknown for some milliseconds, so callers accept absence
only after a delay.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ClusterMetadata, TopicDescription

from worker.kafka import client_config as client
from worker.kafka.admin_queries import AdminQueries

TIMEOUT_S = 2.0  # of one request
EMBEDDED = "mockCluster"  # prefix of the cluster id of librdkafka's embedded broker


@dataclass(frozen=True, slots=True)
class TopicState:
    """Id and number of partitions of a topic that exists."""

    topic_id: str
    num_partitions: int


class TopicIds:
    """Reads the ids of topics; thread-safe."""

    def __init__(self, queries: AdminQueries) -> None:
        self._queries = queries
        self._embedded: bool | None = None

    def look(self, topics: Collection[str]) -> Mapping[str, TopicState | None]:
        """Return the state of each topic, None if it does not exist.  Blocks.  Raises `KafkaException`, `Fatal`."""
        if not topics:
            return {}
        if self._is_embedded():
            there = self._queries.ask(_cluster).topics
            return {one: TopicState(EMBEDDED, len(there[one].partitions)) if one in there else None for one in topics}

        def question(admin: AdminClient) -> Mapping[str, TopicState | None]:
            futures = admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=TIMEOUT_S)
            return {topic: _state(topic, future) for topic, future in client.answers(futures, 2 * TIMEOUT_S)}

        return self._queries.ask(question)

    def _is_embedded(self) -> bool:
        """Return True for librdkafka's embedded broker (for demos): its topics have no ids and are never recreated."""
        if self._embedded is None:
            self._embedded = str(self._queries.ask(_cluster).cluster_id).startswith(EMBEDDED)
        return self._embedded

    def sizes(self) -> dict[str, int]:
        """Return the number of partitions of each topic that we may describe.  Blocks.  Raises `KafkaException`."""
        return {name: len(topic.partitions) for name, topic in self._queries.ask(_cluster).topics.items()}


def _cluster(admin: AdminClient) -> ClusterMetadata:
    return admin.list_topics(timeout=TIMEOUT_S)


def _state(topic: str, future: "Future[TopicDescription]") -> TopicState | None:
    try:
        found = client.answer(future, 0)
    except KafkaException as error:
        reason = client.kafka_error(error)
        if reason.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        client.raise_if_hopeless(reason, f"topic {topic}")
        raise
    return TopicState(str(found.topic_id), len(found.partitions))
