"""The tables of where a candidate wins, from what its duels offered on one side alone.

    by item, by position     an option counts in one row
    by provider              an item without one stands under "(none)"
    by category              so it does here; an item of several counts in each with an equal part

The points of each table add up to the headline's difference from 50 %, as far as its rows are all there are.
With them come the items that win far more often than all others (`quality.item_outliers`).
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from worker.core.simulation.questions import Status
from worker.experiment.item_metrics import categories
from worker.experiment.quality.item_outliers import item_outliers
from worker.experiment.readout import NONE, List, OutlyingItem, Where
from worker.experiment.statistics import where
from worker.experiment.statistics.user_means import Rule, Users
from worker.experiment.store.offered import KnownItem, Weights, items, offers
from worker.experiment.store.queries import EpochRow, PairRow

MAX_CATEGORIES = 8  # of an item, the first that it names: a film has about three
_PLACES = {place: f"{place + 1:3}" for place in range(where.MAX_POSITIONS)}  # as texts they are in order


@dataclass(frozen=True, slots=True)
class Tables:
    """The largest difference first; empty where nothing was offered on one side alone."""

    items: tuple[Where, ...] = ()
    positions: tuple[Where, ...] = ()
    categories: tuple[Where, ...] = ()
    providers: tuple[Where, ...] = ()
    outlying: tuple[OutlyingItem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Groups:
    """What items have in common, by number."""

    names: Mapping[int, str]
    of_item: Mapping[int, Sequence[int]]  # at least one of each item: NONE's
    known: frozenset[int]  # items that have one by name


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
        items = self._items
        names, titles = {n: one.name for n, one in items.items()}, {n: one.title for n, one in items.items()}
        by_item = where.table(found, found.item, names, self._rule)
        by_position = where.table(found, found.position, _PLACES, self._rule)
        return Tables(
            tuple(_as_where(row, names[row.group], titles[row.group]) for row in by_item),
            tuple(_as_where(row, str(row.group + 1)) for row in by_position),
            self._by_group(found, self._categories),
            self._by_group(found, self._providers),
            tuple(
                OutlyingItem(names[one.item], titles[one.item], one.users, one.chosen, one.chance, one.fence)
                for one in item_outliers(found, alpha=self._rule.alpha)
            ),
        )

    def _by_group(self, found: where.Offers, groups: _Groups) -> tuple[Where, ...]:
        """Return a table by what the items have in common; empty where none of those that were offered has it."""
        if groups.known.isdisjoint(found.item.tolist()):
            return ()
        entries, group = where.divided(found, groups.of_item)
        rows = where.table(entries, group, groups.names, self._rule)
        return tuple(_as_where(row, groups.names[row.group]) for row in rows)

    @cached_property
    def _items(self) -> dict[int, KnownItem]:
        """The items by their numbers in the state."""
        return {one.number: one for one in items(self._db, self._row.stream)}

    @cached_property
    def _categories(self) -> _Groups:
        return _grouped(
            {n: categories(one.category)[:MAX_CATEGORIES] for n, one in self._items.items()}, fold=str.casefold
        )

    @cached_property
    def _providers(self) -> _Groups:
        return _grouped({n: (one.provider,) if one.provider else () for n, one in self._items.items()}, fold=str)


def _grouped(named: Mapping[int, Sequence[str]], *, fold: Callable[[str], str]) -> _Groups:
    """Return the groups that items have in common; `named` has the names of each item's.

    Names that `fold` alike are one group under the first spelling in their order, whichever answers came first.
    """
    spelled = {NONE: NONE}
    for names in named.values():
        for name in names:
            spelled[fold(name)] = min(name, spelled.get(fold(name), name))
    numbers = {folded: number for number, folded in enumerate(sorted(spelled))}
    return _Groups(
        names={numbers[folded]: name for folded, name in spelled.items()},
        of_item={n: [numbers[fold(name)] for name in names or (NONE,)] for n, names in named.items()},
        known=frozenset(n for n, names in named.items() if names),
    )


def _as_where(row: where.GroupRow, name: str, title: str = "") -> Where:
    side = List.B if row.side == where.CANDIDATE else List.A
    return Where(name, side, row.offers, row.chosen, row.chance, row.effect, row.points, row.notable, title)
