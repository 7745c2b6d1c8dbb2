"""The last backtest of each configuration, in the state file, so that its result stands beside every verdict.

The table is not made from the topics: a rebuild keeps it, and a new version of the other tables does not touch it.
"""

import json
import sqlite3
from dataclasses import asdict

from pydantic import TypeAdapter

from worker.experiment.readout import KeptBacktest

_TABLE = "create table if not exists backtest(fingerprint text primary key, at int, record text) without rowid"
_KEPT: TypeAdapter[KeptBacktest] = TypeAdapter(KeptBacktest)  # what a newer version added is left out


def read_backtests(db: sqlite3.Connection) -> dict[str, KeptBacktest]:
    """Return the backtests by configuration, the newest first; nothing is written, also where there is no table."""
    if db.execute("select 1 from sqlite_master where type = 'table' and name = 'backtest'").fetchone() is None:
        return {}
    rows = db.execute("select fingerprint, record from backtest order by at desc, fingerprint")
    return {fingerprint: _KEPT.validate_json(record) for fingerprint, record in rows}


def write_backtest(db: sqlite3.Connection, one: KeptBacktest) -> None:
    """Store a backtest in place of the one before it of the same configuration; in the caller's transaction."""
    db.execute(_TABLE)
    row = (one.config_fingerprint, one.at, json.dumps(asdict(one)))
    db.execute("insert or replace into backtest values (?, ?, ?)", row)
