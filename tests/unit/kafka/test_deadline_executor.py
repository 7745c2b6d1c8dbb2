"""The thread of a client's calls is not idle for ever: its client has reports to take."""

import threading

import pytest

from tests.support.patience import patience
from worker.kafka import deadline_executor
from worker.kafka.deadline_executor import Calls


async def test_what_is_to_be_done_between_calls_is_done_and_calls_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline_executor, "IDLE_S", 0.01)
    idle, threads = threading.Event(), set[str]()

    def between() -> None:
        threads.add(threading.current_thread().name)
        idle.set()

    calls = Calls("transaction", idle=between)
    assert await calls.make(lambda: 1, 5.0) == 1
    assert idle.wait(patience(10))
    assert await calls.make(lambda: threading.current_thread().name, 5.0) == "transaction"
    assert threads == {"transaction"}, "the only thread that may call the client"
