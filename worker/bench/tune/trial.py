"""One trial: an engine of some settings in a process of its own, timed and asked.

    python -m worker.bench.tune.trial
    <- {"settings": {...}, "shape": null, "events": 40, "median": 32, "natural": true, "texts": null | {draw: text}}
    -> {"seconds": ..., "given": {duel: [share, ...]}, "own": {...}, "tops": {draw: option}, "texts": {...}, ...}

The speed is of draws with lengths that are forced, the answers are of rationales that end where the model ends them.
Without texts, the trial's own are the ones after which the letters are read.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from worker.bench.model import random_weights
from worker.bench.model.engine import BenchEngine
from worker.bench.model.load import Lengths, make
from worker.core.errors import Fatal
from worker.core.simulation.draws import Ask, Drawn, by_option
from worker.core.simulation.questions import Kind, Status
from worker.core.simulation.uncertainty import duel_share
from worker.pipeline.concurrency_gate import ConcurrencyGate
from worker.runtime import pipeline_config
from worker.settings import Settings, load, prompt_profiles

WARM_UP_DRAWS = 8
Draw = Callable[[Ask], Awaitable[Drawn]]


async def measure(work: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Start the engine and run the trial.  Raises `Fatal`."""
    engine = BenchEngine(settings, prompt_profiles.load(settings.prompt_profile), Lengths(work["median"]))
    await engine.start()
    try:
        asks = make(pipeline_config.asking(settings, engine), events=work["events"]).draws
        await _all(settings, engine, asks[:WARM_UP_DRAWS], engine.draw)
        await engine.forget()
        started_s = time.monotonic()
        drawn = await _all(settings, engine, asks, engine.draw)
        seconds = time.monotonic() - started_s
        _require_answers(drawn)
        with engine.natural() if work["natural"] else nullcontext():
            own = await _all(settings, engine, asks, engine.draw)
        texts = work["texts"] or {ask.ask_id: one.text for ask, one in zip(asks, own, strict=True) if _answered(one)}
        read = [ask for ask in asks if ask.ask_id in texts]
        given = await _all(settings, engine, read, lambda ask: engine.choose_after(ask, texts[ask.ask_id]))
        _require_answers(given)
        return {
            "seconds": seconds,
            "events": work["events"],
            "given": shares(read, given),
            "own": shares(asks, own),
            "tops": {ask.ask_id: _top(ask, one) for ask, one in zip(read, given, strict=True)},
            "texts": texts,
            "runs": dict(engine.card.runs),
            "block_size": engine.block_size,
            "device": engine.device,
            "vllm": engine.card.engine_version,
        }
    finally:
        await engine.stop()


async def _all(settings: Settings, engine: BenchEngine, asks: Sequence[Ask], draw: Draw) -> list[Drawn]:
    """Answer draws with the worker's window."""
    gate = ConcurrencyGate(pipeline_config.max_draws(settings, engine))
    engine.on_step(gate.update)

    async def in_turn(ask: Ask) -> Drawn:
        async with gate:
            return await draw(ask)

    return await asyncio.gather(*map(in_turn, asks))


def shares(asks: Sequence[Ask], drawn: Sequence[Drawn]) -> dict[str, list[float]]:
    """Return the duel share of each draw, by duel; duels of which a draw was not answered are left out."""
    found, broken = defaultdict(list), set()
    for ask, one in zip(asks, drawn, strict=True):
        if ask.question.kind is not Kind.DUEL:
            continue
        duel = f"{ask.impression.event_id} {ask.question.name}"
        if not _answered(one):
            broken.add(duel)
            continue
        probabilities = by_option(ask.order, one.slot_probabilities)
        variants = [option.variants for option in ask.question.options]
        found[duel].append(duel_share(probabilities, variants, ask.question.variant)[0])
    return {duel: values for duel, values in found.items() if duel not in broken}


def _top(ask: Ask, drawn: Drawn) -> int:
    probabilities = by_option(ask.order, drawn.slot_probabilities)
    return max(range(len(probabilities)), key=probabilities.__getitem__)


def _answered(drawn: Drawn) -> bool:
    return drawn.status is Status.OK


def _require_answers(drawn: Sequence[Drawn]) -> None:
    if failed := sum(not _answered(one) for one in drawn):
        raise Fatal(f"{failed} of {len(drawn)} draws were not answered; want all")


@contextmanager
def _settings(work: Mapping[str, Any]) -> Iterator[Settings]:
    """Yield the settings of the trial, with random weights of a shape if one is named."""
    options = dict(work["settings"].get("vllm_options", {}))
    settings = load(None, work["settings"] | {"vllm_options": options})
    if work["shape"] is None:
        yield settings
        return
    with random_weights.shaped(work["shape"]) as folder:
        yield settings.model_copy(update={"model": str(folder), "vllm_options": {"load_format": "dummy"} | options})


def main() -> int:
    """Read the work, run it, write what was found: one line each.  Exits 1 with the reason on the last line."""
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    work = json.loads(sys.stdin.readline())
    try:
        with _settings(work) as settings:
            found = asyncio.run(measure(work, settings))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason of this candidate alone
        found = {"failed": " ".join(str(error).split()) or type(error).__name__}
    out.write(json.dumps(found) + "\n")
    out.flush()
    return 1 if "failed" in found else 0


if __name__ == "__main__":
    sys.exit(main())
