"""What other threads want of the poll thread, which alone may call the consumer."""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import KafkaException

T = TypeVar("T")

ANSWER_S = 30.0  # longest wait of another thread for an answer


class Mailbox:
    """Work for the poll thread, done between two polls or inside a waiting callback."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, work: Callable[[], None]) -> None:
        """Leave work, and do not wait for it."""
        self._work.put(work)

    def ask(self, call: Callable[[], T]) -> T:
        """Have a call made and wait for what it gives.  Raises what it raises, `TimeoutError` if nobody does it."""
        answer: Future[T] = Future()

        def make() -> None:
            try:
                answer.set_result(call())
            except KafkaException as error:
                answer.set_exception(error)

        self._work.put(make)
        return answer.result(timeout=ANSWER_S)

    def empty(self, wait_s: float = 0.0) -> None:
        """Do all that is left here; wait for the first of it as long as `wait_s`."""
        try:
            work = self._work.get(timeout=wait_s) if wait_s else self._work.get_nowait()
            while True:
                work()
                work = self._work.get_nowait()
        except queue.Empty:
            return
