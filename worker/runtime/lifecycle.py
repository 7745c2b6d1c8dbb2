"""Retry helpers that end when the worker shuts down, and its signals."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from worker.core.errors import Retryable

log = logging.getLogger(__name__)
T = TypeVar("T")
A = TypeVar("A")

RETRY_S, MAX_RETRY_S = 1.0, 30.0
CALL_S = 10.0  # longest wait of another thread for the loop


async def retry(work: Callable[[], Awaitable[T]], report: Callable[[str], None], stop: asyncio.Event) -> T | None:
    """Do the work, and again while it raises `Retryable`: what it needs is unavailable.

    `report` gets each reason; lines after its first one are advice, which is logged once.  Returns None as soon as
    `stop` is set; any other error is raised.
    """
    wait_s, advised = RETRY_S, ""
    while not stop.is_set():
        try:
            return await unless(stop, work())
        except Retryable as error:
            report(str(error))
            problem, _, advice = str(error).partition("\n")
            log.warning("%s; next try in %.0f s", problem, wait_s)
            if advice and advice != advised:  # once is enough
                log.warning("%s", advice)
                advised = advice
        await asyncio.wait([stopped := asyncio.ensure_future(stop.wait())], timeout=wait_s)
        stopped.cancel()
        wait_s = min(MAX_RETRY_S, 2 * wait_s)
    return None


def on_signals(stop: asyncio.Event) -> None:
    """Set `stop` on SIGTERM or SIGINT; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("signal %d: draining; a second one ends at once", number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def in_loop(work: Callable[[A], T]) -> Callable[[A], T]:
    """Return a function for other threads that does the work in the running event loop and waits up to 10 s."""
    loop = asyncio.get_running_loop()

    def call(argument: A) -> T:
        async def run() -> T:
            return work(argument)

        return asyncio.run_coroutine_threadsafe(run(), loop).result(CALL_S)

    return call


async def unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return what the work gives; cancel it and return None as soon as `stop` is set.  Raises what the work raises."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None
