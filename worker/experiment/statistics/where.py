"""Where the candidate wins: what each item, category, provider and position adds to the share of choices it gets.

    item   offered by   chosen   by chance   points = half of (chosen - chance) per user, minus for control's items
    i3     B alone      31 %     20 %        +0.4
    i8     A alone      12 %     20 %        +0.2

Both lists of a duel are cut to one length, so as many options are offered by A alone as by B alone, and the points of
all items together are the headline's whole difference from 50 %: like there, every user has one weight, and an event
one part of its user's.  An interval has one value per user: the mean over the user's events of (chosen - chance).  It
is valid at every look, and e-BH over all rows says which stand out.  Rows are the items offered most often, so that
which ones are shown does not depend on the result.

An item of several categories counts in each with an equal part (`divided`), so that points still add up: of an item
of two, half of the points are each one's, and a user's mean has half the weight for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum

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
    part: Shares | None = None  # of an entry that counts in its group; None for all of each


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One item, category, provider or position of one side; see `readout.Where`."""

    group: int
    side: int
    offers: int
    chosen: float
    chance: float
    effect: stats.Estimate
    points: float
    notable: bool


def divided(of: Offers, groups: Mapping[int, Sequence[int]]) -> tuple[Offers, Integers]:
    """Return each entry once per group of its item, an equal part of it in each, and the group of each.

    `groups` has at least one for each item.
    """
    items, place = np.unique(of.item, return_inverse=True)
    by_item = [groups[item] for item in items.tolist()]
    num = np.array([len(one) for one in by_item], dtype=np.int64)
    flat = np.array([group for one in by_item for group in one], dtype=np.int64)
    times = num[place]
    entry = np.repeat(np.arange(of.item.size), times)
    within = np.arange(entry.size) - np.repeat(np.cumsum(times) - times, times)
    group = flat[(np.cumsum(num) - num)[place[entry]] + within]
    return Offers(
        user=of.user[entry],
        item=of.item[entry],
        side=of.side[entry],
        position=of.position[entry],
        chosen=of.chosen[entry],
        chance=of.chance[entry],
        weight=of.weight[entry],
        part=1 / times[entry],
    ), group


def table(of: Offers, group: Integers, names: Mapping[int, str], rule: Rule) -> list[GroupRow]:
    """Return the `MAX_ROWS` groups that were offered most often, the largest difference first.

    `group` has the number of each entry's group.
    """
    key = group * 2 + of.side
    keys, counts = np.unique(key, return_counts=True)
    named = sorted(zip(-counts, [names[int(one) // 2] for one in keys], keys.tolist(), strict=True))
    kept = [one for *_, one in named[:MAX_ROWS]]
    mine = np.flatnonzero(np.isin(key, kept))
    mine = mine[np.argsort(key[mine], kind="stable")]  # a row's entries are a slice
    key, user, chosen, chance, weight = key[mine], of.user[mine], of.chosen[mine], of.chance[mine], of.weight[mine]
    part = np.ones(key.size) if of.part is None else of.part[mine]
    weight = weight * part
    means = user_means(key, user, chosen - chance, part)
    effects = {one: _effect(means[one], rule) for one in kept}
    notable = set(e_bh({one: _log_e(effect, rule) for one, effect in effects.items()}, alpha=rule.alpha))
    rows = []
    for one in kept:
        here, side = slice(*np.searchsorted(key, (one, one + 1)).tolist()), one % 2
        whole = fsum(weight[here].tolist())
        got, fair = (fsum((weight[here] * of_choice[here]).tolist()) for of_choice in (chosen, chance))
        points = (1 if side == CANDIDATE else -1) * (got - fair) / 2
        rows.append(
            GroupRow(
                one // 2, side, here.stop - here.start, got / whole, fair / whole, effects[one], points, one in notable
            )
        )
    return sorted(rows, key=lambda row: (-abs(row.points), names[row.group], row.side))


def user_means(key: Integers, user: Integers, change: Shares, part: Shares | None = None) -> dict[int, list[float]]:
    """Return the mean of each user by key; an entry has the weight of its part, of 1 without parts.

    All have one entry per option; the means of a key are in the order of their users' numbers.
    """
    part = np.ones(key.size) if part is None else part
    order = np.lexsort((part, change, user, key))  # sums round alike, whoever came first
    key, user, change, part = key[order], user[order], change[order], part[order]
    starts = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (user[1:] != user[:-1])])
    means = np.add.reduceat(change * part, starts) / np.add.reduceat(part, starts)
    firsts = np.flatnonzero(np.r_[True, key[starts][1:] != key[starts][:-1]])
    return {
        int(key[starts[first]]): part.tolist() for first, part in zip(firsts, np.split(means, firsts[1:]), strict=True)
    }


def _effect(values: Sequence[float], rule: Rule) -> stats.Estimate:
    return stats.estimate(
        values, num_differ=len(values), alpha=rule.alpha, planned_users=rule.planned_users, bounds=_CHANGE
    )


def _log_e(effect: stats.Estimate, rule: Rule) -> float | None:
    return stats.log_e(effect, null=0.0, alpha=rule.alpha, planned_users=rule.planned_users)
