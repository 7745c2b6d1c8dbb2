"""How often a user's draws name a factor when they choose either side, and which factors tell the sides apart.

    factor  user  control  candidate
    ""      u0    2        3             of u0's draws, 2 chose what control alone offers, 3 the candidate
    price   u0    0        2             of these, 2 name the price

A share is the mean over the users who choose a side, of the share of each one's draws for it: one id with most of the
draws counts once, as in the headline.  The same users are on both sides, so the spread of the difference is that of the
linear part of two ratios, one value per user.  There are many factors, so e-BH says which stand out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby
from math import fsum, inf, sqrt
from operator import attrgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.experiment.readout import FactorShare
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.cuped import Moments
from worker.experiment.statistics.evalues import e_bh
from worker.experiment.statistics.user_means import Rule

ANY = ""  # the factor that counts all draws of a side
Counts = NDArray[np.float64]


class Named(NamedTuple):
    """How many of a user's draws for each side name a factor."""

    factor: str
    user: int
    control: int
    candidate: int


def reasons(rows: Iterable[Named], rule: Rule) -> tuple[FactorShare, ...]:
    """Return the share of each side's draws that name a factor, users weighted equally; the largest difference first.

    Nothing if one side has no draws.  Every user of a factor has a row of `ANY` too.
    """
    by_factor = {factor: list(found) for factor, found in groupby(sorted(rows), key=attrgetter("factor"))}
    everyone = by_factor.pop(ANY, [])
    users = {row.user: index for index, row in enumerate(everyone)}
    draws = _columns(everyone, users)
    if not draws.any(axis=1).all():
        return ()
    chose = (draws > 0).astype(np.float64)
    seen, log_es = [], {}
    for factor, found in by_factor.items():
        named = _columns(found, users) / np.maximum(draws, 1)
        control, candidate = (named.sum(axis=1) / chose.sum(axis=1)).tolist()
        seen.append(FactorShare(factor, control, candidate))
        log_es[factor] = _log_e(chose, named, rule)
    notable = e_bh(log_es, alpha=rule.alpha)
    seen.sort(key=lambda one: (-abs(one.candidate - one.control), one.factor))
    return tuple(replace(one, notable=one.factor in notable) for one in seen)


def difference(weights: Counts, named: Counts) -> Moments:
    """Return the candidate's share less the control's, and the spread of what it is a mean of, one value per user.

    Both are of shape (2, users), control first: the weight of a user on a side, and its part that names the factor.
    """
    users, sums = weights.shape[1], weights.sum(axis=1)
    control, candidate = shares = named.sum(axis=1) / sums
    linear = users * (named - shares[:, None] * weights) / sums[:, None]  # the mean of each row is 0
    spread = sqrt(fsum((linear[1] - linear[0]) ** 2) / (users - 1)) if users > 1 else 0.0
    return Moments(users, float(candidate - control), spread)


def _columns(rows: Iterable[Named], users: Mapping[int, int]) -> Counts:
    """Return the rows as (2, users), 0 where there is none; `users` says where each stands."""
    table = np.zeros((2, len(users)))
    for row in rows:
        table[:, users[row.user]] = row.control, row.candidate
    return table


def _log_e(weights: Counts, named: Counts, rule: Rule) -> float:
    found = difference(weights, named)
    # Where few users speak for one side, or name the factor, the central limit is far away.
    fewest = min(*np.count_nonzero(weights, axis=1), np.count_nonzero(named.any(axis=0)))
    of = stats.around(
        found.mean,
        found.sd,
        users=found.users,
        num_differ=int(fewest),
        alpha=rule.alpha,
        planned_users=rule.planned_users,
        bounds=(-1.0, 1.0),
    )
    log_e = stats.log_e(of, null=0.0, alpha=rule.alpha, planned_users=rule.planned_users)
    return -inf if log_e is None else log_e
