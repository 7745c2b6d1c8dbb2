"""A worker that waits for something outside stops at once when it is told to."""

import asyncio

import pytest

from worker.core.errors import Retryable
from worker.runtime import lifecycle
from worker.runtime.lifecycle import retry


async def test_a_stop_ends_the_wait_for_work_that_is_under_way() -> None:
    stop, started = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    waiting = asyncio.ensure_future(retry(work, lambda _: None, stop))
    await started.wait()
    stop.set()
    assert await asyncio.wait_for(waiting, 5) is None


async def test_a_stop_ends_the_pause_before_the_next_try() -> None:
    stop, told = asyncio.Event(), list[str]()

    async def work() -> str:
        raise Retryable("Kafka does not answer")

    def tell(why: str) -> None:
        told.append(why)
        stop.set()

    assert await asyncio.wait_for(retry(work, tell, stop), 5) is None
    assert told == ["Kafka does not answer"]


async def test_what_to_do_is_logged_once_and_the_problem_at_every_try(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "RETRY_S", 0.001)
    stop, told = asyncio.Event(), list[str]()

    async def work() -> str:
        raise Retryable("no topic in\nto create what is missing: mirrorstream topics create")

    def tell(why: str) -> None:
        told.append(why)
        if len(told) == 3:
            stop.set()

    assert await retry(work, tell, stop) is None
    assert caplog.text.count("no topic in; next try in") == 3
    assert caplog.text.count("mirrorstream topics create") == 1
    assert "mirrorstream topics create" in told[2], "want it on the probe's page too"


async def test_work_that_is_done_gives_what_it_found() -> None:
    async def work() -> str:
        return "found"

    assert await retry(work, lambda _: None, asyncio.Event()) == "found"
