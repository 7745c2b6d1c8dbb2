"""5 generate: limits how many draws run on the engine at once: enough to keep it full, with few waiting inside it.

A draw that waits inside the engine gains nothing, and delays the second passes of others.  A limit too low
leaves the engine idle.  The running and waiting counts that the engine reports after each step are judged
over a span of steps, by the smallest waiting count: draws that have just arrived always wait for a moment.

    the limit was reached, and at some step no draw waited     the limit grows by one eighth
    more than the spare share waited at every step             the limit falls by the excess

>>> limit = ConcurrencyLimit(8, most=16)
>>> for _ in range(SPAN): limit.update(running=8, waiting=0, full=True)
>>> limit.limit
9
>>> for _ in range(SPAN): limit.update(running=4, waiting=5, full=True)  # the cache holds no more than four
>>> limit.limit
5
"""

SPAN = 32  # steps of the engine: about a second on a GPU, a few on a CPU
SPARE = 0.25  # waiting draws per running draw that are allowed: the next one starts as soon as one has ended
GROWTH = 8  # the limit grows by one for each of so many


class ConcurrencyLimit:
    """The limit, in draws: `limit` to begin with, never above `most` and never below one."""

    def __init__(self, limit: int, *, most: int) -> None:
        self.limit = limit
        self._most = most
        self._steps = self._most_running = 0
        self._least_waiting, self._full = most, True

    def update(self, *, running: int, waiting: int, full: bool) -> None:
        """Adjust the limit after one step of the engine.

        `running` and `waiting` are its counts of draws; `full` is True if as many draws as the limit were
        there.
        """
        self._steps += 1
        self._least_waiting = min(self._least_waiting, waiting)
        self._most_running = max(self._most_running, running)
        self._full = self._full and full
        if self._steps == SPAN:
            self._settle()
            self._steps = self._most_running = 0
            self._least_waiting, self._full = self._most, True

    def _settle(self) -> None:
        spare = max(1, int(SPARE * self._most_running))
        if self._full and self._least_waiting == 0:
            self.limit = min(self._most, self.limit + max(1, self.limit // GROWTH))
        elif self._least_waiting > spare:
            self.limit = max(1, self.limit - (self._least_waiting - spare))
