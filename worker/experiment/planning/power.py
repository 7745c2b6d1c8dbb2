"""How likely an experiment is to show what it is for, and how many users that takes.

    DIFFERENCE      the mean is `size` away from the null: an interval leaves the null, and Holm agrees
    NO_DIFFERENCE   the mean is at the null: the whole interval is within `size` of it

Power is the probability that this has been so at any look by a number of users, looked at after each of them; the
readout's own boundary is crossed, at `planned_users` of the same plan.  A verdict also waits for the check of skew, and
so does the plan: for users enough for the skewness that they will have, and, where users hardly differ, for a group
that may be unseen.  80 % takes 12.7 (sd / size)^2 users:

>>> users_for(Goal(GoalKind.DIFFERENCE, 0.02, sd=0.2), power=0.8, alpha=0.05)
1282
>>> round(power_at(Goal(GoalKind.DIFFERENCE, 0.02, sd=0.2), [1_282], planned_users=1_282, alpha=0.05)[0], 3)
0.8
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, exp, inf, isinf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from worker.experiment.planning import crossing
from worker.experiment.quality.skew import NO_SKEWNESS, SampledSkewness, unseen_sum
from worker.experiment.statistics import empirical_bernstein
from worker.experiment.statistics.confidence import MIN_USERS, excluding, half_width

MAX_USERS = 10**9
_BEFORE = 0.005  # of the planned users: the boundary is ten standard deviations away, at any alpha up to 0.5
_STEP = 0.05  # of the logarithm of users, in which the search begins
_NEVER = 0.001  # probability of too few users for their skewness, below which the check does not matter
_MEANS = 33  # between which the probability of a verdict that waits is summed
_CLOSED = 6 / 7  # of the users have had their first day, in an experiment of a week
_MOST_CLOSED = 1_000_000  # beyond which nobody waits for them
_FAR = 7.0  # standard deviations, beyond which nothing is


class GoalKind(StrEnum):
    """What an experiment is to show."""

    DIFFERENCE = "DIFFERENCE"
    """The candidate differs from control by `size`."""

    NO_DIFFERENCE = "NO_DIFFERENCE"
    """The candidate does not differ, and the interval is within `size` of the null."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be shown; `sd` is that of the users' values, in the unit of `size`."""

    kind: GoalKind
    size: float
    sd: float
    candidates: int = 1  # that share alpha
    first_look: int = MIN_USERS  # users before whom there is no interval
    room: float = inf  # from the null to the metric's nearest bound; infinite where it has none
    skewness: SampledSkewness = NO_SKEWNESS  # of the users' values; positive on the side of the difference

    @property
    def unseen(self) -> float:
        """What a group that so many users can easily have missed may add to their sum; the verdict asks for it too.

        It is nothing where the bound is near or there is none, as in the check (`quality.skew`).
        """
        return unseen_sum(self.room, self.sd)


def power_at(goal: Goal, users: Sequence[float], *, planned_users: float, alpha: float) -> list[float]:
    """Return the probability of having shown it by each of these numbers of users, which ascend."""
    last = users[-1] / planned_users
    opens = max(_opens(goal, planned_users, alpha), goal.first_look) / planned_users
    if opens > last:
        return [0.0] * len(users)
    start = min(max(opens, _BEFORE), last)
    times, stays = _stays(goal, start, last, planned_users=planned_users, alpha=alpha)
    shown = (float(np.interp(n / planned_users, times, 1 - stays, left=0.0)) for n in users)
    return [by - _withheld(goal, n, by, alpha) for n, by in zip(users, shown, strict=True)]


def users_for(goal: Goal, *, power: float, alpha: float) -> int:
    """Return the number of users, planned for, by which a goal is shown with a probability of `power`.

    Raises `ValueError` where it takes about `MAX_USERS` or more.
    """
    from scipy.optimize import brentq

    def missing(log_users: float) -> float:
        users = exp(log_users)
        return power_at(goal, [users], planned_users=users, alpha=alpha)[0] - power

    least = log(goal.first_look)
    if missing(least) >= 0:
        return goal.first_look
    low = high = max(least, _guess(goal, power, alpha))
    step = _STEP
    while high <= log(MAX_USERS) and missing(high) < 0:
        high, step = high + step, 2 * step
    if high > log(MAX_USERS):
        raise ValueError(f"{goal.size:g} with an sd of {goal.sd:g} takes about {MAX_USERS:,} users or more")
    while low > least and missing(low) >= 0:
        low, step = max(least, low - step), 2 * step
    return ceil(exp(brentq(missing, low, high, xtol=1e-5)))


