"""A plain producer counts what Kafka took, and ends with both counts; a missing topic is told with what to do."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError

from worker.core.errors import Fatal
from worker.core.records import Message
from worker.kafka import admin
from worker.settings import load

LATE = KafkaError(KafkaError._MSG_TIMED_OUT)
MESSAGE = Message("in", b"key", b"value")


class FakeProducer:
    """Reports at a poll how each message ended that was given before; `room` is that of its queue."""

    def __init__(self, ends: list[KafkaError | None], room: int) -> None:
        self._ends, self._room = deque(ends), room
        self._waiting: deque[Callable[[], None]] = deque()

    def produce(self, topic: str, value: object, key: object, *, headers: object, on_delivery: Any) -> None:
        if len(self._waiting) >= self._room:
            raise BufferError
        end = self._ends.popleft()
        self._waiting.append(lambda: on_delivery(end, None))

    def poll(self, timeout_s: float) -> None:
        if timeout_s or len(self._waiting) < self._room:
            self.flush(timeout_s)

    def flush(self, timeout_s: float) -> int:
        while self._waiting:
            self._waiting.popleft()()
        return 0


def publisher(monkeypatch: pytest.MonkeyPatch, *ends: KafkaError | None, room: int = 10) -> admin.Publisher:
    monkeypatch.setattr(admin, "Producer", lambda _options: FakeProducer(list(ends), room))
    return admin.Publisher(load())


def test_what_is_delivered_is_counted_and_not_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    found = publisher(monkeypatch, None, None, room=1)
    found.send(MESSAGE)
    assert (found.num_sent, found.delivered) == (1, {})
    found.send(MESSAGE)
    assert (found.num_sent, found.delivered) == (2, {"in": 1})
    found.close()
    assert found.delivered == {"in": 2}


def test_the_first_failure_ends_it_with_what_was_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = publisher(monkeypatch, None, LATE)
    found.send(MESSAGE)
    with pytest.raises(Fatal, match=r"^1 of 2 messages were delivered; the first that was not: no broker took it"):
        found.send(MESSAGE)


def test_a_full_queue_whose_messages_fail_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = publisher(monkeypatch, LATE, None, room=1)
    found.send(MESSAGE)
    with pytest.raises(Fatal, match="0 of 1 messages were delivered"):
        found.send(MESSAGE)


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("impressions", "`mirrorstream topics create` creates it"),
        ("readouts", "`mirrorstream topics create` creates it"),
        ("outcome", "there are outcomes, responses; did you mean outcomes?"),
        ("mine", "there are outcomes, responses$"),
    ],
)
def test_a_topic_that_is_missing_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, topic: str, told: str
) -> None:
    there = {"outcomes": 1, "responses": 2, "__consumer_offsets": 50}
    monkeypatch.setattr(admin, "partitions", lambda _settings: there)
    with pytest.raises(Fatal, match=f"topic {topic} does not exist at localhost:9092; {told}"):
        admin.num_partitions(load(), topic)
    assert admin.num_partitions(load(), "responses") == 2
