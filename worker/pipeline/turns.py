"""Work of one event in turns with everything else in the loop: answers, rebalances, heartbeats of the other events."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from worker.core.steps import Steps

T = TypeVar("T")

TURN_S = 0.005  # of one event's work; all else in the loop then has its turn


class Turns:
    """Drives work in steps; one for all events."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take the loop's clock."""
        self._clock = clock

    async def run(self, steps: Steps[T]) -> T:
        """Do the work, letting the loop go on after every few milliseconds; long calls are made in a thread."""
        answer: Any = None
        since_s = self._clock()
        while True:
            try:
                call = steps.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            answer = None
            if call:
                answer = await asyncio.to_thread(call)
            elif self._clock() - since_s >= TURN_S:
                await asyncio.sleep(0)
            else:
                continue
            since_s = self._clock()
