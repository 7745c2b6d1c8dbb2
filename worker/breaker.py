"""When most records cannot be decoded, the topic or the registry is broken, not a record: no dead letters then.

    closed    counts how the last records could be decoded
    open      50 bad ones in a row, or more than 20 % of the last 200; one probe every 30 s
    closed    again when any record decodes, or by hand; the counting starts anew

Before 200 were counted only the row opens it: 20 % of a few is chance.  A tombstone, and what the engine made of a
record, say nothing of decoding and are not counted.

>>> breaker = Breaker()
>>> for _ in range(50): breaker.bad("schema", now_s=0.0)
>>> breaker.why
'50 of the last 50 records could not be decoded, most often: schema'
>>> breaker.probes(now_s=29.0), breaker.probes(now_s=30.0), breaker.probes(now_s=31.0)
(False, True, False)
>>> breaker.good(); breaker.why
''
"""

from collections import Counter, deque

MAX_ROW = 50  # bad ones one after the other
NUM_LAST = 200
MAX_SHARE = 0.2  # of the last NUM_LAST
PROBE_S = 30.0
ALLOWED_S = 3_600.0  # how long a person's word holds for records to come: it was about what stood there then


class Breaker:
    """The machine; told of every outcome while it is closed, and of probes while it is open."""

    def __init__(self) -> None:
        """Be closed, with nothing counted."""
        self.why = ""  # why it is open, "" while it is closed
        self._last: deque[str | None] = deque(maxlen=NUM_LAST)  # reasons, None for a good one
        self._num_bad = 0
        self._row = 0
        self._probe_s = 0.0
        self._allowed = 0
        self._allowed_until_s = 0.0

    def good(self) -> None:
        """Count a record that could be decoded; it closes an open breaker."""
        if self.why:
            self._close()
        self._count(None)
        self._row = 0

    def bad(self, reason: str, *, now_s: float) -> None:
        """Count a record that could not be decoded; the one too many opens the breaker."""
        if self.why:
            return
        if self._allowed and now_s < self._allowed_until_s:
            self._allowed -= 1
            return
        self._count(reason)
        self._row += 1
        if self._row >= MAX_ROW:
            self._open(self._row, self._row, now_s)
        elif len(self._last) == NUM_LAST and self._num_bad > MAX_SHARE * NUM_LAST:
            self._open(self._num_bad, NUM_LAST, now_s)

    def restore(self, why: str, *, now_s: float) -> None:
        """Open as another worker, or this one before its restart, had it open."""
        if not self.why:
            self.why, self._probe_s = why, now_s + PROBE_S

    def accept(self, num_next: int = 0, *, now_s: float) -> None:
        """Close by hand: the records really are bad.

        So may be as many of those that come within an hour, which are not counted.
        """
        self._close()
        self._allowed, self._allowed_until_s = num_next, now_s + ALLOWED_S

    def probes(self, *, now_s: float) -> bool:
        """Say whether a probe is due, once every 30 s while it is open."""
        if not self.why or now_s < self._probe_s:
            return False
        self._probe_s = now_s + PROBE_S
        return True

    def _count(self, reason: str | None) -> None:
        if len(self._last) == NUM_LAST and self._last[0] is not None:
            self._num_bad -= 1
        self._last.append(reason)
        self._num_bad += reason is not None

    def _open(self, num_bad: int, num_seen: int, now_s: float) -> None:
        ((reason, _),) = Counter(list(filter(None, self._last))[-num_bad:]).most_common(1)
        self.why = f"{num_bad} of the last {num_seen} records could not be decoded, most often: {reason}"
        self._probe_s = now_s + PROBE_S

    def _close(self) -> None:
        self.why, self._num_bad, self._row, self._allowed = "", 0, 0, 0
        self._last.clear()
