"""Ctrl-C at any moment: one line, one exit code, and no process left behind.

    the command is loaded              `end_at_once`: nothing has begun that would have to be unwound
    the command works                  `stoppable`: what it has begun is unwound; a second Ctrl-C ends it at once
    the demo has started processes     `unwinding`: SIGTERM and SIGHUP unwind too, and later signals are ignored

This module imports next to nothing, because the command installs `end_at_once` before its other imports, which take
half a second.  A signal in the first 50 ms, in which Python itself starts, is Python's: it prints a traceback.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = 130  # exit code, as shells have it: 128 + SIGINT
Handler = Callable[[int, FrameType | None], object] | signal.Handlers


class Stopped(KeyboardInterrupt):
    """A signal stopped the work.

    A class of its own: after a plain `KeyboardInterrupt` that has passed through `exec` of a text, which `dataclass`
    uses, `python -m worker` ends by the signal instead of with our exit code (seen with CPython 3.11).
    """


class Enough(Stopped):
    """Ctrl-C when all was done and told: the end that was asked for, with the exit code of what was done."""

    def __init__(self, code: int) -> None:
        """Store the exit code."""
        super().__init__()
        self.code = code


def end_at_once() -> None:
    """From now on, Ctrl-C ends the process with one line; nothing is unwound.

    It is ignored once Python clears up: the command is done then, and its exit code stands.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, end)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the first that is registered is called last


def stoppable(
    work: Callable[[], int], *, signals: Sequence[signal.Signals] = SIGNALS, again: Handler = signal.SIG_IGN
) -> int:
    """Do the work and return its exit code; one that is stopped says so in one line.

    `again` handles what comes while the work unwinds.
    """
    try:
        with unwinding(signals, again):
            return work()
    except KeyboardInterrupt as error:
        sys.stderr.write(_line(2))
        if signal.getsignal(signal.SIGINT) is end:
            signal.signal(signal.SIGINT, _end_silently)  # the line is printed
        return error.code if isinstance(error, Enough) else STOPPED


@contextmanager
def unwinding(signals: Sequence[signal.Signals] = SIGNALS, again: Handler = signal.SIG_IGN) -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first of these signals; `again` handles later ones.

    They are ignored where unwinding is bounded: a traceback in the middle of it would leave things behind.
    """
    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup` ignores SIGHUP

    def stop(number: int, frame: FrameType | None) -> None:
        if _is_importing(frame):  # whose callbacks swallow what is raised, with a traceback
            end(number, frame)
        for one in heard:
            signal.signal(one, again)
        _raise()

    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the process with the line and the exit code of one that was stopped."""
    with suppress(OSError):  # nobody reads it
        os.write(2, _line(2).encode())  # a stream may be in the middle of a write of its own
    os._exit(STOPPED)


def _end_silently(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(STOPPED)


def _line(descriptor: int) -> str:
    """Return the line, which covers the ^C that a terminal shows."""
    return "\rstopped\n" if os.isatty(descriptor) else "stopped\n"


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _raise() -> None:
    """Raise `Stopped`; an event loop raises it between two steps, since a task would keep it as its own failure."""
    events = sys.modules.get("asyncio.events")  # it takes 50 ms to import
    loop = getattr(events, "_get_running_loop", lambda: None)()
    if loop is None:
        raise Stopped
    loop.call_soon_threadsafe(_raise_here)


def _raise_here() -> NoReturn:
    raise Stopped
