"""What the two draws of a duel say about the engine itself: each is asked in the reverse of the other's order.

    flip     the probability that both have different top choices; `chance` is that of who picks at random
    even     the candidate's share in the first draw, `odd` in the second
    late     its share in the draw that presents its own options further down, minus that in the other
    slots    probability by presented slot, mean of both: the order is a hash, so a fair slot gets 1 / K

None of this is about the slates; `trust` judges it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Take an answered DUEL as Avro decodes it; None without two whole draws, or of one option."""
    variants = [tuple(option["variants"]) for option in record["options"]]
    draws = [draw for draw in record.get("draws", ())[:2] if _is_whole(draw, len(variants))]
    if min(len(draws), len(variants)) < 2:  # noqa: PLR2004 - a pair, of what can change places
        return None
    first, second = (draw["probabilities"] for draw in draws)
    even, odd = (duel_share(one, variants, record["variant"])[0] for one in (first, second))
    heights = [_height(draw["presented_order"], variants, record["variant"]) for draw in draws]
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


def _is_whole(draw: Mapping[str, Any], num_options: int) -> bool:
    order, probabilities = draw.get("presented_order") or (), draw.get("probabilities") or ()
    return len(probabilities) == num_options and sorted(order) == list(range(num_options))


def _height(order: Sequence[int], variants: Sequence[tuple[str, ...]], candidate: str) -> float:
    """Return the mean slot of the options that only the candidate has, 0 if it has none."""
    places = [slot for slot, option in enumerate(order) if variants[option] == (candidate,)]
    return sum(places) / max(1, len(places))
