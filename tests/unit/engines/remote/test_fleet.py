"""Several servers as one, with servers that fail on cue and a clock that jumps."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.fakes import jumping, until
from worker.core.errors import BadSettings, EngineDead, Fatal, Retryable, Withdrawn
from worker.core.resilience.spare_seats import HighMarks
from worker.core.service_requests import ServerEnd, Unwatched
from worker.engines.remote import fleet
from worker.engines.remote.client import Busy, Unanswered, Unreachable
from worker.engines.remote.completions_api import CompletionBody
from worker.engines.remote.fleet import Fleet

ANSWER = CompletionBody.model_validate({"choices": [{"text": "A", "token_ids": [32]}]})
REFUSED = Unreachable("no connection", begun=False)
BUSY = Busy("HTTP 503", begun=False)
LATER = Busy("HTTP 429", begun=False, after_s=30.0)
LOST = Unanswered("connection lost", begun=True)


class FakeServer:
    """Answers, or fails as it is told: `fails` requests, `away` looks too.

    One that is `silent` says nothing; one that `stalls` answers looks alone.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.heard_s = -math.inf
        self.num_pending = self.num_asked = self.num_looks = 0
        self.fails: list[Exception] = []
        self.away: Exception | None = None
        self.silent = self.stalls = False
        self._cut = asyncio.Event()

    async def complete(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> CompletionBody:
        self.num_asked += 1
        self.num_pending += 1
        try:
            await self._say()
        finally:
            self.num_pending -= 1
        if self.away or self.fails:
            raise self.away or self.fails.pop(0)
        self.heard_s = now_s()
        return ANSWER

    async def look(self) -> None:
        self.num_looks += 1
        if self.silent:
            await asyncio.Event().wait()
        if self.away:
            raise self.away

    async def _say(self) -> None:
        await asyncio.sleep(0.01)
        if self.silent or self.stalls:
            await self._cut.wait()
            raise Unanswered("no sign of life", begun=True)

    def cut(self) -> None:
        self._cut.set()
        self._cut = asyncio.Event()

    async def close(self) -> None:
        self.cut()


def now_s() -> float:
    return asyncio.get_running_loop().time()


def servers(number: int) -> list[FakeServer]:
    return [FakeServer(f"http://gpu-{one}") for one in range(number)]


class Counted:
    """Who counts requests: what each server has in flight, how requests ended, and who is up."""

    def __init__(self) -> None:
        self.up: dict[str, bool] = {}
        self.seats: dict[str, int] = {}
        self.in_flight, self.ends = Counter[str](), Counter[str]()

    def server_up(self, url: str, *, is_up: bool) -> None:
        self.up[url] = is_up

    def server_yields(self, url: str, *, yields: bool, seats: int) -> None:
        self.seats[url] = seats

    def server_asked(self, url: str) -> None:
        self.in_flight[url] += 1

    def server_done(self, url: str, end: ServerEnd, seconds: float) -> None:
        self.in_flight[url] -= 1
        self.ends[end] += 1
        assert seconds >= 0


def fleet_of(*some: FakeServer, counted: Counted | None = None) -> Fleet:
    return Fleet(list(some), lambda server: server.look(), counted or Unwatched())  # type: ignore[arg-type, attr-defined]


@asynccontextmanager
async def opened(*some: FakeServer) -> AsyncIterator[Fleet]:
    one = fleet_of(*some)
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def ask(one: Fleet, user: str = "user", name: str = "") -> CompletionBody:
    return await one.ask(name, user, {}, {})


@jumping
async def test_a_user_stays_with_one_server_and_users_are_spread() -> None:
    some = servers(3)
    async with opened(*some) as one:
        for _ in range(5):
            await ask(one, "u1")
        assert sorted(server.num_asked for server in some) == [0, 0, 5]
        await asyncio.gather(*(ask(one, f"u{number}") for number in range(60)))
        assert min(server.num_asked for server in some) >= 10


@jumping
async def test_what_a_server_fails_at_another_answers() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:
        for failure in (REFUSED, BUSY, LOST):
            for server in (a, b):
                server.fails = [failure]
                assert await asyncio.gather(*(ask(one, f"u{number}") for number in range(20))) == [ANSWER] * 20
                assert server.fails == []
                await until(lambda: all(not why for why in one.why_not.values()))


@jumping
async def test_a_server_that_is_down_is_looked_at_with_backoff_and_asked_again() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:
        a.away = REFUSED
        await asyncio.gather(*(ask(one, f"u{number}") for number in range(20)))
        assert one.why_not == {a.url: "no connection", b.url: ""}
        asked, looks = a.num_asked, a.num_looks
        await asyncio.sleep(60.0)
        await asyncio.gather(*(ask(one, f"u{number}") for number in range(20)))
        assert a.num_asked == asked
        assert 5 < a.num_looks - looks < 12  # 0.5, 1, 2, 4, 8, then every 10 s
        a.away = None
        await until(lambda: not one.why_not[a.url])
        await asyncio.gather(*(ask(one, f"u{number}") for number in range(20)))
        assert a.num_asked > asked


@jumping
async def test_a_moment_without_any_costs_no_more_than_a_moment() -> None:
    (a,) = servers(1)
    async with opened(a) as one:
        a.fails = [LOST]
        assert await ask(one) == ANSWER
        assert now_s() < fleet.RETRY_S + 0.1


@jumping
async def test_where_all_are_down_a_request_is_told_so_and_may_be_tried_again() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:
        a.away, b.away = REFUSED, BUSY
        for tries in (ask(one), one.probe()):
            with pytest.raises(Retryable, match="http://gpu-0: no connection; http://gpu-1: HTTP 503"):
                await tries
        a.away = None
        await one.probe()
        assert await ask(one) == ANSWER


@jumping
async def test_a_request_that_servers_die_of_is_given_up_before_it_ends_them_all() -> None:
    some = servers(5)
    async with opened(*some) as one:
        for server in some:
            server.fails = [LOST] * 9
        with pytest.raises(RuntimeError, match="3 servers failed"):
            await ask(one)
        assert sum(server.num_asked for server in some) == 3


@jumping
async def test_a_request_that_the_only_server_dies_of_is_given_up_after_as_many_outages() -> None:
    """Each death is an outage, after which it is asked again; without memory for ever."""
    (server,) = servers(1)
    async with opened(server) as one:
        for _ in range(2):
            server.away = LOST
            with pytest.raises(Retryable):
                await ask(one, name="killer")
            server.away = None
            await asyncio.sleep(fleet.MAX_RETRY_S + 1)
        server.fails = [LOST]
        with pytest.raises(RuntimeError, match="3 servers failed"):
            await ask(one, name="killer")
        assert await ask(one, name="innocent") == ANSWER


@jumping
async def test_busy_servers_are_asked_again_for_as_long_as_it_takes() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:
        a.fails, b.fails = [BUSY] * 20, [BUSY] * 20
        assert await ask(one) == ANSWER
        assert now_s() > 5.0


@jumping
async def test_a_busy_server_that_says_when_to_ask_again_is_left_alone_until_then() -> None:
    (a,) = servers(1)
    async with opened(a) as one:
        a.fails = [LATER]
        for _ in range(20):  # as whoever keeps the engine does: wait, and look
            with pytest.raises(Retryable, match="HTTP 429"):
                await ask(one)
            with pytest.raises(Retryable, match="HTTP 429"):
                await one.probe()
            if now_s() > 24.0:
                break
        assert (a.num_asked, a.num_looks) == (1, 1)
        await asyncio.sleep(31.0 - now_s())
        assert await ask(one) == ANSWER
        assert now_s() < 32.0


@jumping
async def test_what_a_busy_server_may_ask_for_has_a_bound_and_others_are_asked_meanwhile() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:
        a.fails, b.fails = [Unanswered("HTTP 503", begun=False, after_s=math.inf)], []
        assert await asyncio.gather(*(ask(one, f"u{number}") for number in range(20))) == [ANSWER] * 20
        await asyncio.sleep(fleet.MAX_REST_S - 1.0)
        assert one.why_not == {a.url: "HTTP 503", b.url: ""}
        await asyncio.sleep(2.0)
        assert one.why_not == {a.url: "", b.url: ""}


@jumping
async def test_a_look_that_ends_well_cuts_no_rest_short() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:

        async def told_meanwhile() -> None:
            one._mark(a, "HTTP 429", 30.0)  # type: ignore[arg-type]

        a.look = told_meanwhile  # type: ignore[method-assign]
        await one.probe()
        assert one.why_not == {a.url: "HTTP 429", b.url: ""}


async def stalled(one: Fleet, user: str, name: str) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5.0):
            await ask(one, user, name)


