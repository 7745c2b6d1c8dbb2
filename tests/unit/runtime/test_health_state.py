"""What the probes answer from the start of the process to the end of its work, without a port."""

import pytest

from worker.core.blockers import Blocker
from worker.runtime import health_state
from worker.runtime.health_state import LIVE_S, HealthState, stale


def test_a_new_process_is_alive_and_neither_started_nor_ready() -> None:
    state = HealthState()
    assert (state.live(), state.started(), state.ready()) == ("", "the engine is loading", "the engine is loading")
    assert state.accept(0) == "the worker has not started"


def test_once_its_engine_is_warm_a_worker_has_started_whatever_it_waits_for() -> None:
    state = HealthState()
    state.engine_is_warm()
    state.waits(Blocker.START, "Kafka is unavailable")
    assert (state.live(), state.started(), state.ready()) == ("", "", "Kafka is unavailable")


def test_a_worker_at_work_answers_what_its_parts_say_at_that_time() -> None:
    state, said = HealthState(), {"live": "", "ready": "the breaker is open"}
    state.works(
        live=lambda: said["live"],
        blockers=lambda: {Blocker.GROUP: "", Blocker.BREAKER: said["ready"]},
        accept=lambda num_next: f"{num_next} more",
    )
    assert (state.live(), state.ready(), state.accept(7)) == ("", "the breaker is open", "7 more")
    said |= {"live": "stuck", "ready": ""}
    assert (state.live(), state.ready()) == ("stuck", "")


def test_a_part_is_stuck_after_a_minute_without_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        monotonic = staticmethod(lambda: 1000.0)

    monkeypatch.setattr(health_state, "time", Clock)
    assert stale("poll thread", 1000.0 - LIVE_S) == ""
    assert stale("poll thread", 1000.0 - LIVE_S - 1) == "the poll thread has made no progress for 61 s"
