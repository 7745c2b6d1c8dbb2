"""The contenders that ask an LLM; all but vLLM's offline engine share one engine, and take turns.

    generate    vLLM's offline LLM.generate, both passes, everything at once
    reference   the reference framework's loop on it: batches by number of options, pass 1 of a batch, then pass 2
    async       AsyncLLM with tokens that are ready and the worker's window, no Kafka: the ceiling
    unseeded    the same without a seed per draw
    one-pass    the same with log-probabilities of the letters at every step instead of a second pass
    barrier     a consumer that asks for `max_num_seqs` draws and waits for all of them
    worker      the worker on Kafka, exactly once, 1 % of the spans sampled
    seats       the same with a number of seats that stays, 1.25 times `max_num_seqs`
    unranked    the same without an order in vLLM's queue: first come, first served

Kafka runs during all of them, and the prefix cache is empty at the start of each.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace

from worker.bench.harness.processes import cpu_s, forget_peaks, peak_bytes, tree
from worker.bench.harness.rounds import Measured, turns
from worker.bench.model import prefix_cache
from worker.bench.model.engine import BenchEngine
from worker.bench.model.load import Lengths, Load, make
from worker.bench.model.offline import Offline, offline
from worker.bench.model.roofline import TokenLoad
from worker.bench.model.stream import InputStream, staged, stream
from worker.core.errors import Fatal
from worker.core.simulation.draws import Ask
from worker.pipeline.concurrency_gate import ConcurrencyGate
from worker.runtime import pipeline_config
from worker.settings import Settings, prompt_profiles

CONTENDERS = ("generate", "reference", "async", "unseeded", "one-pass", "barrier", "worker", "seats", "unranked")
OFFLINE = {"generate": "all", "reference": "groups"}
CACHE_FIGURES = (
    "second_pass_cached_share", "pair_prompt_token_share", "pair_prompt_token_share_ideal",
    "pair_prompt_token_share_over_ideal",
)  # fmt: skip
WITHOUT = {"worker": {}, "seats": {"seats": True}, "unranked": {"ranks": True}}  # what the worker does


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rounds run on."""

    settings: Settings
    engine: BenchEngine
    load: Load
    stage: InputStream
    done: list[TokenLoad] = field(default_factory=list)  # by the worker, a round each


@dataclass(frozen=True, slots=True)
class Ran:
    """What one contender did in one round."""

    seconds: float
    cpu_s: float  # all its processes
    prompt_tokens: int  # of both passes
    cached_tokens: int  # of them
    figures: Mapping[str, float] = field(default_factory=dict)


@asynccontextmanager
async def started(settings: Settings, *, events: int, median: int, embedded: bool) -> AsyncIterator[Bench]:
    """Start the engine and send the events."""
    engine = BenchEngine(settings, prompt_profiles.load(settings.prompt_profile), Lengths(median))
    await engine.start()
    try:
        load = make(pipeline_config.asking(settings, engine), events=events)
        with staged(settings, load, embedded=embedded) as stage:
            yield Bench(settings, engine, load, stage)
    finally:
        await engine.stop()


async def run_rounds(
    bench: Bench, found: list[Measured], *, rounds: int, contenders: tuple[str, ...], say: Callable[[str], None]
) -> None:
    """Run the contenders in turns, each round beginning with another one; adds to `found` as it goes."""
    needs_offline = any(name in OFFLINE for name in contenders)
    with offline(bench.engine, bench.load) if needs_offline else nullcontext() as process:
        for number in range(rounds):
            for name in turns(contenders, number):
                await bench.engine.forget()
                found.append(await _measure(bench, process, name, number))
                say(f"round {number + 1} of {rounds}, {name}: {found[-1].events_per_s:.2f} events/s")


async def _measure(bench: Bench, process: Offline | None, name: str, number: int) -> Measured:
    pids = _pids(process, offline=name in OFFLINE)
    forget_peaks(pids)
    ran = await _run(bench, process, name, number, pids)
    num_events = len(bench.load.asks)
    figures = {
        "cpu_s_per_event": ran.cpu_s / num_events,
        "peak_bytes": peak_bytes(pids),
        "prompt_tokens_computed": ran.prompt_tokens - ran.cached_tokens,
        "prompt_tokens_cached": ran.cached_tokens,
    }
    return Measured(name, number, num_events, ran.seconds, {**figures, **ran.figures})