@jumping
async def test_a_draw_whose_deadline_passed_is_asked_of_another_and_its_user_comes_home() -> None:
    """The first one goes on answering looks, so it is up; both requests of the draw avoid it."""
    some = servers(3)
    async with opened(*some) as one:
        await ask(one, "u1")
        (home,) = (server for server in some if server.num_asked)
        home.stalls = True
        await stalled(one, "u1", "draw")
        assert await ask(one, "u1", "draw") == await ask(one, "u1", "draw") == ANSWER
        assert (one.why_not[home.url], home.num_asked) == ("", 2)
        home.stalls = False
        one.forget("draw")
        assert await ask(one, "u1", "draw") == await ask(one, "u1", "other") == ANSWER
        assert home.num_asked == 4


@jumping
async def test_a_draw_goes_back_to_the_server_that_failed_it_where_no_other_is_up() -> None:
    a, b = servers(2)
    b.away = REFUSED
    async with opened(a, b) as one:
        a.stalls = True
        await stalled(one, "user", "draw")
        a.stalls = False
        assert await ask(one, name="draw") == ANSWER
        assert a.num_asked == 2


@jumping
async def test_no_more_is_remembered_than_a_bound_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "MAX_REMEMBERED", 5)
    (a,) = servers(1)
    async with opened(a) as one:
        for number in range(20):
            a.fails = [BUSY]
            assert await ask(one, name=f"draw-{number}") == ANSWER
        assert list(one._pasts) == [f"draw-{number}" for number in range(15, 20)]


