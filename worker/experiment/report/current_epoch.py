"""Which epoch is the current one: that of most of the users who were seen last.

    epoch   users by the minute of their newest event       of the last 100 users
    old     ... u7 u8 u9 ...                                  1: a straggler of an old configuration
    new     ... u1 u2 u3 u4 u5 u6 ...                        99: the current one

The epoch with the newest event is not it: one late record of an old worker, or the first one of a rolling upgrade,
would turn the page to figures of few users and back.  An epoch becomes current when at least 70 of the last 100 users
are in it, and stays so until another has come as far: an upgrade changes it once, and two configurations side by side
change nothing.  Where none ever came so far, it is the one of most users.  The answer depends on event times alone, so
it is the same after a rebuild.

>>> old = {user: user for user in range(300)}
>>> current([old, {0: 900}]), current([old, {user: 900 for user in range(60)}])
(0, 0)
>>> current([old, {user: 900 for user in range(70)}])
1
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence

RECENT_USERS = 100  # as many as a verdict needs: fewer say nothing of the rest
MAJORITY = 0.7  # of them


def current(epochs: Sequence[Mapping[int, int]], *, num: int = RECENT_USERS) -> int:
    """Return the index of the epoch that was the last to have `MAJORITY` of `num` users who followed each other.

    Each epoch has the minute of the newest event by user.  A user counts where the newest event is; users of one
    minute count together, so that no order among them is needed.  Of equals the last one.
    """
    by_minute = _by_minute(epochs)
    if not by_minute:
        return len(epochs) - 1
    window: deque[Counter[int]] = deque()
    counts, found = Counter[int](), None
    for minute in sorted(by_minute):
        window.append(by_minute[minute])
        counts += by_minute[minute]
        while counts.total() - window[0].total() >= num:
            counts -= window.popleft()
        leader = _leader(counts)
        if counts.total() >= num and counts[leader] >= MAJORITY * counts.total():
            found = leader
    return _leader(sum(by_minute.values(), Counter())) if found is None else found


def _by_minute(epochs: Sequence[Mapping[int, int]]) -> Mapping[int, Counter[int]]:
    """Return how many users were seen last in each minute, by epoch."""
    newest: dict[int, int] = {}
    for minutes in epochs:
        for user, minute in minutes.items():
            newest[user] = max(minute, newest.get(user, minute))
    found: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for index, minutes in enumerate(epochs):
        for user, minute in minutes.items():
            if newest[user] == minute:
                found[minute][index] += 1
    return found


def _leader(counts: Counter[int]) -> int:
    return max(counts, key=lambda index: (counts[index], index))
