"""Which of several servers a user's questions go to.

A server that has read a user's history has it in its prefix cache, so a user stays with one server: the first in an
order that a hash of both gives (rendezvous hashing).  A server that is down, or has notably more to do than the least
busy one, is passed over, and the next in that order is asked; users of the other servers stay where they are.

>>> idle = {"http://a": 0, "http://b": 0, "http://c": 0}
>>> homes = {user: choose(user, idle) for user in ("u1", "u2", "u3", "u4", "u5")}
>>> sorted(set(homes.values()))
['http://a', 'http://b', 'http://c']
>>> without = {url: num for url, num in idle.items() if url != "http://b"}
>>> {user for user in homes if choose(user, without) != homes[user]} == {u for u in homes if homes[u] == "http://b"}
True
>>> home = homes["u1"]
>>> choose("u1", idle | {home: MORE}) == home, choose("u1", idle | {home: MORE + 1}) == home
(True, False)
"""

from collections.abc import Mapping

from worker.core.seeding import digest

# Our own choice: an event asks about six draws at once, so a few events more are chance, and half as much again is not.
TIMES, MORE = 1.5, 16


def choose(user_id: str, pending: Mapping[str, int]) -> str:
    """Return a server, of those that are up with how many requests each has not answered yet; at least one."""
    most = TIMES * min(pending.values()) + MORE
    return max((url for url, num in pending.items() if num <= most), key=lambda url: digest(user_id, url))
