"""Where the candidate wins: what each item, and each position, adds to the share of choices that go to it.

    item   offered by   chosen   by chance   points = half of (chosen - chance) per user, minus for control's items
    i3     B alone      31 %     20 %        +0.4
    i8     A alone      12 %     20 %        +0.2

Both lists of a duel are cut to one length, so as many options are offered by A alone as by B alone, and the points of
all items together are the headline's whole difference from 50 %: like there, every user has one weight, and an event
one part of its user's.  An interval has one value per user: the mean over the user's events of (chosen - chance).  It
is valid at every look, and e-BH over all rows says which stand out.  Rows are the items offered most often, so that
which ones are shown does not depend on the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.evalues import e_bh
from worker.experiment.statistics.user_means import Rule

MAX_ROWS = 100  # of a table
MAX_POSITIONS = 256
CANDIDATE = 1  # the side of the candidate's list; control's is 0
_CHANGE = (-1.0, 1.0)  # bounds of chosen - chance
Integers = NDArray[np.int64]
Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Offers:
    """What duels offered on one side alone, one entry per option; `chance` is 1 / options of its duel.

    `weight` is the part of the headline that an entry's event has: 1 / (users * answered events of its user).
    """

    user: Integers
    item: Integers
    side: Integers
    position: Integers  # 0-based, in the list of that side
    chosen: Shares
    chance: Shares
    weight: Shares


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One item or position of one side; see `readout.Where`."""

    group: int
    side: int
    offers: int
    chosen: float
    chance: float
    effect: stats.Estimate
    points: float
    notable: bool


def table(of: Offers, group: Integers, names: Mapping[int, str], rule: Rule) -> list[GroupRow]:
    """Return the `MAX_ROWS` groups that were offered most often, the largest difference first.

    `group` has the number of each entry's group.
    """
    key = group * 2 + of.side
    keys, counts = np.unique(key, return_counts=True)
    named = sorted(zip(-counts, [names[int(one) // 2] for one in keys], keys.tolist(), strict=True))
    kept = [one for *_, one in named[:MAX_ROWS]]
    mine = np.isin(key, kept)
    key, user, chosen, chance, weight = key[mine], of.user[mine], of.chosen[mine], of.chance[mine], of.weight[mine]
    means = _user_means(key, user, chosen - chance)
    effects = {one: _effect(means[one], rule) for one in kept}
    notable = set(e_bh({one: _log_e(effect, rule) for one, effect in effects.items()}, alpha=rule.alpha))
    rows = []
    for one in kept:
        here, side = key == one, one % 2
        whole = fsum(weight[here].tolist())
        got, fair = (fsum((weight * of_choice)[here].tolist()) for of_choice in (chosen, chance))
        points = (1 if side == CANDIDATE else -1) * (got - fair) / 2
        num = int(here.sum())
        rows.append(GroupRow(one // 2, side, num, got / whole, fair / whole, effects[one], points, one in notable))
    return sorted(rows, key=lambda row: (-abs(row.points), names[row.group], row.side))


def _user_means(key: Integers, user: Integers, change: Shares) -> dict[int, list[float]]:
    """Return the mean of each user by key."""
    order = np.lexsort((change, user, key))  # sums round alike, whoever came first
    key, user, change = key[order], user[order], change[order]
    starts = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (user[1:] != user[:-1])])
    means = np.add.reduceat(change, starts) / np.diff(np.r_[starts, len(key)])
    firsts = np.flatnonzero(np.r_[True, key[starts][1:] != key[starts][:-1]])
    return {
        int(key[starts[first]]): part.tolist() for first, part in zip(firsts, np.split(means, firsts[1:]), strict=True)
    }


def _effect(values: Sequence[float], rule: Rule) -> stats.Estimate:
    return stats.estimate(
        values, num_differ=len(values), alpha=rule.alpha, planned_users=rule.planned_users, bounds=_CHANGE
    )


def _log_e(effect: stats.Estimate, rule: Rule) -> float:
    found = stats.log_e(effect, null=0.0, alpha=rule.alpha, planned_users=rule.planned_users)
    return -inf if found is None else found