def _guess(goal: Goal, power: float, alpha: float) -> float:
    """Return the logarithm of about the right number of users: 0.87 of what one look at the planned users takes."""
    from scipy.special import ndtri

    if goal.kind is GoalKind.DIFFERENCE:
        edge, tail = excluding(1, 1.0, alpha=alpha, planned_users=1, candidates=goal.candidates), power
    else:
        edge, tail = half_width(1, 1.0, alpha=alpha / goal.candidates, planned_users=1), (1 + power) / 2
    return log(0.87) + 2 * log(max(0.5, edge + float(ndtri(tail))) * goal.sd / goal.size)


def _stays(
    goal: Goal, start: float, last: float, *, planned_users: float, alpha: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return times between two shares of the planned users, and the probability that nothing was shown by each."""
    root = sqrt(planned_users)
    step = crossing.OVERSHOOT / root

    def edge(at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum that the goal is shown from, or up to, in roots of `planned_users` standard deviations."""
        return np.array([_edge(goal, time * planned_users, planned_users, alpha) / root for time in at])

    if goal.kind is GoalKind.DIFFERENCE:
        times = crossing.times(start, last, width=2 * float(edge(np.array([last]))[0]))
        drift = goal.size / goal.sd * root
        return times, crossing.inside(lambda at: -edge(at), edge, times, drift=drift, widened=step)
    # The path is above the interval's room or below it, and both are alike.
    far = float(_FAR * np.sqrt(last))
    times = crossing.times(start, last, width=far)
    above = crossing.inside(lambda at: np.maximum(edge(at), 0), lambda at: edge(at) + far, times, drift=0.0,
                            widened=step)  # fmt: skip
    return times, np.minimum(1.0, 2 * above)


def _withheld(goal: Goal, users: float, shown: float, alpha: float) -> float:
    """Return the probability that what so many users show, with probability `shown`, waits for more of them.

    They are too few for their skewness, and the interval of users after their first day does not show it either
    (`quality.skew`):

        mean of the users      ----- a ------------- b ----->
        nothing is shown yet         | too few wait  | the interval of users after their first day shows it too

    Mean and skewness are jointly normal.  What is shown before the last look counts as if the last mean was above a.
    Users who were enough at an earlier look are not counted: that makes the result rather too large.
    """
    from scipy.special import ndtr, ndtri

    too_few = float(replace(goal.skewness, with_mean=0.0).beyond(users, np.zeros(1))[0])
    if not shown or too_few < _NEVER:
        return 0.0
    if goal.kind is not GoalKind.DIFFERENCE:  # that is shown by means on both sides of the null
        return shown * too_few
    a, b = max(-_FAR, -float(ndtri(shown))), min(_FAR, _agrees_from(goal, users, alpha))
    if b <= a:
        return 0.0
    edges = ndtr(np.linspace(a, b, _MEANS))
    middle = ndtri((edges[1:] + edges[:-1]) / 2)
    return float((np.diff(edges) * goal.skewness.beyond(users, middle)).sum())


def _agrees_from(goal: Goal, users: float, alpha: float) -> float:
    """Return the mean from which the interval without a central limit shows a difference, in standard errors."""
    num, width = int(_CLOSED * users), 2 * goal.room
    if not num or num > _MOST_CLOSED or isinf(width):
        return inf
    half = empirical_bernstein.half_width(num, goal.sd / width, alpha=alpha) * width
    return (half - goal.size) / (goal.sd / sqrt(users))


def _edge(goal: Goal, users: float, planned_users: float, alpha: float) -> float:
    """Return how large the users' sum, in standard deviations, is where a goal is just shown."""
    if goal.kind is GoalKind.DIFFERENCE:
        far = excluding(users, 1.0, alpha=alpha, planned_users=planned_users, candidates=goal.candidates)
        return users * far + goal.unseen / goal.sd
    half = half_width(users, 1.0, alpha=alpha / goal.candidates, planned_users=planned_users)
    return users * (goal.size / goal.sd - half) - goal.unseen / goal.sd


def _opens(goal: Goal, planned_users: float, alpha: float) -> float:
    """Return the number of users from which the goal can be shown at all; infinite where it is beyond `MAX_USERS`."""
    if goal.kind is GoalKind.DIFFERENCE or _edge(goal, goal.first_look, planned_users, alpha) >= 0:
        return goal.first_look
    low, high = log(goal.first_look), log(MAX_USERS)
    if _edge(goal, MAX_USERS, planned_users, alpha) < 0:
        return inf
    from scipy.optimize import brentq

    return exp(brentq(lambda at: _edge(goal, exp(at), planned_users, alpha), low, high))
