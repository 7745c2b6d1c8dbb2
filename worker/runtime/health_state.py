"""What the health pages answer; how they are served is `worker.runtime.health`'s.

>>> state = HealthState()
>>> state.started(), state.ready(), state.live()
('the engine is loading', 'the engine is loading', '')
>>> state.engine_is_warm(); state.waits(Blocker.START, "Kafka is unavailable")
>>> state.started(), state.ready()
('', 'Kafka is unavailable')
"""

import time
from collections.abc import Callable

from worker.core.blockers import Blocker, Blockers, told

LIVE_S = 60.0  # an event loop or poll thread without progress for this long is stuck


class HealthState:
    """What the health pages answer, from the start of the process on: alive, and neither warm nor ready at first."""

    def __init__(self) -> None:
        self._warm = False
        self._live: Callable[[], str] = str
        self._accept: Callable[[int], str] = lambda _: "the worker has not started"
        self.waits(Blocker.ENGINE, "the engine is loading")

    def started(self) -> str:
        """Return why the engine of this process has not started, "" once it has: it stays so."""
        return "" if self._warm else "the engine is loading"

    def engine_is_warm(self) -> None:
        """Answer from now on that the worker has started."""
        self._warm = True

    def live(self) -> str:
        """Return why the worker is not alive, "" if it is."""
        return self._live()

    def ready(self) -> str:
        """Return why the worker is not ready, "" if it is."""
        return told(self.blockers())

    def blockers(self) -> Blockers:
        """Return what keeps the worker from being ready, the same by kind."""
        return self._blockers()

    def waits(self, blocker: Blocker, reason: str) -> None:
        """Answer not ready, for this reason."""
        self._blockers: Callable[[], Blockers] = lambda: {blocker: reason}

    def accept(self, num_next: int) -> str:
        """Close the breaker; return what was done."""
        return self._accept(num_next)

    def works(self, *, live: Callable[[], str], blockers: Callable[[], Blockers], accept: Callable[[int], str]) -> None:
        """Answer what the parts say, from now on."""
        self._live, self._blockers, self._accept = live, blockers, accept


def stale(what: str, last_s: float) -> str:
    """Return why a part is stuck that last made progress at `last_s`, monotonic seconds; "" if it is not."""
    silent_s = time.monotonic() - last_s
    return f"the {what} has made no progress for {silent_s:.0f} s" if silent_s > LIVE_S else ""
