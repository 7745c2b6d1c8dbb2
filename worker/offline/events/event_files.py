"""Files of events, read row by row: JSON Lines, CSV, TSV or Parquet, compressed or not.

    events.jsonl, clicks.csv.gz, behaviors.tsv, log.json.zst, part-0.parquet  ->  (place, event), one at a time

The name's ending says what a file is, and its first bytes whether it is compressed.  A mapping may name the columns and
the separator of a table (`core.codec.mapping.TableForm`).  Cells of CSV and TSV are texts.  Nothing but the current
row, or the current batch of Parquet, is held in memory.
"""

import bz2
import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from worker.core.codec import json_reader
from worker.core.codec.mapping import TableForm
from worker.core.errors import BadSettings, Poison
from worker.offline.events import file_forms
from worker.offline.events.file_forms import WANT
from worker.system import parquet_files

MAX_LINE_BYTES = 16 << 20  # far above the largest message of any topic
MAX_CELL_CHARS = 4 << 20  # above this a quote was opened and never closed
LOOK_BYTES = 64 << 10  # of a file that are looked at before anything is sent
TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".inter": "\t", ".item": "\t", ".user": "\t"}  # RecBole's, too
PARQUET = (".parquet", ".pq")
LINES = (".jsonl", ".json", ".ndjson")
_COMPRESSED = (".gz", ".zst", ".zstd", ".bz2")
_GZIP, _BZIP2, _ZSTD = b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd"  # how such files begin
_PIECE_BYTES = 1 << 20
_NEEDS_PYARROW = "needs the package pyarrow, which is not installed; `pip install 'mirrorstream[files]'`"
# A file that is cut off or damaged; pyarrow's errors are ValueError or OSError.
_DAMAGED = (EOFError, OSError, ValueError, zlib.error)

OnBad = Callable[[BadSettings], None]
Event = tuple[str, Mapping[str, object]]  # where it stands, for people, and its fields


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of a file; `line` is its text, or "" for a row of a table or of Parquet."""

    place: str  # FILE, line N
    number: int  # of its first line, or of the row of Parquet, from 1
    fields: Mapping[str, object]
    line: str = ""


@dataclass(slots=True)
class Progress:
    """How far a file is read: `share` of its bytes or rows, None if it is not known, as of a pipe."""

    share: float | None = None


def raising(error: BadSettings) -> None:
    """Take a wrong line as the end."""
    raise error


@contextmanager
def ending(words: str) -> Iterator[None]:
    """Say in each `BadSettings` what happens now, such as "nothing was replayed"; the readers leave that open."""
    try:
        yield
    except BadSettings as error:
        raise BadSettings(f"{error}; {words}") from error


def events(
    path: Path,
    table: TableForm | None = None,
    progress: Progress | None = None,
    *,
    limit: int = 0,
    on_bad: OnBad = raising,
) -> Iterator[Event]:
    """Yield the rows of a file as events, each with its place.

    At most `limit` rows are read; 0 is all.  `on_bad` gets what is wrong with a row that cannot be read.  Raises
    `BadSettings` for a file that cannot be read, or not further.
    """
    for row in rows(path, table, progress, limit=limit, on_bad=on_bad):
        yield row.place, row.fields


def rows(
    path: Path,
    table: TableForm | None = None,
    progress: Progress | None = None,
    *,
    limit: int = 0,
    on_bad: OnBad = raising,
    wanted: Callable[[str], bool] | None = None,
) -> Iterator[EventRow]:
    """Yield the same with the number and the text of each row.

    Lines of JSON that `wanted` is not true for are passed over unparsed; rows of tables and Parquet all come.
    """
    table, progress = table or TableForm(), progress or Progress()
    if _ending(path) in PARQUET:
        yield from _parquet(path, progress, limit)
    elif separator := delimiter(path, table):
        yield from _rows(path, table, separator, progress, limit=limit, on_bad=on_bad)
    else:
        for number, line in lines(path, progress, limit=limit, on_bad=on_bad):
            if wanted is not None and not wanted(line):
                continue
            place = f"{path}, line {number}"
            try:
                event = json_object(place, line)
            except BadSettings as error:
                on_bad(error)
            else:
                yield EventRow(place, number, event, line)


def delimiter(path: Path, table: TableForm) -> str:
    """Return what separates the cells of a table; "" for a file that is none."""
    if _ending(path) in LINES:
        return ""
    by_ending = TABLES.get(_ending(path), "," if table.columns else "")
    return table.delimiter or by_ending


def is_lines(path: Path, table: TableForm) -> bool:
    """Return True for JSON Lines, False for a table and for Parquet."""
    return _ending(path) not in PARQUET and not delimiter(path, table)


def check(path: Path, table: TableForm | None = None, want: str = WANT) -> None:
    """See that a file can be what its name says by its start.  Raises `BadSettings` with what it is instead."""
    if _ending(path) in PARQUET:
        _check_parquet(path)
        return
    try:
        if not path.is_file() and path.exists() and not path.is_dir():
            return  # a pipe can be read once
        with _opened(path) as (file, _):
            start = file.read(LOOK_BYTES)
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror or error}; want a file with one JSON object per line") from error
    is_table = bool(delimiter(path, table or TableForm()))
    if what := file_forms.other_form(start, path, want, is_table=is_table):
        raise BadSettings(f"{path}: {what}")


def check_whole(path: Path) -> None:
    """See that a packed file is not cut off, before anything is made from its beginning.  Raises `BadSettings`.

    It is read once for that.  Of a file that is not packed a cut is a line that cannot be read, which is told as one;
    Parquet has its table of contents at its end.
    """
    with path.open("rb") as raw:
        if not raw.read(4).startswith((_GZIP, _BZIP2, _ZSTD)):
            return
    try:
        with _opened(path) as (file, _):
            while file.read(_PIECE_BYTES):
                pass
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror or error}") from error


def lines(
    path: Path, progress: Progress | None = None, *, limit: int = 0, on_bad: OnBad = raising
) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers.

    `limit` and `on_bad` are those of `events`.  Raises `BadSettings`.
    """
    for number, line in _lines(path, progress or Progress(), on_bad):
        if limit and number > limit:
            return
        if text := line.strip():
            yield number, text


