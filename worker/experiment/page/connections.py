"""Limits on the number and the duration of connections to the page.

uvicorn ends a connection that is idle after an answer.  One that never asks, or asks half, or does not read its answer,
it keeps for ever, and each is a file descriptor: here each has a time, and a new one closes the one that has waited
longest once there are too many.  A connection stays until its client has taken the answer; what is not taken in time is
dropped (`worker.system.unread`).
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from worker.system import unread

MAX_CONNECTIONS = 64  # a browser opens six
MAX_BURST = 512  # for a moment: asyncio accepts all that wait, before it reads what any of them asks
MOMENT_S = 0.25
REQUEST_S = 10.0  # for a request to arrive
ANSWER_S = 30.0  # for it to be answered and read
MAX_LINES = 256  # of a request; h11 takes 5 ms for 1,000 headers, and bounds only the bytes of a head that is not whole
MAX_BYTES = 20 << 10  # that come before a request is answered: a head of 16 KiB, and the login form
WAITS_FOR_US = 2  # a rank
LOOK_S = 0.01  # between two looks at whether an answer was read


class Connection(H11Protocol):
    """One connection, with a timeout for each phase."""

    _bare: asyncio.Transport
    _ends: asyncio.TimerHandle | None = None
    _waits = False  # for a request
    since_s = 0.0  # when it last came further, in the loop's time
    _num_lines = _num_bytes = 0  # of a request

    def connection_made(self, transport: Any) -> None:
        """Wait for a request; close others if there are too many."""
        self._bare = transport
        unread.bound(transport.get_extra_info("socket"))
        until_read: Any = _UntilRead(transport, self.loop)
        super().connection_made(until_read)
        self._wait()
        self._make_room(MAX_BURST)
        self.loop.call_later(MOMENT_S, self._make_room, MAX_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        if self._ends is not None:
            self._ends.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Handle a part of a request; further parts do not extend the timeout."""
        if not self.is_busy:
            self._num_lines += data.count(b"\n")
            self._num_bytes += len(data)
            if self._num_lines > MAX_LINES or self._num_bytes > MAX_BYTES:
                self.end()
                return
        super().data_received(data)
        if self.is_busy:
            if self._waits:
                self._until(ANSWER_S)
        elif not self._waits:
            self._wait()

    def on_response_complete(self) -> None:
        """Wait until the answer is read; uvicorn ends the connection if no other request comes."""
        self._num_lines = self._num_bytes = 0  # of the next one
        super().on_response_complete()
        self._until(ANSWER_S)

    @property
    def is_open(self) -> bool:
        """Return whether it has not been closed from here."""
        return not self._bare.is_closing()

    @property
    def is_busy(self) -> bool:
        """Return whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def rank(self) -> int:
        """Return which connections are closed for others first: those whose client does not read its answer."""
        if self.is_busy and self.conn.their_state is not h11.SEND_BODY and not self.flow.write_paused:
            return WAITS_FOR_US
        return int(not is_unread(self._bare))

    def eof_received(self) -> Any:
        """Answer what was asked before the client ended its half; the transport would close, whatever is unread."""
        if not self.is_busy:
            self.transport.close()
        return True

    def end(self) -> None:
        """Close it now, read or not."""
        unread.drop_unread(self._bare.get_extra_info("socket"))
        self._bare.abort()

    def _make_room(self, most: int) -> None:
        """Close what is too many: of all in a burst, and later of those that wait for their client and not for us."""
        held = [one for one in self.connections if isinstance(one, Connection) and one.is_open]
        if len(held) <= most:
            return
        if most < MAX_BURST:
            held = [one for one in held if one.rank < WAITS_FOR_US]
        for one in sorted(held, key=lambda one: (one.rank, one.since_s))[: max(0, len(held) - most)]:
            one.end()

    def _wait(self) -> None:
        self._until(REQUEST_S)
        self._waits = True
        self._num_lines = self._num_bytes = 0

    def _until(self, seconds: float) -> None:
        if self._ends is not None:
            self._ends.cancel()
        self._ends = self.loop.call_later(seconds, self.end)
        self.since_s = self.loop.time()
        self._waits = False


def is_unread(transport: asyncio.Transport) -> bool:
    """Return whether the client has not taken all that was written to it."""
    return bool(transport.get_write_buffer_size() or unread.num_unread(transport.get_extra_info("socket").fileno()))


class _UntilRead:
    """A transport that is closed once its client has taken what was written; until then it counts as a connection."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop, self._closing = transport, loop, False

    def __getattr__(self, name: str) -> Any:
        """Be the transport in everything else."""
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Return whether nothing more is written."""
        return self._closing or self._transport.is_closing()

    def close(self) -> None:
        """Close it, later if need be; whoever opened it sets the time."""
        if not self.is_closing():
            self._closing = True
            if self._transport.is_reading():
                self._transport.pause_reading()
            self._look()

    def _look(self) -> None:
        if self._transport.is_closing():
            return
        if is_unread(self._transport):
            self._loop.call_later(LOOK_S, self._look)
        else:
            self._transport.close()