@jumping
async def test_a_server_that_falls_silent_is_cut_off_and_what_it_had_asked_of_another() -> None:
    a, b = servers(2)
    async with opened(a, b) as one:
        a.silent = True
        assert await asyncio.gather(*(ask(one, f"u{number}") for number in range(20))) == [ANSWER] * 20
        assert now_s() < fleet.EVERY_S + fleet.LOOK_S + 1.0
        assert one.why_not[a.url] == "no token within 20 s"


@jumping
async def test_a_server_that_answers_others_meanwhile_is_busy_and_not_gone() -> None:
    (a,) = servers(1)
    async with opened(a) as one:

        async def slow() -> None:
            a.num_looks += 1
            await asyncio.sleep(fleet.LOOK_S + 1.0)

        a.look = slow  # type: ignore[method-assign]
        for _ in range(100):
            assert await ask(one) == ANSWER
            await asyncio.sleep(1.0)
        assert a.num_looks > 2
        assert one.why_not == {a.url: ""}


@jumping
async def test_at_the_start_a_wrong_server_ends_it_and_later_it_is_only_left_out() -> None:
    a, b = servers(2)
    a.away = b.away = BadSettings("serves another model")
    with pytest.raises(Fatal, match=r"another model\n.*another model"):
        await fleet_of(a, b).open()
    a.away = b.away = None
    async with opened(a, b) as one:
        a.away = BadSettings("serves another model")
        await asyncio.sleep(2 * fleet.EVERY_S)
        assert one.why_not == {a.url: "serves another model", b.url: ""}


@jumping
async def test_a_look_that_fails_in_a_way_nobody_thought_of_is_followed_by_another() -> None:
    (a,) = servers(1)
    async with opened(a) as one:
        a.away = KeyError("choices")
        await until(lambda: bool(one.why_not[a.url]))
        a.away = None
        await until(lambda: not one.why_not[a.url])
        assert await ask(one) == ANSWER


