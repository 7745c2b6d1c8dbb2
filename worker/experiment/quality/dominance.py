"""Whether few users are a crowd: an id such as "anonymous", shared by many people, a robot, or a handful of them.

The headline weights users equally, so such an id counts once there.  A figure that weights events equally is about
these ids alone, and is withheld: where one user has more than a fifth of the events, or where the events are spread as
if they came from fewer than 25 users.  That is the effective number of users (Kish 1965),

    (sum of all users' events)^2 / sum of (a user's events)^2

    2 of 126 users with 19 % each     13
    10 of 200 users with 6.5 % each   24

Watched at a dozen looks, the interval of such a figure missed 1 % at 25 effective users and at most 2 % at 15, but 11 %
at 5 and 98 % at 1.6.  Of ordinary experiments, with lognormal activity (sd 1), 25 withhold the figure in 3.7 % at 100
users and 0.1 % at 200 (2,000 runs each); 50 would in 68 and 4 % (400 runs; simulated, 2026-11-30).
"""

from collections.abc import Mapping, Sequence

from worker.core.seeding import digest

MAX_SHARE = 0.2  # of the events that a figure rests on; our choice: the busiest of 200 ordinary users had 0.11
MIN_EVENTS = 100  # below, anybody may have a fifth
MIN_EFFECTIVE = 25  # users
MIN_COVERED = 15  # users, of whom the interval of such a figure still holds: what may forbid a verdict asks no more
MIN_OF_USERS = 0.25  # times the users: of fewer than 100, that many are enough
MAX_NAMED = 10  # users in data health, of all experiments


def dominant(events: Mapping[int, int], *, at_least: int = MIN_EFFECTIVE) -> dict[int, float]:
    """Return the share of all events of the users who dominate, the heaviest first; nobody, if many users have them.

    Where there are fewer than `at_least` effective users, somebody has more than one part in so many; these are named.

    >>> dominant({1: 960, 2: 20, 3: 20}), dominant({1: 9, 2: 1})
    ({1: 0.96}, {})
    >>> dominant({1: 190, 2: 190} | dict.fromkeys(range(3, 127), 5))
    {1: 0.19, 2: 0.19}
    """
    every = sum(events.values())
    if every < MIN_EVENTS:
        return {}
    wanted = min(at_least, MIN_OF_USERS * len(events))
    few = every**2 < wanted * sum(number**2 for number in events.values())
    limit = 1 / wanted if few else MAX_SHARE
    shares = {user: number / every for user, number in events.items() if number > min(limit, MAX_SHARE) * every}
    return dict(sorted(shares.items(), key=lambda one: (-one[1], one[0])))


def alias(user_id: str) -> str:
    """Return a name for a user in reports, which is not the user's id."""
    return digest("reported user", user_id).hex()[:12]


def words(shares: Sequence[float], *, of: str = "events") -> str:
    """Return why a figure that weights these equally is withheld; "" if nobody dominates.

    >>> words([0.19, 0.19])
    '2 users have 38% of the events: weighted by event, the figure would be about them alone'
    """
    if not shares:
        return ""
    who = "one user has" if len(shares) == 1 else f"{len(shares)} users have"
    return f"{who} {sum(shares):.0%} of the {of}: weighted by {of[:-1]}, the figure would be about them alone"
