"""Limits on the number and the duration of connections to the page.

uvicorn ends a connection that is idle after an answer.  One that never asks, or asks half, or does not read its answer,
it keeps for ever, and each is a file descriptor: here each has a time, and a new one closes the one that has waited
longest once there are too many.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 64  # a browser opens six
REQUEST_S = 10.0  # for a request to arrive
ANSWER_S = 30.0  # for it to be answered and read


class Connection(H11Protocol):
    """One connection, with a timeout for each phase."""

    _ends: asyncio.TimerHandle | None = None
    _waits = False  # for a request

    def connection_made(self, transport: Any) -> None:
        """Wait for a request; close the connection that has waited longest if there are too many."""
        super().connection_made(transport)
        self._wait()
        others = [one for one in self.connections if one is not self and isinstance(one, Connection) and one.is_open]
        if len(others) >= MAX_CONNECTIONS:
            min(others, key=lambda one: (one.is_busy, one.ends_s)).end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        if self._ends is not None:
            self._ends.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle a part of a request; further parts do not extend the timeout."""
        super().data_received(data)
        if self.is_busy:
            if self._waits:
                self._until(ANSWER_S)
        elif not self._waits:
            self._wait()

    def on_response_complete(self) -> None:
        """Wait until the answer is read; uvicorn ends the connection if no other request comes."""
        super().on_response_complete()
        self._until(ANSWER_S)

    @property
    def is_open(self) -> bool:
        """Return whether it has not been closed from here."""
        return not self.transport.is_closing()

    @property
    def is_busy(self) -> bool:
        """Return whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def ends_s(self) -> float:
        """When it is closed, in the loop's time."""
        return self._ends.when() if self._ends is not None else 0.0

    def end(self) -> None:
        """Close it now, read or not."""
        self.transport.abort()

    def _wait(self) -> None:
        self._until(REQUEST_S)
        self._waits = True

    def _until(self, seconds: float) -> None:
        if self._ends is not None:
            self._ends.cancel()
        self._ends = self.loop.call_later(seconds, self.end)
        self._waits = False