def json_object(place: str, line: str) -> Mapping[str, object]:
    """Return the JSON object of a line.  Raises `BadSettings` with its place."""
    try:
        return json_reader.parse(line)
    except Poison as poison:
        raise BadSettings(f"{place}: {poison}") from poison


def _ending(path: Path) -> str:
    """Return the ending of a name, in lower case, without that of a compression."""
    name = path.name.lower()
    for one in _COMPRESSED:
        name = name.removesuffix(one)
    return Path(name).suffix


def _lines(path: Path, progress: Progress, on_bad: OnBad) -> Iterator[tuple[int, str]]:
    try:
        with _opened(path) as (file, share):
            number = 0
            while line := file.readline(MAX_LINE_BYTES):
                number += 1
                progress.share = share()
                rest = line
                while len(rest) >= MAX_LINE_BYTES and not rest.endswith(b"\n"):  # its end is no line of its own
                    rest = file.readline(MAX_LINE_BYTES)
                try:
                    text = _text(path, number, line)
                except BadSettings as error:
                    on_bad(error)
                    continue
                yield number, text
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror or error}") from error


def _text(path: Path, number: int, line: bytes) -> str:
    if len(line) >= MAX_LINE_BYTES:
        raise BadSettings(f"{path}, line {number}: is longer than {MAX_LINE_BYTES >> 20} MiB; {WANT}")
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path}, line {number}: {file_forms.NOT_UTF8}") from error


# -- tables


def _rows(
    path: Path, table: TableForm, separator: str, progress: Progress, *, limit: int, on_bad: OnBad
) -> Iterator[EventRow]:
    """Yield the rows of a table; a row may go over several lines if one of its cells is quoted."""
    source = _Numbered(_lines(path, progress, on_bad))
    cells = _cells(path, source, table, separator, on_bad)
    columns = list(table.columns) or _header(path, next(cells, None))
    for count, (number, row) in enumerate(cells, 1):
        if limit and count > limit:
            return
        place = f"{path}, line {number}"
        if len(row) != len(columns):
            problem = f"has {len(row)} cells, want {len(columns)}, separated by {separator!r}"
            on_bad(BadSettings(f"{place}: {problem}"))
            continue
        event: dict[str, object] = dict(zip(columns, row, strict=True))
        try:
            event |= {name: json_object(f"{place}: {name}", str(event[name])) for name in table.json if event.get(name)}
        except BadSettings as error:
            on_bad(error)
            continue
        yield EventRow(place, number, event)


