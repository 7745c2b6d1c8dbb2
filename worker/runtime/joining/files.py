"""A catalogue in a file instead of a topic: JSON Lines, CSV or Parquet, read whole into the store at the start.

    items.jsonl     {"item_id": "i7", "valid_from": "2026-11-01T00:00:00Z", "attributes": {"title": "Heat"}}
    items.csv       item_id,valid_from,title,genres      each other column is an attribute, or part of a profile
    items.parquet   the same columns; numbers and lists become text as they do in JSON

A file that the store has read whole, by its size and time of change, is not read again.
"""

import csv
import logging
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from worker.core.codec import json_reader
from worker.core.codec.json_reader import FILE_RULES
from worker.core.errors import BadSettings, Poison
from worker.core.first_lines import FirstLines
from worker.core.joining.facts import FactKind, Statement, statement
from worker.core.joining.progress import FactBatch, StoreProgress
from worker.core.joining.rows import Row, nested, without_id
from worker.runtime.joining.store import FactStore
from worker.system import parquet_files

log = logging.getLogger(__name__)

BATCH = 2_000  # rows of one transaction
MAX_LINE_BYTES = 16 << 20  # of JSON Lines, and of one cell of CSV


def load(store: FactStore, path: Path) -> tuple[int, int]:
    """Fill a store from a file, unless it has this very file; return how many rows were taken and refused.

    A row that cannot be used is told, the first ten, and passed over.  Raises `BadSettings` if the file cannot be read,
    or no row of it can be used.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise BadSettings(f"{store.kind}_file: {path}: {error.strerror}") from error
    stamp = f"{found.st_size}-{found.st_mtime_ns}"
    before = store.progress
    if before is not None and before.topic_id == stamp and store.is_whole:
        log.info("%s: is in the store as it is; not read again", path)
        return 0, 0
    began_s = time.monotonic()
    refused, taken = _Refused(path), 0
    is_flat = path.suffix != ".jsonl"
    rows = _rows(path, store.kind)
    found_rows = (_statement(store.kind, number, row, refused, is_flat=is_flat) for number, row in rows)
    statements = filter(None, found_rows)  # a row may be large, a statement is not
    store.take(FactBatch((), StoreProgress(str(path)), made_anew=True))
    while changes := tuple(islice(statements, BATCH)):
        taken += len(changes)
        store.take(FactBatch(changes, StoreProgress(str(path))))
    if refused.number and not taken:
        raise BadSettings(f"{store.kind}_file: {path}: none of {refused.number:,} rows can be used; {refused.first}")
    store.take(FactBatch((), StoreProgress(str(path), stamp, whole_until_s=time.time()), at_end=True))
    log.info("%s: %d rows in %.1f s, %d refused", path, taken, time.monotonic() - began_s, refused.number)
    return taken, refused.number


class _Refused:
    def __init__(self, path: Path) -> None:
        self._path, self.first = path, ""
        self._lines = FirstLines()

    @property
    def number(self) -> int:
        return self._lines.num

    def tell(self, number: int, problem: str) -> None:
        self.first = self.first or f"row {number}: {problem}"
        if line := self._lines.line(f"{self._path}, row {number}: cannot be used: {problem}"):
            log.warning("%s", line)


def _statement(kind: FactKind, number: int, row: Row, refused: _Refused, *, is_flat: bool) -> Statement | None:
    if problem := without_id(row, kind):
        of_mapping = "; a mapping's `items` is for replay and map test alone" * (kind is FactKind.ITEMS)
        refused.tell(number, f"{problem}; want that column{of_mapping}")
        return None
    try:
        return statement(kind, json_reader.fields(nested(row, kind) if is_flat else row, kind.schema, FILE_RULES))
    except Poison as poison:
        refused.tell(number, str(poison))
        return None


def _rows(path: Path, kind: FactKind) -> Iterator[tuple[int, Row]]:
    """Yield the rows with their numbers, from 1.  Raises `BadSettings`."""
    readers = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}  # as the settings' checks have them
    try:
        yield from enumerate(readers[path.suffix](path), 1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadSettings(f"{kind}_file: {path}: cannot be read: {error}") from error


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            if line.strip():
                try:
                    yield json_reader.parse_bytes(line)
                except Poison as poison:
                    raise BadSettings(f"{path}, line {number}: {poison}") from poison


def _csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        names = list(rows.fieldnames or ())
        if len(set(names)) < len(names):
            raise BadSettings(f"{path}: want a name for each column, each once")
        for row in rows:
            yield {str(name): value for name, value in row.items() if value not in (None, "")}


def _parquet(path: Path) -> Iterator[Row]:
    if not parquet_files.is_installed():
        raise BadSettings(f"{path}: Parquet needs the package pyarrow, which is not installed; give .jsonl or .csv")
    try:
        with parquet_files.opened(path) as file:
            yield from file.rows()
    except parquet_files.UnreadableParquet as error:
        raise BadSettings(f"{path}: {error}") from error
