"""One thread for one client's blocking calls, with a deadline on each.

A call that outlives its deadline will never return (librdkafka#5456), and a thread inside the client cannot be
ended; nor may anything close that client.  So the process ends at once, with an exit code of its own.
"""

import asyncio
import logging
import os
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from worker.errors import Stuck

log = logging.getLogger(__name__)
T = TypeVar("T")

GRACE_S = 5.0  # what a call may overstay its own time-out by


class Calls:
    """Makes calls one after the other in a daemon thread, which no exit waits for."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def make(self, call: Callable[[], T], timeout_s: float) -> T:
        """Make a call and return what it gives; ends the process if it does not return."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller in the loop gets it
                _tell(loop, answer, partial(answer.set_exception, error))
            else:
                _tell(loop, answer, partial(answer.set_result, result))

        self._queue.put(work)
        done, _ = await asyncio.wait([answer], timeout=timeout_s + GRACE_S)
        if not done:
            log.critical("a client call has not returned after %.0f s; nothing can end it", timeout_s + GRACE_S)
            os._exit(Stuck.exit_code)
        return answer.result()

    def _run(self) -> None:
        while True:
            self._queue.get()()


def _tell(loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]", tell: Callable[[], None]) -> None:
    def once() -> None:
        if not answer.done():
            tell()

    if not loop.is_closed():
        loop.call_soon_threadsafe(once)
