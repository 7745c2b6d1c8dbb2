"""Counts what came out against what went in, with nothing of the worker's: Kafka's client, fastavro, the schema files.

expected   for each readable impression one SLATE a variant, and one DUEL a candidate if there is a control
seen       responses under read_committed, by (event id, question, variant)
committed  the group's offsets against the ends of the input's partitions
open       transactions that nobody ended: readers stop before them, and see nothing of what comes after
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, TypeVar

import fastavro
from confluent_kafka import Consumer, IsolationLevel, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.support.events import prefix, schema_text
from tests.support.harness import Stage
from tests.support.patience import patience

Key = tuple[str, str, str]  # event id, question, variant
Place = tuple[str, int]  # topic and partition
Decode = Callable[[bytes], dict[str, Any] | None]
T = TypeVar("T")

READ_TIMEOUT_S = 30.0  # without anything read
STABLE_WITHIN_S = 20.0  # a killed worker's open transaction ends by its time-out and the broker's next look for such
POLL_S = 0.2
_WRITERS = {
    prefix(name): fastavro.parse_schema(json.loads(schema_text(name)))
    for name in ("RecommendationImpression", "SimulatedResponse")
}
_IMPRESSION, _RESPONSE = _WRITERS.values()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found; `missing` and `duplicated` are keys, the offsets are by partition."""

    expected: frozenset[Key]
    seen: Counter[Key]
    committed: dict[int, int]
    ends: dict[int, int]
    open: frozenset[Place] = frozenset()  # where a transaction has no end: the last stable offset stays below the end

    @property
    def missing(self) -> frozenset[Key]:
        return self.expected - self.seen.keys()

    @property
    def duplicated(self) -> frozenset[Key]:
        return frozenset(key for key, count in self.seen.items() if count > 1)

    @property
    def unasked(self) -> frozenset[Key]:
        return frozenset(self.seen.keys() - self.expected)

    def assert_exactly_once(self) -> None:
        """Every question answered once, nothing else answered, everything committed, no transaction open."""
        self.assert_at_least_once()
        assert not self.duplicated, f"{len(self.duplicated)} duplicated, such as {sorted(self.duplicated)[:3]}"

    def assert_at_least_once(self) -> None:
        """Every question answered, nothing else answered, everything committed, no transaction open."""
        assert self.expected, "there was nothing to judge"
        assert not self.open, f"a transaction is open in {sorted(self.open)}"
        assert not self.missing, f"{len(self.missing)} of {len(self.expected)} missing: {sorted(self.missing)[:3]}"
        assert not self.unasked, f"{len(self.unasked)} answers that nobody asked for: {sorted(self.unasked)[:3]}"
        assert self.committed == self.ends, f"committed {self.committed}, ends {self.ends}"


