"""5 generate: how many draws are at the engine at once: enough to keep it full, and few that only wait inside it.

A draw that waits inside the engine gains nothing there, and the second passes of others come behind it.  A seat too few
leaves the engine cold.  What the engine says after each step is looked at over a span, for its least: draws that have
just come wait for a moment anyhow.

    all seats were taken, and at some step nobody waited    one seat in eight more
    more than the spare share waited at every step          so many less

>>> seats = Seats(8, most=16)
>>> for _ in range(SPAN): seats.hear(running=8, waiting=0, full=True)
>>> seats.limit
9
>>> for _ in range(SPAN): seats.hear(running=4, waiting=5, full=True)  # the cache holds no more than four
>>> seats.limit
5
"""

SPAN = 32  # steps of the engine: about a second on a GPU, a few on a CPU
SPARE = 0.25  # of those that run may wait: a seat that falls free is then taken at once
GROWTH = 8  # one seat for so many


class Seats:
    """The limit; the engine's words come in, nothing is kept but the present span."""

    def __init__(self, limit: int, *, most: int) -> None:
        """Start with a limit; it never goes above `most`, and never below one."""
        self.limit = limit
        self._most = most
        self._steps = self._most_running = 0
        self._least_waiting, self._full = most, True

    def hear(self, *, running: int, waiting: int, full: bool) -> None:
        """Take what the engine says after one step, and whether all seats were taken then."""
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
