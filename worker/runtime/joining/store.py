"""One SQLite file per kind of facts: versions by id, and how far their topic was read, in one transaction.

    facts     id, valid_from, body         at most `MAX_VERSIONS` of one id
    reached   part, next                   the positions of the topic's partitions
    about     name, value                  format, source, topic id, up to when it is whole

Rows and positions are committed together, so a worker that is killed goes on where its rows end.  One thread writes,
the loop reads; in WAL mode neither waits for the other.  Both caches are bounded, and nothing is mapped into memory.
"""

import fcntl
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, TypeVar

from worker.core.errors import BadSettings, Fatal
from worker.core.joining.facts import MAX_VERSIONS, FactKind, Statement
from worker.core.joining.progress import FactBatch, StoreProgress

log = logging.getLogger(__name__)
T = TypeVar("T")

FORMAT = "2"
MAX_ASKED = 512  # ids in one statement
LEAST_ASKED = 8
_ID_AND_TIME = itemgetter(0, 1)
BUSY_S = 30.0
_ABOUT = "create table if not exists about (name text primary key, value text not null) without rowid"
_REACHED = "create table if not exists reached (part integer primary key, next integer not null)"
# An item is found in one step without row ids.  A user is larger: beyond a quarter of a page a body would take pages of
# its own, so users have row ids (20,000 with histories of 1.5 KB in pages of 4 KiB: 39 MB, not 88).
_KEY = {FactKind.ITEMS: "primary key (id, valid_from)) without rowid", FactKind.USERS: "unique (id, valid_from))"}
_PAGE_BYTES = 8192  # two thirds of the time of all look-ups go into pages; half as many are a seventh faster
_FACTS = "create table if not exists facts (id text not null, valid_from integer not null, body text not null"
_OLDEST_GO = f"""create trigger if not exists oldest_go after insert on facts begin
    delete from facts where id = new.id and valid_from <= (
        select valid_from from facts where id = new.id order by valid_from desc limit 1 offset {MAX_VERSIONS}
    );
end"""  # noqa: S608 - a number of ours


@dataclass(frozen=True, slots=True)
class StoreMemory:
    """How many bytes of the file are held in memory, for the loop's reads and for who writes."""

    reads: int
    writes: int


