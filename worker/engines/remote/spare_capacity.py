"""Servers that others use too: how many draws each may have from us, by its own `/metrics`.

    scrape, every half a second, of the same server with the same token    ->  `SpareSeats`: seats at that server
    a draw takes a seat before it is sent                                   waits for one, in order, however long
    a draw that has one when its server yields                              is withdrawn, and takes a seat anew

A draw waits before its deadline begins.  It waits for any server that is up; if none is, it is let through, to fail
as it would without seats: an outage is another matter, with its own way back.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress

from worker.core.resilience.spare_seats import HighMarks, ServerLoad, SpareSeats
from worker.core.service_requests import ServerWatch
from worker.engines.remote.client import Server, Unanswered
from worker.engines.remote.routing import choose
from worker.engines.remote.server_load import ScrapedLoad

log = logging.getLogger(__name__)

SCRAPE_S = 0.5  # between two scrapes of a server: it yields within a second
LATE_S = 1.0  # for one scrape


class SpareCapacity:
    """The seats at the servers of one life of the engine; `most` at each, `up` names those that may be asked."""

    def __init__(
        self, servers: Sequence[Server], marks: HighMarks, watch: ServerWatch, *, most: int, seed: str,
        up: Callable[[], Collection[str]],
    ) -> None:  # fmt: skip
        self._servers, self._counts, self._up = servers, watch, up
        self._seats = {one.url: SpareSeats(marks, most=most, seed=f"{seed} {one.url}") for one in servers}
        self._taken = Counter[str]()
        self._queue = asyncio.Lock()  # serves its waiters in order
        self._changed = asyncio.Event()
        self._scrapes: list[asyncio.Task[None]] = []
        self._withdrawable: dict[str, set[asyncio.Timeout]] = {one.url: set() for one in servers}
        for one in servers:
            watch.server_yields(one.url, yields=True, seats=0)

    def open(self) -> None:
        """Begin to scrape; needs the running event loop."""
        self._scrapes = [asyncio.create_task(self._follow(server)) for server in self._servers]

    async def close(self) -> None:
        """Stop scraping; what waits for a seat is let through."""
        for scrape in self._scrapes:
            scrape.cancel()
        await asyncio.gather(*self._scrapes, return_exceptions=True)
        self._seats.clear()
        self._changed.set()

    def note_changed(self) -> None:
        """Have those that wait look again: a server has come or gone."""
        self._changed.set()

    async def take(self, user_id: str) -> str:
        """Wait for a seat and return its server; "" if no server is up, and then there is nothing to `give`."""
        async with self._queue:
            while True:
                self._changed.clear()
                open_to_us = [url for url in self._up() if url in self._seats]
                free = {url: self._taken[url] for url in open_to_us if self._taken[url] < self._seats[url].seats}
                if not open_to_us:
                    return ""
                if free:
                    url = choose(user_id, free)
                    self._taken[url] += 1
                    return url
                await self._changed.wait()

    def give(self, url: str) -> None:
        """Return a seat."""
        self._taken[url] -= 1
        self._changed.set()

    @asynccontextmanager
    async def unless_yielding(self, url: str) -> AsyncIterator[asyncio.Timeout]:
        """Enclose a request to a server: it ends with `TimeoutError`, and is expired, once that begins to yield."""
        scopes = self._withdrawable[url]
        async with asyncio.timeout(None) as scope:
            scopes.add(scope)
            try:
                yield scope
            finally:
                scopes.discard(scope)

    def is_yielding(self, url: str) -> bool:
        """Return whether a server is left to others."""
        return url in self._seats and self._seats[url].seats == 0

    # -- scraping

    async def _follow(self, server: Server) -> None:
        loop, before = asyncio.get_running_loop(), None
        while True:
            began_s = loop.time()
            found = await self._scrape(server)
            self._judge(server.url, found.load(before) if found else None, loop.time())
            before = found
            await asyncio.sleep(max(0.0, began_s + SCRAPE_S - loop.time()))

    async def _scrape(self, server: Server) -> ScrapedLoad | None:
        """Return what a server says now, None if nothing that can be read."""
        with suppress(TimeoutError, Unanswered, ValueError):
            async with asyncio.timeout(LATE_S):
                return ScrapedLoad.read(await server.metrics())
        return None

    def _judge(self, url: str, load: ServerLoad | None, now_s: float) -> None:
        seats = self._seats[url]
        before = seats.why
        seats.update(load, taken=self._taken[url], now_s=now_s)
        self._counts.server_yields(url, yields=bool(seats.why), seats=seats.seats)
        if bool(seats.why) != bool(before):
            told = f"left to others: {seats.why}; its draws wait" if seats.why else "has room for us again"
            log.info("%s: %s", url, told)
        elif seats.why != before:
            log.info("%s: still left to others: %s", url, seats.why)
        if seats.why:
            self._withdraw(url, now_s)
        self._changed.set()

    def _withdraw(self, url: str, now_s: float) -> None:
        """End what the server was asked by draws with a seat: it stops to write for us at once."""
        scopes = self._withdrawable[url]
        while scopes:
            scopes.pop().reschedule(now_s)
