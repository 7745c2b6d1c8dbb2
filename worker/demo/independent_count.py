"""The demo's own count of what came out: it shares no code with the worker, so it can contradict it.

Every generated event has a control and one candidate slate, and so three answers: SLATE of each, and one DUEL.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro
from confluent_kafka import Consumer, TopicPartition

Key = tuple[str, str, str]  # event, question, variant
KNOWN_S = 10.0  # until a broker that has made a topic tells of its partitions
QUESTIONS = 3  # of an event
_PREFIX_BYTES = 10  # of Avro's single-object encoding


@dataclass(slots=True)
class Count:
    """What was seen on the output topic."""

    expected: set[Key] = field(default_factory=set)
    seen: Counter[Key] = field(default_factory=Counter)
    last: dict[str, Any] = field(default_factory=dict)
    unsent: int = 0  # events that are still to be sent

    def plan(self, events: int) -> None:
        """Have so many events sent in all; those that were sent are not taken back."""
        self.unsent = max(0, events - self.sent)

    def expect(self, event_id: str, variants: Iterable[str]) -> None:
        """Note an event that was sent; the first variant is control."""
        self.unsent = max(0, self.unsent - 1)
        control, *candidates = variants
        self.expected |= {(event_id, "SLATE", variant) for variant in (control, *candidates)}
        self.expected |= {(event_id, "DUEL", variant) for variant in candidates}

    def add(self, response: dict[str, Any]) -> None:
        """Count a response."""
        self.seen[response["event_id"], response["question"], response["variant"]] += 1
        self.last = response

    @property
    def sent(self) -> int:
        """Events that were sent."""
        return len(self.expected) // QUESTIONS

    @property
    def missing(self) -> int:
        """Answers that were not seen, of events that were sent and of those that never were."""
        return len(self.expected - self.seen.keys()) + QUESTIONS * self.unsent

    @property
    def answered(self) -> int:
        """Events that were sent and of which an answer was seen."""
        return len({event for event, _, _ in self.expected & self.seen.keys()})

    @property
    def duplicates(self) -> int:
        """Answers that were seen more often than once, and those that nobody asked for."""
        return sum(count - 1 for count in self.seen.values()) + len(self.seen.keys() - self.expected)


class Reader:
    """Reads the responses from the beginning, committed ones only."""

    def __init__(self, bootstrap: str, schema_text: str) -> None:
        """Connect; `follow` says to which topics."""
        self._schema = fastavro.parse_schema(json.loads(schema_text))
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "mirrorstream-demo-count",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )

    def follow(self, *topics: str) -> None:
        """Read these topics' partitions, as many as they have; a broker may not know yet what it has just made."""
        deadline_s = time.monotonic() + KNOWN_S
        while not all(found := [self._partitions(topic) for topic in topics]) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        self._consumer.assign([one for several in found for one in several])

    def read(self, timeout_s: float) -> Iterable[tuple[str, bytes]]:
        """Yield what comes within a moment: (topic, value)."""
        for message in self._consumer.consume(500, timeout_s):
            if message.error() is None:
                yield message.topic() or "", message.value() or b""

    def _partitions(self, topic: str) -> list[TopicPartition]:
        numbers = self._consumer.list_topics(topic, timeout=KNOWN_S).topics[topic].partitions
        return [TopicPartition(topic, number, 0) for number in numbers]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def decode(self, value: bytes) -> dict[str, Any]:
        """Decode a response with nothing but fastavro and the schema file."""
        response = fastavro.schemaless_reader(BytesIO(value[_PREFIX_BYTES:]), self._schema, None)
        return response if isinstance(response, dict) else {}
