"""An interval without a central limit: over closed users, each counted once, in the order in which they closed.

    user  first event   first day ends   value
    u1    09:00         09:00 + 24 h     mean of the user's events of that day
    u2    11:30         11:30 + 24 h     not there before that

The asymptotic sequence takes each user's mean as it stands, and leans on many users.  This one holds for any number of
users and any values in their bounds, if each user's value has one mean given the past: the predictable plug-in
empirical-Bernstein sequence (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
theorem 2).  It pays in width, and says nothing before users close.

Nobody knows who of one minute closed first, and any order that looks at the values would be a lie.  So users of one
moment are bet on alike, by what was known before it: their order plays no part.

>>> values, moments = np.tile([0.4, 0.6], 500), np.arange(1_000)
>>> str(interval(values, moments, low=0.0, high=1.0, alpha=0.05))
'0.488 to 0.512'
>>> interval(values[:0], moments[:0], low=0.0, high=1.0, alpha=0.05)
"""

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics.confidence import Interval

Values = NDArray[np.float64]
Moments = NDArray[np.int64]
MAX_BET = 0.5  # of the paper: lambda stays away from 1, where psi is infinite


def interval(values: Values, moments: Moments, *, low: float, high: float, alpha: float) -> Interval | None:
    """Return the interval after the last of `values`, which lie in [low, high].

    `moments` say when each closed, ascending.  It is valid at every look together; None without values.  Raises
    `ValueError` for a value out of bounds or NaN.
    """
    if not values.size:
        return None
    if not bool(((values >= low) & (values <= high)).all()):
        message = f"closed users: want values in [{low:g}, {high:g}]"
        raise ValueError(message)
    x = (values - low) / (high - low)
    before, upto = (np.searchsorted(moments, moments, side) for side in ("left", "right"))  # how many closed
    count = np.arange(1, x.size + 2)  # of values after none, one, two ..., and the prior's one
    means = (0.5 + np.append(0, np.cumsum(x))) / count
    variances = (0.25 + np.append(0, np.cumsum((x - means[upto]) ** 2))) / count
    mean, variance = means[before], variances[before]
    bet = np.minimum(np.sqrt(2 * np.log(2 / alpha) / (variance * upto * np.log1p(upto))), MAX_BET)
    centre = (bet * x).sum() / bet.sum()
    paid = np.log(2 / alpha) + ((x - mean) ** 2 * (-np.log1p(-bet) - bet)).sum()
    half = paid / bet.sum()
    ends = (max(0.0, centre - half), min(1.0, centre + half))
    return Interval(*(float(low + end * (high - low)) for end in ends))


def half_width(users: int, sd: float, *, alpha: float) -> float:
    """Return half the width to expect after so many users, whose values in [0, 1] have this standard deviation.

    >>> round(half_width(1_000, 0.1, alpha=0.05), 3)
    0.012
    """
    upto = np.arange(1, users + 1)
    bet = np.minimum(np.sqrt(2 * np.log(2 / alpha) / (sd**2 * upto * np.log1p(upto))), MAX_BET)
    return float((np.log(2 / alpha) + sd**2 * (-np.log1p(-bet) - bet).sum()) / bet.sum())
