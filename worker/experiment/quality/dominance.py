"""Whether one user is a crowd: an id such as "anonymous", shared by many people, or a robot.

The headline weights users equally, so such an id counts once there.  A figure that weights events equally is about
that id alone, and is withheld.
"""

from collections.abc import Mapping, Sequence

from worker.core.seeding import digest

MAX_SHARE = 0.2  # of the events that a figure rests on; our choice: the busiest of 200 ordinary users had 0.11
MIN_EVENTS = 100  # below, anybody may have a fifth


def dominant(events: Mapping[int, int]) -> dict[int, float]:
    """Return the share of all events of each user who has more than `MAX_SHARE` of them.

    >>> dominant({1: 960, 2: 20, 3: 20}), dominant({1: 9, 2: 1})
    ({1: 0.96}, {})
    """
    every = sum(events.values())
    if every < MIN_EVENTS:
        return {}
    return {user: number / every for user, number in events.items() if number > MAX_SHARE * every}


def alias(user_id: str) -> str:
    """Return a name for a user in reports, which is not the user's id."""
    return digest("reported user", user_id).hex()[:12]


def words(shares: Sequence[float]) -> str:
    """Return why a figure by event is withheld; "" if no user dominates."""
    if not shares:
        return ""
    who = "one user has" if len(shares) == 1 else f"{len(shares)} users have"
    return f"{who} {sum(shares):.0%} of the events: weighted by event, the figure would be about them alone"
