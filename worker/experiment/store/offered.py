"""What each duel offered on one side alone, and what is known of it: the facts of the tables of where B wins.

    answer.offered   12 bytes per option of one side: item, side, position, options of the duel, probability
    item             12  "i3"  "Silent Harbour (1994)"  "Drama|Crime"  "Studio A"

Side 0 is control's list and 1 the candidate's.  Options that both lists offer speak for neither and are not kept.  Rows
are bytes because there may be millions: they are read as one array, without a loop over options.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from struct import iter_unpack, pack
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics.where import Offers
from worker.experiment.store.answers import Answer

MAX_DUELS = 50_000  # that a table is made from, give or take a percent: of more, a sample by a hash of the event's id
MAX_ITEMS = 200_000  # whose number in the state is remembered
_FORMAT = "IBBBxf"
_DTYPE = np.dtype([("item", "<u4"), ("side", "u1"), ("position", "u1"), ("options", "u1"), ("", "u1"), ("p", "<f4")])
_LAST_PLACE = 255  # whatever is further down stands there


@dataclass(frozen=True, slots=True)
class KnownItem:
    """An item of a configuration, by its number in the state; texts are "" where no answer had one."""

    number: int
    name: str
    title: str
    category: str  # as the answer has it: several, where a separator is in it
    provider: str


_Texts = tuple[str, str, str]  # title, category, provider


class Items:
    """Numbers items inside the caller's transaction; of an item's titles the first in their order is kept.

    So it is with categories and providers: which one is kept does not depend on the order of the answers.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db = db
        self._known: dict[tuple[int, str], tuple[int, _Texts]] = {}  # (stream, item)

    def encoded(self, stream: int, answer: Answer) -> bytes | None:
        """Return what an answered duel offered on one side alone; None of anything else."""
        if answer.text is None:
            return None
        options = answer.text.options
        sides: dict[tuple[str, ...], int] = {(answer.control_variant,): 0, (answer.variant,): 1}
        flat: list[float] = []
        for item, position, variants, p, *told in options:
            side = sides.get(variants)
            if side is not None:
                number = self._number(stream, item, (told[0], told[1], told[2]))
                flat += (number, side, min(position, _LAST_PLACE), min(len(options), _LAST_PLACE), p)
        return pack("<" + _FORMAT * (len(flat) // 5), *flat)

    def _number(self, stream: int, item: str, told: _Texts) -> int:
        number, known = self._known.get((stream, item)) or self._row(stream, item)
        if told != known:
            title, category, provider = (
                min(filter(None, texts), default="") for texts in zip(told, known, strict=True)
            )
            if (title, category, provider) != known:
                self._db.execute(
                    "update item set title = ?, category = ?, provider = ? where id = ?",
                    (title, category, provider, number),
                )
                self._known[stream, item] = number, (title, category, provider)
        return number

    def _row(self, stream: int, item: str) -> tuple[int, _Texts]:
        if len(self._known) >= MAX_ITEMS:
            self._known.clear()
        self._db.execute("insert or ignore into item (stream, name, title) values (?, ?, '')", (stream, item))
        query = "select id, title, category, provider from item where stream = ? and name = ?"
        number, *texts = self._db.execute(query, (stream, item)).fetchone()
        found = self._known[stream, item] = int(number), (str(texts[0]), str(texts[1]), str(texts[2]))
        return found


@dataclass(frozen=True, slots=True)
class Weights:
    """How much of the headline an event of each user is: `ids` ascending, with their numbers of answered events."""

    ids: NDArray[np.int64]
    num_events: NDArray[np.int64]

    def of(self, user: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return 1 / (users * events of the user) for each of these users; 0 for one who has no value."""
        place = np.searchsorted(self.ids, user).clip(max=self.ids.size - 1)
        return np.where(self.ids[place] == user, 1 / (self.ids.size * self.num_events[place]), 0.0)


def offers(
    db: sqlite3.Connection,
    stream: int,
    candidate: str,
    control: str,
    *,
    between: tuple[int, int],
    weights: Weights,
    num_duels: int,
) -> Offers | None:
    """Return what the answered duels between two times offered, of `num_duels` at most about `MAX_DUELS`.

    None if none did, and without a user who has a value.
    """
    sampled, words = num_duels > MAX_DUELS, [stream, candidate, control, *between]
    if sampled:  # ids may be in the order of time
        db.create_function("hashed", 1, lambda event: crc32(event.encode()), deterministic=True)
        words.append(MAX_DUELS * 2**32 // num_duels)
    query = f"""select user, offered from answer where stream = ? and question = 'DUEL' and variant = ? and control = ?
        and offered is not null and occurred_at between ? and ? {"and hashed(event) < ?" if sampled else ""}"""
    rows = db.execute(query, words).fetchall()
    found = np.frombuffer(b"".join(offered for _, offered in rows), dtype=_DTYPE)
    if not found.size or not weights.ids.size:
        return None
    sizes = [len(offered) // _DTYPE.itemsize for _, offered in rows]
    users = np.repeat(np.array([user for user, _ in rows], dtype=np.int64), sizes)
    return Offers(
        user=users,
        item=found["item"].astype(np.int64),
        side=found["side"].astype(np.int64),
        position=found["position"].astype(np.int64),
        chosen=found["p"].astype(np.float64),
        chance=1 / found["options"].astype(np.float64),
        weight=weights.of(users) * num_duels / len(rows),
    )


def unpacked(offered: bytes) -> Iterator[tuple[int, int, int, float]]:
    """Yield (number of the item, side, position, probability) of the options that one answer keeps."""
    for item, side, position, _, p in iter_unpack("<" + _FORMAT, offered):
        yield item, side, position, p


def items(db: sqlite3.Connection, stream: int) -> Iterator[KnownItem]:
    """Yield the items of a configuration."""
    query = "select id, name, title, category, provider from item where stream = ?"
    for row in db.execute(query, (stream,)):
        yield KnownItem(*row)
