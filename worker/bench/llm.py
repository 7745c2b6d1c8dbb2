"""The contenders that ask an LLM; all but vLLM's offline engine share one engine, and take turns.

    generate    vLLM's offline LLM.generate, both passes, everything at once
    reference   the reference framework's loop on it: batches by number of options, pass 1 of a batch, then pass 2
    async       AsyncLLM with tokens that are ready and the worker's window, no Kafka: the ceiling
    unseeded    the same without a seed a draw
    one-pass    the same with log-probabilities of the letters at every step instead of a second pass
    barrier     a consumer that asks for `max_num_seqs` draws and waits for all of them
    worker      the worker on Kafka, exactly once, 1 % of the spans sampled

Kafka runs during all of them, and the prefix cache is empty at the start of each.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace

from worker import configured, profiles
from worker.bench import cached
from worker.bench.engine import BenchEngine
from worker.bench.load import Lengths, Load, make
from worker.bench.offline import Offline, offline
from worker.bench.processes import cpu_s, memory_bytes, tree
from worker.bench.roofline import Tokens
from worker.bench.rounds import Measured, turns
from worker.bench.stream import Stage, staged, stream
from worker.draws import Ask
from worker.errors import Fatal
from worker.settings import Settings

CONTENDERS = ("generate", "reference", "async", "unseeded", "one-pass", "barrier", "worker")
OFFLINE = frozenset({"generate", "reference"})


@dataclass(frozen=True, slots=True)
class Bench:
    """What the rounds run on."""

    settings: Settings
    engine: BenchEngine
    load: Load
    stage: Stage
    done: list[Tokens] = field(default_factory=list)  # by the worker, a round each


@asynccontextmanager
async def started(settings: Settings, *, events: int, median: int, embedded: bool) -> AsyncIterator[Bench]:
    """Start the engine and send the events."""
    engine = BenchEngine(settings, profiles.load(settings.prompt_profile), Lengths(median))
    await engine.start()
    try:
        load = make(configured.asking(settings, engine), events=events)
        with staged(settings, load, embedded=embedded) as stage:
            yield Bench(settings, engine, load, stage)
    finally:
        await engine.stop()


async def run_rounds(
    bench: Bench, *, rounds: int, contenders: tuple[str, ...], say: Callable[[str], None]
) -> list[Measured]:
    """Let the contenders take turns; each round begins with another one."""
    found: list[Measured] = []
    needs_offline = not OFFLINE.isdisjoint(contenders)
    with offline(bench.engine, bench.load) if needs_offline else nullcontext() as process:
        for number in range(rounds):
            for name in turns(contenders, number):
                await bench.engine.forget()
                found.append(await _measure(bench, process, name, number))
                say(f"round {number + 1} of {rounds}, {name}: {found[-1].events_per_s:.2f} events/s")
    return found


async def _measure(bench: Bench, process: Offline | None, name: str, number: int) -> Measured:
    pids = _pids(process, offline=name in OFFLINE)
    before_s = cpu_s(pids)
    seconds, figures = await _run(bench, process, name, number)
    num_events = len(bench.load.asks)
    costs = {"cpu_s_per_event": (cpu_s(pids) - before_s) / num_events, "memory_bytes": memory_bytes(pids)}
    return Measured(name, number, num_events, seconds, {**costs, **figures})


async def _run(bench: Bench, process: Offline | None, name: str, number: int) -> tuple[float, dict[str, float]]:
    """Return the seconds that one contender takes, and what else is known of it."""
    if name == "worker":
        return await _worker(bench, number)
    if name in OFFLINE:
        assert process is not None
        return await asyncio.to_thread(process.run, "all" if name == "generate" else "groups"), {}
    started_s = time.monotonic()
    await WAYS[name](bench)
    return time.monotonic() - started_s, {}


def _pids(process: Offline | None, *, offline: bool) -> list[int]:
    """List a contender's processes: the engine's core is one of its own, and so is the offline engine."""
    theirs = tree(process.pid) if process else []
    return theirs if offline else [pid for pid in tree(os.getpid()) if pid not in theirs]


async def _all_at_once(bench: Bench, asks: Sequence[Ask], one: Callable[[Ask], Awaitable[None]]) -> None:
    slots = asyncio.Semaphore(configured.max_draws(bench.settings, bench.engine))

    async def in_turn(ask: Ask) -> None:
        async with slots:
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


async def _worker(bench: Bench, number: int) -> tuple[float, dict[str, float]]:
    streamed = await stream(bench.stage, bench.engine, f"round-{number}")
    noted, block = bench.engine.noted, bench.engine.block_size
    bench.done.append(bench.engine.done_tokens(bench.settings.max_num_seqs))
    prompts = [ask.prompt_ids for ask in bench.load.draws]
    computed, ideal = cached.first_pass_computed(noted), cached.ideal_computed(prompts, block=block)
    whole = sum(map(len, prompts))
    if streamed.missing or streamed.duplicates:
        message = f"bench: {streamed.missing} answers are missing and {streamed.duplicates} came twice; no figure holds"
        raise Fatal(message)
    figures = {
        "second_pass_cached_share": cached.second_pass_share(noted, block=block),
        "prompt_tokens": sum(one.prompt_tokens for one in noted),
        "cached_tokens": sum(one.cached_tokens for one in noted),
        "pair_prompt_token_share": computed / whole,
        "pair_prompt_token_share_ideal": ideal / whole,
        "pair_prompt_token_share_over_ideal": computed / ideal,
    }
    return streamed.seconds, figures
