"""Runs a blocking call, such as a model load of minutes, without blocking the event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Run a blocking call in a daemon thread and return its result; unlike a pool's thread, it does not delay exit."""
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # can no longer be cancelled, so a late result can be set

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - any error is raised in the caller
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(answer)
