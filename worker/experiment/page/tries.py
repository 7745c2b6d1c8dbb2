"""How often somebody may try a token: a few wrong ones a minute from one address, then none for a while.

10 wrong tokens within a minute    further ones of that address are not compared: 429
the right one                      forgets what was wrong
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic

MAX_WRONG = 10  # within `WINDOW_S`, by address
WINDOW_S = 60.0
MAX_ADDRESSES = 1_024  # remembered; the one whose last try is longest ago goes first


class Tries:
    """The wrong tokens of late, by address."""

    def __init__(self, now_s: Callable[[], float] = monotonic) -> None:
        """Read the time from `now_s`."""
        self._now_s = now_s
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def are_left(self, address: str) -> bool:
        """Return whether a token of this address is looked at now."""
        wrong = self._wrong.get(address)
        while wrong and wrong[0] <= self._now_s() - WINDOW_S:
            wrong.popleft()
        return not wrong or len(wrong) < MAX_WRONG

    def note(self, address: str, *, fits: bool) -> None:
        """Remember a try."""
        if fits:
            self._wrong.pop(address, None)
            return
        wrong = self._wrong.setdefault(address, deque(maxlen=MAX_WRONG))
        wrong.append(self._now_s())
        self._wrong.move_to_end(address)
        if len(self._wrong) > MAX_ADDRESSES:
            self._wrong.popitem(last=False)
