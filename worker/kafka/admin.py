"""Admin calls: cluster metadata, creating topics, size limits; and a plain producer for replays."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewTopic, ResourceType

from worker.core.errors import Fatal, Retryable
from worker.core.records import Message
from worker.core.suggestions import did_you_mean
from worker.core.topics.topic_patterns import shown
from worker.kafka import client_config as client, error_text
from worker.kafka.record_reader import produce
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

S = TypeVar("S", bound=KafkaClientSettings)

TIMEOUT_S = 10.0
LOOK_S = 3.0  # of a first look, after which nobody waits for addresses where nobody listens
CONFIG_TIMEOUT_S = 2.0  # of a request that has a fallback
OTHER_TOPICS = ("outcomes", "experiments", "readouts")  # that `topics create` makes beside a worker's own
MAX_REASONS = 3  # reported when no broker answers


def metadata(settings: KafkaClientSettings) -> ClusterMetadata:
    """Return the cluster's metadata: brokers and topics.  Raises `Retryable` with the client's reasons."""
    failures: dict[str, str] = {}  # by broker, the newest
    told = {"error_cb": lambda error: _note(failures, error)}
    admin = AdminClient(client.common(settings) | told)
    try:
        try:
            return admin.list_topics(timeout=LOOK_S)
        except KafkaException:
            admin.poll(0)  # calls `error_cb`
            if _is_nobody_there(settings, failures):
                raise
            return admin.list_topics(timeout=TIMEOUT_S - LOOK_S)
    except KafkaException as error:
        client.raise_if_hopeless(client.kafka_error(error), "list topics")
        admin.poll(0)
        why = "; ".join(f"{broker}: {reason}" for broker, reason in [*failures.items()][:MAX_REASONS])
        why = why or error_text.NO_ANSWER
        raise Retryable(f"Kafka at {settings.bootstrap_servers} does not answer: {why}") from error


def _note(failures: dict[str, str], error: KafkaError) -> None:
    """Store the outcome of one connection."""
    broker, why = error_text.of_connection(error)
    if broker and error.code() != client.ALL_BROKERS_DOWN:
        failures[broker] = why


def _is_nobody_there(settings: KafkaClientSettings, failures: Mapping[str, str]) -> bool:
    """Return True if no host has any of the addresses, or nobody listens there: more time would not help."""
    addresses = [one.strip().rpartition("://")[2] for one in settings.bootstrap_servers.split(",")]
    return all(error_text.is_nobody_there(failures.get(one, "")) for one in addresses if one)


def partitions(settings: KafkaClientSettings) -> dict[str, int]:
    """Return every topic that we may describe, and its number of partitions.  Raises `Retryable`."""
    return {name: len(topic.partitions) for name, topic in metadata(settings).topics.items()}


def num_partitions(settings: KafkaClientSettings, topic: str) -> int:
    """Return a topic's number of partitions.  Raises `Fatal` if the topic does not exist."""
    there = partitions(settings)
    if not there.get(topic):
        raise Fatal(f"topic {topic} does not exist at {settings.bootstrap_servers}; {_advice(settings, topic, there)}")
    return there[topic]


def _advice(settings: KafkaClientSettings, topic: str, there: Iterable[str]) -> str:
    """Return what to do about a topic that is missing."""
    if topic in {*settings.input_topics, settings.output_topic, settings.dead_letter_topic, *OTHER_TOPICS}:
        return "`mirrorstream topics create` creates it"
    names = sorted(name for name in there if not name.startswith("__"))  # those are Kafka's own
    return f"there {'are ' + shown(names) if names else 'is none'}{did_you_mean(topic, names)}"


# Of the topics with one record per experiment: when a definition was taken is Kafka's time, not its writer's.
COMPACT = {"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"}