class Judge:
    """Reads one worker's topics; `decode_in` and `decode_out` turn values into records, by default single objects."""

    def __init__(
        self,
        bootstrap: str,
        *,
        topic: str,
        responses: str,
        dead_letters: str,
        group: str,
        decode_in: Decode | None = None,
        decode_out: Decode | None = None,
    ) -> None:
        self._bootstrap, self._topic, self._responses, self._group = bootstrap, topic, responses, group
        self._topics = (topic, responses, dead_letters)
        self._decode_in, self._decode_out = decode_in or single_object, decode_out or single_object

    def verdict(self) -> Verdict:
        """Read everything that is there, once the transactions that are open now have ended, if they do."""
        left_open = self._left_open()
        impressions = (self._decode_in(message.value()) for message in self._read(self._topic) if message.value())
        committed, ends = self.offsets()
        return Verdict(
            expected=frozenset(key for found in impressions if found for key in questions(found)),
            seen=Counter(map(key_of, self._answers())),
            committed=committed,
            ends=ends,
            open=left_open,
        )

    def answers(self) -> list[dict[str, Any]]:
        """Return every committed response."""
        return list(self._answers())

    def _answers(self) -> Iterator[dict[str, Any]]:
        """Yield them: a million of them, all at once, would take 6 GB."""
        for message in self._read(self._responses):
            answer = self._decode_out(message.value())
            assert answer, "a response could not be decoded"
            yield answer

    def messages(self) -> list[Message]:
        """Return every committed response as Kafka has it."""
        return list(self._read(self._responses))

    def read(self, topic: str) -> list[Message]:
        """Return every committed message of another topic, such as dead letters."""
        return list(self._read(topic))

    def offsets(self) -> tuple[dict[int, int], dict[int, int]]:
        """Return the group's committed offsets and the input's ends, by partition; -1001 where nothing is committed."""
        consumer, limit_s = self._consumer(self._group), patience(READ_TIMEOUT_S)
        try:
            parts = _partitions(consumer, self._topic)
            found = _patiently(lambda: consumer.committed(parts, limit_s))
            committed = {one.partition: one.offset for one in found}
            return committed, {one.partition: consumer.get_watermark_offsets(one, limit_s)[1] for one in parts}
        finally:
            consumer.close()

    def all_committed(self) -> bool:
        """Say whether the group has nothing left to read."""
        committed, ends = self.offsets()
        return committed == ends

    def _left_open(self) -> frozenset[Place]:
        """Wait until what is in the topics now is stable; return where it does not become so."""
        ends = _patiently(lambda: self._offsets(IsolationLevel.READ_UNCOMMITTED))
        deadline_s = time.monotonic() + patience(STABLE_WITHIN_S)
        while True:
            stable = _patiently(lambda: self._offsets(IsolationLevel.READ_COMMITTED))
            left = frozenset(place for place, end in ends.items() if stable[place] < end)
            if not left or time.monotonic() > deadline_s:
                return left
            time.sleep(POLL_S)

    def _offsets(self, level: IsolationLevel) -> dict[Place, int]:
        """Return the high watermark of every partition, or its last stable offset."""
        admin = AdminClient({"bootstrap.servers": self._bootstrap, "log_level": 2})
        limit_s = patience(READ_TIMEOUT_S)
        found = admin.list_topics(timeout=limit_s).topics
        wanted = {
            TopicPartition(topic, number): OffsetSpec.latest()
            for topic in self._topics
            for number in found[topic].partitions
        }
        answers = admin.list_offsets(wanted, isolation_level=level, request_timeout=limit_s)
        return {(one.topic, one.partition): answer.result(limit_s).offset for one, answer in answers.items()}

    def _read(self, topic: str) -> Iterator[Message]:
        """Yield what is committed in a topic up to its end now, partition by partition in offset order."""
        consumer = self._consumer(f"{self._group}-judge")
        limit_s = patience(READ_TIMEOUT_S)
        deadline_s = time.monotonic() + limit_s
        try:
            parts = _partitions(consumer, topic)
            consumer.assign(parts)
            left = {one.partition: consumer.get_watermark_offsets(one, limit_s)[1] for one in parts}
            while left:
                assert time.monotonic() < deadline_s, f"{topic}: not read to its ends {left}"
                for message in consumer.consume(1000, 0.1):
                    deadline_s = time.monotonic() + limit_s
                    assert message.error() is None, message.error()
                    yield message
                # The position passes over aborted records and markers too, which no message shows.
                for one in consumer.position(parts):
                    if one.offset >= left.get(one.partition, 0) or left.get(one.partition) == 0:
                        left.pop(one.partition, None)
        finally:
            consumer.close()

    def _consumer(self, group: str) -> Consumer:
        return Consumer({
            "bootstrap.servers": self._bootstrap, "group.id": group, "isolation.level": "read_committed",
            "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50,
        })  # fmt: skip


def judge_of(stage: Stage, kind: type[Judge] = Judge, *, decode_in: Decode | None = None) -> Judge:
    """Return who counts a stage's responses; `decode_in` reads the impressions, if they are not Avro."""
    return kind(
        stage.bootstrap,
        topic=stage.topic,
        responses=stage.responses,
        dead_letters=stage.dead_letters,
        group=stage.name,
        decode_in=decode_in,
    )


def questions(impression: dict[str, Any]) -> Iterator[Key]:
    """Yield the questions that an impression leads to."""
    event_id, slates = str(impression["event_id"]), impression["slates"]
    yield from ((event_id, "SLATE", slate["variant"]) for slate in slates)
    if any(slate["role"] == "CONTROL" for slate in slates):
        yield from ((event_id, "DUEL", slate["variant"]) for slate in slates if slate["role"] == "CANDIDATE")


def key_of(response: dict[str, Any]) -> Key:
    return str(response["event_id"]), response["question"], response["variant"]


def plain_json(value: bytes) -> dict[str, Any] | None:
    """Read a JSON object; None for anything else, and for one that is no impression."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("slates") else None


def single_object(value: bytes) -> dict[str, Any] | None:
    """Decode one of the two records by its fingerprint; None if it is neither or broken."""
    writer = _WRITERS.get(value[:10])
    return _decode(value[10:], writer) if writer else None


def confluent(schemas: dict[int, str]) -> "Callable[[bytes], dict[str, Any] | None]":
    """Return a decoder for Confluent's prefix, with these schemas by id."""
    parsed = {number: fastavro.parse_schema(json.loads(text)) for number, text in schemas.items()}

    def decode(value: bytes) -> dict[str, Any] | None:
        writer = parsed.get(int.from_bytes(value[1:5], "big")) if value[:1] == b"\x00" else None
        return _decode(value[5:], writer) if writer else None

    return decode


def _decode(payload: bytes, writer: Any) -> dict[str, Any] | None:
    stream = BytesIO(payload)
    try:
        found = fastavro.schemaless_reader(stream, writer, None)
    except (EOFError, ValueError, IndexError, OverflowError):
        return None
    return found if isinstance(found, dict) and stream.tell() == len(payload) else None


def _patiently(call: Callable[[], T]) -> T:
    """Ask again while the broker looks for a group's coordinator, or a partition for its leader."""
    deadline_s = time.monotonic() + patience(READ_TIMEOUT_S)
    while True:
        try:
            return call()
        except KafkaException:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(POLL_S)


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    found: Iterable[int] = consumer.list_topics(topic, timeout=patience(READ_TIMEOUT_S)).topics[topic].partitions
    return [TopicPartition(topic, number, 0) for number in found]
