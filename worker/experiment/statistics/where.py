"""Where the candidate wins: what each item, and each position, adds to the share of choices that go to it.

    item   offered by   chosen   by chance   points = half of (chosen - chance) per event, minus for control's items
    i3     B alone      31 %     20 %        +0.4
    i8     A alone      12 %     20 %        +0.2

Both lists of a duel are cut to one length, so as many options are offered by A alone as by B alone, and the points of
all items together are the whole difference from 50 %, every event weighted equally.  An interval has one value per
user: the mean over the user's events of (chosen - chance).  It is valid at every look, and e-BH over all rows says
which stand out.  Rows are the items offered most often, so that which ones are shown does not depend on the result.

>>> rows = [(user, (2, [("i3", 1, 0, 0.75), ("i8", 0, 0, 0.25)])) for user in range(4)]
>>> found = table(rows, by_item, Rule(0.05, 100), share=1.0)
>>> [(one.name, one.side, one.chosen, one.chance, one.points) for one in found]
[('i3', 1, 0.75, 0.5, 0.125), ('i8', 0, 0.25, 0.5, 0.125)]
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.evalues import e_bh
from worker.experiment.statistics.user_means import Rule

MAX_ROWS = 100  # of a table
CANDIDATE = 1  # the side of the candidate's list; control's is 0
_CHANGE = (-1.0, 1.0)  # bounds of chosen - chance

Offer = tuple[str, int, int, float]  # item, side, position, probability
Duel = tuple[int, tuple[int, Sequence[Offer]]]  # user; number of options, what one side alone offers


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One item or position of one side; see `readout.Where`."""

    name: str
    side: int
    offers: int
    chosen: float
    chance: float
    effect: stats.Estimate
    points: float
    notable: bool


def by_item(offer: Offer) -> str:
    """Group by item."""
    return offer[0]


def by_position(offer: Offer) -> str:
    """Group by position in the list that offers it, from 1 on."""
    return str(offer[2] + 1)


def table(duels: Iterable[Duel], group: Callable[[Offer], str], rule: Rule, *, share: float) -> list[GroupRow]:
    """Return the `MAX_ROWS` groups that were offered most often, the largest difference first.

    `share` is that of the answered events that had to be asked; those whose lists are the same add nothing.
    """
    columns = _Columns.of(duels, group)
    order = sorted(range(len(columns.names)), key=lambda key: (-columns.offers[key], columns.names[key]))[:MAX_ROWS]
    effects = {key: _effect(columns.user_means(key), rule) for key in order}
    log_es = {key: _log_e(one, rule) for key, one in effects.items()}
    notable = set(e_bh(log_es, alpha=rule.alpha))
    rows = [columns.row(key, effects[key], share=share, notable=key in notable) for key in order]
    return sorted(rows, key=lambda row: (-abs(row.points), row.name, row.side))


@dataclass(frozen=True, slots=True)
class _Columns:
    """One entry per option that one side alone offered, by the number of its group."""

    names: list[tuple[str, int]]
    key: NDArray[np.int64]
    user: NDArray[np.int64]
    chosen: NDArray[np.float64]
    chance: NDArray[np.float64]
    offers: NDArray[np.int64]  # by group
    num_duels: int

    @classmethod
    def of(cls, duels: Iterable[Duel], group: Callable[[Offer], str]) -> "_Columns":
        names: dict[tuple[str, int], int] = {}
        entries: list[tuple[int, int, float, float]] = []
        num_duels = 0
        for user, (num_options, offers) in duels:
            num_duels += 1
            for offer in offers:
                key = names.setdefault((group(offer), offer[1]), len(names))
                entries.append((key, user, offer[3], 1 / num_options))
        columns = np.array(entries, dtype=np.float64).reshape(-1, 4).T
        keys = columns[0].astype(np.int64)
        of_group = np.bincount(keys, minlength=len(names))
        return cls(list(names), keys, columns[1].astype(np.int64), columns[2], columns[3], of_group, num_duels)

    def user_means(self, key: int) -> list[float]:
        """Return the mean over each user's events of (chosen - chance)."""
        mine = self.key == key
        _, of = np.unique(self.user[mine], return_inverse=True)
        means = np.bincount(of, (self.chosen - self.chance)[mine]) / np.bincount(of)
        return [float(mean) for mean in means]

    def row(self, key: int, effect: stats.Estimate, *, share: float, notable: bool) -> GroupRow:
        name, side = self.names[key]
        mine = self.key == key
        gained = float((self.chosen - self.chance)[mine].sum())
        points = (0.5 if side == CANDIDATE else -0.5) * gained / self.num_duels * share
        chosen, chance = float(self.chosen[mine].mean()), float(self.chance[mine].mean())
        return GroupRow(name, side, int(self.offers[key]), chosen, chance, effect, points, notable)


def _effect(values: Sequence[float], rule: Rule) -> stats.Estimate:
    return stats.estimate(
        values, num_differ=len(values), alpha=rule.alpha, planned_users=rule.planned_users, bounds=_CHANGE
    )


def _log_e(effect: stats.Estimate, rule: Rule) -> float:
    found = stats.log_e(effect, null=0.0, alpha=rule.alpha, planned_users=rule.planned_users)
    return -inf if found is None else found
