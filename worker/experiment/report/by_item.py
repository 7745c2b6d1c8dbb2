"""The tables of where a candidate wins, by item and by position, from what its duels offered on one side alone."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from worker.core.simulation.questions import Status
from worker.experiment.readout import List, Where
from worker.experiment.statistics import where
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store.offered import Weights, items, offers
from worker.experiment.store.queries import EpochRow, PairRow

_PLACES = {place: f"{place + 1:3}" for place in range(where.MAX_POSITIONS)}  # as texts they are in order


@dataclass(frozen=True, slots=True)
class Tables:
    """The largest difference first; empty where nothing was offered on one side alone."""

    items: tuple[Where, ...] = ()
    positions: tuple[Where, ...] = ()


class ByItem:
    """The tables of one epoch's candidates; its items are read once, when the first needs them."""

    def __init__(self, db: sqlite3.Connection, row: EpochRow, rule: Rule) -> None:
        """`rule` is the duel share's."""
        self._db, self._row, self._rule = db, row, rule

    def tables(self, candidate: str, control: str, pairs: Sequence[PairRow], duels: Users | None) -> Tables:
        """Return the tables of a comparison; `pairs` are its duels by status, `duels` the users' values of them."""
        if duels is None:
            return Tables()
        found = offers(
            self._db,
            self._row.stream,
            candidate,
            control,
            between=(self._row.first, self._row.last),
            weights=Weights(duels.ids, duels.num_events()),
            num_duels=sum(pair.count for pair in pairs if pair.status == Status.OK),
        )
        if found is None:
            return Tables()
        names, titles = self._items
        by_item = where.table(found, found.item, names, self._rule)
        by_position = where.table(found, found.position, _PLACES, self._rule)
        return Tables(
            tuple(_as_where(row, names[row.group], titles[row.group]) for row in by_item),
            tuple(_as_where(row, str(row.group + 1)) for row in by_position),
        )

    @cached_property
    def _items(self) -> tuple[dict[int, str], dict[int, str]]:
        """Ids and titles, by the items' numbers in the state."""
        known = list(items(self._db, self._row.stream))
        return {number: name for number, name, _ in known}, {number: title for number, _, title in known}


def _as_where(row: where.GroupRow, name: str, title: str = "") -> Where:
    side = List.B if row.side == where.CANDIDATE else List.A
    return Where(name, side, row.offers, row.chosen, row.chance, row.effect, row.points, row.notable, title)
