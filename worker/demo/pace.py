"""How much the demo asks, and how long it waits: both follow the speed of the machine.

    probe, before anything is started   ->  deadlines: a busy machine gets longer ones
    answers, from the first one on      ->  events: a verdict within two minutes, 100 users at the least

>>> size(answered=0, elapsed_s=0), size(answered=60, elapsed_s=30), size(answered=500, elapsed_s=5)
(100, 240, 500)
>>> deadlines(1.0)["question_timeout_s"], deadlines(8.0)["question_timeout_s"]
(120.0, 960.0)
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from worker.experiment.statistics.confidence import MIN_USERS

MIN_EVENTS = MIN_USERS  # one of each user
MAX_EVENTS = 500  # before the verdict; more would narrow the interval by little
MAX_LOOKED_AT = 2_000  # events in all, while somebody looks at the page
VERDICT_S = 120.0  # from the first answer
SETTLED_S = 5.0  # the first answers come in a burst: of all that were asked together

QUESTION_S, TRANSACTION_S, SILENCE_S = 120.0, 10.0, 120.0  # on a machine that is quiet
START_S = 240.0  # without any answer: a first import of vLLM from a cold disk takes more than a minute
MAX_SILENCE_S = 900.0
MAX_SLOWNESS = 15.0
SLOW = 3.0  # from here on it is told
CROWDED = 1.5  # times as long as it computes
_PROBE_STEPS = 2_000_000
_PROBE_S = 0.1  # on one of two quiet cores (Xeon with AVX512, 28 November 2026, CPython 3.11)


def size(*, answered: float, elapsed_s: float) -> int:
    """Return how many events to ask in all, from how many were answered since the first answer."""
    per_s = answered / max(SETTLED_S, elapsed_s)
    return max(MIN_EVENTS, min(MAX_EVENTS, int(per_s * VERDICT_S)))


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast this machine is here and now."""

    slow: float  # how many times as long as on a quiet machine something takes, 1 to `MAX_SLOWNESS`
    crowded: bool  # other programs want the cores too

    @classmethod
    def of(cls, wall_s: float, cpu_s: float) -> "Speed":
        """Store the probe's duration and its CPU time."""
        return cls(min(MAX_SLOWNESS, max(1.0, wall_s / _PROBE_S)), crowded=wall_s > CROWDED * cpu_s)


def probe() -> Speed:
    """Do a fixed piece of work, and see how long it takes; waiting for a core counts."""
    wall_s, cpu_s, total = time.perf_counter(), time.process_time(), 0
    for step in range(_PROBE_STEPS):
        total += step
    return Speed.of(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def threads(speed: Speed) -> Mapping[str, str]:
    """Return variables of the worker's environment: one thread for vLLM where it would have to share its cores.

    Its threads wait for each other at every step: beside other work (a load of 5 to 10 on two cores, 28 November 2026)
    two of them made 2 to 4 draws per second, one alone 22 to 35.
    """
    return {"OMP_NUM_THREADS": "1"} if speed.crowded else {}


def deadlines(slow: float) -> Mapping[str, float]:
    """Return the worker's settings that are deadlines, on a machine that is so many times slower."""
    return {"question_timeout_s": QUESTION_S * slow, "transaction_timeout_s": TRANSACTION_S * slow}


def patience_s(slow: float, *, answered: bool) -> float:
    """Return how long to wait for the next answer, or for the first one, before the demo gives up."""
    return min(MAX_SILENCE_S, slow * (SILENCE_S if answered else START_S))


def duration(seconds: float) -> str:
    """Write a time as one would say it.

    >>> duration(4), duration(44), duration(80), duration(200)
    ('5 s', '45 s', '1 min 20 s', '3 min 20 s')
    """
    rounded = 5 * max(1, round(seconds / 5)) if seconds < 120 else 10 * round(seconds / 10)  # noqa: PLR2004 - 2 min
    minutes, rest = divmod(rounded, 60)
    return " ".join([*([f"{minutes} min"] if minutes else []), *([f"{rest} s"] if rest else [])])
