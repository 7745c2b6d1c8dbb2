"""What the draws of a duel say about the engine itself: most come in pairs, each the reverse of the other's order.

    draw   order   compared with
    0      A B C   1, its reverse
    1      C B A   0
    2      B A C   0 and 1: the last of an odd number has no reverse, and is compared with all others

    flip     the probability that two have different top choices; `chance` is that of who picks at random, which is
             the same in whatever orders they were asked
    even     the candidate's share in every other draw from the first on, `odd` in the rest
    late     its share in the draw that presents its own options further down, minus that in the other
    slots    probability by presented slot, mean of all: the order is a hash, so a fair slot gets 1 / K

Each draw counts once: with the mean over those that it is compared with.  None of this is about the slates; `trust`
judges it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, sqrt
from typing import Any

from worker.core.simulation.uncertainty import duel_share
from worker.experiment.quality.checks import by_slot, flipped


@dataclass(frozen=True, slots=True)
class PairedDuel:
    """One duel; `late` is None where all draws present the candidate's options at the same height."""

    flip: float
    chance: float
    even: float
    odd: float
    late: float | None
    slots: tuple[float, ...] = ()
    draws: int = 2

    @property
    def half_difference(self) -> float:
        """Half of even - odd, with the variance that the mean of all draws has.

        Of an odd number the halves are unequal: with n draws of variance v it is v / n all the same.
        """
        odd = self.draws // 2
        return (self.even - self.odd) * sqrt(odd * (self.draws - odd)) / self.draws


@dataclass(frozen=True, slots=True)
class _Draw:
    """One whole draw; `height` is the mean slot of the options that only the candidate has."""

    order: tuple[int, ...]
    probabilities: tuple[float, ...]
    share: float
    height: float


def drawn(record: Mapping[str, Any]) -> PairedDuel | None:
    """Take an answered DUEL as Avro decodes it; None with fewer than two whole draws, or one option."""
    variants = [tuple(option["variants"]) for option in record["options"]]
    if len(variants) < 2:  # noqa: PLR2004 - what can change places
        return None
    whole = [draw for draw in record.get("draws", ()) if _is_whole(draw, len(variants))]
    draws = [_draw(draw, variants, record["variant"]) for draw in whole]
    if len(draws) < 2:  # noqa: PLR2004 - one has nothing to be compared with
        return None
    others = [(one, _compared_with(at, draws)) for at, one in enumerate(draws)]
    late = [found for one, those in others if (found := _late(one, those)) is not None]
    return PairedDuel(
        flip=_mean(_mean(flipped(one.probabilities, other.probabilities) for other in those) for one, those in others),
        chance=1 - 1 / len(variants),
        even=_mean(one.share for one in draws[::2]),
        odd=_mean(one.share for one in draws[1::2]),
        late=_mean(late) if late else None,
        slots=tuple(map(_mean, zip(*(by_slot(one.probabilities, one.order) for one in draws), strict=True))),
        draws=len(draws),
    )


def _draw(draw: Mapping[str, Any], variants: list[tuple[str, ...]], candidate: str) -> _Draw:
    order, probabilities = tuple(draw["presented_order"]), tuple(draw["probabilities"])
    share = duel_share(probabilities, variants, candidate)[0]
    return _Draw(order, probabilities, share, _height(order, variants, candidate))


def _compared_with(at: int, draws: Sequence[_Draw]) -> list[_Draw]:
    """Return the draws in the reverse order, or without one all others."""
    others = [*draws[:at], *draws[at + 1 :]]
    return [other for other in others if other.order == draws[at].order[::-1]] or others


def _late(one: _Draw, others: Sequence[_Draw]) -> float | None:
    """Return the share in the later draw minus that in the other; None where none is later."""
    found = [
        one.share - other.share if one.height > other.height else other.share - one.share
        for other in others
        if one.height != other.height
    ]
    return _mean(found) if found else None


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fsum(found) / len(found)


def _is_whole(draw: Mapping[str, Any], num_options: int) -> bool:
    order, probabilities = draw.get("presented_order") or (), draw.get("probabilities") or ()
    return len(probabilities) == num_options and sorted(order) == list(range(num_options))


def _height(order: Sequence[int], variants: Sequence[tuple[str, ...]], candidate: str) -> float:
    """Return the mean slot of the options that only the candidate has, 0 if it has none."""
    places = [slot for slot, option in enumerate(order) if variants[option] == (candidate,)]
    return sum(places) / max(1, len(places))
