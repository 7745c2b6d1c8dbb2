"""5 generate: limits how many draws run on the engine at once (`core.resilience.concurrency_limit`).

Waiters are served in order.
"""

import asyncio

from worker.core.resilience.concurrency_limit import ConcurrencyLimit


class ConcurrencyGate(asyncio.Semaphore):
    """A semaphore whose limit follows the counts that the engine reports; use it with `async with`.

    It starts with `limit` permits and never has more than twice as many.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._limit, self._owed = ConcurrencyLimit(limit, most=2 * limit), 0

    @property
    def limit(self) -> int:
        """How many draws may run now; after the limit has fallen, more run until enough of them have ended."""
        return self._limit.limit

    def update(self, running: int, waiting: int) -> None:
        """Adjust the limit after one step of the engine, by how many draws run in it and how many only wait."""
        if self._owed:
            return  # draws above the limit are still in the engine: its counts say nothing of the new limit
        before = self.limit
        self._limit.update(running=running, waiting=waiting, full=self.locked())
        self._owed += max(0, before - self.limit)
        for _ in range(self.limit - before):
            self.release()

    def release(self) -> None:
        """Return a permit; if the limit has fallen meanwhile, the permit is withdrawn."""
        if self._owed:
            self._owed -= 1
        else:
            super().release()
