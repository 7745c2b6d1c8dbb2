"""Changes are told at least once each, one failure keeps no other waiting, and a restart tells nothing twice."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest

from tests.support.experiment import page_examples as made
from tests.support.patience import patience
from worker.experiment.readout import Report
from worker.experiment.store.database import State
from worker.experiment.store.told import write_told
from worker.experiment.webhook import watch as module
from worker.experiment.webhook.deliveries import Deliveries
from worker.experiment.webhook.sender import NotDelivered
from worker.experiment.webhook.watch import VerdictWatch


class Figures(made.Changing):
    """Figures that a test replaces, with the connection of a real state."""

    db: sqlite3.Connection
    asked = 0

    def report(self) -> Report:
        self.asked += 1
        return super().report()


class Box:
    """A receiver in this process; it fails as often as `failing` says, or for the experiments in `refused`."""

    shown = "http://127.0.0.1"

    def __init__(self) -> None:
        self.got: list[Mapping[str, object]] = []
        self.attempts = 0
        self.failing = 0
        self.refused: set[object] = set()

    def post(self, body: Mapping[str, object], is_stopped: Callable[[], bool]) -> None:
        self.attempts += 1
        if self.failing or body["experiment"] in self.refused:
            self.failing = max(0, self.failing - 1)
            raise NotDelivered("HTTP status 500, want 2xx")
        self.got.append(body)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_S", "FIRST_RETRY_S", "LAST_RETRY_S"):
        monkeypatch.setattr(module, name, 0.005)


class Looks(Event):
    """An event that counts how often somebody looks at it."""

    looks = 0

    def is_set(self) -> bool:
        self.looks += 1
        return super().is_set()


@contextmanager
def watching(path: Path, figures: Figures, box: Box, counts: Deliveries | None = None) -> Iterator[Looks]:
    @contextmanager
    def opened() -> Iterator[Figures]:
        with closing(State(path)) as state:
            figures.db = state.db
            yield figures

    ready = Looks()
    watch = VerdictWatch(opened, box, counts or Deliveries(), ready)
    watch.start()
    try:
        yield ready
    finally:
        watch.end()
        assert not watch.is_alive()


def until(is_so: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + patience(10)
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


def rounds(figures: Figures, number: int = 4) -> None:
    """Wait until the figures were looked at so often from now on."""
    until_asked = figures.asked + number
    until(lambda: figures.asked >= until_asked)


def several(*names: str) -> Report:
    return made.report(*(made.readout(name) for name in names))


def test_nothing_is_told_until_the_topics_were_read_to_their_end(tmp_path: Path) -> None:
    """On the way through old responses verdicts come and go."""
    figures, box = Figures(made.report()), Box()
    with watching(tmp_path / "state.db", figures, box) as ready:
        until(lambda: ready.looks > 5)
        assert (figures.asked, box.attempts) == (0, 0)
        ready.set()
        until(lambda: box.got)


def test_a_restart_tells_only_what_changed_meanwhile(tmp_path: Path) -> None:
    for names, told in ((["a"], ["a"]), (["a"], []), (["a", "b"], ["b"])):
        figures, box = Figures(several(*names)), Box()
        with watching(tmp_path / "state.db", figures, box) as ready:
            ready.set()
            rounds(figures)
        assert [body["experiment"] for body in box.got] == told
    with closing(State(tmp_path / "state.db")) as state:
        state.reset()
    figures, box = Figures(several("a")), Box()
    with watching(tmp_path / "state.db", figures, box) as ready:
        ready.set()
        rounds(figures)
    assert box.attempts == 0, "a rebuild forgets what was told"


def test_a_failure_is_one_line_at_its_start_and_one_at_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    box, counts = Box(), Deliveries()
    box.failing = 5
    with watching(tmp_path / "state.db", Figures(made.report()), box, counts) as ready:
        ready.set()
        until(lambda: "works again" in caplog.text)
    assert [record.getMessage() for record in caplog.records] == [
        "webhook http://127.0.0.1: HTTP status 500, want 2xx; trying again",
        "webhook http://127.0.0.1: works again",
    ]
    assert (counts.delivered, counts.failures, counts.pending) == (1, 5, 0)
    assert len(box.got) == 1


def test_a_change_that_is_refused_for_ever_keeps_no_other_waiting(tmp_path: Path) -> None:
    box, counts = Box(), Deliveries()
    box.refused = {"a"}
    with watching(tmp_path / "state.db", Figures(several("a", "b", "c")), box, counts) as ready:
        ready.set()
        until(lambda: len(box.got) == 2)
        until(lambda: counts.pending == 1)
    assert [body["experiment"] for body in box.got] == ["b", "c"]


def test_a_change_that_is_undone_before_it_is_told_is_not_told(tmp_path: Path) -> None:
    figures, box = Figures(made.report()), Box()
    box.failing = 1_000_000
    with watching(tmp_path / "state.db", figures, box) as ready:
        ready.set()
        until(lambda: box.attempts)
        figures.change(made.report(made.readout("home-ranker-7", made.epoch(made.waiting()))))
        rounds(figures)
        before, box.failing = box.attempts, 0
        rounds(figures)
        assert box.attempts == before
    assert box.got == []


def test_a_state_that_is_locked_for_long_tells_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change was told and cannot be kept: it is kept as soon as that can be, without another POST."""
    failing = 3

    def locked(*words: object) -> None:
        nonlocal failing
        failing -= 1
        if failing >= 0:
            raise sqlite3.OperationalError("database is locked")
        write_told(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_told", locked)
    figures, box = Figures(made.report()), Box()
    with watching(tmp_path / "state.db", figures, box) as ready:
        ready.set()
        until(lambda: failing < 0)
        rounds(figures)
    assert box.attempts == 1
    with closing(sqlite3.connect(tmp_path / "state.db")) as db:
        assert db.execute("select verdict, number from told").fetchall() == [("CANDIDATE_PREFERRED", 1)]


def test_the_wait_between_attempts_grows_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_S", 1.0)
    monkeypatch.setattr(module, "LAST_RETRY_S", 60.0)
    waits: list[float] = []

    class Counting(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0.0)
            return len(waits) > 10 or super().wait(0)

    box = Box()
    box.failing = 100

    @contextmanager
    def opened() -> Iterator[Figures]:
        with closing(State(tmp_path / "state.db")) as state:
            figures = Figures(made.report())
            figures.db = state.db
            yield figures

    ready = Event()
    ready.set()
    watch = VerdictWatch(opened, box, Deliveries(), ready)
    watch._stop_asked = Counting()
    watch.run()
    assert waits == [module.POLL_S, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
