"""A load that takes minutes, beside a loop that goes on."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Make a blocking call in a daemon thread: unlike a pool's, it holds up no exit."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(how: Callable[[], None]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: None if answer.done() else how())

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller gets it
            failure = error
            tell(lambda: answer.set_exception(failure))
        else:
            tell(lambda: answer.set_result(result))

    threading.Thread(target=work, daemon=True).start()
    return await answer
