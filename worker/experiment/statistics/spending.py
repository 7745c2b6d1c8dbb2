"""How much of its error probability a watched interval has used up by a number of users.

An interval that is watched for ever misses with a probability of alpha.  Watched to its plan and ended there, it has
missed with about a third of that, and to ten times the plan with three quarters:

>>> [round(spent(0.05, users=n, planned_users=5_000), 2) for n in (500, 5_000, 50_000)]
[0.01, 0.35, 0.74]

So what is left may be given to what comes after it, and all of it together still misses with alpha at most, however
the two depend on each other: the probabilities of a union add up.

The sum of n users' values is taken as a Brownian motion.  The rate at which it meets the interval's boundary psi for
the first time, at a time t in units of the mixture's variance, is close to

    (psi - t psi') / t^(3/2) * phi(psi / sqrt(t))      on either side

(the tangent approximation: Jennen and Lerche 1981, "First exit densities of Brownian motion through one-sided moving
boundaries").  It is 5 to 11 % too large for alphas from 0.001 to 0.05; over all time the true probability is alpha
(Robbins 1970), and the rates are brought to that.  The integration of `planning.crossing` gives the same within 0.02.
"""

from functools import lru_cache
from math import log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics.confidence import mixture_variance

_TIMES = np.geomspace(1e-4, 1e14, 4_000)  # before the first of them nothing is met, and after the last 1e-7 of all


def spent(alpha: float, *, users: float, planned_users: float, among: float = 1.0) -> float:
    """Return the share of its own alpha / `among` that an interval has used up by so many users, in [0, 1]."""
    found = np.interp(users * mixture_variance(alpha, planned_users), _TIMES, _met(alpha / among))
    return float(found)


@lru_cache(maxsize=256)
def _met(alpha: float) -> NDArray[np.float64]:
    """Return the share of all crossings that have been by each of the times."""
    log_level = log(1 / alpha) + np.log1p(_TIMES) / 2
    boundary = np.sqrt(2 * (_TIMES + 1) * log_level)
    slope = (log_level + 0.5) / boundary
    rate = (boundary - _TIMES * slope) / _TIMES**1.5 * np.exp(-(boundary**2) / (2 * _TIMES)) / sqrt(2 * pi)
    by_log = rate * _TIMES
    steps = np.diff(np.log(_TIMES)) * (by_log[1:] + by_log[:-1]) / 2
    met = np.append(0.0, np.cumsum(steps))
    return np.asarray(met / met[-1])
