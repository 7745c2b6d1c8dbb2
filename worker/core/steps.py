"""Work in short steps, so that whoever drives it can do something else in between.

One event may hold 200 items of 64 texts.  All of its work is linear, and still too much for an event loop in one piece.
So the work is a generator: it yields None after every small part, or a call that takes long and may be made in another
thread; what that call returns is sent back in.  The work knows no loop and no thread: `run` does it in one go, the
pipeline's `Turns` in turns with everything else.

>>> def work() -> Steps[int]:
...     one = 20
...     yield None
...     return one + (yield lambda: 22)
>>> run(work())
42
"""

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
Call: TypeAlias = Callable[[], Any]
Steps: TypeAlias = Generator[Call | None, Any, T]

LONG_CHARS = 256  # of a text of ASCII whose cleaning is a step of its own; a shorter one takes less than 0.1 ms


def is_long(text: str) -> bool:
    """Return True if cleaning a text is a step of its own: 250 characters that are not ASCII may become 4,500."""
    return len(text) > LONG_CHARS or not text.isascii()


def run(steps: Steps[T]) -> T:
    """Do all of the work now and return its result."""
    answer: Any = None
    while True:
        try:
            call = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = call() if call else None
