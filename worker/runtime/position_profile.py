"""How much probability each slot gets where all options are the same: a model's preference for places, not for items.

A content-free slate offers one text under every letter.  Whoever reads options alone gives each 1/K; what a
model gives instead is its position profile.  It is measured when a worker starts, for the number of options
of the longest question, and on demand (`check --position-profile`); every response that is made from then on
carries it.

The reference model never saw the right answer in the last slot, so such profiles are not flat.  Asking each
question in two turned-round orders already cancels what is even in them.  `position_debias` divides the
profile out as well (`simulation.uncertainty.debiased`); it is off by default, for the reference model's
answers were never judged with it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import fsum

from worker.core.errors import EngineDead, EngineGone, Fatal
from worker.core.prompts.prompt import letter
from worker.core.records import Domain, Impression, Item, Partition, Record, Slate, User
from worker.core.simulation.draws import Ask, Drawn, PositionProfile
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import MAX_OPTIONS, TRAINED_OPTIONS, Depths, Status
from worker.pipeline.ports import Engine

log = logging.getLogger(__name__)

DRAWS = 4  # of each text
TEXTS = ("An item", "N/A", "...")  # what says nothing
_NOBODY = Record(Partition("position-profile", 0), 0, 0, None, None)


async def measure(
    engine: Engine, asking: Asking, sizes: Iterable[int], *, timeout_s: float
) -> dict[int, PositionProfile]:
    """Return the position profile of a started engine for each number of options; a size that failed is left out.

    Raises `EngineDead`.
    """
    asks = {size: [ask for text in TEXTS for ask in _asks(asking, size, text)] for size in sizes}
    drawn = await asyncio.gather(*(_draw(engine, ask, timeout_s) for several in asks.values() for ask in several))
    found = iter(drawn)
    return {size: mean for size, several in asks.items() if (mean := _mean([next(found) for _ in several]))}


async def at_start(
    engine: Engine,
    asking: Asking,
    *,
    debias: bool,
    timeout_s: float,
    report: Callable[[Mapping[int, PositionProfile]], None],
) -> None:
    """Measure the profile of the longest question and report it; with `debias`, the profiles of all lengths.

    Raises `EngineGone` if the engine dies of it, `Fatal` if a profile that `debias` needs cannot be measured.
    """
    every = sizes(asking.depths)
    wanted = every if debias else every[-1:]
    try:
        found = await measure(engine, asking, wanted, timeout_s=timeout_s)
    except EngineDead as error:
        log.warning("position profile: the engine died while it was measured; responses carry none")
        raise EngineGone(str(error)) from error
    report(found)
    for size, profile in found.items():
        log.info("position profile, %d options: %s", size, percent(profile))
    if debias and (missing := set(wanted) - found.keys()):
        message = f"position_debias: no profile of {sorted(missing)} options could be measured; nothing is simulated"
        raise Fatal(message)


def sizes(depths: Depths) -> range:
    """Return every number of options that a question of these depths can have."""
    return range(2, min(MAX_OPTIONS, max(TRAINED_OPTIONS, depths.slate, 2 * depths.duel)) + 1)


def spread(profile: PositionProfile) -> float:
    """Return how far the slot that is liked most lies above that liked least, in probability.

    >>> round(spread((0.5, 0.3, 0.2)), 3)
    0.3
    """
    return max(profile) - min(profile)


def percent(profile: PositionProfile) -> str:
    """Write a profile for people.

    >>> percent((0.5, 0.3, 0.2))
    'A 50.0 %, B 30.0 %, C 20.0 %'
    """
    return ", ".join(f"{letter(slot)} {100 * share:.1f} %" for slot, share in enumerate(profile))


async def _draw(engine: Engine, ask: Ask, timeout_s: float) -> Drawn:
    try:
        async with asyncio.timeout(timeout_s):
            return await engine.draw(ask)
    except EngineDead:
        raise
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, a profile is no reason not to work
        log.warning("position profile, %d options: %s", ask.num_slots, type(error).__name__)
        return Drawn(Status.ENGINE_ERROR)


def _asks(asking: Asking, size: int, text: str) -> Sequence[Ask]:
    items = tuple(Item(f"{text}-{number}", number, text=text) for number in range(size))
    nobody = Impression(f"position-profile-{text}", 0, User("nobody"), (Slate("any", items),), domain=Domain.GENERIC)
    all_asked = replace(asking, draws=DRAWS, depths=Depths(MAX_OPTIONS, MAX_OPTIONS))
    (prepared,) = prepare(_NOBODY, nobody, all_asked)
    return () if prepared.refused else prepared.asks


def _mean(draws: Sequence[Drawn]) -> PositionProfile:
    answered = [drawn.slot_probabilities for drawn in draws if drawn.status is Status.OK]
    return tuple(fsum(column) / len(answered) for column in zip(*answered, strict=True))
