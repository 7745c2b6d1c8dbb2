"""Two second looks at a mean over users: events weighed alike, and users whom a covariate makes up for.

    user  events  values           user mean   by event
    u0    3       0.8 0.6 0.7      0.7         u0 weighs three times what u1 does: (2.1 + 0.5) / 4 = 0.65
    u1    1       0.5              0.5

By event, the mean is a ratio of two sums over users; its spread is that of the ratio's linear part (the delta method:
Deng, Knoblich and Lu 2018, "Applying the delta method in metric analytics").  Few active users can decide it, hence
never the verdict.

The covariate (CUPED: Deng, Xu, Kohavi and Walker 2013) is known of every eligible user, also of those without an
answer: where the answered differ from all, their mean is moved by what the covariate explains.  Simulated users see
both variants, so each is his own control, and where all are answered there is nothing left to adjust: the same figure.

Sums are rounded once, so figures do not depend on the order in which users were first seen.
"""

from dataclasses import dataclass
from math import fsum, sqrt

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """A mean and the standard deviation of what it is a mean of, one value per user."""

    users: int
    mean: float
    sd: float


def by_event(total: Values, answered: Values) -> Moments | None:
    """Return the mean over events, from each user's sum and number of answered events; None without users.

    >>> by_event(np.array([2.1, 0.5]), np.array([3.0, 1.0])).mean
    0.65
    """
    n = total.size
    if not n:
        return None
    events = fsum(answered)
    ratio = fsum(total) / events
    linear = n * (total - ratio * answered) / events  # its mean is 0
    return Moments(n, ratio, sqrt(fsum(linear**2) / (n - 1)) if n > 1 else 0.0)


def cuped(values: Values, covariate: Values, everyone: Values) -> Moments | None:
    """Return the mean over answered users, moved by how their covariate differs from everyone's.

    `values` and `covariate` are of the answered users, in one order; `everyone` has the covariate of all eligible ones,
    the answered among them.  None where the covariate is the same for all, or fewer than three are answered.
    """
    n = values.size
    if n < 3 or np.ptp(covariate) == 0:  # noqa: PLR2004 - a line through two points leaves no spread
        return None
    mean, around = fsum(values) / n, fsum(covariate) / n
    dv, dx = values - mean, covariate - around
    of_values, of_covariate, of_both = (fsum(one) / (n - 1) for one in (dv * dv, dx * dx, dv * dx))
    slope = of_both / of_covariate
    unexplained = max(0.0, of_values - slope * of_both)
    # What is explained is averaged over everyone: with all answered, this is the variance of the values again.
    variance = unexplained + n / everyone.size * slope**2 * of_covariate
    return Moments(n, mean - slope * (around - fsum(everyone) / everyone.size), sqrt(variance))
