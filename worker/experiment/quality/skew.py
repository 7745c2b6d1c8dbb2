"""Whether enough users were seen for the interval of the headline, whose users' values may be skewed.

The interval rests on the central limit theorem.  Where 1 % of the users are much against a candidate and all others
slightly for it, with a true mean of 0.5, the first hundreds of users are likely to hold too few of the 1 %: 38.6 % of
simulated experiments printed a preference.  Two things are asked before one is believed:

    what was seen       at least 355 times the squared skewness of the users' values, as for the t-test of an
                        experiment (Kohavi, Deng, Longbotham and Xu 2014, "Seven Rules of Thumb", rule 7)
    what was not seen   a group as large as n users can miss, ln(1 / 0.01) / n of all, may be at the worst value that
                        there is: the interval has to clear that too, where that value is far outside of what was seen

A metric without bounds, such as `utility`, has no worst value: there the sentence of a result says what is assumed.

The interval of users whose first day is over needs no such theorem: where it shows the same side, that is enough.
"""

from dataclasses import dataclass
from math import ceil, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from worker.experiment.readout import Check, CheckState
from worker.experiment.statistics.confidence import Interval

USERS_PER_SQUARE = 355
FAR = 8.0  # standard deviations
UNSEEN_ALPHA = 0.01  # probability that a group of the size that we allow for stays unseen


@dataclass(frozen=True, slots=True)
class SampledSkewness:
    """The skewness of users' values, and how that of a sample of n such users varies."""

    value: float
    error: float  # standard deviation in samples of n users, times the root of n
    with_mean: float = 0.0  # correlation with the mean of the same users

    def beyond(self, users: float, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how likely so many users are too few for the skewness that they will have, by their mean.

        `means` are in standard errors from the expected one.

        >>> skewed = SampledSkewness(1.07, 11.0, 0.6)
        >>> [round(float(one), 2) for one in skewed.beyond(825, np.array([-1.0, 0.0, 1.0]))]
        [0.01, 0.07, 0.23]
        """
        from scipy.special import ndtr

        most, error = sqrt(users / USERS_PER_SQUARE), self.error / sqrt(users)
        expected = self.value + error * self.with_mean * means
        left = error * sqrt(max(0.0, 1 - self.with_mean**2))  # what the mean does not tell
        if not left:
            return (abs(expected) > most).astype(np.float64)
        return np.asarray(ndtr((expected - most) / left) + ndtr((-most - expected) / left))


NO_SKEWNESS = SampledSkewness(0.0, 0.0)


def skew(
    values: NDArray[np.float64],
    interval: Interval | None,
    *,
    null: float,
    bounds: tuple[float, float],
    closed: Interval | None,
    margin: float | None = None,
) -> Check:
    """Return whether what `interval` shows stands in spite of skew; `values` has one of each user.

    `closed` is the interval of users whose first day is over, `bounds` are the least and greatest value of the metric.
    An interval within `margin` of `null` shows no difference, one beside `null` a preference.
    """
    values = np.sort(values)  # sums round alike, whoever came first
    n, found = len(values), skewness(values)
    needed = ceil(USERS_PER_SQUARE * found**2)
    figures = {"skewness": found, "users_needed": needed}
    told = f"the skewness of the users' values is {found:+.2f}"
    if interval is None or not (shown := _shows(interval, null, margin)):
        state = CheckState.OK if n and n >= needed else CheckState.OPEN
        words = f"{told}; {needed:,} users are needed for that, {n:,} were seen"
    elif closed is not None and _shows(closed, null, margin) == shown:
        state = CheckState.OK
        words = f"{told}; users after their first day show the same without a central limit"
    elif n < needed:
        state, words = CheckState.OPEN, f"{told}: {needed:,} users are needed for that, {n:,} were seen"
    else:
        shifts = _unseen(values, bounds[0]), _unseen(values, bounds[1])
        wider = Interval(interval.low - shifts[0], interval.high + shifts[1])
        if shown == _shows(wider, null, margin):
            state, words = CheckState.OK, f"{told}; {n:,} users are enough for that"
        else:
            state = CheckState.OPEN
            words = f"{n:,} users may have missed a small group whose values turn this by up to {max(shifts):.3f}"
            figures["unseen"] = max(shifts)
    unbounded = not np.isfinite(bounds).all()
    said = f"it assumes that no user is far outside of what was seen ({values[0]:.3g} to {values[-1]:.3g})" if n else ""
    return Check("skew", state, words, figures, holds=True, qualifies=said if unbounded else "")


def _shows(interval: Interval, null: float, margin: float | None) -> str:
    """Return what an interval shows, "" for nothing yet.

    >>> _shows(Interval(0.51, 0.56), 0.5, 0.02), _shows(Interval(0.505, 0.515), 0.5, 0.02)
    ('above', 'no difference')
    """
    if margin is not None and interval.is_within(margin, null):
        return "no difference"
    if null in interval:
        return ""
    return "above" if interval.low > null else "below"


def skewness(values: NDArray[np.float64]) -> float:
    """Return the third standardised moment; 0 without spread.

    >>> round(skewness(np.array([0.0] * 99 + [1.0])), 2), skewness(np.array([0.5, 0.5]))
    (9.85, 0.0)
    """
    centred = values - values.mean() if len(values) else values
    spread = float(np.sqrt((centred**2).mean())) if len(values) else 0.0
    return float((centred**3).mean()) / spread**3 if spread > 1e-9 else 0.0  # noqa: PLR2004 - equal up to rounding


def sampled_skewness(values: NDArray[np.float64]) -> SampledSkewness:
    """Return the skewness of users' values, and how it will vary in samples of such users.

    A user whose standardised value is z moves the skewness g of n users by (z^3 - 3 z - 3/2 g (z^2 - 1)) / n, and their
    mean by z / n standard deviations (the influence functions of both).  So the covariance is (k - 3 - 3/2 g^2) / n,
    with the fourth standardised moment k.

    >>> normal = sampled_skewness(np.random.default_rng(1).normal(size=100_000))
    >>> 2.4 < normal.error < 2.5, abs(normal.with_mean) < 0.02  # of a normal distribution: the root of 6, and 0
    (True, True)
    >>> sampled_skewness(np.array([0.5, 0.5]))
    SampledSkewness(value=0.0, error=0.0, with_mean=0.0)
    """
    spread = float(values.std()) if len(values) else 0.0
    if spread <= 1e-9:  # noqa: PLR2004 - equal up to rounding
        return NO_SKEWNESS
    z, found = (values - values.mean()) / spread, skewness(values)
    moved = z**3 - 3 * z - 1.5 * found * (z**2 - 1)
    error = float(moved.std())
    return SampledSkewness(found, error, float((moved * z).mean()) / error if error else 0.0)


def _unseen(values: NDArray[np.float64], worst: float) -> float:
    """Return how far the mean would move by the largest group that these users can easily have missed; 0 for none.

    Within `FAR` standard deviations the theorem bears it: there the rule would cost users and change nothing.
    """
    distance = abs(float(values.mean()) - worst)
    return min(distance, unseen_sum(distance, float(values.std())) / len(values))


def unseen_sum(distance: float, sd: float) -> float:
    """Return what a group at `distance` from the mean that was easily missed adds to the sum of any number of users.

    >>> round(unseen_sum(0.5, 0.05), 3), unseen_sum(0.5, 0.2), unseen_sum(float("inf"), 0.2)
    (2.303, 0.0, 0.0)
    """
    return log(1 / UNSEEN_ALPHA) * distance if FAR * sd < distance < inf else 0.0
