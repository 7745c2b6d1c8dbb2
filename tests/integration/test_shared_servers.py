"""A real `vllm serve` that others use too: what our draws cost them, and how much of what is idle we use.

Foreground requests arrive at random, all through; our draws run in every second span only (paired in one run).
Capacity is what each gets with the server to itself: idle is what the foreground leaves of it.
"""

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.support.harness import Tell
from tests.support.patience import patience
from tests.support.served import TOKEN, Served
from worker.core.service_requests import Unwatched
from worker.core.simulation.draws import Ask
from worker.core.simulation.questions import Status
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.settings import Settings, prompt_profiles

from .test_engines import asks_of, some_impressions

PROMPT_TOKENS, MAX_TOKENS = 100, 24  # of a foreground request
SPAN_S, SETTLE_S, NUM_PAIRS = 20.0, 10.0, 3  # a span, its beginning that is left out, and how often both are had
SHARE = 0.3  # of the server's capacity that the foreground takes
NUM_DRAWS = 64  # that wait for a seat or run
NUM_FULL = 32  # foreground requests at once that take all of the server
BURST = 80  # foreground requests at once: more than the server runs


@dataclass
class Foreground:
    """Others' requests, which are streamed: time per token of each, by when it ended."""

    client: httpx2.AsyncClient
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    ended: list[tuple[float, float]] = field(default_factory=list)

    async def one(self) -> None:
        body = {
            "model": "mirror-tiny", "prompt": [self.chance.randrange(300, 900) for _ in range(PROMPT_TOKENS)],
            "max_tokens": MAX_TOKENS, "min_tokens": MAX_TOKENS, "ignore_eos": True, "temperature": 1.0, "stream": True,
        }  # fmt: skip
        times: list[float] = []
        async with self.client.stream("POST", "/v1/completions", json=body) as response:
            assert response.status_code == 200
            async for line in response.aiter_lines():
                times += [time.monotonic()] * _has_token(line)
        self.ended.append((times[-1], (times[-1] - times[0]) / (MAX_TOKENS - 1)))

    async def arrive(self, per_s: float) -> None:
        """Send requests at random, independent of how fast they are answered."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self.chance.expovariate(per_s))
                group.create_task(self.one())

    async def saturate(self) -> None:
        """Send as many as the server runs."""
        async with asyncio.TaskGroup() as group:
            for _ in range(NUM_FULL):
                group.create_task(self._again())

    async def _again(self) -> None:
        while True:
            await self.one()

    def per_token_s(self, since_s: float) -> list[float]:
        return [each for at_s, each in self.ended if at_s >= since_s]


def _has_token(line: str) -> bool:
    return line.startswith("data: {") and bool(json.loads(line[6:])["choices"])


@dataclass
class Draws(Unwatched):
    """Our draws, without end, each admitted as a worker's are; and what is counted of seats."""

    engine: VllmServerEngine
    asks: Iterator[Ask]
    began_s: list[float] = field(default_factory=list)
    ended_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(NUM_DRAWS):
                group.create_task(self._again())

    async def _again(self) -> None:
        while True:
            ask = next(self.asks)
            async with self.engine.admitted(ask):
                self.began_s.append(time.monotonic())
                assert (await self.engine.draw(ask)).status in {Status.OK, Status.LENGTH}
                self.ended_s.append(time.monotonic())


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
        assert not task.done(), task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Print a figure, also when the test passes."""

    def line(what: str, value: float) -> None:
        with capsys.disabled():
            print(f"\n{what}: {value:.4g}", flush=True)

    return line


@pytest.fixture(scope="module")
def sharing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One `vllm serve` with priorities."""
    log = tmp_path_factory.mktemp("shared") / "serve.log"
    with Served(log, flags=["--scheduling-policy=priority"]) as served:
        served.until_ready()
        yield served


def settings_for(settings: Settings, served: Served, tmp_path: Path, **changes: Any) -> Settings:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    ours = {
        "engine": "vllm-server",
        "server_urls": [served.url],
        "server_auth_file": token,
        "server_priority": 10,
        "max_tokens": 48,
    }
    return settings.model_copy(update={**ours, "server_sharing": "shared", **changes})


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[Draws]:
    engine = VllmServerEngine(settings, prompt_profiles.load(settings.prompt_profile))
    await engine.start()
    try:
        asks = [ask for one in some_impressions(40) for ask in asks_of(one, engine, settings)]
        endless = (replace(ask, ask_id=str(number)) for number, ask in enumerate(itertools.cycle(asks)))
        yield Draws(engine, endless)
    finally:
        await engine.stop()