class FactStore:
    """The facts of one kind.  `source` names what they are of: a store of another source is emptied.

    The constructor raises `BadSettings` if the folder cannot be used, or another process uses it.
    """

    def __init__(self, folder: Path, kind: FactKind, *, source: str, memory: StoreMemory) -> None:
        self.kind, self._path, self._source = kind, folder / f"{kind}.sqlite", source
        self._lock = _lock(folder, kind)
        self.num_changes = 0
        self.is_whole = False  # all that its source had was read once since it was emptied
        self._forgets = True  # something was removed that the log may still have, of a process that was killed, too
        try:
            about = self._opened(memory)
        except (OSError, sqlite3.DatabaseError) as error:
            self._lock.close()
            why = getattr(error, "strerror", None) or error
            raise BadSettings(f"join_folder: {self._path}: {why}; want a folder of this worker's own") from error
        if about.get("format", FORMAT) != FORMAT:
            log.warning("%s: another version has written it; it is made anew", self._path)
            self._close()
            self._remove()
            about = self._open(memory)
        if about.get("source") != source:
            if about:
                log.warning("%s: is of %s, now wanted: %s; it is filled anew", self._path, about["source"], source)
            self.clear()
        self.is_whole = float(self._about().get("whole_until_s", "0")) > 0

    # -- reading: the loop's thread

    def versions(self, ids: Sequence[str]) -> list[tuple[str, int, str]]:
        """Return (id, valid_from, body) of those ids that are known, each id's oldest first.  Raises `Fatal`."""
        parts = (ids[start : start + MAX_ASKED] for start in range(0, len(ids), MAX_ASKED))
        return [row for part in parts for row in self._try(lambda: self._versions(part))]  # noqa: B023 - called at once

    def _versions(self, part: Sequence[str]) -> list[tuple[str, int, str]]:
        size = max(LEAST_ASKED, 1 << (len(part) - 1).bit_length())  # few texts, so that each is prepared once
        marks = ",".join("?" * size)
        query = f"select id, valid_from, body from facts where id in ({marks})"  # noqa: S608 - question marks alone
        asked = [*part, *(part[-1] for _ in range(size - len(part)))]
        rows: list[tuple[str, int, str]] = self._reader.execute(query, asked).fetchall()
        if len({row[0] for row in rows}) < len(rows):  # to let SQLite sort takes a quarter of the time of all
            rows.sort(key=_ID_AND_TIME)
        return rows

    # -- writing: one thread at a time

    @property
    def progress(self) -> StoreProgress | None:
        """How far its topic was read; None if nothing was."""
        about = self._try(self._about)
        if "topic" not in about:
            return None
        positions = self._try(self._positions)
        return StoreProgress(
            about["topic"], about.get("topic_id", ""), positions, float(about.get("whole_until_s", "0"))
        )

    def take(self, batch: FactBatch) -> None:
        """Store a batch and how far that is, or nothing.  Raises `Fatal` if the disk takes no more."""
        self._try(lambda: self._take(batch))
        self._forgets |= batch.made_anew or any(isinstance(one, str) for one in batch.changes)
        self.num_changes += bool(batch.changes) or (batch.at_end and not self.is_whole)
        self.is_whole = batch.at_end or (self.is_whole and not batch.made_anew)
        self._empty_log()  # the last: the batch is stored, whatever becomes of the log

    def clear(self) -> None:
        """Forget everything."""
        self.is_whole = False
        self._try(self._clear)
        self._forgets = True
        self.num_changes += 1

    def num_held(self) -> int:
        """Count the ids; takes 0.1 s for a million."""
        [count] = self._try(self._writer.execute("select count(distinct id) from facts").fetchone)
        return int(count)

    def close(self) -> None:
        """Close the file."""
        self._close()
        self._lock.close()

    def _close(self) -> None:
        for one in (self._reader, self._writer):
            one.close()

    def _clear(self) -> None:
        with _transaction(self._writer):  # a reader never finds a file without tables
            for table in ("facts", "reached", "about"):
                self._writer.execute(f"drop table if exists {table}")
            self._make_tables()
            self._say(format=FORMAT, source=self._source)

    def _take(self, batch: FactBatch) -> None:
        if batch.made_anew:
            self.clear()
        with _transaction(self._writer):
            for removes, changes in groupby(batch.changes, key=lambda change: isinstance(change, str)):
                if removes:
                    self._writer.executemany("delete from facts where id = ?", ((str(one),) for one in changes))
                else:
                    self._writer.executemany("insert or replace into facts values (?, ?, ?)", _rows(changes))
            progress = batch.progress
            self._writer.executemany("insert or replace into reached values (?, ?)", progress.positions.items())
            self._say(topic=progress.topic, topic_id=progress.topic_id, whole_until_s=str(progress.whole_until_s))

    def _empty_log(self) -> None:
        """Empty SQLite's log after removals, since it has the pages as they were before; tried again if it is read."""
        if self._forgets:
            [busy, *_] = self._try(self._writer.execute("pragma wal_checkpoint(truncate)").fetchone)
            self._forgets = bool(busy)

    def _say(self, **values: str) -> None:
        self._writer.executemany("insert or replace into about values (?, ?)", values.items())

    def _about(self) -> Mapping[str, str]:
        return dict(self._writer.execute("select name, value from about").fetchall())

    def _positions(self) -> Mapping[int, int]:
        return dict(self._writer.execute("select part, next from reached").fetchall())

    def _opened(self, memory: StoreMemory) -> Mapping[str, str]:
        """Open the file, a new one in the place of a damaged one, and return what it is about."""
        try:
            return self._open(memory)
        except sqlite3.DatabaseError as error:
            log.warning("%s: %s; it is made anew", self._path, error)
            self._remove()
            return self._open(memory)

    def _open(self, memory: StoreMemory) -> Mapping[str, str]:
        self._writer = self._reader = _connect(self._path, memory.writes)
        try:
            self._make_tables()
            self._reader = _connect(self._path, memory.reads)
            self._positions()  # which it would go on from
            return self._about()
        except sqlite3.DatabaseError:
            self._close()
            raise

    def _make_tables(self) -> None:
        for statement in (_ABOUT, _REACHED, f"{_FACTS}, {_KEY[self.kind]}", _OLDEST_GO):
            self._writer.execute(statement)

    def _remove(self) -> None:
        for end in ("", "-wal", "-shm"):
            Path(f"{self._path}{end}").unlink(missing_ok=True)

    def _try(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except sqlite3.Error as error:
            raise Fatal(
                f"{self._path}: {error}; a damaged file is made anew at the next start, once it is deleted"
            ) from error


def _rows(changes: Iterable[Statement | str]) -> Iterable[tuple[str, int, str]]:
    return ((one.id, one.valid_from, one.body) for one in changes if isinstance(one, Statement))


def _connect(path: Path, memory_bytes: int) -> sqlite3.Connection:
    found = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False, isolation_level=None)
    found.execute(f"pragma page_size = {_PAGE_BYTES}")
    found.execute("pragma journal_mode = wal")
    found.execute("pragma synchronous = normal")  # a power cut may undo the last batches, rows and positions alike
    found.execute(f"pragma cache_size = {-max(1, memory_bytes // 1024)}")
    found.execute("pragma mmap_size = 0")
    found.execute("pragma secure_delete = on")  # a tombstone may be a person's wish; not every SQLite does by default
    return found


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("begin immediate")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _lock(folder: Path, kind: FactKind) -> IO[bytes]:
    """Lock a store for this process; the lock ends with it."""
    path = folder / f"{kind}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = path.open("ab")
    except OSError as error:
        raise BadSettings(f"join_folder: {path}: {error.strerror}; want a folder that can be written") from error
    try:
        fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        found.close()
        raise BadSettings(f"join_folder: {folder} is in use by another process; want one folder per worker") from error
    return found
