"""One thread for one client's blocking calls, with a deadline for each.

A call that exceeds its deadline by 5 s will never return (librdkafka#5456).  A thread inside the client cannot be
ended, and nothing may close that client.  So the worker is unready once the deadline is over, and 5 s later the process
exits at once, with an exit code of its own.
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

GRACE_S = 5.0  # how long a call may run beyond its own time-out
LOOK_S = 0.5  # between two checks of a running call
IDLE_S = 5.0  # without a call, until `idle` is called
MAX_LOOKS = int(GRACE_S / LOOK_S)


class Calls:
    """Runs calls one after the other in a daemon thread, which does not delay the exit of the process.

    `idle` is called there every `IDLE_S` while there is no call; it must return at once.
    """

    def __init__(self, name: str, *, idle: Callable[[], None]) -> None:
        self._idle = idle
        self.overdue = ""  # why the worker is unready; "" while no call is late
        self._busy = False
        self._deadline_s = 0.0  # of the running call, monotonic
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def allow(self, timeout_s: float) -> None:
        """Set the time-out of the client's next call; called in the thread before each of them."""
        self._deadline_s = time.monotonic() + timeout_s

    async def make(self, call: Callable[[], T], timeout_s: float) -> T:
        """Run a function in the thread and return its result; exits the process if it does not return.

        `timeout_s` is the time-out of the first client call in it; the function sets that of later ones by `allow`.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            self._busy = True
            self.allow(timeout_s)
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - any error is raised in the caller
                _set(loop, answer, partial(answer.set_exception, error))
            else:
                _set(loop, answer, partial(answer.set_result, result))
            finally:
                self._busy = False

        if not self._busy:  # else the running call has its own deadline
            self.allow(timeout_s)
        self._queue.put(work)
        left = MAX_LOOKS
        while not (await asyncio.wait([answer], timeout=LOOK_S))[0]:
            left = self._look(left)
        self.overdue = ""
        return answer.result()

    def _look(self, left: int) -> int:
        """Check whether the running call is late; return how many late checks are left before the process exits.

        Counts checks, not seconds: after a process was frozen, its calls still get time to return.
        """
        if time.monotonic() < self._deadline_s:
            return MAX_LOOKS
        if not left:
            log.critical(
                "a call of Kafka's client has not returned %.0f s after its time-out; the process exits", GRACE_S
            )
            os._exit(Stuck.exit_code)
        if not self.overdue:
            self.overdue = "Kafka is unavailable or its client is stuck: a call did not return within its time-out"
            log.error("%s; the process exits if it does not return within %.0f s", self.overdue, GRACE_S)
        return left - 1

    def _run(self) -> None:
        while True:
            try:
                work = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                work = self._idle
            work()


def _set(loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[T]", set_outcome: Callable[[], None]) -> None:
    def once() -> None:
        if not answer.done():
            set_outcome()

    if not loop.is_closed():
        loop.call_soon_threadsafe(once)
