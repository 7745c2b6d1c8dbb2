"""The verdict that was told last of each candidate, in the state file, so that a restart does not tell it again.

The table is not made from the topics: a rebuild keeps it, and a new version of the other tables does not touch it.
"""

import sqlite3

_TABLE = """create table if not exists told(experiment text, candidate text, control text, verdict text, number int,
    primary key (experiment, candidate, control)) without rowid"""

Key = tuple[str, str, str]  # experiment, candidate, control


def read_told(db: sqlite3.Connection) -> dict[Key, tuple[str, int]]:
    """Return (verdict, how many were told) of each candidate; the table is made if it is not there."""
    db.execute(_TABLE)
    return {tuple(key): (verdict, number) for *key, verdict, number in db.execute("select * from told")}


def write_told(db: sqlite3.Connection, key: Key, verdict: str, number: int) -> None:
    """Store what was sent."""
    db.execute("insert or replace into told values (?, ?, ?, ?, ?)", (*key, verdict, number))
