"""What a worker needs of a Kafka cluster, by topic and by group, and what of it is missing.

`describe` asks the broker, once for all topics; the other functions judge its answer:

    input topics             Read, Describe
    output, dead letters     Write, Describe; Read, because topic ids are committed for both
    definitions, readouts    Read, Describe, where `experiments_topic` is set; a worker starts without the readouts
    items, users             Read, Describe
    groups G, G-topics       Read (G is group_id)
    transactional ids        Write, Describe on the prefix; checked by opening a producer

A broker returns a client's rights with a topic or group (KIP-430).  One that does not, such as the embedded one, is
assumed to grant all.  A topic that may not be described looks like one that does not exist: the broker hides both.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from worker.core.errors import Fatal, MirrorstreamError, Retryable
from worker.core.topics.topic_patterns import TopicPatterns, shown
from worker.kafka import admin, client_config as client
from worker.kafka.topic_ids import EMBEDDED
from worker.settings.groups import KafkaClientSettings

TIMEOUT_S = 10.0
START_TIMEOUT_S = 3.0  # the same when a worker starts; it continues without an answer
MIN_MESSAGE_BYTES = 10_000  # minimum of the setting max_message_bytes
PARTITIONS = 12  # of a new topic where none of the worker's topics is there to go by, as `topics create` has it
LOOK_S = 60.0  # longest time that `unwritable` takes


class TopicUse(StrEnum):
    """What a worker uses a topic for."""

    INPUT = "input"
    OUTPUT = "output"
    DEAD_LETTERS = "dead letters"
    DEFINITIONS = "definitions"
    READOUTS = "readouts"
    FACTS = "items or users"


STEERING = frozenset({TopicUse.DEFINITIONS, TopicUse.READOUTS})  # a worker only reads them
NEEDS: Mapping[TopicUse, frozenset[str]] = {
    TopicUse.INPUT: frozenset({"READ", "DESCRIBE"}),
    TopicUse.OUTPUT: frozenset({"WRITE", "DESCRIBE", "READ"}),
    TopicUse.DEAD_LETTERS: frozenset({"WRITE", "DESCRIBE", "READ"}),
    TopicUse.DEFINITIONS: frozenset({"READ", "DESCRIBE"}),
    TopicUse.READOUTS: frozenset({"READ", "DESCRIBE"}),
    TopicUse.FACTS: frozenset({"READ", "DESCRIBE"}),
}


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the broker describes it; `partitions` is 0 if it does not exist or is hidden."""

    name: str
    partitions: int = 0
    denied: bool = False  # it may not be described
    rights: frozenset[str] | None = None  # ours; None: the broker does not return them
    config: Mapping[str, str] | None = None  # None: it cannot be read


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group, and whether we have Read on it; None if the broker does not return it."""

    name: str
    readable: bool | None


def patterns(settings: KafkaClientSettings) -> Iterator[tuple[str, list[str]]]:
    """Yield each pattern among the input topics, with the topics that it matches.  Raises `Retryable` without Kafka."""
    every = TopicPatterns(settings.input_topics, settings.group_protocol)
    found = admin.partitions(settings) if every.patterns else {}
    for pattern in every.patterns:
        yield pattern, TopicPatterns([pattern], settings.group_protocol).read(found)


def role(settings: KafkaClientSettings, topic: str) -> TopicUse:
    """Return what this worker uses a topic for."""
    if topic == settings.dead_letter_topic:
        return TopicUse.DEAD_LETTERS
    if settings.experiments_topic is not None and topic in (settings.experiments_topic, settings.readouts_topic):
        return TopicUse.DEFINITIONS if topic == settings.experiments_topic else TopicUse.READOUTS
    if topic in fact_topics(settings):
        return TopicUse.FACTS
    return TopicUse.OUTPUT if topic == settings.output_topic else TopicUse.INPUT


def fact_topics(settings: KafkaClientSettings) -> list[str]:
    """Return the topics of items and users that this worker follows."""
    return [topic for topic in (settings.items_topic, settings.users_topic) if topic is not None]


# -- the broker's answers


def describe(settings: KafkaClientSettings, names: Iterable[str], *, timeout_s: float = TIMEOUT_S) -> dict[str, Topic]:
    """Return these topics with our rights and their settings.  Raises `Retryable` if Kafka does not answer.

    Rights and settings that the broker does not return within `timeout_s` are None.
    """
    cluster = admin.metadata(settings)
    there = {name: len(topic.partitions) for name, topic in cluster.topics.items()}
    names = list(dict.fromkeys(names))
    if not names or str(cluster.cluster_id).startswith(EMBEDDED):  # it has neither rights nor settings
        return {name: Topic(name, there.get(name, 0)) for name in names}
    asked = AdminClient(client.common(settings))
    configs = asked.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=timeout_s
    )
    topics = asked.describe_topics(
        TopicCollection(names), include_authorized_operations=True, request_timeout=timeout_s
    )
    config_of = {resource.name: _config(future, timeout_s) for resource, future in configs.items()}
    return {
        name: _topic(Topic(name, there.get(name, 0), config=config_of.get(name)), future, timeout_s)
        for name, future in topics.items()
    }


def groups(settings: KafkaClientSettings, names: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> list[Group]:
    """Return whether we have Read on these groups; a group need not exist for that."""
    asked = AdminClient(client.common(settings))
    found = []
    for name in names:
        readable = None
        try:
            future = asked.describe_consumer_groups(
                [name], include_authorized_operations=True, request_timeout=timeout_s
            )[name]
            rights = _names(future.result(2 * timeout_s).authorized_operations)
            readable = None if rights is None else "READ" in rights
        except KafkaException as error:
            if client.kafka_error(error).code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                readable = False
        except TimeoutError:
            pass
        found.append(Group(name, readable))
    return found


def require(settings: KafkaClientSettings, *, wait: bool) -> list[str]:
    """Return the input topics that exist, if a worker can start.

    Raises `Retryable` if waiting may help, else `Fatal`.  With `wait` one input topic is enough: the worker reads the
    others once they exist; without it all must exist.  A missing right or a compacted topic is always `Fatal`.
    """
    inputs, why = input_topics(settings)
    outputs = [settings.output_topic, settings.dead_letter_topic]
    followed = [settings.experiments_topic] if settings.experiments_topic else []
    read = [*inputs, *outputs, *followed, *fact_topics(settings)]
    found = describe(settings, read, timeout_s=START_TIMEOUT_S).values()
    wrong = [f"topic {topic.name}: {why}" for topic in found for why in problems(settings, topic)]
    wrong += missing_group_rights(groups(settings, own_groups(settings), timeout_s=START_TIMEOUT_S))
    if wrong:
        raise Fatal("\n".join([*wrong, "the worker does not start; `mirrorstream check` shows what it needs"]))
    there = {topic.name for topic in found if topic.partitions}
    missing = [topic for topic in outputs if topic not in there]
    if not wait or not there & set(inputs):
        missing += [topic for topic in inputs if topic not in there]
    told = [f"no topic {', '.join(sorted(missing))} at {settings.bootstrap_servers}"] if missing else []
    if message := "; ".join([*told, *([why] if why else [])]):
        if missing:
            partitions = max((topic.partitions for topic in found), default=0) or PARTITIONS
            message += f"\nto create what is missing: {create_command(settings, partitions)}"
        raise Retryable(message) if wait else Fatal(message)
    return [topic for topic in inputs if topic in there]


def create_command(settings: KafkaClientSettings, partitions: int) -> str:
    """Return the command that makes a worker's topics, with these settings' brokers and names.

    >>> create_command(KafkaClientSettings(output_topic="answers"), 6)
    'mirrorstream topics create --bootstrap localhost:9092 --partitions 6 --set output_topic=answers'
    """
    words = ["--bootstrap", settings.bootstrap_servers, "--partitions", str(partitions)]
    for name in ("input_topics", "output_topic", "dead_letter_topic", "items_topic", "users_topic"):
        value = getattr(settings, name)
        if value != KafkaClientSettings.model_fields[name].default:
            words += ["--set", f"{name}={','.join(value) if isinstance(value, list) else value}"]
    return shlex.join(["mirrorstream", "topics", "create", *words])


def input_topics(settings: KafkaClientSettings) -> tuple[list[str], str]:
    """Return the input topics, those that patterns match and those given by name; and why there are none, or "".

    Raises `Retryable` if Kafka does not answer.
    """
    patterns = TopicPatterns(settings.input_topics, settings.group_protocol)
    found = patterns.read(admin.partitions(settings)) if patterns.patterns else []
    every = sorted({*found, *patterns.names})
    return every, "" if every else f"input_topics: {shown(patterns.patterns)} matches no topic"


def _topic(topic: Topic, future: "Future[Any]", timeout_s: float) -> Topic:
    try:
        told = future.result(2 * timeout_s)
    except TimeoutError:
        return topic
    except KafkaException as error:
        denied = client.kafka_error(error).code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        return replace(topic, denied=denied)
    return replace(topic, partitions=len(told.partitions), rights=_names(told.authorized_operations))


def _config(future: "Future[Any]", timeout_s: float) -> dict[str, str] | None:
    try:
        return {name: entry.value or "" for name, entry in future.result(2 * timeout_s).items()}
    except (KafkaException, TimeoutError):
        return None  # `warnings` reports it


def _names(operations: Sequence[object] | None) -> frozenset[str] | None:
    """Return rights by name; None if the broker returns none: it has at least Describe for what it describes."""
    return frozenset(str(getattr(one, "name", one)) for one in operations) if operations else None


# -- what follows from them


def problems(settings: KafkaClientSettings, topic: Topic) -> Iterator[str]:
    """Yield the problems of a topic that stop a worker, except that it does not exist."""
    what = role(settings, topic.name)
    if topic.denied:
        yield f"does not exist or may not be described: give the worker's principal {_listed(NEEDS[what])} on it"
        return
    if topic.rights is not None and (lacking := NEEDS[what] - topic.rights):
        yield f"the worker's principal lacks {_listed(lacking)} on it; a topic for {what} needs {_listed(NEEDS[what])}"
    if topic.partitions and _compacted(topic):
        if what is TopicUse.DEAD_LETTERS:
            yield (
                "cleanup.policy is compact: the broker rejects dead letters without a key and keeps only the last one"
                " per key; set cleanup.policy=delete"
            )
        elif what is TopicUse.OUTPUT:
            yield "cleanup.policy is compact: only the last response per user would be kept; set cleanup.policy=delete"

    is_written = what in (TopicUse.OUTPUT, TopicUse.DEAD_LETTERS)
    if is_written and (limit := _limit(topic)) is not None and limit < MIN_MESSAGE_BYTES:
        yield f"max.message.bytes is {limit}, want at least {MIN_MESSAGE_BYTES}, the minimum of max_message_bytes"


def warnings(settings: KafkaClientSettings, topic: Topic) -> Iterator[str]:
    """Yield the problems of a topic that do not stop a worker."""
    what = role(settings, topic.name)
    if not topic.partitions:
        return
    if topic.config is None:
        yield "its cleanup.policy and max.message.bytes cannot be read (DescribeConfigs): not checked"
        return
    if what is TopicUse.INPUT and _compacted(topic):
        yield "cleanup.policy is compact: impressions with the same key replace each other, some before they are read"
    if what in STEERING:
        if not _compacted(topic):
            yield "cleanup.policy is not compact: a definition or readout is forgotten when its record expires"
        return
    if what is TopicUse.FACTS:
        if not _compacted(topic):
            yield "cleanup.policy is not compact: what is not sent again is forgotten; set cleanup.policy=compact"
        return
    if what is not TopicUse.INPUT and (limit := _limit(topic)) is not None and limit < settings.max_message_bytes:
        yield f"max.message.bytes {limit} is below max_message_bytes {settings.max_message_bytes}: longer texts are cut"


def missing_group_rights(found: Iterable[Group]) -> Iterator[str]:
    """Yield a problem for each group that we may not read."""
    for group in found:
        if group.readable is False:
            yield f"group {group.name}: the worker's principal lacks Read on it"


def own_groups(settings: KafkaClientSettings) -> list[str]:
    """Return the groups that a worker commits offsets for."""
    return [settings.group_id, client.topics_group(settings)]


def unwritable(settings: KafkaClientSettings) -> str:
    """Return which output topic may not be written, as text: the client's error names none; both if it is not known."""
    names = [settings.output_topic, settings.dead_letter_topic]
    try:
        found = describe(settings, names)
    except (MirrorstreamError, KafkaException):
        found = {}
    lines = [f"topic {name}: {why}" for name, topic in found.items() for why in problems(settings, topic)]
    return "; ".join(lines) or f"topic {' or '.join(names)}"


def _compacted(topic: Topic) -> bool:
    return "compact" in (topic.config or {}).get("cleanup.policy", "")


def _limit(topic: Topic) -> int | None:
    text = (topic.config or {}).get("max.message.bytes", "")
    return int(text) if text.isdecimal() else None


def _listed(rights: Iterable[str]) -> str:
    return " and ".join(sorted(right.capitalize() for right in rights))
