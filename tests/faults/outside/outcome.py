"""Reads committed responses and dead letters as they come, with nothing of the worker's, over topics made anew."""

import json
import time
from contextlib import suppress
from io import BytesIO
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tests.support.events import schema_text
from tests.support.judge import key_of, single_object
from tests.support.patience import patience

from .judge import Answer, Letter

QUIET = 2  # a topic that is away on purpose is not worth a line a try
READ_S = 10.0
NUMBER = "record-number"  # the header that scenarios put on every record
_RESPONSE = fastavro.parse_schema(json.loads(schema_text("SimulatedResponse")))


class Outcome:
    """What has come out so far."""

    def __init__(self, bootstrap: str, responses: str, dead_letters: str) -> None:
        self.answers: list[Answer] = []
        self.letters: list[Letter] = []
        self._bootstrap = bootstrap
        self._readers = {topic: Reader(bootstrap, topic) for topic in (responses, dead_letters)}
        self._responses, self._dead_letters = responses, dead_letters

    def look(self) -> None:
        """Take what is there."""
        for topic, reader in self._readers.items():
            self._take(topic, reader.some())

    def drain(self) -> None:
        """Take everything that is committed now."""
        for topic, reader in self._readers.items():
            self._take(topic, reader.rest())

    def anew(self, topic: str) -> None:
        """Begin at the start of a topic that was made again; what the old one had was taken before, or is gone."""
        if topic in self._readers:
            self._readers[topic].close()
            self._readers[topic] = Reader(self._bootstrap, topic)

    def close(self) -> None:
        """Close the connections."""
        for reader in self._readers.values():
            reader.close()

    def _take(self, topic: str, messages: list[Message]) -> None:
        if topic == self._responses:
            self.answers += map(_answer, messages)
        if topic == self._dead_letters:
            self.letters += map(_letter, messages)


class Reader:
    """Reads one topic as it is now, all its partitions."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer({
            "bootstrap.servers": bootstrap, "group.id": f"{topic}-outcome", "isolation.level": "read_committed",
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50, "log_level": QUIET,
            "fetch.message.max.bytes": 4_000_000,
        })  # fmt: skip
        self._parts: list[TopicPartition] = []

    def some(self) -> list[Message]:
        """Return what is fetched by now."""
        if not self._assigned():
            return []
        return [message for message in self._consumer.consume(500, 0.02) if message.error() is None]

    def rest(self) -> list[Message]:
        """Return all up to the ends as they are now."""
        found: list[Message] = []
        if not self._assigned():
            return found
        left = {one.partition: self._consumer.get_watermark_offsets(one, patience(READ_S))[1] for one in self._parts}
        until_s = time.monotonic() + patience(READ_S)
        while left and time.monotonic() < until_s:
            found += [message for message in self._consumer.consume(500, 0.05) if message.error() is None]
            for one in self._consumer.position(self._parts):
                if one.offset >= left.get(one.partition, 0) or left.get(one.partition) == 0:
                    left.pop(one.partition, None)
        return found

    def close(self) -> None:
        self._consumer.close()

    def _assigned(self) -> bool:
        if not self._parts:
            with suppress(KafkaException, KeyError):  # it is not there yet
                topics = self._consumer.list_topics(self._topic, timeout=patience(READ_S)).topics
                self._parts = [TopicPartition(self._topic, number, 0) for number in topics[self._topic].partitions]
                if self._parts:
                    self._consumer.assign(self._parts)
        return bool(self._parts)


def _answer(message: Message) -> Answer:
    value = message.value()
    # A registry's id stands before the same record; its own schema is ours.
    found: Any = single_object(value) or fastavro.schemaless_reader(BytesIO(value[5:]), _RESPONSE, None)
    return Answer(key_of(found), _micros(found["occurred_at"]))


def _micros(value: Any) -> int:
    """Return a time as the schema has it; plain fastavro makes a datetime of it."""
    return value if isinstance(value, int) else round(value.timestamp() * 1_000_000)


def _letter(message: Message) -> Letter:
    headers = {name: (data or b"").decode(errors="replace") for name, data in message.headers() or ()}
    topic, partition, offset = (headers.get(f"ms-source-{part}", "?") for part in ("topic", "partition", "offset"))
    place = f"{topic}[{partition}]@{offset}"
    return Letter(headers.get(NUMBER, ""), place, headers.get("ms-reason", ""), headers.get("ms-detail", ""))
