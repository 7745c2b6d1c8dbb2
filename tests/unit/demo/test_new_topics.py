"""Topics that were just made are waited for until they have leaders."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.clock import Clock
from worker.core.errors import Fatal, Retryable
from worker.demo import new_topics
from worker.kafka import admin
from worker.settings import load

TOPICS = ["in", "out"]


def cluster(**leaders: list[int]) -> Any:
    """Return metadata as the client has it: the leader of each partition, -1 for none."""
    made = {
        topic: SimpleNamespace(
            partitions={number: SimpleNamespace(leader=leader, error=None) for number, leader in enumerate(found)}
        )
        for topic, found in leaders.items()
    }
    return SimpleNamespace(topics=made)


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (cluster(**{"in": [1, 2], "out": [1, 1]}), []),
        (cluster(**{"in": [1, -1], "out": [1, 1]}), ["in"]),
        (cluster(**{"in": [1, 2]}), ["out"]),
        (cluster(**{"in": [1, 2], "out": []}), ["out"]),
    ],
)
def test_a_topic_is_there_when_each_partition_has_a_leader(
    monkeypatch: pytest.MonkeyPatch, found: Any, left: list[str]
) -> None:
    monkeypatch.setattr(admin, "metadata", lambda _settings: found)
    assert new_topics.leaderless(load(), TOPICS) == left


def test_a_partition_that_has_an_error_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = cluster(**{"in": [1], "out": [1]})
    found.topics["out"].partitions[0].error = "LEADER_NOT_AVAILABLE"
    monkeypatch.setattr(admin, "metadata", lambda _settings: found)
    assert new_topics.leaderless(load(), TOPICS) == ["out"]


def test_it_waits_with_one_line_until_nothing_is_left() -> None:
    clock, said = Clock(), list[str]()
    looks = iter([TOPICS] * 20 + [[]])
    new_topics.wait(lambda: next(looks), said.append, "k:9092", clock=clock)
    assert said == ["Waiting for Kafka to elect leaders of the new topics, 30 s at most."]
    assert clock.now_s == pytest.approx(Clock.now_s + 20 * new_topics.AGAIN_S)


def test_a_wait_that_nobody_notices_is_not_told() -> None:
    said: list[str] = []
    looks = iter([TOPICS, []])
    new_topics.wait(lambda: next(looks), said.append, "k:9092", clock=Clock())
    assert said == []


def test_it_waits_only_so_long_and_then_says_for_what() -> None:
    clock = Clock()
    with pytest.raises(Fatal, match="Kafka at k:9092: no leader after 30 s for out, which the demo has just made"):
        new_topics.wait(lambda: ["out"], lambda _line: None, "k:9092", clock=clock)
    assert clock.now_s - Clock.now_s < new_topics.READY_S + 1


def test_a_broker_that_does_not_answer_for_a_moment_is_asked_again() -> None:
    tries = iter(range(3))

    def look() -> list[str]:
        if next(tries) < 2:
            raise Retryable("away")
        return []

    new_topics.wait(look, lambda _line: None, "k:9092", clock=Clock())
    assert next(tries, None) is None

    def away() -> list[str]:
        raise Retryable("away")

    with pytest.raises(Retryable, match="away"):
        new_topics.wait(away, lambda _line: None, "k:9092", clock=Clock())
