"""How alike two slates of a duel are: which items both offer, and whether in the same order.

    control    A B C        overlap   2 of 4 options are offered by both: 0.5
    candidate  C A D        tau       A before C there, C before A here: -1

Tau is Kendall's (1938), over the pairs of shared items; None with fewer than two.
"""

from collections.abc import Iterable
from itertools import combinations

Place = tuple[int, int]  # of a shared item: in control's slate, in the candidate's


def overlap(num_shared: int, num_options: int) -> float | None:
    """Return the share of the options that both sides offer."""
    return num_shared / num_options if num_options else None


def tau(places: Iterable[Place]) -> float | None:
    """Return the rank correlation of the shared items' places; two at one place agree with nothing.

    >>> tau([(0, 1), (1, 2), (2, 0)]), tau([(0, 3)])
    (-0.3333333333333333, None)
    """
    pairs = list(combinations(places, 2))
    agreed = sum(_sign((a[0] - b[0]) * (a[1] - b[1])) for a, b in pairs)
    return agreed / len(pairs) if pairs else None


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)