class _Numbered:
    """The texts of numbered lines, with the number of the last one, and of the first since `first` was set to 0."""

    def __init__(self, numbered: Iterator[tuple[int, str]]) -> None:
        self._numbered = numbered
        self.number = self.first = 0

    def __iter__(self) -> Iterator[str]:
        for number, text in self._numbered:
            self.number, self.first = number, self.first or number
            yield text


def _cells(
    path: Path, source: _Numbered, table: TableForm, separator: str, on_bad: OnBad
) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each row with the number of its first line."""
    if len(separator) > 1:  # such as "::" of MovieLens
        for line in source:
            if line.strip():
                yield source.number, line.rstrip("\r\n").split(separator)
        return
    csv.field_size_limit(MAX_CELL_CHARS)
    if table.quoted:
        rows = csv.reader(source, delimiter=separator)
    else:
        rows = csv.reader(source, delimiter=separator, quoting=csv.QUOTE_NONE)
    while True:
        source.first = 0
        try:
            row = next(rows, None)
        except csv.Error as error:
            on_bad(BadSettings(f"{path}, line {source.first}: is no row of a table: {error}"))
            continue
        if row is None:
            return
        if row:  # no blank line
            yield source.first, row


def _header(path: Path, first: tuple[int, list[str]] | None) -> list[str]:
    if first is None:
        raise BadSettings(f"{path}: is empty: want a first line with the names of the columns")
    line, given = first
    names = [name or f"column_{number}" for number, name in enumerate(given, 1)]  # pandas' index has no name
    if len(set(names)) < len(names):
        raise BadSettings(
            f"{path}, line {line}: want a name for each column, each once; `table: {{columns: [...]}}` of a mapping"
            " names the columns of a table that has no such line"
        )
    return names


# -- compression


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Callable[[], float | None]]]:
    """Give the bytes of a file, unpacked, and what says which share of it was read."""
    with path.open("rb") as raw:
        size = path.stat().st_size if path.is_file() else 0

        def share() -> float | None:
            return min(1.0, raw.tell() / size) if size else None

        try:
            with closing(_unpacked(path, raw)) as file:
                yield file, share
        except _DAMAGED as error:
            if isinstance(error, OSError) and error.strerror:  # the file system's own
                raise
            raise BadSettings(f"{path}: is damaged or cut off: {error}") from error


def _unpacked(path: Path, raw: BufferedReader) -> BinaryIO:
    start = raw.peek(4)
    if start.startswith(_GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
    if start.startswith(_BZIP2):
        return cast("BinaryIO", bz2.BZ2File(raw))
    if start.startswith(_ZSTD):
        _check_pyarrow(path, "Zstandard")
        import pyarrow as pa

        return cast("BinaryIO", BufferedReader(pa.CompressedInputStream(raw, "zstd")))
    return cast("BinaryIO", raw)


# -- Parquet


def _check_pyarrow(path: Path, what: str) -> None:
    if not parquet_files.is_installed():
        raise BadSettings(f"{path}: {what} {_NEEDS_PYARROW}")


def _check_parquet(path: Path) -> None:
    _check_pyarrow(path, "Parquet")
    try:
        with parquet_files.opened(path):
            pass
    except parquet_files.UnreadableParquet as error:
        raise BadSettings(f"{path}: {error}") from error


def _parquet(path: Path, progress: Progress, limit: int) -> Iterator[EventRow]:
    _check_pyarrow(path, "Parquet")
    try:
        with parquet_files.opened(path) as file:
            for number, row in enumerate(file.rows(), 1):
                progress.share = number / file.num_rows
                if limit and number > limit:
                    return
                yield EventRow(f"{path}, row {number}", number, file_forms.as_json(row, file.narrow))
    except parquet_files.UnreadableParquet as error:
        raise BadSettings(f"{path}: {error}") from error
