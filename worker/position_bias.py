"""How much probability each slot gets where all options are the same: a model's liking for places, not for items.

A content-free slate offers one text under every letter.  Whoever reads options alone gives each 1/K; what a model gives
instead is its position profile.  It is measured when a worker starts, for the number of options that slates have
most, and on demand (`check --position-profile`).

The reference model never saw the right answer in the last slot, so such profiles are not flat.  Asking each question in
two turned-round orders already cancels what is even in them.  `position_debias` divides the profile out as well
(`worker.uncertainty.debiased`); it is off by default, because the reference model's answers were never judged with it.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import fsum

from worker.draws import Ask, Drawn
from worker.ports import Engine
from worker.prepare import Asking, prepare
from worker.prompt import letter
from worker.questions import MAX_OPTIONS, Depths, Status
from worker.records import Domain, Impression, Item, Partition, Record, Slate, User

DRAWS = 4  # of each text
TEXTS = ("An item", "N/A", "...")  # what says nothing
_NOBODY = Record(Partition("position-profile", 0), 0, 0, None, None)

Profile = tuple[float, ...]  # by slot, summing to 1


async def measure(engine: Engine, asking: Asking, sizes: Iterable[int]) -> dict[int, Profile]:
    """Return the position profile of a started engine for each number of options; a size that failed is left out."""
    wanted = list(sizes)
    asks = {size: [ask for text in TEXTS for ask in _asks(asking, size, text)] for size in wanted}
    drawn = await asyncio.gather(*(engine.draw(ask) for size in wanted for ask in asks[size]))
    found = {size: drawn[number * len(TEXTS) * DRAWS :][: len(TEXTS) * DRAWS] for number, size in enumerate(wanted)}
    return {size: mean for size, draws in found.items() if (mean := _mean(draws))}


def spread(profile: Profile) -> float:
    """Return how far the slot that is liked most lies above that liked least, in probability.

    >>> round(spread((0.5, 0.3, 0.2)), 3)
    0.3
    """
    return max(profile) - min(profile)


def percent(profile: Profile) -> str:
    """Write a profile for people.

    >>> percent((0.5, 0.3, 0.2))
    'A 50.0 %, B 30.0 %, C 20.0 %'
    """
    return ", ".join(f"{letter(slot)} {100 * share:.1f} %" for slot, share in enumerate(profile))


def _asks(asking: Asking, size: int, text: str) -> Sequence[Ask]:
    items = tuple(Item(f"{text}-{number}", number, text=text) for number in range(size))
    nobody = Impression(f"position-profile-{text}", 0, User("nobody"), (Slate("any", items),), domain=Domain.GENERIC)
    all_asked = replace(asking, draws=DRAWS, depths=Depths(MAX_OPTIONS, MAX_OPTIONS))
    return prepare(_NOBODY, nobody, all_asked)[0].asks


def _mean(draws: Sequence[Drawn]) -> Profile:
    answered = [drawn.slot_probabilities for drawn in draws if drawn.status is Status.OK]
    return tuple(fsum(column) / len(answered) for column in zip(*answered, strict=True))
