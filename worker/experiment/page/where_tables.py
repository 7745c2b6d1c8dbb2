"""Where B wins, as the page shows it: a chart of what made the difference, and a table with an interval per row.

    items, categories, providers     a chart of the rows with most points, and the table
    positions                        the table alone: places are read in their order

A row links to a shown event in which one list alone offers the item, or an item of the category or provider, or at the
position; "(none)" to one with an item that has no category or provider.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from worker.experiment.item_metrics import categories
from worker.experiment.page.charts import Mark, Scale
from worker.experiment.readout import NONE, Comparison, Example, List, Offered, Where

MAX_MOVERS = 12  # of a chart


@dataclass(frozen=True, slots=True)
class Mover:
    """One row that made the difference; its bar starts in the middle."""

    row: Where
    mark: Mark


@dataclass(frozen=True, slots=True)
class WhereTable:
    """One table and its chart."""

    name: str  # before its ids
    kind: str  # of its rows
    rows: tuple[Where, ...]
    movers: tuple[Mover, ...]  # the largest first; none without a chart
    examples: tuple[str, ...]  # of each row the id of a shown event, "" if none is shown
    note: str  # which rows there are


def where_tables(of: Comparison) -> tuple[WhereTable, ...]:
    """Return the tables that have rows."""
    found = (
        _table(
            of, "items", "item", of.items, lambda option: (option.item_id,),
            note="The items that were offered most often.",
        ),
        _table(
            of, "categories", "category", of.categories, lambda option: categories(option.category) or (NONE,),
            fold=str.casefold,
            note="The categories that were offered most often; an item of several counts in each with an equal part.",
        ),
        _table(
            of, "providers", "provider", of.providers, lambda option: (option.provider or NONE,),
            note="The providers that were offered most often.",
        ),
        replace(
            _table(
                of, "positions", "position", of.positions, lambda option: (str(option.position + 1),),
                note="Positions of the items that one list alone offers.",
            ),
            movers=(),
        ),
    )  # fmt: skip
    return tuple(one for one in found if one.rows)


def shown_example(of: Comparison, fits: Callable[[Example], bool]) -> str:
    """Return the id of the first shown event that fits, "" if none does."""
    return next((name for name, example in _named_examples(of) if fits(example)), "")


def _named_examples(of: Comparison) -> Iterator[tuple[str, Example]]:
    for end, examples in (("wins", of.wins), ("losses", of.losses)):
        for number, example in enumerate(examples, 1):
            yield f"{end}-{number}", example


def _table(
    of: Comparison, name: str, kind: str, rows: Sequence[Where], named: Callable[[Offered], Iterable[str]],
    *, fold: Callable[[str], str] = str, note: str,
) -> WhereTable:  # fmt: skip
    """Return a table; `named` tells the rows that an option belongs to, by names that `fold` makes alike."""
    shown = _examples(of, lambda option: map(fold, named(option)))
    examples = tuple(shown.get((row.side, fold(row.name)), "") for row in rows)
    return WhereTable(name, kind, tuple(rows), _movers(rows), examples, note)


def _movers(rows: Sequence[Where]) -> tuple[Mover, ...]:
    """Return the rows with most points, either way, each with a bar from the middle to its points."""
    largest = rows[:MAX_MOVERS]
    half = max((abs(row.points) for row in largest), default=0.0) or 1.0
    scale = Scale(0.0, half)
    return tuple(Mover(row, Mark(None, *sorted((50.0, scale.place(row.points))))) for row in largest)


def _examples(of: Comparison, named: Callable[[Offered], Iterable[str]]) -> dict[tuple[List, str], str]:
    """Return the id of the first shown event by the list that alone offers something, and by its name."""
    found: dict[tuple[List, str], str] = {}
    for place, example in _named_examples(of):
        for option in example.options:
            in_a, in_b = of.control in option.variants, of.candidate in option.variants
            for name in named(option) if in_a != in_b else ():
                found.setdefault((List.B if in_b else List.A, name), place)
    return found
