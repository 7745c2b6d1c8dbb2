"""Servers that others use too, which tell their load as scripted, and a clock that jumps."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.fakes import jumping, until
from tests.support.patience import cpu_slowness
from worker.core.resilience.spare_seats import HighMarks
from worker.engines.remote.client import Unreachable
from worker.engines.remote.server_load import ScrapedLoad
from worker.engines.remote.spare_capacity import SpareCapacity

WAITING, SIZE = "vllm:num_requests_waiting", 4_000_000  # the most that is read of an answer

MARKS = HighMarks(waiting=4, kv_usage=0.8)


class Shared:
    """A server that says how many requests wait; `page` overrides what it says, `late` says nothing."""

    def __init__(self, url: str = "http://gpu-0") -> None:
        self.url, self.waiting, self.page, self.late, self.gone = url, 0, "", False, False

    async def metrics(self) -> str:
        if self.late:
            await asyncio.Event().wait()
        if self.gone:
            raise Unreachable("no connection", begun=False)
        return self.page or f"vllm:num_requests_waiting {self.waiting}\nvllm:kv_cache_usage_perc 0.1\n"


class Told:
    """Who counts seats: those of each server now."""

    def __init__(self) -> None:
        self.yielding: dict[str, bool] = {}
        self.seats: dict[str, int] = {}

    def server_yields(self, url: str, *, yields: bool, seats: int) -> None:
        self.yielding[url], self.seats[url] = yields, seats


class Draws:
    """Draws of many users, one after the other in each of `number` tasks; each takes 0.2 s."""

    def __init__(self, spare: SpareCapacity) -> None:
        self._spare, self.num_running, self.began_s = spare, 0, list[float]()

    async def run(self, number: int) -> None:
        while url := await self._spare.take(f"u{number}"):
            self.began_s.append(now_s())
            self.num_running += 1
            await asyncio.sleep(0.2)
            self.num_running -= 1
            self._spare.give(url)


def now_s() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def shared(*servers: Shared, told: Told, most: int = 32, num_tasks: int = 64) -> AsyncIterator[Draws]:
    some: Any = servers
    watch: Any = told
    up = [one.url for one in servers]
    spare = SpareCapacity(list(some), MARKS, watch, most=most, seed="test", up=lambda: up)
    draws = Draws(spare)
    spare.open()
    tasks = [asyncio.create_task(draws.run(number)) for number in range(num_tasks)]
    try:
        yield draws
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await spare.close()


@jumping
async def test_within_a_second_no_more_draws_are_sent_and_they_return_in_steps() -> None:
    server, told = Shared(), Told()
    async with shared(server, told=told) as draws:
        await until(lambda: told.seats[server.url] == 32)
        await asyncio.sleep(3)  # it bears them
        server.waiting, busy_s = 9, now_s()
        await asyncio.sleep(20)
        assert max(draws.began_s) <= busy_s + 1.0
        assert (draws.num_running, told.yielding[server.url]) == (0, True)
        server.waiting, idle_s = 0, now_s()
        seen = []
        while told.seats[server.url] < 32:
            await asyncio.sleep(0.1)
            seen.append(told.seats[server.url])
            assert draws.num_running <= max(1, *seen[-4:])
        first = next(number for number, seats in enumerate(seen) if seats)
        assert (seen[first], 0.1 * first >= 0.9) == (32 // 8, True)  # a second of calm
        assert now_s() - idle_s > 2.0  # and no herd
        assert min(one for one in draws.began_s if one > busy_s + 1.0) > idle_s


@jumping
async def test_what_waits_goes_to_a_server_with_room() -> None:
    (busy, idle), told = (Shared("http://gpu-0"), Shared("http://gpu-1")), Told()
    busy.waiting = 9
    async with shared(busy, idle, told=told, most=4) as draws:
        await until(lambda: told.seats[idle.url] == 4)
        await asyncio.sleep(1)
        assert (told.seats[busy.url], draws.num_running) == (0, 4)


@pytest.mark.parametrize("fault", ["late", "gone", "nan", "something else"])
def test_a_server_that_no_longer_tells_its_load_is_left_alone(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    @jumping
    async def scenario() -> None:
        server, told = Shared(), Told()
        async with shared(server, told=told, most=4) as draws:
            await until(lambda: told.seats[server.url] == 4)
            server.late, server.gone = fault == "late", fault == "gone"
            nan = "vllm:num_requests_waiting NaN\nvllm:kv_cache_usage_perc 0.1\n"
            server.page = {"nan": nan, "something else": "<html>"}.get(fault, "")
            await asyncio.sleep(4.5)
            assert (told.seats[server.url], draws.num_running) == (0, 0)

    with caplog.at_level(logging.INFO):
        scenario()
    assert "http://gpu-0: left to others: it tells no load that can be read; its draws wait" in caplog.text


@jumping
async def test_the_begin_and_the_end_are_each_a_line_and_no_more() -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("worker.engines.remote.spare_capacity")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    server, told = Shared(), Told()
    try:
        async with shared(server, told=told, most=4):
            await until(lambda: told.seats[server.url] == 4)
            server.waiting = 9
            await asyncio.sleep(10)
            server.waiting = 0
            await asyncio.sleep(10)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert lines == [
        "http://gpu-0: has room for us again",
        "http://gpu-0: left to others: 9 requests wait there, want at most 4; its draws wait",
        "http://gpu-0: has room for us again",
    ]


@jumping
async def test_without_a_server_that_is_up_a_draw_is_let_through_to_fail() -> None:
    watch: Any = Told()
    spare = SpareCapacity([], MARKS, watch, most=4, seed="test", up=list)
    assert await spare.take("u1") == ""


def test_of_several_engines_the_worst_cache_counts_and_nan_is_seen() -> None:
    page = 'vllm:num_requests_waiting{engine="0"} 1\nvllm:kv_cache_usage_perc{engine="0"} 0.5\n'
    page += 'vllm:kv_cache_usage_perc{engine="1"} NaN 1700000000000\n'
    found = ScrapedLoad.read(page)
    assert found is not None
    assert math.isnan(found.kv_usage)
    assert not found.load(None).is_known


@pytest.mark.parametrize(
    "page",
    [
        f"{WAITING} {'x' * SIZE} y",
        f"{WAITING} 1{' ' * SIZE}x",
        f"{WAITING}{{{'} ' * (SIZE // 2)}",
        f"{WAITING} 1{chr(10) * SIZE}x",
        f"{WAITING} 1\n" * (SIZE // 30),
    ],
    ids=["value", "blanks", "braces", "lines", "series"],
)
def test_no_page_of_metrics_keeps_the_loop_long(page: str) -> None:
    """A server may be anybody's, and its page is read in the event loop twice a second."""
    took_s = []
    for _ in range(3):
        start_s = time.thread_time()
        assert ScrapedLoad.read(page) is None
        took_s.append(time.thread_time() - start_s)
    assert min(took_s) < 0.05 * cpu_slowness()
