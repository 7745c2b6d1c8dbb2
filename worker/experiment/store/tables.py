"""The tables of a state file, their version, and what happens to a file of another version.

version 5   a SLATE answer that is missing on one side alone, and a guardrail without a value, count by user; what was
            shown has the probability of the user's arm, and when the user was assigned; items have a category and a
            provider
version 4   a DUEL keeps what one list alone offered, items have titles, and `taken` has when each definition was taken;
            epochs are named by `OPENS_AN_EPOCH` (`State` counts anew)
version 3   `answer` has a column for each metric; one that is registered later gets its column here
version 2   `answer` had v0, v1 and v2, the metrics by place: their columns are renamed, no figure changes
another     refused; `mirrorstream experiment rebuild` empties the file and reads the topics again
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker.core.errors import BadSettings
from worker.experiment.store.answer_rows import metric_columns

log = logging.getLogger(__name__)

VERSION = 5
READABLE = (0, 2, 3, 4, VERSION)  # 0: a new file
READ = (
    "answer",
    "item",
    "slot",
    "example",
    "shown",
    "target",
    "outcome",
    "user",
    "stream",
    "position",
    "topic",
    "health",
)
DERIVED = ("epoch", "aside", "series", "pair", "reason", "measure", "total")
_FOREIGN = "is another program's database; want a file that this program made, or none"
_GIVEN = ("definition", "forgotten")  # by people, and not by the topics: these survive a change of version

_TABLES = """
create table if not exists position(topic text, partition int, next int, primary key (topic, partition)) without rowid;
create table if not exists change(number int);
create table if not exists topic(name text primary key, id text) without rowid;
create table if not exists health(name text primary key, count int) without rowid;
create table if not exists definition(experiment text, since int, record text, primary key (experiment, since))
    without rowid;
create table if not exists taken(experiment text, epoch text, at int, primary key (experiment, epoch)) without rowid;
create table if not exists looked(experiment text primary key) without rowid;
create table if not exists forgotten(hash blob primary key) without rowid;
create table if not exists user(id integer primary key, name text unique);
create table if not exists stream(id integer primary key, experiment text, fingerprint text,
    unique (experiment, fingerprint));
create table if not exists answer(stream int, event text, question text, variant text, control text, role text,
    user int, occurred_at int, status text, contested real, segments text, factors text, drawn text, overlap real,
    tau real, offered blob, primary key (stream, event, question, variant)) without rowid;
create table if not exists item(id integer primary key, stream int, name text, title text,
    category text not null default '', provider text not null default '', unique (stream, name));
create table if not exists epoch(id integer primary key, stream int, key text, first int default 9223372036854775807,
    last int default -1, responses int default 0, slates int default 0, unique (stream, key));
create table if not exists aside(stream int, reason text, count int, primary key (stream, reason)) without rowid;
create table if not exists series(id integer primary key, epoch int, candidate text, control text, metric text,
    segment text, unique (epoch, candidate, control, metric, segment));
create table if not exists pair(epoch int, candidate text, control text, status text, count int, contested int,
    num_contested int, primary key (epoch, candidate, control, status)) without rowid;
create table if not exists reason(series int, user int, control int, candidate int, primary key (series, user))
    without rowid;
create table if not exists measure(epoch int, candidate text, control text, name text, n int, total int, squares int,
    primary key (epoch, candidate, control, name)) without rowid;
create table if not exists slot(stream int, size int, slot int, n int, total int, squares int,
    primary key (stream, size, slot)) without rowid;
create table if not exists example(stream int, candidate text, control text, event text, share real, occurred_at int,
    user int, told text, primary key (stream, candidate, control, event)) without rowid;
create table if not exists shown(stream int, event text, variant text, user int, occurred_at int, items text,
    weight real, propensity real, whole int, assigned int, arm_probability real, assigned_at int,
    primary key (stream, event, variant)) without rowid;
create table if not exists target(stream int, event text, variant text, propensity real,
    primary key (stream, event, variant)) without rowid;
create table if not exists outcome(event text, variant text, user int, clicks text, closed int, observed_at int,
    primary key (event, variant)) without rowid;
create table if not exists total(series int, user int, bucket int, answered int, missing int, total int, differs int,
    primary key (series, user, bucket)) without rowid;
