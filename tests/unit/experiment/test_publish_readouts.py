"""Readouts are published when a verdict changes and else at an interval; a failure ends nothing and is said once."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest

from tests.support.experiment import page_examples as made
from tests.support.patience import patience
from worker.core.errors import Fatal, Retryable
from worker.experiment import publish_readouts as module
from worker.experiment.publish_readouts import DueReadouts, ReadoutPublisher
from worker.experiment.readout import Comparison, Report
from worker.experiment.webhook.deliveries import Deliveries

INTERVAL_S = 60.0
FINAL, MORE, OPEN = made.comparison(), made.comparison(0.535), made.waiting()


def of(*comparisons: Comparison, name: str = "e") -> Report:
    return made.report(made.readout(name, made.epoch(*comparisons)))


class Topic:
    """What `DueReadouts` has published, second by second."""

    def __init__(self) -> None:
        self.due = DueReadouts(INTERVAL_S)

    def at(self, now_s: float, report: Report) -> list[str]:
        """Publish what is due and return whose readouts these are."""
        found = self.due.of(report, now_s=now_s, produced_at=round(now_s * 1e6))
        self.due.published(found, now_s=now_s)
        return sorted(found)


def test_a_changed_verdict_is_due_at_once_and_other_figures_at_the_interval() -> None:
    topic = Topic()
    assert topic.at(0, of(FINAL)) == ["e"]
    assert topic.at(1, of(MORE)) == []
    assert topic.at(59, of(MORE)) == []
    assert topic.at(60, of(MORE)) == ["e"]
    assert topic.at(1_000, of(MORE)) == [], "no figure changed"
    assert topic.at(1_001, of(OPEN)) == ["e"]
    assert topic.at(1_002, of(MORE)) == ["e"]
    assert topic.at(1_003, made.report(made.readout("e", made.epoch(MORE, fingerprint="another")))) == ["e"]


def test_each_experiment_has_an_interval_of_its_own_and_one_without_an_id_is_left_out() -> None:
    topic = Topic()
    assert topic.at(0, made.report(made.readout("a"), made.readout(None))) == ["a"]
    assert topic.at(1, made.report(made.readout("a"), made.readout("b"))) == ["b"]


def test_a_verdict_that_is_taken_back_is_published_twice_though_no_figure_changes() -> None:
    """Workers that have ended asking do not believe one readout alone, and their answers are what would change it."""
    topic = Topic()
    assert topic.at(0, of(FINAL)) == ["e"]
    assert topic.at(500, of(FINAL)) == []
    assert topic.at(501, of(OPEN)) == ["e"]
    assert topic.at(502, of(OPEN)) == []
    assert topic.at(561, of(OPEN)) == ["e"]
    assert topic.at(1_000, of(OPEN)) == []
    again = Topic()  # after a start, when it is not known what was published before
    assert [again.at(second, of(OPEN)) for second in (0, 1, 60, 500)] == [["e"], [], ["e"], []]


def test_a_readout_that_is_tried_again_keeps_its_time() -> None:
    """A worker counts it once, whichever attempt reached the topic."""
    due = DueReadouts(INTERVAL_S)
    first = due.of(of(OPEN), now_s=0, produced_at=1)
    assert due.of(of(OPEN), now_s=9, produced_at=2) == first
    assert due.of(of(FINAL), now_s=10, produced_at=3)["e"]["produced_at"] == 3


class Sent:
    """A topic that fails as often as `failing` says, and for ever for the experiments in `refused`."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.attempts = self.failing = 0
        self.refused: set[str] = set()
        self.refusal: Exception = Fatal("too large")

    def __call__(self, records: Mapping[str, dict[str, Any]]) -> None:
        self.attempts += 1
        if self.failing:
            self.failing -= 1
            raise Retryable("Kafka at here does not answer")
        if self.refused & records.keys():
            raise self.refusal
        self.got += records


@contextmanager
def publishing(source: made.Changing, sent: Sent, counts: Deliveries) -> Iterator[Event]:
    @contextmanager
    def opened() -> Iterator[made.Changing]:
        yield source

    ready = Event()
    thread = ReadoutPublisher(opened, sent, "readouts", interval_s=0.01, counts=counts, is_ready=ready)
    thread.start()
    try:
        yield ready
    finally:
        thread.end()
        assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_S", "FIRST_RETRY_S", "LAST_RETRY_S"):
        monkeypatch.setattr(module, name, 0.005)


def until(is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + patience(10)
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def test_an_outage_is_one_line_at_its_start_and_one_at_its_end_and_a_metric(caplog: pytest.LogCaptureFixture) -> None:
    source, sent, counts = made.Changing(of(FINAL)), Sent(), Deliveries()
    sent.failing = 3
    with publishing(source, sent, counts) as ready:
        time.sleep(0.02)
        assert sent.attempts == 0, "nothing before the topics were read to their ends"
        ready.set()
        until(lambda: counts.delivered == 1)
        source.change(of(OPEN))
        until(lambda: counts.delivered == 3)
    assert [one.getMessage() for one in caplog.records] == [
        "topic readouts: readouts are not published: Kafka at here does not answer; trying again",
        "topic readouts: readouts are published again",
    ]
    assert (counts.failures, counts.pending, sent.got) == (3, 0, ["e", "e", "e"])


@pytest.mark.parametrize("refusal", [Fatal("too large"), ValueError("what no schema has")], ids=["Kafka", "a fault"])
def test_a_readout_that_is_refused_for_ever_keeps_no_other_back(refusal: Exception) -> None:
    sent, counts = Sent(), Deliveries()
    sent.refused, sent.refusal = {"a"}, refusal
    report = made.report(*(made.readout(name) for name in ("a", "b", "c")))
    with publishing(made.Changing(report), sent, counts) as ready:
        ready.set()
        until(lambda: counts.failures > 3)
    assert (sorted(sent.got), counts.delivered) == (["b", "c"], 2)
    assert counts.pending == 1
