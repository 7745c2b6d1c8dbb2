"""CSV and Parquet: rows are written a batch at a time, under a temporary name until all of them are there.

Parquet of others is read row by row.

A CSV cell of text that begins with one of `FORMULA` may run as a formula in a spreadsheet, behind white space, too, and
behind a sign that a spreadsheet of another language takes for the end of a cell.  Such cells are counted.  With `safe`
they get an apostrophe there, which a spreadsheet shows as text; other programs then read a text that is not the stored
one, so it is not the default.  Numbers are never changed, -0.5 is one.
"""

import csv
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from worker.core.errors import BadSettings
from worker.experiment.export.columns import Cell, Column, ColumnType, Row
from worker.system import parquet_files

# OWASP's page "CSV Injection": these, and their full-width forms, which some spreadsheets read alike.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SIGNS = re.escape("".join(sign for sign in FORMULA if not sign.isspace()))
_BLANK = r"\s\0\u200b\ufeff\""  # what may stand before a sign: a spreadsheet passes over it
# Blanks before a sign, read only from where they begin: from each of them, 16,000 line breaks took 11 s.
_BEFORE_SIGN = re.compile(rf"(?<![{_BLANK}])[{_BLANK}]*(?=[{_SIGNS}])")
_CELL_END = re.compile(r"[\t\r\n]")  # a cell may begin behind each of these, too
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TableFile(Protocol):
    """A table that is being written."""

    formula_cells: int  # cells of text that a spreadsheet may run

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class CsvFile:
    """CSV as RFC 4180 has it: UTF-8, a comma, CRLF, a header line."""

    def __init__(self, path: Path, columns: Sequence[Column], *, safe: bool) -> None:
        self.formula_cells = 0
        self._file = path.open("w", encoding="utf-8", newline="")
        self._lines = csv.writer(self._file)
        self._lines.writerow([column.name for column in columns])
        self._cells = [self._writer(column.type, safe=safe) for column in columns]

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; the library writes a float by `repr`, and None as an empty cell."""
        for row in rows:
            self._lines.writerow([write(cell) for write, cell in zip(self._cells, row, strict=True)])

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def _writer(self, kind: ColumnType, *, safe: bool) -> Callable[[Cell], Cell]:
        if kind is ColumnType.TIME:
            return _time
        return self._text(safe=safe) if kind is ColumnType.TEXT else lambda cell: cell

    def _text(self, *, safe: bool) -> Callable[[Cell], Cell]:
        def write(cell: Cell) -> Cell:
            text = str(cell)
            begins, told = text.startswith(FORMULA), _as_text(text)
            if not begins and told == text:
                return cell
            self.formula_cells += 1
            if not safe:
                return cell
            return f"'{told}" if begins and not told.startswith("'") else told

        return write


def _as_text(text: str) -> str:
    r"""Return a text with an apostrophe wherever a formula may begin: in front, and behind what ends a cell.

    A cell ends at a semicolon where the decimal point is a comma, and at `|`, a tab or a line break anywhere.

    >>> _as_text("a;=1"), _as_text("a;\t=1"), _as_text("a=1")
    ("a;'=1", "a;'\t'=1", 'a=1')
    """

    def told(found: re.Match[str]) -> str:
        blanks, at = _CELL_END.sub(r"\g<0>'", found[0]), found.start()
        return f"'{blanks}" if at == 0 or text[at - 1] in ";|" else blanks

    return _BEFORE_SIGN.sub(told, text)


class ParquetFile:
    """Parquet with typed columns, a row group per batch."""

    formula_cells = 0

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        types = {
            ColumnType.TEXT: pa.string(),
            ColumnType.COUNT: pa.int64(),
            ColumnType.NUMBER: pa.float64(),
            ColumnType.TIME: pa.timestamp("us", tz="UTC"),
        }
        nullable = (ColumnType.NUMBER, ColumnType.TIME)
        fields = [pa.field(column.name, types[column.type], nullable=column.type in nullable) for column in columns]
        self._batch: Callable[..., Any] = pa.record_batch
        self._schema = pa.schema(fields)
        self._file = parquet.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows as one row group."""
        self._file.write_batch(self._batch(list(zip(*rows, strict=True)), schema=self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def check_parquet() -> None:
    """Raise `BadSettings` if Parquet cannot be written here."""
    if not parquet_files.is_installed():
        raise BadSettings(
            "--format parquet: needs the package pyarrow, which is not installed; "
            "`pip install pyarrow`, or write CSV, which needs nothing"
        )


def parquet_rows(path: Path, want: str) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a Parquet file by the names of its columns; `want` says what it should be.

    Raises `BadSettings` if it cannot be read here.
    """
    if not parquet_files.is_installed():
        raise BadSettings(
            f"{path}: Parquet needs the package pyarrow, which is not installed; `pip install pyarrow`, or give CSV"
        )
    try:
        with parquet_files.opened(path) as file:
            yield from file.rows()
    except parquet_files.UnreadableParquet as error:
        raise BadSettings(f"{path}: {error}; {want}") from error


@contextmanager
def replacing(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield a new file beside `path`, which gets that name at the end, and is deleted if anything fails.

    Only the owner can read it.  Raises `BadSettings` if it cannot be made, if `path` is there and `force` is False, or
    if what is there is no file: renaming over a device, such as /dev/null, would replace it for the whole machine.
    """
    if path.is_dir():
        raise BadSettings(f"--to {path}: is a folder; want a file")
    if path.exists() and not path.is_file():
        raise BadSettings(f"--to {path}: is a device, a pipe or a socket and was left unchanged; want a file")
    _see_free(path, force=force)
    try:
        number, name = tempfile.mkstemp(prefix=".export-", suffix=".part", dir=path.parent)
    except OSError as error:
        raise BadSettings(f"--to {path}: {error.strerror}; want a file that can be written") from error
    os.close(number)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        _see_free(path, force=force)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _see_free(path: Path, *, force: bool) -> None:
    if not force and os.path.lexists(path):  # a link that leads nowhere is there, too
        raise BadSettings(f"--to {path}: is there already and was left unchanged; --force replaces it")


def _time(cell: Cell) -> Cell:
    """Return microseconds since 1970 as ISO 8601, always with six decimals.

    >>> _time(1_767_225_600_000_000)
    '2026-01-01T00:00:00.000000Z'
    """
    if cell is None:
        return None
    at = _EPOCH + timedelta(microseconds=int(cell))
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")
