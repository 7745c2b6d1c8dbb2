"""5 generate: lets as many draws at the engine at once as `concurrency_limit` says; others wait, first come first."""

import asyncio

from worker.core.resilience.concurrency_limit import Seats


class Gate(asyncio.Semaphore):
    """A semaphore whose limit follows the engine's own words; use it with `async with`."""

    def __init__(self, limit: int) -> None:
        """Start with `limit` seats; there are never more than twice as many."""
        super().__init__(limit)
        self._seats, self._owed = Seats(limit, most=2 * limit), 0

    @property
    def limit(self) -> int:
        """How many may be inside now; for a moment more are, after it went down."""
        return self._seats.limit

    def hear(self, running: int, waiting: int) -> None:
        """Take what the engine says after a step: how many draws it runs, and how many only wait in it."""
        if self._owed:
            return  # what waits in the engine still holds those that are to go
        before = self.limit
        self._seats.hear(running=running, waiting=waiting, full=self.locked())
        self._owed += max(0, before - self.limit)
        for _ in range(self.limit - before):
            self.release()

    def release(self) -> None:
        """Give a seat back; one that is no longer there is not given to anybody."""
        if self._owed:
            self._owed -= 1
        else:
            super().release()
