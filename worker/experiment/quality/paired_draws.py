"""What the draws of a duel say about the engine itself: they come in pairs, each the reverse of the other's order.

    flip     the probability that both have different top choices; `chance` is that of who picks at random
    even     the candidate's share in the first draw of a pair, `odd` in the second
    late     its share in the draw that presents its own options further down, minus that in the other
    slots    probability by presented slot, mean of both: the order is a hash, so a fair slot gets 1 / K

Of several pairs each figure is the mean.  None of this is about the slates; `trust` judges it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any

from worker.core.simulation.uncertainty import duel_share
from worker.experiment.quality.checks import by_slot, flipped


@dataclass(frozen=True, slots=True)
class Drawn:
    """One duel; `late` is None where both draws present the candidate's options at the same height."""

    flip: float
    chance: float
    even: float
    odd: float
    late: float | None
    slots: tuple[float, ...] = ()


def drawn(record: Mapping[str, Any]) -> Drawn | None:
    """Take an answered DUEL as Avro decodes it; None without a whole pair of draws, or of one option."""
    variants = [tuple(option["variants"]) for option in record["options"]]
    draws = record.get("draws", ())
    pairs = [pair for pair in zip(draws[::2], draws[1::2], strict=False) if _are_whole(pair, len(variants))]
    if len(variants) < 2:  # noqa: PLR2004 - what can change places
        return None
    found = [_of_pair(pair, variants, record["variant"]) for pair in pairs]
    if not found:
        return None
    late = [one.late for one in found if one.late is not None]
    return Drawn(
        flip=_mean([one.flip for one in found]),
        chance=found[0].chance,
        even=_mean([one.even for one in found]),
        odd=_mean([one.odd for one in found]),
        late=_mean(late) if late else None,
        slots=tuple(map(_mean, zip(*(one.slots for one in found), strict=True))),
    )


def _of_pair(draws: Sequence[Mapping[str, Any]], variants: list[tuple[str, ...]], candidate: str) -> Drawn:
    first, second = (draw["probabilities"] for draw in draws)
    even, odd = (duel_share(one, variants, candidate)[0] for one in (first, second))
    heights = [_height(draw["presented_order"], variants, candidate) for draw in draws]
    late = None if heights[0] == heights[1] else (even - odd if heights[0] > heights[1] else odd - even)
    slots = zip(*(by_slot(draw["probabilities"], draw["presented_order"]) for draw in draws), strict=True)
    return Drawn(
        flip=flipped(first, second),
        chance=1 - 1 / len(variants),
        even=even,
        odd=odd,
        late=late,
        slots=tuple(sum(column) / len(column) for column in slots),
    )


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)


def _are_whole(draws: Sequence[Mapping[str, Any]], num_options: int) -> bool:
    return all(_is_whole(draw, num_options) for draw in draws)


def _is_whole(draw: Mapping[str, Any], num_options: int) -> bool:
    order, probabilities = draw.get("presented_order") or (), draw.get("probabilities") or ()
    return len(probabilities) == num_options and sorted(order) == list(range(num_options))


def _height(order: Sequence[int], variants: Sequence[tuple[str, ...]], candidate: str) -> float:
    """Return the mean slot of the options that only the candidate has, 0 if it has none."""
    places = [slot for slot, option in enumerate(order) if variants[option] == (candidate,)]
    return sum(places) / max(1, len(places))
