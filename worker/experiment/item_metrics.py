"""What a slate offers and what is chosen from it, by the attributes of its items: the values of six metrics.

    category     Drama|Crime       diversity, category_spread     several are separated by | or ,
    provider     Studio A          provider_spread
    popularity   0.93              novelty, long_tail_share       0 to 1: the share of items that are less popular
    price        9.99              price

All are higher where a loss would be feared: a guardrail is a limit on losing.  An attribute that one item of the slate
lacks makes the value unknown, as a popularity outside 0 to 1 does: half of a slate says nothing of the whole.

>>> of = [{"category": "Drama|Crime"}, {"category": "Drama"}, {"category": "News"}]
>>> round(diversity(of), 3), round(spread(of, [0.5, 0.5, 0.0], "category"), 3)
(0.833, 0.375)
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import fsum

HEAD = 0.8  # items more popular than this share of all are the head, the others the long tail (Pareto's 80 to 20)
MAX_PRICE = 1e6  # more is no price that can be summed; see `metrics.MAX_VALUE`

Attributes = Sequence[Mapping[str, str]]  # of each option
_SEPARATORS = re.compile(r"[|,]")


def diversity(of: Attributes) -> float | None:
    """Return the mean distance of two items of the slate: 1 - shared categories / all categories of both (Jaccard).

    None with fewer than two items.
    """
    sets = [frozenset(_names(one.get("category", ""))) for one in of]
    if len(sets) < 2 or not all(sets):  # noqa: PLR2004 - one item has no distance
        return None
    gaps = [1 - len(a & b) / len(a | b) for a, b in combinations(sets, 2)]
    return fsum(gaps) / len(gaps)


def spread(of: Attributes, probabilities: Sequence[float], name: str) -> float | None:
    """Return the probability that two choices are of different categories, or providers (Gini and Simpson).

    An item of several has an equal part in each.
    """
    mass: defaultdict[str, float] = defaultdict(float)
    for one, p in zip(of, probabilities, strict=True):
        names = _names(one.get(name, "")) if name == "category" else [one[name]] if one.get(name) else []
        if not names:
            return None
        for each in names:
            mass[each] += p / len(names)
    return 1 - fsum(share * share for share in mass.values()) if mass else None


def novelty(of: Attributes, probabilities: Sequence[float]) -> float | None:
    """Return the expected share of items that are more popular than the choice."""
    known = _numbers(of, "popularity", high=1.0)
    return fsum(p * (1 - value) for p, value in zip(probabilities, known, strict=True)) if known else None


def long_tail(of: Attributes, probabilities: Sequence[float]) -> float | None:
    """Return the probability that the choice is no item of the head."""
    known = _numbers(of, "popularity", high=1.0)
    return fsum(p for p, value in zip(probabilities, known, strict=True) if value <= HEAD) if known else None


def price(of: Attributes, probabilities: Sequence[float]) -> float | None:
    """Return the expected price of the choice, in the sender's currency."""
    known = _numbers(of, "price", high=MAX_PRICE)
    return fsum(p * value for p, value in zip(probabilities, known, strict=True)) if known else None


def categories(text: str) -> tuple[str, ...]:
    """Return the categories that an item's text names, as they are written; one in two spellings counts once.

    >>> categories("Drama | Crime, drama")
    ('Drama', 'Crime')
    """
    found: dict[str, str] = {}
    for part in _SEPARATORS.split(text):
        if name := part.strip():
            found.setdefault(name.casefold(), name)
    return tuple(found.values())


def _names(text: str) -> list[str]:
    return [name.casefold() for name in categories(text)]


def _numbers(of: Attributes, name: str, *, high: float) -> list[float] | None:
    """Return the number of each item; None unless each has one between 0 and `high`."""
    found = []
    for one in of:
        try:
            value = float(one.get(name, ""))
        except ValueError:
            return None
        if not 0 <= value <= high:  # NaN neither
            return None
        found.append(value)
    return found or None
