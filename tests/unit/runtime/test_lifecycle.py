"""A worker that waits for something outside stops at once when it is told to."""

import asyncio

from worker.core.errors import Retryable
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


async def test_work_that_is_done_gives_what_it_found() -> None:
    async def work() -> str:
        return "found"

    assert await retry(work, lambda _: None, asyncio.Event()) == "found"