async def _run(bench: Bench, process: Offline | None, name: str, number: int, pids: Sequence[int]) -> Ran:
    """Run one contender over the load."""
    engine = bench.engine
    if name in WITHOUT:
        with engine.without(**WITHOUT[name]):
            return await _worker(bench, f"{name}-{number}", pids)
    used_s, started_s = cpu_s(pids), time.monotonic()
    if name in OFFLINE:
        assert process is not None
        seconds, prompt_tokens, cached_tokens = await asyncio.to_thread(process.run, OFFLINE[name])
        return Ran(seconds, cpu_s(pids) - used_s, round(prompt_tokens), round(cached_tokens))
    await WAYS[name](bench)
    seconds = time.monotonic() - started_s
    return Ran(seconds, cpu_s(pids) - used_s, engine.prompt_tokens, engine.cached_tokens)


def _pids(process: Offline | None, *, offline: bool) -> list[int]:
    """List a contender's processes: the engine's core is one of its own, and so is the offline engine."""
    theirs = tree(process.pid) if process else []
    return theirs if offline else [pid for pid in tree(os.getpid()) if pid not in theirs]


async def _all_at_once(bench: Bench, asks: Sequence[Ask], one: Callable[[Ask], Awaitable[None]]) -> None:
    gate = ConcurrencyGate(pipeline_config.max_draws(bench.settings, bench.engine))  # the worker's window
    bench.engine.on_step(gate.update)

    async def in_turn(ask: Ask) -> None:
        async with gate:
            await one(ask)

    await asyncio.gather(*map(in_turn, asks))


async def _async(bench: Bench) -> None:
    await _all_at_once(bench, bench.load.draws, bench.engine.write_then_choose)


async def _unseeded(bench: Bench) -> None:
    asks = [replace(ask, seed=None) for ask in bench.load.draws]
    await _all_at_once(bench, asks, bench.engine.write_then_choose)


async def _one_pass(bench: Bench) -> None:
    await _all_at_once(bench, bench.load.draws, bench.engine.write_and_choose)


async def _barrier(bench: Bench) -> None:
    draws, size = bench.load.draws, bench.settings.max_num_seqs
    for start in range(0, len(draws), size):
        await asyncio.gather(*map(bench.engine.write_then_choose, draws[start : start + size]))


WAYS = {"async": _async, "unseeded": _unseeded, "one-pass": _one_pass, "barrier": _barrier}


async def _worker(bench: Bench, run: str, pids: Sequence[int]) -> Ran:
    streamed, engine = await stream(bench.stage, bench.engine, run, pids), bench.engine
    if streamed.missing or streamed.duplicates:
        found = f"{streamed.missing} responses are missing, {streamed.duplicates} are duplicates"
        message = f"bench: {found}; the figures are not valid"
        raise Fatal(message)
    require_sound(engine, len(bench.load.draws), failed=streamed.failed)
    bench.done.append(engine.done_tokens(bench.settings.max_num_seqs))
    tokens = (engine.prompt_tokens, engine.cached_tokens)
    return Ran(streamed.seconds, streamed.cpu_s, *tokens, _cache_figures(bench))


def require_sound(engine: BenchEngine, num_draws: int, *, failed: int) -> None:
    """Raise `Fatal` if answers failed, or draws were asked more than once since the round began."""
    again = sum(not one.second for one in engine.noted) - num_draws
    if failed or again:
        raise Fatal(f"bench: {failed} responses failed and {again} draws were retried; the figures are not valid")


def _cache_figures(bench: Bench) -> dict[str, float]:
    noted, block = bench.engine.noted, bench.engine.block_size
    prompts = [ask.prompt_ids for ask in bench.load.draws]
    computed, ideal = prefix_cache.first_pass_computed(noted), prefix_cache.ideal_computed(prompts, block=block)
    whole = sum(map(len, prompts))
    share = prefix_cache.second_pass_share(noted, block=block)
    return dict(zip(CACHE_FIGURES, (share, computed / whole, ideal / whole, computed / ideal), strict=True))