@pytest.mark.long
@pytest.mark.parametrize("mark", [None, 1.3])
async def test_what_draws_cost_the_foreground_and_what_they_use(
    vllm_settings: Settings, sharing: Served, tmp_path: Path, tell: Tell, mark: float | None
) -> None:
    """`mark`: time per token above which the server is left alone, as a multiple of the foreground's own."""
    auth = {"Authorization": f"Bearer {TOKEN}"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=sharing.url, headers=auth, limits=limits, timeout=patience(120)) as client:
        foreground = Foreground(client)
        full = await _full(foreground)
        async with running(foreground.arrive(SHARE * full)):
            await asyncio.sleep(SETTLE_S)
            began_s = time.monotonic()
            await asyncio.sleep(SPAN_S)
            alone_s = float(np.mean(foreground.per_token_s(began_s)))
        token_s = None if mark is None else mark * alone_s
        async with started(settings_for(vllm_settings, sharing, tmp_path, server_max_token_s=token_s)) as draws:
            ours_s = await _alone(vllm_settings, sharing, tmp_path)
            apart: dict[bool, list[float]] = {False: [], True: []}
            num_draws = num_foreground = 0
            async with running(foreground.arrive(SHARE * full)):
                for number in range(2 * NUM_PAIRS):
                    has_draws = number % 4 in {1, 2}
                    async with running(draws.run() if has_draws else asyncio.sleep(1e6)):
                        await asyncio.sleep(SETTLE_S)
                        since_s, before = time.monotonic(), len(draws.ended_s)
                        await asyncio.sleep(SPAN_S)
                        apart[has_draws] += (found := foreground.per_token_s(since_s))
                        num_draws += len(draws.ended_s) - before
                        num_foreground += len(found) * has_draws
            idle = 1 - num_foreground / (NUM_PAIRS * SPAN_S) / full
            used = num_draws / (NUM_PAIRS * SPAN_S) / ours_s
            of = f"(token mark {mark}) "
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                without, under = (float(np.quantile(apart[one], share)) for one in (False, True))
                tell(f"{of}foreground {name} time per token without draws, ms", 1000 * without)
                tell(f"{of}foreground {name} time per token with draws, ms", 1000 * under)
                tell(f"{of}foreground {name} ratio", under / without)
            tell(f"{of}foreground requests without and with, each at least", min(map(len, apart.values())))
            tell(f"{of}foreground at full load, requests/s", full)
            tell(f"{of}draws alone, draws/s", ours_s)
            tell(f"{of}share that is idle", idle)
            tell(f"{of}share of idle that draws use", used / idle)
            assert min(map(len, apart.values())) > 10
            if mark is None:
                assert num_draws > 0
            await _yields(draws, foreground, tell)


async def _full(foreground: Foreground) -> float:
    """Return requests per second of the foreground with the server to itself."""
    async with running(foreground.saturate()):
        await asyncio.sleep(SETTLE_S)
        since_s = time.monotonic()
        await asyncio.sleep(SPAN_S)
        found = foreground.per_token_s(since_s)
    assert found, "the foreground got no answer"
    return len(found) / SPAN_S


async def _alone(settings: Settings, served: Served, tmp_path: Path) -> float:
    """Return draws per second of a server that is ours alone."""
    async with started(settings_for(settings, served, tmp_path, server_sharing="off")) as draws, running(draws.run()):
        await asyncio.sleep(SETTLE_S)
        before = len(draws.ended_s)
        await asyncio.sleep(SPAN_S)
        num_ended = len(draws.ended_s) - before
    assert num_ended, f"no draw ended within {SPAN_S:.0f} s: the machine has too much else to do"
    return num_ended / SPAN_S


async def _yields(draws: Draws, foreground: Foreground, tell: Tell) -> None:
    """See that no draw begins a second after more requests have come than the server runs."""
    async with running(draws.run()):
        await asyncio.sleep(SETTLE_S)
        burst_s = time.monotonic()
        burst = [asyncio.create_task(foreground.one()) for _ in range(2 * BURST)]
        await asyncio.sleep(0.1)
        ended_s = time.monotonic()
        while not all(one.done() for one in burst[:BURST]):
            await asyncio.sleep(0.05)
            ended_s = time.monotonic()
        late = [at_s - burst_s for at_s in draws.began_s if burst_s + 1.5 < at_s < ended_s]
        tell("burst: draws that began later than 1.5 s into it", len(late))
        tell("burst: last draw that began, after", max(at_s - burst_s for at_s in draws.began_s if at_s < ended_s))
        await asyncio.gather(*burst)


@pytest.mark.long
async def test_a_server_without_priorities_takes_the_field(
    vllm_settings: Settings, served: Served, tmp_path: Path
) -> None:
    """Of vLLM 0.32, whatever its own reference says: it does nothing with it."""
    async with started(settings_for(vllm_settings, served, tmp_path, server_sharing="off")) as draws:
        assert (await draws.engine.draw(next(draws.asks))).status is Status.OK
