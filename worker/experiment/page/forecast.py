"""When the planned number of users will be reached, in event time, if users keep arriving at the recent rate.

    users                       * planned
      |                    .  '
      |              o  '         a line through the newer half of the points: at first every user is new, so the
      |          o                whole would promise too much
      |      o
      |  o
      +---------------------------- event time

No forecast is made from one point, from users that no longer grow, or for more than `MAX_AHEAD_US` ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.experiment.readout import Point

MAX_AHEAD_US = 366 * 86_400 * 1_000_000


@dataclass(frozen=True, slots=True)
class Finish:
    """When the last planned user comes; without a time, `why` says why not."""

    at_us: int | None
    reached: bool = False  # seen, not foretold
    why: str = ""


def finish(timeline: Sequence[Point], *, planned_users: int) -> Finish:
    """Return the expected end of an experiment.

    >>> points = [Point(until=day, users=100 * day, value=0.5, low=None, high=None) for day in (1, 2)]
    >>> finish(points, planned_users=500).at_us
    5
    >>> finish(points[:1], planned_users=500).why
    'only one point in time so far'
    """
    reached = next((point for point in timeline if point.users >= planned_users), None)
    if reached:
        return Finish(reached.until, reached=True)
    if len(timeline) < 2:  # noqa: PLR2004 - a line has two points
        return Finish(None, why="only one point in time so far" if timeline else "no users yet")
    first, last = timeline[(len(timeline) - 1) // 2], timeline[-1]
    grown, passed_us = last.users - first.users, last.until - first.until
    if grown <= 0 or passed_us <= 0:
        return Finish(None, why="no new users recently")
    ahead_us = (planned_users - last.users) * passed_us // grown
    if ahead_us > MAX_AHEAD_US:
        return Finish(None, why="more than a year away at this pace")
    return Finish(last.until + ahead_us)
