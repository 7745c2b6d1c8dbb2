"""Which epoch is the current one: that of most of the users who were seen last.

    epoch   users by the minute of their newest event       of the last 100 users
    old     ... u7 u8 u9 ...                                  1: a straggler of an old configuration
    new     ... u1 u2 u3 u4 u5 u6 ...                        99: the current one

The epoch with the newest event is not it: one late record of an old worker, or the first one of a rolling upgrade,
would turn the page to figures of few users and back.  An upgrade changes the current epoch once, when half of the
recent users are in the new one.  The answer depends on event times alone, so it is the same after a rebuild.

>>> old = {user: user for user in range(300)}
>>> current([old, {0: 900}]), current([old, {user: 900 for user in range(60)}])
(0, 1)
"""

from collections.abc import Mapping, Sequence
from heapq import nlargest

RECENT_USERS = 100  # as many as a verdict needs: fewer say nothing of the rest


def current(epochs: Sequence[Mapping[int, int]], *, num: int = RECENT_USERS) -> int:
    """Return the index of the epoch that most of the last `num` users are in; of equals the last.

    Each epoch has the minute of the newest event by user.  A user counts where the newest event is; users of one
    minute count together, so that no order among them is needed.
    """
    newest: dict[int, int] = {}
    for minutes in epochs:
        for user, minute in minutes.items():
            newest[user] = max(minute, newest.get(user, minute))
    if not newest:
        return len(epochs) - 1
    since = nlargest(num, newest.values())[-1]
    recent = {user: minute for user, minute in newest.items() if minute >= since}
    counts = [sum(recent.get(user) == minute for user, minute in minutes.items()) for minutes in epochs]
    return max(range(len(epochs)), key=lambda index: (counts[index], index))
