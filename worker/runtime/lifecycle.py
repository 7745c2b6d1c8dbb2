"""Waiting that a stop can end: for what is away outside, for a piece of work, for a signal."""

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


async def until_there(look: Callable[[], T], tell: Callable[[str], None], stop: asyncio.Event) -> T | None:
    """Look, in a thread, until nothing is away any more, and tell what is; None if the worker is to stop meanwhile."""
    return await until_done(lambda: asyncio.to_thread(look), tell, stop)


async def until_done(work: Callable[[], Awaitable[T]], tell: Callable[[str], None], stop: asyncio.Event) -> T | None:
    """Do a piece of work again until nothing that it needs is away, as `until_there`."""
    wait_s = RETRY_S
    while not stop.is_set():
        try:
            return await work()
        except Retryable as error:
            tell(str(error))
            log.warning("%s; next try in %.0f s", error, wait_s)
        await asyncio.wait([stopped := asyncio.ensure_future(stop.wait())], timeout=wait_s)
        stopped.cancel()
        wait_s = min(MAX_RETRY_S, 2 * wait_s)
    return None


def on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT drain; a second one ends at once."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        log.info("signal %d: draining; a second one ends at once", number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def in_loop(work: Callable[[A], T]) -> Callable[[A], T]:
    """Return a function for other threads that does the work in the running loop and waits for it."""
    loop = asyncio.get_running_loop()

    def call(argument: A) -> T:
        async def run() -> T:
            return work(argument)

        return asyncio.run_coroutine_threadsafe(run(), loop).result(CALL_S)

    return call


async def unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Do the work and return what it gives, or leave it as soon as `stop` is set."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    return None
