"""Items that win far more often than all others: a title that speaks to the model, or a favourite to look at.

    item   users   chosen   by chance   log-odds ratio
    i1       180     0.16        0.14   +0.2             median of the items -0.1, their spread 0.5 -> fence +1.9
    i7       160     0.87        0.14   +3.7             the fence is 0.52 of its lists; e-value against that: 1e12

An item's win rate is the mean over users of how often it is chosen where one list alone offers it, whichever one.  Its
log-odds against chance are compared: there, items whose qualities are normal are normal, which shares are not.  The
fence is where the bulk of the items ends, at least `MIN_LOG_ODDS` above chance.  E-values are of bounded values
(`evalues.log_e_above`), so few users do, and no spread is needed: an attack that always works has none.  An item is
told when its e-value passes (items offered) / alpha, Bonferroni over all of them: with items that differ as the bulk
does, any is told with probability alpha at most, whenever somebody looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log

import numpy as np

from worker.experiment.statistics.evalues import log_e_above
from worker.experiment.statistics.where import Offers, user_means

MIN_USERS = 20  # of an item, to count in the fence; below, a mean says little about it
MIN_ITEMS = 10  # that have them: fewer have no bulk
MIN_LOG_ODDS = 1.5  # of the fence above chance; our choice: of twelve options one is then chosen in 0.29 of its lists
SPREADS = 4.0  # standard deviations from the median to the fence, by the median absolute deviation
_SD = 1.4826  # of a normal distribution, in median absolute deviations
_LEAST = 1e-3  # and most 1 - this: how near a win rate may be to an end, so that its log-odds are finite


@dataclass(frozen=True, slots=True)
class ItemOutlier:
    """One item that is chosen far more often than the others: win rates, all in [0, 1]."""

    item: int
    users: int
    chosen: float
    chance: float
    fence: float


def item_outliers(of: Offers, *, alpha: float) -> list[ItemOutlier]:
    """Return the items whose win rate is above the fence, the highest first.

    At most alpha of experiments without an outlier have one here, at all looks together.
    """
    chosen, chance = (user_means(of.item, of.user, values) for values in (of.chosen, of.chance))
    by_chance = {item: fsum(mine) / len(mine) for item, mine in chance.items()}
    fence = _fence(chosen, by_chance)
    if fence is None:
        return []
    least = log(len(chosen) / alpha)
    found = []
    for item, mine in chosen.items():
        rate = 1 / (1 + exp(-fence - _log_odds(by_chance[item])))
        if log_e_above(fsum(mine), len(mine), bound=rate) >= least:
            found.append(ItemOutlier(item, len(mine), fsum(mine) / len(mine), by_chance[item], rate))
    return sorted(found, key=lambda one: (-one.chosen, one.item))


def _fence(chosen: Mapping[int, Sequence[float]], by_chance: Mapping[int, float]) -> float | None:
    """Return where the bulk of the items ends, in log-odds above chance; None for too few items."""
    ratios = [
        _log_odds(fsum(mine) / len(mine)) - _log_odds(by_chance[item])
        for item, mine in chosen.items()
        if len(mine) >= MIN_USERS
    ]
    if len(ratios) < MIN_ITEMS:
        return None
    middle = float(np.median(ratios))
    return max(MIN_LOG_ODDS, middle + SPREADS * _SD * float(np.median([abs(one - middle) for one in ratios])))


def _log_odds(share: float) -> float:
    inside = min(1 - _LEAST, max(_LEAST, share))
    return log(inside / (1 - inside))
