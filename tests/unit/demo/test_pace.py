"""The demo's size and its deadlines follow the machine; time here is a fake clock's."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tests.support.clock import Clock
from worker.demo import last_screen, pace, run as demo, traffic
from worker.demo.independent_count import QUESTIONS
from worker.demo.page import Watched
from worker.settings import load

STEP_S = 0.5
SLOW = (
    "This machine is slow or busy: work takes 4 times as long as on two quiet cores. Deadlines are longer by as much."
)
LOAD_S = 40.0  # from the command to the first answer


class Machine:
    """Stands in for broker and worker: answers so many events per second, after it has started."""

    def __init__(self, tally: traffic.Tally, clock: Clock, per_s: float) -> None:
        self._tally, self._clock, self._per_s = tally, clock, per_s
        self._starts_s = clock.now_s + LOAD_S
        self._credit = 0.0

    def step(self, _impressions: Iterator[Any], *, backlog: int = traffic.BACKLOG) -> None:
        count = self._tally.count
        while count.unsent and len(count.expected - count.seen.keys()) < backlog * QUESTIONS:
            count.expect(str(count.sent), ["control", "candidate"])
        self._clock.sleep(STEP_S)
        if self._clock.now_s >= self._starts_s:
            self._credit += self._per_s * STEP_S * QUESTIONS
            self._answer(int(self._credit))

    def read(self, _timeout_s: float) -> None:
        """Nothing comes late."""

    def _answer(self, num: int) -> None:
        count = self._tally.count
        waiting = sorted(count.expected - count.seen.keys(), key=lambda key: int(key[0]))[:num]
        self._credit -= len(waiting)
        for event, question, variant in waiting:
            count.add({"event_id": event, "question": question, "variant": variant, "choice": None, "draws": [],
                       "user_id": "u", "duel_share": None})  # fmt: skip
            self._tally.last_s = self._clock.now_s
            self._tally.first_s = self._tally.first_s or self._clock.now_s - self._tally.started_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The demo's time."""
    found = Clock()
    monkeypatch.setattr(demo, "time", found)
    monkeypatch.setattr(traffic, "time", found)
    monkeypatch.setattr(pace, "probe", lambda: pace.Speed(1.0, crowded=False))
    monkeypatch.setattr(last_screen, "process_age_s", lambda: 1.0)
    return found


def asked(clock: Clock, per_s: float, *, events: int | None = None, slow: float = 1.0) -> tuple[Any, str]:
    """Run the asking of a demo; return it and what it printed."""
    found = demo._Demo(demo.Plan(events, "vllm", None, 1, as_json=False))
    text = StringIO()
    found._speed, found._console = pace.Speed(slow, crowded=False), Console(file=text, width=300)
    found._ask(Machine(found._tally, clock, per_s))  # type: ignore[arg-type]
    return found, text.getvalue()


@pytest.mark.parametrize(
    ("per_s", "least", "most"),
    [(0.5, 100, 100), (1.2, 135, 150), (3.0, 345, 365), (100.0, 500, 500)],
)
def test_the_size_is_what_two_minutes_allow_and_100_at_least(clock: Clock, per_s: float, least: int, most: int) -> None:
    found, _ = asked(clock, per_s)
    count = found._tally.count
    assert least <= count.sent <= most
    assert (count.missing, count.duplicates) == (0, 0)
    assert found._tally.asking_s <= max(pace.VERDICT_S + 5, pace.MIN_EVENTS / per_s + 5)


def test_a_number_of_events_that_is_given_is_exact(clock: Clock) -> None:
    for events in (7, 700):
        found, _ = asked(clock, 3.0, events=events)
        assert (found._tally.count.sent, found._tally.count.missing) == (events, 0)


def test_the_time_that_is_left_is_told_from_the_start(clock: Clock) -> None:
    found = demo._Demo(demo.Plan(None, "vllm", None, 1, as_json=False))
    assert found._left() == "first answer in 45 s"
    clock.sleep(100)
    assert found._left() == "first answer any moment"
    machine = Machine(found._tally, clock, 2.0)
    clock.sleep(LOAD_S)
    for _ in range(20):
        machine.step(iter(()))
    assert found._left() == "40 s left"  # of 100 events 80 are left, at 2 a second


def test_a_minute_without_an_answer_is_told_once_with_what_to_do(clock: Clock) -> None:
    started_s = clock.now_s
    found, printed = asked(clock, 0.0)
    assert printed.count("No answer after 60 s") == 1
    assert "ENGINE=choice-model" in printed or "--engine choice-model" in printed
    assert pace.START_S - 5 < clock.now_s - started_s < pace.START_S + 5
    assert found._nothing() == 1
    _, printed = asked(clock, 3.0)
    assert "No answer" not in printed


def test_a_slow_machine_is_waited_for_longer(clock: Clock) -> None:
    started_s = clock.now_s
    asked(clock, 0.0, slow=3.0)
    assert clock.now_s - started_s > 3 * pace.START_S - 5
    assert pace.patience_s(3.0, answered=True) == 3 * pace.SILENCE_S
    assert pace.patience_s(15.0, answered=False) == pace.MAX_SILENCE_S


def test_deadlines_grow_with_what_a_probe_takes_and_never_shrink() -> None:
    quick, busy, stuck = (pace.Speed.of(wall_s, 0.01).slow for wall_s in (0.01, 0.8, 1_000.0))
    assert (quick, stuck) == (1.0, pace.MAX_SLOWNESS)
    assert busy == pytest.approx(8.0)
    choices = demo._choices("127.0.0.1:9092", "vllm", busy)
    assert choices["question_timeout_s"] == pytest.approx(8 * pace.QUESTION_S)
    assert demo._choices("127.0.0.1:9092", "vllm", quick)["question_timeout_s"] == pace.QUESTION_S
    assert load(None, demo._choices("127.0.0.1:9092", "vllm", stuck))  # within the settings' bounds


def test_beside_other_work_vllm_has_one_thread_unless_the_caller_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet, crowded = pace.Speed.of(0.3, 0.29), pace.Speed.of(0.3, 0.1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in demo._environment(quiet)
    assert demo._environment(crowded)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert demo._environment(crowded)["OMP_NUM_THREADS"] == "8"


def test_the_probe_takes_a_moment() -> None:
    assert 1.0 <= pace.probe().slow <= pace.MAX_SLOWNESS


@pytest.mark.parametrize(
    ("events", "slow", "said"),
    [
        (None, 1.0, ["First answer in about 45 s, a verdict about two minutes later. Watch it at http://here/"]),
        (40, 1.0, ["First answer in about 45 s, 40 events from there. Watch it at http://here/"]),
        (
            None,
            4.0,
            [
                SLOW,
                "First answer in about 3 min, a verdict about two minutes later. Watch it at http://here/",
            ],
        ),
    ],
)
def test_what_comes_is_told_before_it_comes(clock: Clock, events: int | None, slow: float, said: list[str]) -> None:
    found, text = demo._Demo(demo.Plan(events, "vllm", None, 1, as_json=False)), StringIO()
    found._speed, found._console = pace.Speed(slow, crowded=False), Console(file=text, width=300)
    found._say_what_comes(Watched("http://here/"))
    assert text.getvalue().splitlines() == said
