"""Sums about the engine: of a duel's draws by comparison, of presented slots by configuration.

Whole numbers, as all sums of the state: the same in any order.  Slots carry no user and no event, so they stay when a
definition changes or a user is forgotten.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping

from worker.experiment.quality.checks import SlotShares
from worker.experiment.quality.paired_draws import PairedDuel
from worker.experiment.statistics.evalues import Sums

_Key = tuple[int, str, str, str]  # epoch, candidate, control, name


class Measures:
    """Writes sums inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db = db
        self._sums: defaultdict[_Key, Sums] = defaultdict(Sums)
        self._slots: defaultdict[tuple[int, int, int], Sums] = defaultdict(Sums)

    def take_draws(self, epoch: int, candidate: str, control: str, drawn: PairedDuel) -> None:
        """Add what a duel's draws say."""
        found = {"even": drawn.even, "odd": drawn.odd, "half_difference": drawn.half_difference}
        if drawn.late is not None:
            found["late"] = drawn.late
        for name, value in found.items():
            self._sums[epoch, candidate, control, name].add(value)

    def take_lists(self, epoch: int, candidate: str, control: str, found: Mapping[str, float | None]) -> None:
        """Add how alike two slates are, as far as it is known."""
        for name, value in found.items():
            if value is not None:
                self._sums[epoch, candidate, control, name].add(value)

    def take_slots(self, stream: int, drawn: PairedDuel) -> None:
        """Add what each presented slot got."""
        for slot, value in enumerate(drawn.slots):
            self._slots[stream, len(drawn.slots), slot].add(value)

    def flush(self) -> None:
        """Write what was gathered."""
        for table, num_columns, gathered in (("measure", 7, self._sums), ("slot", 6, self._slots)):
            marks = ", ".join("?" * num_columns)
            self._db.executemany(
                f"""insert into {table} values ({marks}) on conflict do update set n = n + excluded.n,
                total = total + excluded.total, squares = squares + excluded.squares""",
                [(*key, one.n, one.total, one.squares) for key, one in gathered.items()],
            )
        self._sums.clear()
        self._slots.clear()


def measures(db: sqlite3.Connection, epoch: int, candidate: str, control: str) -> dict[str, Sums]:
    """Return the sums of a comparison by name."""
    query = "select name, n, total, squares from measure where epoch = ? and candidate = ? and control = ?"
    rows = db.execute(query, (epoch, candidate, control))
    return defaultdict(Sums, {name: Sums(n, total, squares) for name, n, total, squares in rows})


def profile(db: sqlite3.Connection, epoch: int) -> SlotShares:
    """Return what the presented slots got in an epoch's configuration."""
    query = """select size, slot, n, total, squares from slot join epoch on epoch.stream = slot.stream
        where epoch.id = ? order by size, slot"""
    found = SlotShares()
    for size, _, n, total, squares in db.execute(query, (epoch,)):
        found.sizes.setdefault(size, []).append(Sums(n, total, squares))
    return found


def of_users(values: list[float]) -> Sums:
    """Add up one value per user."""
    found = Sums()
    for value in values:
        found.add(value)
    return found