def create(
    settings: KafkaClientSettings, topics: Mapping[str, int], *, compacted: Collection[str] = (), replication: int = -1
) -> list[str]:
    """Create the missing ones of these topics; return the names of those that were created, sorted.

    `topics` gives the number of partitions by name; `replication` -1 is the broker's default.  Raises `Retryable` if
    Kafka does not answer, `Fatal` if it refuses.
    """
    missing = {name: number for name, number in topics.items() if name not in partitions(settings)}
    wanted = [
        NewTopic(
            name,
            num_partitions=number,
            replication_factor=replication,
            config=COMPACT if name in compacted else {},
        )
        for name, number in missing.items()
    ]
    admin = AdminClient(client.common(settings))  # in a variable: its futures fail when it is garbage-collected
    for name, future in admin.create_topics(wanted).items() if wanted else ():
        try:
            future.result(TIMEOUT_S)
        except TimeoutError as error:
            raise Retryable(
                f"topic {name}: Kafka did not answer within {TIMEOUT_S:.0f} s; run the command again, existing topics"
                " are left alone"
            ) from error
        except KafkaException as error:
            reason = client.kafka_error(error)
            if reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                message = f"topic {name}: {error_text.explain(reason)}; it was not created"
                raise Fatal(message) from error
    return sorted(missing)


def fitted(settings: S, topics: Iterable[str]) -> S:
    """Return settings whose `max_message_bytes` is at most the limit of each of these topics.

    A broker applies a topic's limit to whole batches, too.
    """
    limit = min(settings.max_message_bytes, max_message_bytes(settings, topics))
    if limit < settings.max_message_bytes:
        log.info("max_message_bytes is lowered to %d, the smallest max.message.bytes of the topics", limit)
    return settings.model_copy(update={"max_message_bytes": limit})


def max_message_bytes(settings: KafkaClientSettings, topics: Iterable[str]) -> int:
    """Return the smallest `max.message.bytes` of these topics; the setting if it cannot be read."""
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
    try:
        admin = AdminClient(client.common(settings))
        found = admin.describe_configs(resources, request_timeout=CONFIG_TIMEOUT_S)
        return min(int(future.result(2 * CONFIG_TIMEOUT_S)["max.message.bytes"].value) for future in found.values())
    except (KafkaException, KeyError, TimeoutError) as error:
        log.warning(
            "max.message.bytes of the topics cannot be read (%s); using the setting max_message_bytes",
            type(error).__name__,
        )
        return settings.max_message_bytes


class Publisher:
    """A producer without transactions, for replays: bounded memory, every failed delivery raises."""

    def __init__(self, settings: KafkaClientSettings) -> None:
        self._producer = Producer(client.producer(settings, None))
        self._failed: list[str] = []
        self.num_sent = 0
        self.delivered: Counter[str] = Counter()  # by topic

    def send(self, message: Message) -> None:
        """Queue a message; blocks while the queue is full.  Raises `Fatal` if the delivery of an earlier one failed."""
        while True:
            try:
                produce(self._producer, message, partial(self._on_delivery, message.topic))
                break
            except BufferError:
                self._producer.poll(0.1)
                self._raise_failed()
        self.num_sent += 1
        self._producer.poll(0)
        self._raise_failed()

    def close(self, timeout_s: float = 60.0) -> None:
        """Wait until every message is delivered.  Raises `Fatal` if one is not within the time."""
        left = self._producer.flush(timeout_s)
        self._raise_failed()
        if left:
            raise Fatal(f"{left} of {self.num_sent} messages were not delivered within {timeout_s:.0f} s")

    def _on_delivery(self, topic: str, error: KafkaError | None, _message: object) -> None:
        if error is None:
            self.delivered[topic] += 1
        else:
            self._failed.append(error_text.explain(error))

    def _raise_failed(self) -> None:
        if self._failed:
            raise Fatal(
                f"{self.delivered.total():,} of {self.num_sent:,} messages were delivered; the first that was not:"
                f" {self._failed[0]}"
            )


def touch(settings: KafkaClientSettings, topics: Iterable[str]) -> None:
    """Create topics on a broker that creates them on request, such as the embedded one."""
    admin = AdminClient(client.common(settings))
    for topic in topics:
        admin.list_topics(topic, timeout=TIMEOUT_S)
