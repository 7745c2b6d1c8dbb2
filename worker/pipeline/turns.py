"""Work of one event in turns with everything else in the loop: answers, rebalances, heartbeats of the other events."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from worker.core.steps import Steps

T = TypeVar("T")

TURN_S = 0.005  # of one event's work; all else in the loop then has its turn


class Turns:
    """Runs work in steps and lets the event loop go on between them; one for all events.

    `clock` is monotonic, seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def run(self, steps: Steps[T]) -> T:
        """Return the result of the work; calls that steps yield are made in a thread.  Raises what they raise."""
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
