"""How far an answer is the same when it is asked again, and whether two equal variants look equal.

    flip rate    draws asked alone and in a full batch: how often another option comes out on top.  Batched arithmetic
                 rounds in another order (vllm#5898); seeds do not cure that
    A/A          experiments whose two variants come from one ranker: their p-values must be uniform, by the test of
                 Kolmogorov and Smirnov

Rationales end where the model ends them here.
"""

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import kstest, t as student

from worker.bench.model.engine import BenchEngine
from worker.bench.model.load import make_asks
from worker.core.errors import Fatal
from worker.core.records import Impression, Item, Role, Slate
from worker.core.simulation.draws import Ask, Drawn, by_option
from worker.core.simulation.questions import Kind, Status
from worker.core.simulation.uncertainty import duel_share, summarise
from worker.demo import scenes
from worker.runtime import pipeline_config
from worker.settings import Settings

ALPHA = 0.05


async def flips(engine: BenchEngine, asks: Sequence[Ask]) -> dict[str, float]:
    """Ask draws one by one and then all at once; return the shares that changed."""
    with engine.natural():
        await engine.forget()
        alone = [await engine.draw(ask) for ask in asks]
        await engine.forget()
        together = await asyncio.gather(*map(engine.draw, asks))
    pairs = [(one, other) for one, other in zip(alone, together, strict=True) if _both_answered(one, other)]
    if not pairs:
        raise Fatal("bench: no draw was answered both alone and in a batch, so there is no flip rate")
    return {
        "flip_rate": fmean(_top(one) != _top(other) for one, other in pairs),
        "rationale_changed_share": fmean(one.text != other.text for one, other in pairs),
    }


async def equal_variants(settings: Settings, engine: BenchEngine, *, experiments: int, users: int) -> dict[str, float]:
    """Run A/A experiments; return the p-value of the hypothesis that their p-values are uniform."""
    asking = pipeline_config.asking(settings, engine)

    async def share(impression: Impression) -> float | None:
        asks = [ask for ask in make_asks(0, impression, asking) if ask.question.kind is Kind.DUEL]
        drawn = await asyncio.gather(*(engine.draw(ask) for ask in asks))
        return _share(asks, drawn)

    p_values = []
    with engine.natural():
        for number in range(experiments):
            shares = await asyncio.gather(*(share(one) for one in _equal(number, users)))
            p_values.append(p_value([one for one in shares if one is not None]))
    return {
        "aa_uniform_p": float(kstest(p_values, "uniform").pvalue),
        "aa_below_5_percent": fmean(p < ALPHA for p in p_values),
    }


def p_value(shares: Sequence[float]) -> float:
    """Return the two-sided p-value of a mean duel share of one half, by Student's t.

    >>> round(p_value([0.4, 0.6, 0.45, 0.55]), 3), round(p_value([0.8, 0.9, 0.85, 0.8]), 3)
    (1.0, 0.001)
    >>> p_value([]), p_value([0.5, 0.5])  # nothing speaks against it
    (1.0, 1.0)
    """
    if len(shares) < 2 or not (error := stdev(shares) / math.sqrt(len(shares))):  # noqa: PLR2004 - one has no spread
        return 1.0
    return 2 * float(student.sf(abs(fmean(shares) - 0.5) / error, len(shares) - 1))


def _equal(number: int, users: int) -> Iterator[Impression]:
    """Yield impressions whose control slate is dealt out to two variants, every second item to each.

    Which of the two begins turns from user to user, so neither is better.
    """
    for place, one in enumerate(scenes.impressions(10_000 + number, num_users=users, events_per_user=1)):
        items = one.slates[0].items
        first, second = items[place % 2 :: 2], items[1 - place % 2 :: 2]
        yield replace(one, slates=(_slate("control", Role.CONTROL, first), _slate("candidate", Role.CANDIDATE, second)))


def _slate(variant: str, role: Role, items: Sequence[Item]) -> Slate:
    dealt = tuple(replace(item, position=place) for place, item in enumerate(items))
    return Slate(variant=variant, items=dealt, role=role, shown=role is Role.CONTROL)


def _share(asks: Sequence[Ask], drawn: Sequence[Drawn]) -> float | None:
    if any(one.status is not Status.OK for one in drawn):
        return None
    summary = summarise(
        [by_option(ask.order, one.slot_probabilities) for ask, one in zip(asks, drawn, strict=True)], at=0.5
    )
    variants = [option.variants for option in asks[0].question.options]
    return duel_share(summary.probabilities, variants, "candidate")[0]


def _both_answered(one: Drawn, other: Drawn) -> bool:
    return one.status is Status.OK and other.status is Status.OK


def _top(drawn: Drawn) -> int:
    return max(range(len(drawn.slot_probabilities)), key=drawn.slot_probabilities.__getitem__)
