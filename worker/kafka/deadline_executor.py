"""One thread for one client's blocking calls, with a deadline on each.

A call that outlives its deadline by 5 s will never return (librdkafka#5456), and a thread inside the client cannot be
ended; nor may anything close that client.  So the worker is unready from the deadline on, and then the process ends at
once, with an exit code of its own.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from worker.core.errors import Stuck

log = logging.getLogger(__name__)
T = TypeVar("T")

GRACE_S = 5.0  # what a call may overstay its own time-out by
LOOK_S = 0.5  # how often a call that takes long is looked at
MAX_LOOKS = int(GRACE_S / LOOK_S)


class Calls:
    """Makes calls one after the other in a daemon thread, which no exit waits for."""

    def __init__(self, name: str) -> None:
        """Start the thread."""
        self.overdue = ""  # what is said of a call that overstays, "" if none does
        self._busy = False
        self._deadline_s = 0.0  # of the call that is being made
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def allow(self, timeout_s: float) -> None:
        """Say, in the thread and before each of the client's calls, how long it takes at most."""
        self._deadline_s = time.monotonic() + timeout_s

    async def make(self, call: Callable[[], T], timeout_s: float) -> T:
        """Make a call and return what it gives; ends the process if it does not return.

        `timeout_s` is that of the first of the client's calls in it; others say theirs by `allow`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            self._busy = True
            self.allow(timeout_s)
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the caller in the loop gets it
                _tell(loop, answer, partial(answer.set_exception, error))
            else:
                _tell(loop, answer, partial(answer.set_result, result))
            finally:
                self._busy = False

        if not self._busy:  # else the call that is being made has its own time
            self.allow(timeout_s)
        self._queue.put(work)
        left = MAX_LOOKS
        while not (await asyncio.wait([answer], timeout=LOOK_S))[0]:
            left = self._look(left)
        self.overdue = ""
        return answer.result()

    def _look(self, left: int) -> int:
        """See whether the present call overstays; return how often one may be found so, after the last end the process.

        Counted in looks and not in seconds, so that a process that was frozen gives its calls time when it wakes.
        """
        if time.monotonic() < self._deadline_s:
            return MAX_LOOKS
        if not left:
            log.critical(
                "a call of Kafka's client has not returned %.0f s after its time-out; nothing can end it", GRACE_S
            )
            os._exit(Stuck.exit_code)
        if not self.overdue:
            self.overdue = "Kafka is unavailable or its client is stuck: a call did not return within its time-out"
            log.error("%s; if it does not within %.0f s, the process ends", self.overdue, GRACE_S)
        return left - 1

    def _run(self) -> None:
        while True:
            self._queue.get()()


def _tell(loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]", tell: Callable[[], None]) -> None:
    def once() -> None:
        if not answer.done():
            tell()

    if not loop.is_closed():
        loop.call_soon_threadsafe(once)
