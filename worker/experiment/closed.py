"""An interval without a central limit: over closed users, each counted once, in the order in which they closed.

    user  first event   first day ends   value
    u1    09:00         09:00 + 24 h     mean of the user's events of that day
    u2    11:30         11:30 + 24 h     not there before that

The asymptotic sequence takes each user's mean as it stands, and leans on many users.  This one holds for any number of
users and any values in their bounds, if each user's value has one mean given the past: the predictable plug-in
empirical-Bernstein sequence (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting",
theorem 2).  It pays in width, and says nothing before users close.

>>> values = np.tile([0.4, 0.6], 500)
>>> str(interval(values, low=0.0, high=1.0, alpha=0.05)), interval(values[:0], low=0.0, high=1.0, alpha=0.05)
('0.488 to 0.512', None)
"""

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics import Interval

Values = NDArray[np.float64]
MAX_BET = 0.5  # of the paper: lambda stays away from 1, where psi is infinite


def interval(values: Values, *, low: float, high: float, alpha: float) -> Interval | None:
    """Return the interval after the last of `values`, which lie in [low, high] and stand in the order they closed.

    It is valid at every look together; None without values.  Raises `ValueError` for one out of bounds or NaN.
    """
    if not values.size:
        return None
    if not bool(((values >= low) & (values <= high)).all()):
        message = f"closed users: want values in [{low:g}, {high:g}]"
        raise ValueError(message)
    x = (values - low) / (high - low)
    count = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (count + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (count + 1)
    mean, variance = np.append(0.5, mean[:-1]), np.append(0.25, variance[:-1])  # what was known before each value
    bet = np.minimum(np.sqrt(2 * np.log(2 / alpha) / (variance * count * np.log1p(count))), MAX_BET)
    centre = (bet * x).sum() / bet.sum()
    paid = np.log(2 / alpha) + ((x - mean) ** 2 * (-np.log1p(-bet) - bet)).sum()
    half = paid / bet.sum()
    ends = (max(0.0, centre - half), min(1.0, centre + half))
    return Interval(*(float(low + end * (high - low)) for end in ends))
