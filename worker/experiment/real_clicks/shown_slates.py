"""Which shown control slates can be compared with what real users did, as columns for numpy.

    slate 0: [0.7, 0.3]       -> probability  0.7 0.3 0     offered  1 1 0     weight  1 0 0
    slate 1: [0.2, 0.3, 0.5]                  0.2 0.3 0.5            1 1 1             0 0 0   (no click)

Several clicks weigh 1/n each.  A row that cannot be right (NaN, sum not 1, unknown option) is dropped and counted.

>>> one = ShownSlate("u", 5, (0.7, 0.3), (0, 1), (0,), ("x", "y"), "all")
>>> table = columns([one, ShownSlate("v", 6, (float("nan"), 0.5), (0, 1), (), ("x", "y"), "all")])
>>> table.weight.tolist(), table.dropped
([[1.0, 0.0]], 1)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_SUM_TOLERANCE = 1e-3  # letters are stored as float32 and averaged over draws


@dataclass(frozen=True, slots=True)
class Seen:
    """One shown slate with its outcome; `clicked` is empty for a real no, None while that is not known."""

    event_id: str
    user: int
    occurred_at: int
    items: tuple[str, ...]
    positions: tuple[int, ...]
    probabilities: tuple[float, ...]
    clicked: tuple[int, ...] | None  # indices into items
    weight: float = 1.0  # 1 / the share of users of whom it was asked

    @property
    def row(self) -> "ShownSlate":
        """The slate as `columns` takes it; what is pending is no click, so leave it out before."""
        return ShownSlate(
            str(self.user), self.occurred_at, self.probabilities, self.positions, self.clicked or (), self.items, "",
            self.weight,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One event whose real user saw the slate of control or of the candidate; None is not known, or was not logged."""

    event_id: str
    user: int
    shown_candidate: bool
    outcome: float | None  # 1 with a click, 0 without one in a closed window
    identical: bool  # both slates are one list, as far as they were compared
    duel_share: float | None
    propensity: float | None  # of the slate that was shown, under the policy that showed it
    whole_slate: bool
    target_propensity: float | None  # of the same slate, under the candidate
    assigned: bool
    arm_probability: float | None = None  # of the arm that the user is in
    assigned_at: int = 0  # of the user, or else when the event was; microseconds


@dataclass(frozen=True, slots=True)
class ShownSlate:
    """One shown control slate, its simulated distribution given that something is chosen, and the real clicks."""

    user_id: str
    occurred_at: int  # microseconds
    probabilities: tuple[float, ...]
    positions: tuple[int, ...]  # display, 0-based, by option
    clicked: tuple[int, ...]  # options; empty is no click in a closed window
    item_ids: tuple[str, ...]
    segment: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Columns:
    """One row per slate in order of time, one column per option; padded where `offered` is false."""

    user: Ints  # codes
    occurred_at: Ints
    segment: NDArray[np.str_]
    probability: Floats
    position: Ints
    item: Ints  # codes, -1 for padding
    offered: Flags
    weight: Floats  # of a click, rows sum to 1 or, without a click, 0
    mass: Floats  # of a slate in a mean: 1 / the share of users of whom it was asked
    dropped: int = 0

    @property
    def any_click(self) -> Flags:
        """Return which slates got a click."""
        return np.asarray(self.weight.sum(axis=1) > 0)

    def rows(self, which: Flags | slice) -> "Columns":
        """Return some of the rows, with the same codes."""
        return Columns(
            self.user[which],
            self.occurred_at[which],
            self.segment[which],
            self.probability[which],
            self.position[which],
            self.item[which],
            self.offered[which],
            self.weight[which],
            self.mass[which],
        )

    def halves(self) -> tuple["Columns", "Columns"]:
        """Return the first time slice, to fit on, and the next, to test on; one moment is never in both."""
        if not self.user.size:
            return self, self
        later = self.occurred_at >= self.occurred_at[self.user.size // 2]
        return self.rows(~later), self.rows(later)


def columns(slates: Iterable[ShownSlate]) -> Columns:
    """Return the usable slates by time, ties by user."""
    seen = list(slates)
    rows = sorted((row for row in seen if usable(row)), key=lambda row: (row.occurred_at, row.user_id))
    sizes = np.array([len(row.probabilities) for row in rows], np.int64)
    offered = np.arange(sizes.max(initial=1)) < sizes[:, None]
    weight = np.zeros(offered.shape)
    for index, row in enumerate(rows):
        for option in set(row.clicked):
            weight[index, option] = 1 / len(set(row.clicked))
    return Columns(
        user=_codes([row.user_id for row in rows]),
        occurred_at=np.array([row.occurred_at for row in rows], np.int64),
        segment=np.array([row.segment for row in rows], np.str_),
        probability=_padded(offered, list(chain.from_iterable(row.probabilities for row in rows)), 0.0),
        position=_padded(offered, list(chain.from_iterable(row.positions for row in rows)), 0).astype(np.int64),
        item=_padded(offered, _codes(list(chain.from_iterable(row.item_ids for row in rows))), -1).astype(np.int64),
        offered=offered,
        weight=weight,
        mass=np.array([row.weight for row in rows]),
        dropped=len(seen) - len(rows),
    )


def usable(row: ShownSlate) -> bool:
    """Return whether the row can be right; a NaN fails both comparisons."""
    size = len(row.probabilities)
    return (
        size > 0
        and size == len(row.positions) == len(row.item_ids)
        and min(row.positions) >= 0
        and all(0 <= option < size for option in row.clicked)
        and all(0 <= p <= 1 for p in row.probabilities)
        and abs(sum(row.probabilities) - 1) <= _SUM_TOLERANCE
    )


def _padded(offered: Flags, flat: Sequence[float] | Ints, fill: float) -> Floats:
    """Lay the flat values of all slates out in rows."""
    table = np.full(offered.shape, fill)
    table[offered] = flat
    return table


def _codes(names: list[str]) -> Ints:
    """Return 0, 1, 2 ... by first appearance."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], np.int64)
