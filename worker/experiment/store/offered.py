"""What each duel offered on one side alone, and what it is called: the facts of the tables by item and by position.

    answer.offered   [5, [["i3", 0, 0, 0.31], ["i8", 1, 2, 0.12], ...]]
    title            i3  "Silent Harbour (1994)"

Of 5 options, those that one side alone offers, as item, side, position and probability.  Side 0 is control's list and
1 the candidate's.  Options that both lists offer speak for neither and are not kept.
"""

import json
import sqlite3
from collections.abc import Iterator

from worker.experiment.store.answers import Answer

MAX_DUELS = 50_000  # that a table is made from: those with the lowest event ids, which are random
MAX_TITLES = 200_000  # that are remembered, so that each is written once
_DIGITS = 5  # of a probability: the sum over a million events is right to the second

Offers = tuple[int, list[tuple[str, int, int, float]]]  # options, then (item, side, position, probability)


def encoded(answer: Answer) -> str:
    """Return what an answered duel offered on one side alone."""
    options = answer.text.options if answer.text else ()
    sides = {(answer.control_variant,): 0, (answer.variant,): 1}
    alone = [
        (item, sides[variants], position, round(p, _DIGITS))
        for item, position, variants, p, _ in options
        if variants in sides
    ]
    return json.dumps([len(options), alone], separators=(",", ":"), ensure_ascii=False)


class Titles:
    """Writes titles inside the caller's transaction; of an item with several the first in their order is kept."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db = db
        self._written: set[tuple[int, str, str]] = set()

    def take(self, stream: int, answer: Answer) -> None:
        """Keep the titles of an answered duel's options."""
        for item, _, _, _, title in answer.text.options if answer.text else ():
            key = (stream, item, title)
            if title and key not in self._written:
                if len(self._written) >= MAX_TITLES:
                    self._written.clear()
                self._written.add(key)
                self._db.execute(
                    "insert into title values (?, ?, ?) on conflict do update set text = min(text, excluded.text)", key
                )


def offers(
    db: sqlite3.Connection, stream: int, candidate: str, control: str, *, between: tuple[int, int]
) -> Iterator[tuple[int, Offers]]:
    """Yield (user, what was offered) of at most `MAX_DUELS` answered duels between two times."""
    query = """select user, offered from answer where stream = ? and question = 'DUEL' and variant = ? and control = ?
        and offered is not null and occurred_at between ? and ? order by event limit ?"""
    for user, offered in db.execute(query, (stream, candidate, control, *between, MAX_DUELS)):
        yield user, json.loads(offered)


def titles(db: sqlite3.Connection, stream: int, items: list[str]) -> dict[str, str]:
    """Return the titles of items that have one."""
    found: dict[str, str] = {}
    for item in items:
        row = db.execute("select text from title where stream = ? and item = ?", (stream, item)).fetchone()
        if row:
            found[item] = row[0]
    return found