"""
# Of version 2: a SLATE had reciprocal rank, utility and entropy in these, a DUEL its share in the first.
_FROM_2 = """
alter table answer rename column v0 to metric_reciprocal_rank;
alter table answer rename column v1 to metric_utility;
alter table answer rename column v2 to metric_entropy;
alter table answer add column metric_duel_share real;
update answer set metric_duel_share = metric_reciprocal_rank, metric_reciprocal_rank = null where question = 'DUEL';
"""

# Of version 3: a DUEL did not keep what it offered; answers from before are in no table by item.
_FROM_3 = """
alter table answer add column offered blob;
"""


# Of version 4: what it counted is counted anew from the answers, as of epochs that have other names (`State`).
_FROM_4 = """
update epoch set key = 'version 4: ' || key;
"""
_SHOWN_FROM_4 = """
alter table shown add column arm_probability real;
alter table shown add column assigned_at int;
"""
# Items that were read before have neither, until an answer that is read later has it.
_ITEM_FROM_4 = """
alter table item add column category text not null default '';
alter table item add column provider text not null default '';
"""


def check(db: sqlite3.Connection, path: Path | None, *, is_current: bool = False) -> None:
    """Refuse a file that is no state of ours, or of a version that is not read; nothing is changed.

    `is_current` refuses one that would have to be brought up to date first.

    Raises `BadSettings`.
    """
    found = _version(db)
    if not _is_ours(db):
        raise BadSettings(f"--state {path}: {_FOREIGN}")
    if is_current and found != VERSION and found in READABLE:
        raise BadSettings(
            f"--state {path}: a state file of version {found}, want {VERSION}; its reader "
            "(`mirrorstream experiment serve` or `report`) brings it up to date"
        )
    if found not in READABLE:
        raise BadSettings(
            f"--state {path}: a state file of version {found}, want {VERSION}; it is left unchanged. "
            f"`mirrorstream experiment rebuild --state {path}` empties it and reads the topics again"
        )


def prepare(db: sqlite3.Connection, path: Path | None) -> None:
    """Make the tables that are missing, and bring those of versions 2 to 4 up to date; all of it or nothing."""
    found = _version(db)
    if found == VERSION and _columns(db).issuperset(metric_columns()):
        return
    with _transaction(db):
        before = _version(db)  # another process may have been quicker
        if before == 2:  # noqa: PLR2004 - as the table above has it
            _run(db, _FROM_2)
        if before in (2, 3) and "offered" not in _columns(db):
            _run(db, _FROM_3)
        if before in (2, 3, 4):
            _run(db, _FROM_4)
            if "arm_probability" not in _columns(db, "shown"):
                _run(db, _SHOWN_FROM_4)
            if "item" in _names(db) and "category" not in _columns(db, "item"):
                _run(db, _ITEM_FROM_4)
        _run(db, _TABLES)  # of a file from before there were topic ids this adds their table
        _add_metrics(db, path)
        db.execute(f"pragma user_version = {VERSION}")


def start_over(path: Path) -> None:
    """Empty a state file of whatever version, but for its definitions and forgotten users.

    A file of this version, or none, is left alone.  Raises `BadSettings` if the file is not a state of ours.
    """
    db = sqlite3.connect(path, isolation_level=None)
    try:
        found = _version(db)
        if not _is_ours(db):
            raise BadSettings(f"--state {path}: {_FOREIGN}")
        if found in (0, VERSION):
            return
        db.execute("pragma secure_delete = on")  # as `database`: who is forgotten later stays in no free page
        with _transaction(db):
            for table in sorted({"change", *READ, *DERIVED} & _names(db)):
                db.execute(f"drop table {table}")
            _run(db, _TABLES)
            _add_metrics(db, path)
            db.execute(f"pragma user_version = {VERSION}")
        log.warning("%s: emptied, it was of version %d; definitions and forgotten users stay", path, found)
    except sqlite3.DatabaseError as error:
        raise BadSettings(f"--state {path}: {error}; want a file that this program made, or none") from error
    finally:
        db.close()


def _add_metrics(db: sqlite3.Connection, path: Path | None) -> None:
    """Add the column of each metric that has none yet."""
    added = [column for column in metric_columns() if column not in _columns(db)]
    for column in added:
        db.execute(f"alter table answer add column {column} real")
    if added and db.execute("select 1 from answer limit 1").fetchone():
        log.warning(
            "%s: %s: new, and unknown of the answers that were read before; "
            "`mirrorstream experiment rebuild --state %s` computes it for all of them",
            path, ", ".join(column.removeprefix("metric_") for column in added), path,
        )  # fmt: skip


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("pragma user_version").fetchone()[0])


def _is_ours(db: sqlite3.Connection) -> bool:
    """Return True for an empty file, and for one with our tables: another program may have a table `answer`, too."""
    names = _names(db)
    return not names or ({"answer", "position", *_GIVEN} <= names and {"stream", "event"} <= _columns(db))


def _columns(db: sqlite3.Connection, table: str = "answer") -> set[str]:
    return {name for _, name, *_ in db.execute(f"pragma table_info({table})")}


def _names(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}


def _run(db: sqlite3.Connection, script: str) -> None:
    """Run statements within the open transaction, which `executescript` would commit."""
    for statement in script.split(";"):
        db.execute(statement)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise
