"""A real `vllm serve` that others use too: what our draws cost them, and how much of what is idle we use.

    block    alone | open | gated       a window each, in random order; real traffic arrives at random all through
             alone   real traffic alone
             open    our draws with `server_priority` and nothing else
             gated   also with `server_max_token_s`, a little above what a token takes alone

Capacity is what each gets with the server to itself: idle is what real traffic leaves of it.  Noise of the machine is
shared by the windows of a block, so figures are compared within blocks, with a bootstrap over them.
"""

import asyncio
import itertools
import math
import os
import random
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.harness import Tell
from tests.support.patience import patience
from tests.support.real_traffic import RealTraffic, real_traffic
from tests.support.served import TOKEN, Served
from worker.core.errors import Withdrawn
from worker.core.service_requests import Unwatched
from worker.core.simulation.draws import Ask
from worker.core.simulation.questions import Status
from worker.engines.model_files import TINY
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.settings import Settings, prompt_profiles

from .test_engines import asks_of, some_impressions

pytestmark = pytest.mark.long
WINDOW_S, SETTLE_S = 6.0, 2.0  # of each window the beginning is left out
BLOCKS = int(os.environ.get("SHARED_BLOCKS", "12"))
SHARE = 0.3  # of the server's capacity that real traffic takes
NUM_DRAWS = 64  # that wait for a seat or run
MARK = 1.25  # of the time per token alone: above it the server is left alone
RESAMPLES = 1_000
WRITTEN = {Status.OK, Status.LENGTH}  # a rationale of 48 tokens is often cut off: the work is the same
ALONE = "alone"
Floats = NDArray[np.float64]


@dataclass
class Draws(Unwatched):
    """Our draws, without end, each admitted as a worker's are."""

    engine: VllmServerEngine
    asks: Iterator[Ask]
    began_s: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)
    has_ended: asyncio.Event = field(default_factory=asyncio.Event)  # one of them

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(NUM_DRAWS):
                group.create_task(self._again())

    async def _again(self) -> None:
        while True:
            ask = next(self.asks)
            async with self.engine.admitted(ask):
                self.began_s.append(time.monotonic())
                with suppress(Withdrawn):
                    assert (await self.engine.draw(ask)).status in WRITTEN
                    self.ended_s.append(time.monotonic())
                    self.has_ended.set()

    def num(self, since_s: float, until_s: float) -> int:
        """Return how many draws ended in between."""
        return sum(since_s <= at_s < until_s for at_s in self.ended_s)


@dataclass(frozen=True, slots=True)
class Window:
    """What one contender had in one block."""

    per_token_s: list[float]  # of each request of real traffic
    num_draws: int


@asynccontextmanager
async def running(work: Any) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(work)
    try:
        yield task
        if task.done():
            task.result()  # raises what ended it
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def started(settings: Settings, served: Served, tmp_path: Path, **changes: Any) -> AsyncIterator[Draws]:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    ours = {
        "engine": "vllm-server", "server_urls": [served.url], "server_auth_file": token, "server_priority": 10,
        "max_tokens": 48,
    }  # fmt: skip
    own = settings.model_copy(update=ours | changes)
    engine = VllmServerEngine(own, prompt_profiles.load(own.prompt_profile))
    await engine.start()
    try:
        asks = [ask for one in some_impressions(40) for ask in asks_of(one, engine, own)]
        endless = (replace(ask, ask_id=str(number)) for number, ask in enumerate(itertools.cycle(asks)))
        yield Draws(engine, endless)
    finally:
        await engine.stop()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a figure, also when the test passes."""

    def line(what: str, value: float) -> None:
        with capsys.disabled():
            print(f"\n{what}: {value:.4g}", flush=True)

    return line


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One `vllm serve` with priorities; its engine has one thread, so that a core is left to whoever asks."""
    log = tmp_path_factory.mktemp("shared") / "serve.log"
    with Served(log, flags=["--scheduling-policy=priority"], variables={"OMP_NUM_THREADS": "1"}) as served:
        served.until_ready()
        yield served


