"""Counts what a run left in Kafka, with nothing of the worker's."""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from confluent_kafka import Consumer, Message, TopicPartition

from tests.support.harness import Stage
from tests.support.judge import Judge, Key, judge_of, key_of, single_object

from .fault import Mark


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a record was made; the output has the input's keys, so also its partitions."""

    partition: int
    created_s: float  # since 1970, by its producer's clock


@dataclass(frozen=True, slots=True)
class Tally:
    """What is in the topics when all is done."""

    events: int
    lost: tuple[Place, ...]  # of the impression, one for each question without an answer
    duplicated: tuple[Place, ...]  # of the last answer, one for each question with more than one
    unasked: int
    aborted: tuple[Place, ...]  # of responses that are seen under read_uncommitted alone
    all_committed: bool  # the group's offsets are the ends of the input
    all_stable: bool  # no transaction is open in the input, the output, or the dead letters


class EagerJudge(Judge):
    """Reads what was aborted too."""

    def _consumer(self, group: str) -> Consumer:
        return _consumer(self._bootstrap, group, "read_uncommitted")


def tally(stage: Stage) -> Tally:
    """Count a stage on which nothing runs any more."""
    judge = judge_of(stage)
    verdict, answers = judge.verdict(), judge.messages()
    seen = {(message.partition(), message.offset()) for message in answers}
    return Tally(
        events=len({event_id for event_id, _, _ in verdict.expected}),
        lost=_lost(verdict.missing, judge.read(stage.topic) if verdict.missing else []),
        duplicated=_duplicated(verdict.duplicated, answers if verdict.duplicated else []),
        unasked=len(verdict.unasked),
        aborted=tuple(
            _place(message)
            for message in judge_of(stage, EagerJudge).messages()
            if (message.partition(), message.offset()) not in seen
        ),
        all_committed=verdict.committed == verdict.ends,
        all_stable=not verdict.open,
    )


def _lost(missing: Collection[Key], impressions: Iterable[Message]) -> tuple[Place, ...]:
    places = {str((single_object(message.value()) or {}).get("event_id")): _place(message) for message in impressions}
    return tuple(places[event_id] for event_id, _, _ in missing)


def _duplicated(keys: Collection[Key], answers: Iterable[Message]) -> tuple[Place, ...]:
    places = {key_of(single_object(message.value()) or {}): _place(message) for message in answers}
    return tuple(places[key] for key in keys)


def _place(message: Message) -> Place:
    return Place(message.partition() or 0, message.timestamp()[1] / 1000)


class Arrivals:
    """Reads committed responses as they come, and keeps when each could be read."""

    def __init__(self, stage: Stage, num_partitions: int) -> None:
        self._consumer = _consumer(stage.bootstrap, f"{stage.name}-arrivals", "read_committed")
        self._consumer.assign([TopicPartition(stage.responses, number, 0) for number in range(num_partitions)])
        self._found: dict[int, list[tuple[Place, float]]] = defaultdict(list)  # and when it arrived, since 1970
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="arrivals")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def recovery_s(self, mark: Mark) -> float | None:
        """Return how long after a kill each of its partitions had a response made later; None if one has none."""
        waits = [self._wait_s(partition, mark.time_s) for partition in mark.partitions]
        known = [wait_s for wait_s in waits if wait_s is not None]
        return max(known) if known and len(known) == len(waits) else None

    def _wait_s(self, partition: int, since_s: float) -> float | None:
        found = self._found[partition]
        return next((arrived_s - since_s for place, arrived_s in found if place.created_s >= since_s), None)

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.1):
                if message.error() is None:
                    self._found[message.partition() or 0].append((_place(message), time.time()))


def _consumer(bootstrap: str, group: str, isolation: str) -> Consumer:
    return Consumer({
        "bootstrap.servers": bootstrap, "group.id": group, "isolation.level": isolation,
        "enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 50,
    })  # fmt: skip
