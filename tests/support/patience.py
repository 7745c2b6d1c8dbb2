"""How long a test waits: seconds of a quiet machine, times how much slower this machine is now.

    deadline_s = time.monotonic() + patience(60)              # a ceiling: only a failure waits this long
    worker.stop(patience(20, below_s=100))                    # less than a drain of 100 s, however slow the machine is
    until(ended, "end", timeout_s=STUCK_S + patience(SLACK_S))    # a promised time, and room for a busy machine

How slow it is comes from two measurements.  A loop of fixed work is timed once a session, against the time that it took
on the machine where the seconds were measured: a slower processor shows there, and whatever runs beside the tests.
The load average is read at every call, since other work may start in the middle of a session.

A ceiling ends a wait for something that will not come.  Where it also tells two outcomes apart, `below_s` is the time
of the other one: the ceiling stays under it, so a slow machine may fail the test but cannot pass it for the wrong
reason.
"""

import math
import os
import time
from functools import cache

LOOPS = 8_000_000  # some time slices of the scheduler
REFERENCE_S = 0.18  # for `LOOPS`, CPython 3.11, 2 quiet cores of a shared x86-64 server, 2026-11
MAX_SLOWNESS = 10.0  # what is slower yet shall fail within the hour
BELOW = 0.9  # of `below_s`


def patience(seconds: float, *, below_s: float = math.inf) -> float:
    """Return a ceiling of so many seconds on a quiet machine for this machine now, always under `below_s`."""
    assert seconds < below_s, f"{seconds} s is no ceiling under {below_s} s"
    return max(seconds, min(seconds * slowness(), BELOW * below_s))


def slowness() -> float:
    """Return how many times slower than a quiet machine this one is now, 1 to `MAX_SLOWNESS`."""
    waiting = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return min(max(1.0, at_the_start(), waiting), MAX_SLOWNESS)


def cpu_slowness() -> float:
    """Return how many times the CPU seconds of the quiet machine work takes now, at least 1.

    For claims about CPU time: what runs beside shares caches and cores, and the clock of a thread counts that.
    """
    start_s = time.thread_time()
    _work()
    return max(1.0, (time.thread_time() - start_s) / REFERENCE_S)


@cache
def at_the_start() -> float:
    """Return how many times the wall clock's seconds of the quiet machine work took when a session first waited."""
    start_s = time.monotonic()
    _work()
    return (time.monotonic() - start_s) / REFERENCE_S


def _work() -> None:
    for _ in range(LOOPS):
        pass
