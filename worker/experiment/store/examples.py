"""The duels that went furthest either way, kept for people to look at: the first and last `KEPT` by share.

Which ones are kept depends on the duels alone, not on their order: ties go by event id.
"""

import json
import sqlite3

from worker.experiment.metrics import DUEL_SHARE
from worker.experiment.store.answers import Answer

KEPT = 100  # at each end, of a comparison in one configuration; about 4 KB each
_PRUNE_AT = 4 * KEPT

_Key = tuple[int, str, str]


class Examples:
    """Writes examples inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db = db
        self._bounds: dict[_Key, tuple[float, float]] = {}  # beyond which one is kept: at most, at least
        self._touched: dict[_Key, int] = {}

    def take(self, stream: int, user: int, answer: Answer) -> None:
        """Store a duel if its share is extreme enough."""
        share = answer.values.get(DUEL_SHARE)
        if answer.text is None or share is None:
            return
        key = (stream, answer.variant, answer.control_variant)
        low, high = self._bounds.setdefault(key, (1.0, 0.0))
        if low < share < high:
            return
        told = json.dumps([answer.text.options, answer.text.rationales])
        row = (*key, answer.event_id, share, answer.occurred_at, user, told)
        self._db.execute("insert or replace into example values (?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._touched[key] = self._touched.get(key, 0) + 1
        if self._touched[key] >= _PRUNE_AT:
            self._prune(key)

    def flush(self) -> None:
        """Delete all but the most extreme."""
        for key in list(self._touched):
            self._prune(key)

    def _prune(self, key: _Key) -> None:
        where = "stream = ? and candidate = ? and control = ?"
        ends = [f"select event from (select event from example where {where} order by share {way}, event limit ?)"
                for way in ("asc", "desc")]  # fmt: skip
        keep = " union ".join(ends)
        parameters = (*key, *key, KEPT, *key, KEPT)
        self._db.execute(f"delete from example where {where} and event not in ({keep})", parameters)
        num = self._db.execute(f"select count(*) from example where {where}", key).fetchone()[0]
        if num >= 2 * KEPT:
            way = f"select share from example where {where} order by share {{}}, event limit 1 offset {KEPT - 1}"
            (low,), (high,) = (self._db.execute(way.format(end), key).fetchone() for end in ("asc", "desc"))
            self._bounds[key] = (low, high)
        self._touched.pop(key, None)
