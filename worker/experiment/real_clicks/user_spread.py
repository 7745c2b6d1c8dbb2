"""How much users differ in how readily they click, whatever the slate: the sd of a user's own intercept, in logits.

    user    clicks of shown control slates      expected of each slate alone
    u1      1 1 1 0 1                           .3 .3 .4 .2 .3      clicks too often
    u2      0 0 0 0                             .3 .4 .3 .2         too rarely

The product of two outcomes of one user is larger on average, the more users differ; the sd is the one for which a
logit with a normal intercept expects as much (a logistic-normal model; Gauss-Hermite).  It matters to a bridge: where
users differ, clicks answer less to a better slate than the curve over all users says.  In a simulation of users with
an sd of 2 a bridge that took them for equals said 0.044 of a true 0.032.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from worker.experiment.real_clicks.calibration import Z
from worker.experiment.real_clicks.shown_slates import Flags, Floats, Ints

MIN_USERS = 100  # with two slates or more
MAX_SD = 6.0  # users who always click and users who never do
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(31)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
_PROBIT = 16 * 3**0.5 / (15 * np.pi)  # a logistic curve is a normal one, stretched by this (Johnson and Kotz 1970)


@dataclass(frozen=True, slots=True)
class UserSpread:
    """The sd between users with its interval, which holds at one look; users with two slates or more."""

    sd: float
    low: float
    high: float
    users: int


def user_spread(expected: Floats, clicked: Flags, user: Ints) -> UserSpread | None:
    """Return the sd from what was expected of each slate alone, and what happened; None of too few users."""
    _, of = np.unique(user, return_inverse=True)
    times = np.bincount(of)
    repeated = times > 1
    if repeated.sum() < MIN_USERS:
        return None

    def products(of_slates: Floats) -> Floats:
        """Return the sum over a user's pairs of slates by their number less one: nobody weighs by the square."""
        total, own = np.bincount(of, of_slates), np.bincount(of, of_slates**2)
        return np.asarray(((total**2 - own)[repeated]) / (times[repeated] - 1))

    def gaps(sd: float) -> Floats:
        by_node = [weight * products(at) for weight, at in zip(_WEIGHTS, _at_nodes(expected, sd), strict=True)]
        return np.asarray(seen - np.sum(by_node, axis=0))

    seen = products(clicked.astype(np.float64))
    sd = _solved(lambda one: float(gaps(one).sum()))
    left = gaps(sd)
    error = Z * float(np.sqrt(((left - left.mean()) ** 2).sum()))
    low = _solved(lambda one: float(gaps(one).sum()) - error)
    high = _solved(lambda one: float(gaps(one).sum()) + error)
    return UserSpread(sd, low, high, int(repeated.sum()))


def moved(expected: Floats, change: Floats, sd: float) -> Floats:
    """Return the probabilities after a change of the logit of every user, averaged over users who differ by `sd`."""
    before, after = (
        (_WEIGHTS[:, None] * _at_nodes(expected, sd, by)).sum(axis=0) for by in (np.zeros_like(change), change)
    )
    return np.asarray(np.clip(expected + after - before, 0.0, 1.0))


def _at_nodes(expected: Floats, sd: float, change: Floats | float = 0.0) -> Floats:
    """Return probabilities by node: of users so far from the mean, whose average is what was expected."""
    centre = logit(np.clip(expected, 1e-9, 1 - 1e-9)) * np.sqrt(1 + (_PROBIT * sd) ** 2) + change
    return np.asarray(expit(centre[None, :] + sd * _NODES[:, None]))


def _solved(of: Callable[[float], float]) -> float:
    """Return where a falling function of the sd is 0, within what an sd can be."""
    if of(0.0) <= 0:
        return 0.0
    return MAX_SD if of(MAX_SD) >= 0 else float(brentq(of, 0.0, MAX_SD, xtol=1e-3))
