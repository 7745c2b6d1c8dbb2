"""Several servers as one: who is up, who is asked, and what becomes of a request whose server fails.

    up      asked; looked at every 10 s: it must still serve the model and write a token
    down    not asked, for a reason that is told; looked at again with backoff, and up as soon as a look is fine

A request whose server fails goes to another one, at once.  One that servers failed at in the middle of their answer is
given up after the third: it may be what they died of.  A draw that is asked again, after its deadline too, avoids the
servers that failed at it as long as another is up; the user's next draws go home.  A busy server that says when to ask
again is left alone until then.  Where all are down for longer than a moment, the request raises `Retryable`, and
the engine supervisor waits: an outage proves nothing about any record.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from worker.core.errors import EngineDead, Fatal, Retryable, Withdrawn
from worker.core.resilience.spare_seats import HighMarks
from worker.core.service_requests import ServerEnd, ServerWatch
from worker.core.simulation.draws import Ask
from worker.engines.remote.client import Server, Unanswered, Unreachable
from worker.engines.remote.completions_api import CompletionBody
from worker.engines.remote.routing import choose
from worker.engines.remote.spare_capacity import SpareCapacity

log = logging.getLogger(__name__)

EVERY_S = 10.0  # between two looks at a server that is up
LOOK_S = 20.0  # for one token, of a server that has answered nothing since; below `engine_supervisor.PROBE_S`
RETRY_S, MAX_RETRY_S = 0.5, 10.0  # before the next look at one that is down
GRACE_S = 2.0  # with all down: time for a look to mend what was a moment's failure
MAX_REST_S = 60.0  # what we grant to a busy server that says when to ask again
MAX_LOST = 3  # servers that may fail at one request
MAX_REMEMBERED = 10_000  # draws; more than are ever asked at once


@dataclass(slots=True)
class _Past:
    """What a draw has met."""

    num_lost: int = 0  # servers that failed in the middle of their answer to one request
    failed: set[str] = field(default_factory=set)  # those that failed at it in any way, or let its deadline pass
    is_withdrawn: bool = False  # it was, once: the next time it is answered to its end


class Fleet:
    """The servers of one life of the engine."""

    def __init__(
        self, servers: Sequence[Server], look: Callable[[Server], Awaitable[None]], watch: ServerWatch
    ) -> None:
        """Store the servers; `look` raises `Unanswered` if one does not answer, `Fatal` if it serves something else."""
        self._counts = watch
        self._servers = {server.url: server for server in servers}
        self._look = look
        self._why_not = dict.fromkeys(self._servers, "not looked at yet")
        for url in self._servers:
            watch.server_up(url, is_up=False)
        self._doubted = {url: asyncio.Event() for url in self._servers}
        self._any_up = asyncio.Event()
        self._rest_until_s = dict.fromkeys(self._servers, -math.inf)  # those that asked for it, in the loop's time
        self._pasts: dict[str, _Past] = {}  # of draws that a server has failed at, by name
        self._spare: SpareCapacity | None = None  # None: the servers are ours alone
        self._seated: dict[str, str] = {}  # server of each draw that has a seat, by name
        self._closed = False
        self._watches: list[asyncio.Task[None]] = []

    @property
    def up(self) -> list[Server]:
        """Those that may be asked."""
        return [self._servers[url] for url, why in self._why_not.items() if not why]

    @property
    def why_not(self) -> dict[str, str]:
        """Why each is not asked, "" if it is."""
        return dict(self._why_not)

    def share(self, marks: HighMarks, *, most: int, seed: str) -> None:
        """Leave the servers to others above these marks; at most `most` draws at each.  Before `open`."""
        self._spare = SpareCapacity(
            list(self._servers.values()), marks, self._counts,
            most=most, seed=seed, up=lambda: [server.url for server in self.up],
        )  # fmt: skip

    @asynccontextmanager
    async def seat(self, ask: Ask) -> AsyncIterator[None]:
        """Enclose a draw: wait, however long, for a server that has room for us, if the servers are shared.

        A draw within its own seat has it already.
        """
        if self._spare is None or self.has_seat(ask):
            yield
            return
        url = await self._spare.take(ask.impression.user.user_id)
        if not url:
            yield
            return
        self._seated[ask.ask_id] = url
        try:
            yield
        finally:
            del self._seated[ask.ask_id]
            self._spare.give(url)

    def has_seat(self, ask: Ask) -> bool:
        """Return whether a draw is within its own seat."""
        return ask.ask_id in self._seated

    async def open(self) -> None:
        """Probe all servers, then keep probing.  Raises as `probe`, and `Fatal` if one serves something else."""
        wrong = [str(one) for one in await self._see_all() if one]
        if wrong:
            raise Fatal("\n".join(wrong))
        self._require_one()
        if self._spare is not None:
            self._spare.open()
        self._watches = [asyncio.create_task(self._watch(server)) for server in self._servers.values()]

    async def probe(self) -> None:
        """Probe all servers now.  Raises `Retryable` if none is available."""
        await self._see_all()
        self._require_one()

    async def ask(self, name: str, user_id: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> CompletionBody:
        """Have tokens written by one of them; `name` is that of the draw, the same when it is asked again.

        Raises `Retryable` if all are down, `ValueError` if none ever will, `Withdrawn` if its server is left to others.
        """
        past = self._pasts.get(name) or _Past()
        while past.num_lost < MAX_LOST:
            server = await self._choose(user_id, past.failed, self._seated.get(name, ""))
            try:
                answer = await self._complete_unless_needed(name, past, server, body, headers)
            except Unanswered as error:
                self._mark(server, self._why_not[server.url] or str(error), error.after_s)  # a look may have told more
                past.num_lost += error.begun
                self._remember(name, past, server)
            except asyncio.CancelledError:  # by its deadline, for all we know
                self._remember(name, past, server)
                raise
            else:
                past.num_lost = 0
                return answer
        self.forget(name)
        message = f"{MAX_LOST} servers failed in the middle of their answer"
        raise RuntimeError(message)

    async def _complete_unless_needed(
        self, name: str, past: _Past, server: Server, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> CompletionBody:
        """Have tokens written by one server, unless it is left to others meanwhile.

        A draw is withdrawn once, so that it ends on a server that is busy every few seconds, too.  A request of one
        token is finished: it is over sooner than others could notice.  Raises `Withdrawn`, and as `_complete`.
        """
        if self._spare is None or name not in self._seated or past.is_withdrawn or body.get("max_tokens") == 1:
            return await self._complete(server, body, headers)
        try:
            async with self._spare.unless_yielding(server.url) as scope:
                return await self._complete(server, body, headers)
        except TimeoutError:
            if not scope.expired():
                raise
        past.is_withdrawn = True
        self._keep(name, past)
        raise Withdrawn(f"{server.url} is left to others")

    async def _complete(self, server: Server, body: Mapping[str, Any], headers: Mapping[str, str]) -> CompletionBody:
        """Have tokens written by one server, and count that.  Raises as `Server.complete` does."""
        began_s, end = asyncio.get_running_loop().time(), ServerEnd.CANCELLED
        self._counts.server_asked(server.url)
        try:
            answer = await server.complete(body, headers)
            end = ServerEnd.ANSWERED
        except Unanswered as error:
            end = error.end
            raise
        except ValueError:
            end = ServerEnd.REFUSED
            raise
        finally:
            self._counts.server_done(server.url, end, asyncio.get_running_loop().time() - began_s)
        return answer

    def forget(self, name: str) -> None:
        """Forget a draw that will not be asked again."""
        self._pasts.pop(name, None)

    def _remember(self, name: str, past: _Past, server: Server) -> None:
        """Record a draw's failure, also over an outage: the only server may have crashed on it."""
        past.failed.add(server.url)
        if name:
            self._keep(name, past)

    def _keep(self, name: str, past: _Past) -> None:
        self._pasts[name] = past
        while len(self._pasts) > MAX_REMEMBERED:
            del self._pasts[next(iter(self._pasts))]

    async def close(self) -> None:
        """Close all servers; requests in flight end with `EngineDead`."""
        self._closed = True
        self._any_up.set()
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        if self._spare is not None:
            await self._spare.close()
        for server in self._servers.values():
            await server.close()

    async def _choose(self, user_id: str, failed: Collection[str], seat: str) -> Server:
        """Return the server of a draw's seat, unless that is down or has failed at it; else another."""
        try:
            async with asyncio.timeout(GRACE_S):
                while not self.up and not self._closed:
                    await self._any_up.wait()
        except TimeoutError:
            self._require_one()
        if self._closed:
            raise EngineDead("the servers are no longer asked")
        fresh = [server for server in self.up if server.url not in failed]
        some = self._with_room(fresh or self.up)
        if seat in {server.url for server in fresh or self.up}:
            return self._servers[seat]
        return self._servers[choose(user_id, {server.url: server.num_pending for server in some})]

    def _with_room(self, some: list[Server]) -> list[Server]:
        """Return those that are not left to others; all, if all are: a draw that has begun goes on."""
        spare = self._spare
        return [server for server in some if spare is None or not spare.is_yielding(server.url)] or some

    def _require_one(self) -> None:
        if not self.up:
            told = "; ".join(f"{url}: {why}" for url, why in self._why_not.items())
            raise Retryable(f"none of server_urls can be asked: {told}")

    # -- looking

    async def _watch(self, server: Server) -> None:
        wait_s = RETRY_S
        while True:
            if self._why_not[server.url]:
                await asyncio.sleep(max(wait_s, self._rest_s(server)))
                wait_s = min(MAX_RETRY_S, 2 * wait_s)
            else:
                wait_s = RETRY_S
                if await self._is_doubted(server):
                    continue
            await self._see(server)

    async def _is_doubted(self, server: Server) -> bool:
        """Wait until the next look is due; say whether a request has failed meanwhile."""
        doubted = self._doubted[server.url]
        doubted.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                return await doubted.wait()
        return False

    async def _see_all(self) -> list[Fatal | None]:
        return await asyncio.gather(*(self._see(server) for server in self._servers.values()))

    async def _see(self, server: Server) -> Fatal | None:
        """Probe one server and record whether it is available; return why it is the wrong one, if it is."""
        if self._rest_s(server) > 0:
            return None
        started_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LOOK_S):
                await self._look(server)
            if self._rest_s(server) <= 0:  # a draw may have been told to come later meanwhile
                self._mark(server, "")
        except (TimeoutError, Unreachable) as error:
            if server.heard_s <= started_s:  # else it is busy, not gone
                self._mark(server, str(error) or f"no token within {LOOK_S:.0f} s")
                server.cut()
        except Fatal as error:
            self._mark(server, str(error))
            return error
        except Exception as error:  # noqa: BLE001 - a watch that ended would leave its server as it is for ever
            rest_s = error.after_s if isinstance(error, Unanswered) else 0.0
            self._mark(server, str(error) or type(error).__name__, rest_s)
        return None

    def _rest_s(self, server: Server) -> float:
        return self._rest_until_s[server.url] - asyncio.get_running_loop().time()

    def _mark(self, server: Server, why: str, rest_s: float = 0.0) -> None:
        if rest_s:
            self._rest_until_s[server.url] = asyncio.get_running_loop().time() + min(rest_s, MAX_REST_S)
        before, self._why_not[server.url] = self._why_not[server.url], why
        self._counts.server_up(server.url, is_up=not why)
        if self._spare is not None:
            self._spare.note_changed()
        if why:
            self._doubted[server.url].set()
        if why != before:
            log.log(logging.WARNING if why else logging.INFO, "%s: %s", server.url, why or "may be asked")
        if self.up or self._closed:
            self._any_up.set()
        else:
            self._any_up.clear()
