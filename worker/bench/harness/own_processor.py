"""Give one contender a processor of its own, as the Kubernetes CPU manager gives a pod that asks for whole ones.

Else what a contender hands to another process is measured as its own wherever all processors are busy.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from worker.bench.harness.processes import Contending, tree
from worker.core.errors import Fatal

LOOK_S = 0.1  # between two looks for new descendants


class Processors(NamedTuple):
    """Which processors the contender has, and which everything else."""

    own: frozenset[int]
    others: frozenset[int]


def leave_one() -> Processors:
    """Keep this process, and all that it starts from now on, off the first processor.  Raises `Fatal` if it has one."""
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) == 1:
        raise Fatal("there is one processor, want two: run without --own-processor")
    found = Processors(frozenset(mine[:1]), frozenset(mine[1:]))
    os.sched_setaffinity(0, found.others)
    return found


@contextmanager
def own_processor(contending: Contending, processors: Processors) -> Iterator[None]:
    """Keep a process that has just begun on its own processor, and its descendants on the others."""
    pid = contending.process.pid
    os.sched_setaffinity(pid, processors.own)  # its threads will inherit it: none has begun
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            for descendant in tree(pid)[1:]:
                _move(descendant, processors.others)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def _move(pid: int, processors: frozenset[int]) -> None:
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), processors)
    except OSError:  # it has ended
        return
