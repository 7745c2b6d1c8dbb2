"""Runs a blocking call, such as a model load of minutes, in a thread of its own that process exit does not wait for."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def start(call: Callable[[], T], name: str | None = None) -> "Future[T]":
    """Start a call in a daemon thread; its result or its error is in the future.  A pool's threads would delay exit."""
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # can no longer be cancelled, so a late result can be set

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 - any error is raised where the result is read
            answer.set_exception(error)

    threading.Thread(target=work, name=name, daemon=True).start()
    return answer


async def in_thread(call: Callable[[], T]) -> T:
    """Run a call in a daemon thread and return its result, while the event loop goes on."""
    return await asyncio.wrap_future(start(call))
