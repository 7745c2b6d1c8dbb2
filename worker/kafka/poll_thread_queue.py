"""Runs calls of other threads in the poll thread, the only one that may call the consumer, and its own in the loop."""

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaException

T = TypeVar("T")
D = TypeVar("D")

ANSWER_S = 30.0  # longest wait of another thread for a result


class Mailbox:
    """Queue of work for the poll thread, run between two polls or inside a waiting callback."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, work: Callable[[], None]) -> None:
        """Queue work without waiting for it."""
        self._work.put(work)

    def ask(self, call: Callable[[], T]) -> T:
        """Queue a call and return its result.

        Raises `KafkaException` if the call does, `TimeoutError` if it did not run within `ANSWER_S`.
        """
        answer: Future[T] = Future()

        def make() -> None:
            try:
                answer.set_result(call())
            except KafkaException as error:
                answer.set_exception(error)

        self._work.put(make)
        return answer.result(timeout=ANSWER_S)

    def run_pending(self, wait_s: float = 0.0) -> None:
        """Run all queued work; wait up to `wait_s` if there is none."""
        try:
            work = self._work.get(timeout=wait_s) if wait_s else self._work.get_nowait()
            while True:
                work()
                work = self._work.get_nowait()
        except queue.Empty:
            return


def call_in(loop: asyncio.AbstractEventLoop, deliver: Callable[[D], None], what: D) -> None:
    """Call `deliver` in the event loop, unless that is closed; returns at once."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(deliver, what)
