"""The share of alpha that each epoch of an experiment has: what the epochs before it have not used up.

    epoch    users        share of alpha
    first    300          1       it pays nothing for what may come later
    second   6,000        0.64    the first counts as if it had run to its plan
    third    100          0.31    the second counts as if it had run to twice its users

Each epoch is another chance to find a difference by accident.  An epoch of which all is known has used up a part of
its alpha only (`statistics.spending`), and the rest is left for the next.  So the first epoch has all of alpha, and all
epochs together find something by accident with a probability of alpha at most: whatever their number, and also where
the same users are in several of them.

An epoch that was followed by another may still grow, by late events or in a slow roll-out.  So it counts with
`GROWTH` times its users, and with its plan at least: until it has half of its plan the shares of later epochs stay as
they are, and beyond that they shrink as it grows.  Epochs are in the order in which they first had an interval, in the
time of the events, or in which their definitions were taken, if that was later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor, log10

from worker.experiment.statistics.spending import spent

GROWTH = 2.0  # times the users that an epoch has, once another one follows
LEAST = 0.001  # no share is smaller: of a hundred epochs more, all together have a tenth of alpha more
_DIGITS = 2  # of a share, rounded down


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAtEpoch:
    """One epoch that has an interval: when it first had one, in microseconds, and what it may have used up."""

    started_at: int
    name: str  # decides between two that started in one moment
    alpha: float
    planned_users: int
    users: int  # of the candidate that most users have an answer for
    candidates: int = 1


def shares(epochs: Sequence[LookedAtEpoch], *, replaced: int = 0) -> list[float]:
    """Return the share of each epoch, in the order in which they are given.

    `replaced` are definitions that were looked at and then replaced from the start: each counts before all epochs, as
    if it had run to its plan.

    >>> one = LookedAtEpoch(started_at=0, name="e", alpha=0.05, planned_users=5_000, users=300)
    >>> shares([one, replace(one, started_at=1, users=6_000), replace(one, started_at=2, users=100)])
    [1.0, 0.64, 0.31]
    >>> shares([one], replaced=1)
    [0.64]
    """
    found, left = [LEAST] * len(epochs), 1.0
    order = sorted(range(len(epochs)), key=lambda place: (epochs[place].started_at, epochs[place].name))
    for _ in range(replaced if epochs else 0):
        left = _left(left, replace(epochs[order[0]], users=0))
    for place in order:
        found[place] = left
        left = _left(left, epochs[place])
    return found


def _left(share: float, epoch: LookedAtEpoch) -> float:
    """Return what an epoch that has a share of alpha leaves of it."""
    users = max(epoch.planned_users, GROWTH * epoch.users)
    gone = spent(epoch.alpha, users=users, planned_users=epoch.planned_users, among=epoch.candidates / share)
    return max(LEAST, _down(share * (1 - gone)))


def _down(share: float) -> float:
    """Round down to `_DIGITS` digits.

    >>> _down(0.6449), _down(0.00123), _down(1.0)
    (0.64, 0.0012, 1.0)
    """
    if share <= 0:
        return 0.0
    unit = 10.0 ** (_DIGITS - 1 - floor(log10(share)))
    return floor(share * unit + 1e-9) / unit