async def test_what_draws_cost_real_traffic_and_what_they_use(
    vllm_settings: Settings, sharing: Served, tmp_path: Path, tell: Tell
) -> None:
    with real_traffic(sharing.url, TINY, TOKEN, per_s=0.0) as everything:
        full_per_s = len(everything.per_token_s(*await _window())) / WINDOW_S
    tell("real traffic with the server to itself, requests/s", full_per_s)
    with real_traffic(sharing.url, TINY, TOKEN, per_s=SHARE * full_per_s) as traffic:
        alone = traffic.per_token_s(*await _window())
        assert alone, "no request of real traffic ended within a window: other work leaves no CPU to measure with"
        alone_s = float(np.mean(alone))
        tell("real traffic alone, ms per token, mean", 1_000 * alone_s)
    changes: dict[str, dict[str, Any]] = {
        "open": {"server_sharing": "off"},
        "gated": {"server_sharing": "shared", "server_max_token_s": MARK * alone_s},
    }
    async with AsyncExitStack() as stack:
        contenders = {
            name: await stack.enter_async_context(started(vllm_settings, sharing, tmp_path, **own))
            for name, own in changes.items()
        }
        async with running(contenders["open"].run()) as drawing:
            first = asyncio.ensure_future(contenders["open"].has_ended.wait())
            await asyncio.wait({drawing, first}, timeout=patience(60), return_when=asyncio.FIRST_COMPLETED)
            assert first.done(), "no draw was answered"
            ours_per_s = contenders["open"].num(*await _window()) / WINDOW_S
        tell("draws with the server to themselves, draws/s", ours_per_s)
        traffic = stack.enter_context(real_traffic(sharing.url, TINY, TOKEN, per_s=SHARE * full_per_s))
        blocks = [await _block(contenders, traffic, number) for number in range(BLOCKS)]
    for name in contenders:
        found = Shared.of(blocks, name, full_per_s=full_per_s, ours_per_s=ours_per_s)
        for what, figure in found.told().items():
            tell(f"{name}: {what}", figure)
        assert found.num > 0
        assert found.used[0] > 0, "draws were answered beside real traffic"


async def _window() -> tuple[float, float]:
    """Let what was begun settle, then wait for a window; return when it began and ended."""
    await asyncio.sleep(SETTLE_S)
    begin_s = time.monotonic()
    await asyncio.sleep(WINDOW_S)
    return begin_s, time.monotonic()


async def _block(contenders: Mapping[str, Draws], traffic: RealTraffic, number: int) -> dict[str, Window]:
    """Give each contender a window, and real traffic one alone, in random order."""
    found = {}
    for name in random.Random(number).sample([ALONE, *contenders], 1 + len(contenders)):
        draws = contenders.get(name)
        async with running(draws.run() if draws else asyncio.sleep(math.inf)):
            span = await _window()
        found[name] = Window(traffic.per_token_s(*span), draws.num(*span) if draws else 0)
    return found


@dataclass(frozen=True, slots=True)
class Shared:
    """What a contender cost real traffic beside its own windows alone, and used of what that left; by resample."""

    p99: Floats  # time per token over that alone
    p50: Floats
    used: Floats  # share of what is idle
    alone_ms: float
    with_ms: float
    num: int  # requests of real traffic in its windows

    @classmethod
    def of(cls, blocks: Sequence[Mapping[str, Window]], name: str, *, full_per_s: float, ours_per_s: float) -> "Shared":
        """Sum up, first over all blocks and then over blocks that are drawn from them."""
        chance, p99, p50, used = np.random.default_rng(1), [], [], []
        for resample in range(1 + RESAMPLES):
            drawn = chance.integers(0, len(blocks), len(blocks)) if resample else np.arange(len(blocks))
            some = [blocks[int(one)] for one in drawn]
            alone, ours = (np.concatenate([one[of].per_token_s for one in some]) for of in (ALONE, name))
            p99.append(np.quantile(ours, 0.99) / np.quantile(alone, 0.99))
            p50.append(np.quantile(ours, 0.5) / np.quantile(alone, 0.5))
            idle = 1 - ours.size / (len(some) * WINDOW_S) / full_per_s
            used.append(sum(one[name].num_draws for one in some) / (len(some) * WINDOW_S) / ours_per_s / idle)
            if not resample:
                alone_ms, with_ms = (1_000 * float(np.quantile(of, 0.99)) for of in (alone, ours))
                num = ours.size
        return cls(np.array(p99), np.array(p50), np.array(used), alone_ms, with_ms, num)

    def told(self) -> dict[str, float]:
        """Return the figures, each with its 90 % interval."""
        told = {"requests of real traffic": float(self.num), "p99 alone, ms": self.alone_ms, "p99, ms": self.with_ms}
        for name, each in (("p99 over alone", self.p99), ("p50 over alone", self.p50), ("used of idle", self.used)):
            low, high = np.quantile(each[1:], (0.05, 0.95))
            told |= {name: float(each[0]), f"{name}, from": float(low), f"{name}, to": float(high)}
        return told