@jumping
async def test_what_is_asked_when_the_fleet_is_closed_ends_with_a_dead_engine() -> None:
    (a,) = servers(1)
    one = fleet_of(a)
    await one.open()
    a.silent = True
    waiting = asyncio.ensure_future(ask(one))
    await asyncio.sleep(0.1)
    await one.close()
    with pytest.raises(EngineDead):
        await waiting
    with pytest.raises(EngineDead):
        await ask(one)


@jumping
async def test_each_request_is_counted_by_how_it_ended_and_is_in_flight_no_longer() -> None:
    (server,), counted = servers(1), Counted()
    one = fleet_of(server, counted=counted)
    assert counted.up == {server.url: False}, "named before it is looked at"
    await one.open()
    try:
        assert counted.up == {server.url: True}
        for failure in (REFUSED, BUSY, LOST):
            server.fails = [failure]
            await ask(one)
        server.fails = [ValueError("HTTP 400")]
        with pytest.raises(ValueError, match="400"):
            await ask(one)
        server.stalls = True
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await ask(one)
    finally:
        await one.close()
    assert counted.ends == {"unreachable": 1, "busy": 1, "failed": 1, "answered": 3, "refused": 1, "cancelled": 1}
    assert counted.in_flight[server.url] == 0


# -- shared servers


class Shared(FakeServer):
    """Says that `waiting` requests wait; what it is asked takes `takes_s`."""

    def __init__(self, url: str = "http://gpu-0") -> None:
        super().__init__(url)
        self.waiting, self.takes_s = 0, 30.0

    async def metrics(self) -> str:
        return f"vllm:num_requests_waiting {self.waiting}\nvllm:kv_cache_usage_perc 0.1\n"

    async def _say(self) -> None:
        await asyncio.sleep(self.takes_s)


@asynccontextmanager
async def lent(server: Shared) -> AsyncIterator[Fleet]:
    """One shared server with one seat, which it has given."""
    one = fleet_of(server)
    one.share(HighMarks(waiting=4, kv_usage=0.8), most=1, seed="test")
    await one.open()
    try:
        yield one
    finally:
        await one.close()


async def seated(one: Fleet, **body: Any) -> CompletionBody:
    ask: Any = SimpleNamespace(ask_id="draw", impression=SimpleNamespace(user=SimpleNamespace(user_id="user")))
    async with one.seat(ask):
        return await one.ask(ask.ask_id, "user", body, {})


@jumping
async def test_a_server_that_yields_writes_no_more_for_us_within_a_second() -> None:
    server = Shared()
    async with lent(server) as one:
        drawing = asyncio.create_task(seated(one, max_tokens=160))
        await until(lambda: server.num_pending == 1)
        server.waiting, busy_s = 9, now_s()
        with pytest.raises(Withdrawn, match="http://gpu-0 is left to others"):
            await drawing
        assert now_s() - busy_s <= 1.0
        assert (server.num_pending, one.why_not) == (0, {"http://gpu-0": ""})  # nor is the server blamed


@jumping
async def test_a_draw_is_withdrawn_once_so_that_it_ends_on_a_server_that_is_often_busy() -> None:
    server = Shared()
    async with lent(server) as one:
        for num_asked in (1, 2):
            server.waiting = 0
            drawing = asyncio.create_task(seated(one, max_tokens=160))
            await until(lambda want=num_asked: server.num_asked == want)  # type: ignore[misc]
            server.waiting = 9
            if num_asked == 1:
                with pytest.raises(Withdrawn):
                    await drawing
        assert await drawing == ANSWER


@jumping
async def test_a_request_of_one_token_is_finished_and_so_is_a_draw_that_has_a_deadline_first() -> None:
    server = Shared()
    async with lent(server) as one:
        drawing = asyncio.create_task(seated(one, max_tokens=1))
        await until(lambda: server.num_pending == 1)
        server.waiting = 9
        assert await drawing == ANSWER
        server.waiting = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await seated(one, max_tokens=160)
