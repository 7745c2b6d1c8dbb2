"""Ctrl-C at any moment: one line, and no process left behind.

A first SIGINT, SIGTERM or SIGHUP raises `KeyboardInterrupt` in the main thread, which unwinds everything that the demo
has started.  Later ones are ignored: unwinding is bounded, and a traceback in the middle of it would leave processes.
"""

import signal
import sys
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED = 130  # exit code, as shells have it: 128 + SIGINT


class Enough(KeyboardInterrupt):
    """Ctrl-C when all was done and told: the end that was asked for, with the exit code of what was done."""

    def __init__(self, code: int) -> None:
        """Take the exit code."""
        super().__init__()
        self.code = code


def stoppable(work: Callable[[], int]) -> int:
    """Do the work and return its exit code; one that is stopped says so in one line."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # `nohup` ignores SIGHUP
    before = {number: signal.signal(number, _stop) for number in heard}
    try:
        return work()
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{chr(13) if sys.stderr.isatty() else ''}stopped\n")  # over the ^C that a terminal shows
        return error.code if isinstance(error, Enough) else STOPPED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(_number: int, _frame: object) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
