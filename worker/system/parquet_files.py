"""Parquet of others, row by row: a file of 500 bytes may hold a gigabyte, and values that Python has not.

    with opened(path) as file:
        for row in file.rows(): ...         {"item_id": "i7", "title": "Heat", ...}

A text that stands in many rows stands once in the file, and once in memory: texts are read as Arrow's dictionaries.
What rows would take as Python's values is added up before any is made: many at once, fewer, or none.  Lists are counted
in the footer before they are read.  A footer that lies is not found out: pyarrow unpacks a page whole.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BATCH_ROWS = 1_000
MAX_AT_ONCE_BYTES = 16 << 20  # of rows that are made together
MAX_ROW_BYTES = 64 << 20  # four times the longest line of JSON that is read
VALUE_BYTES = 50  # of a value in Python, beside its text
MAX_COLUMNS = 10_000  # 20,000 take 250 MiB
MAX_ROW_VALUES = 70_000  # of one column, on average: no record that is read may have more values
MAX_LIST_VALUES = 64_000_000  # of one column of lists in a row group: 450 MiB if all of them stand in one row
_TEXTS = frozenset({"UTF8", "NONE"})
# A text that is not UTF-8, a time that no calendar has, a key that is a record.
_ODD = (ValueError, OverflowError, TypeError)


class UnreadableParquet(Exception):
    """What is wrong with a file, in words that follow its name."""


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """An open file; `narrow` names its columns of 32-bit numbers."""

    num_rows: int
    narrow: frozenset[str]
    _file: Any

    def rows(self) -> Iterator[Mapping[str, object]]:
        """Yield the rows by the names of their columns.  Raises `UnreadableParquet`."""
        number = 0
        for batch in self._file.iter_batches(BATCH_ROWS):
            yield from _rows(batch, number)
            number += batch.num_rows


def is_installed() -> bool:
    """Say whether pyarrow is there, without which nothing here works."""
    return find_spec("pyarrow") is not None


@contextmanager
def opened(path: Path) -> Iterator[ParquetRows]:
    """Open a file; raises `UnreadableParquet` for one that is damaged or too large, also while its rows are read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        about = parquet.read_metadata(path)
        _check(about)
        leaves = [about.schema.column(number) for number in range(about.num_columns)]
        texts = [one.path for one in leaves if one.physical_type == "BYTE_ARRAY" and one.converted_type in _TEXTS]
        with parquet.ParquetFile(path, metadata=about, read_dictionary=texts) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise UnreadableParquet("want a name for each column, each once")
            narrow = frozenset(field.name for field in file.schema_arrow if field.type == pa.float32())
            yield ParquetRows(about.num_rows, narrow, file)
    except (OSError, pa.ArrowException) as error:
        raise UnreadableParquet(f"cannot be read as Parquet: {error}") from error


def _check(about: Any) -> None:
    """Refuse what would take much memory by the file's own account."""
    if about.num_columns > MAX_COLUMNS:
        raise UnreadableParquet(f"has {about.num_columns:,} columns, want at most {MAX_COLUMNS:,}")
    for number in range(about.num_row_groups):
        group = about.row_group(number)
        most = min(MAX_LIST_VALUES, MAX_ROW_VALUES * group.num_rows)
        for place in range(about.num_columns):
            column, is_list = group.column(place), about.schema.column(place).max_repetition_level > 0
            if is_list and column.num_values > most:
                raise UnreadableParquet(
                    f"column {ascii(column.path_in_schema)[:120]} has {column.num_values:,} values in"
                    f" {group.num_rows:,} rows of one group, want at most {most:,}"
                )


def _rows(batch: Any, before: int) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a batch, of a half at a time while that is too large; `before` is how many came before it."""
    size = sum(map(_num_bytes, batch.columns))
    if size > MAX_AT_ONCE_BYTES and batch.num_rows > 1:
        half = batch.num_rows // 2
        yield from _rows(batch.slice(0, half), before)
        yield from _rows(batch.slice(half), before + half)
    elif size > MAX_ROW_BYTES:
        raise UnreadableParquet(f"row {before + 1:,} takes about {size:,} bytes, want at most {MAX_ROW_BYTES:,}")
    else:
        yield from _made(batch, before)


def _made(batch: Any, before: int) -> Iterator[Mapping[str, object]]:
    """Return the rows of a batch that is small enough; where one cannot be, those before it."""
    try:
        return iter(batch.to_pylist(maps_as_pydicts="lossy"))
    except _ODD:  # once more, one by one, to tell the place
        names = batch.schema.names
        return (
            {name: _value(cell, name, number) for name, cell in zip(names, cells, strict=True)}
            for number, cells in enumerate(zip(*batch.columns, strict=True), before + 1)
        )


def _num_bytes(array: Any) -> int:
    """Return about how much a column takes as Python's values, each text as often as it stands there."""
    import pyarrow as pa
    from pyarrow import compute

    kind, size = array.type, VALUE_BYTES * len(array)
    if pa.types.is_dictionary(kind):
        if pa.types.is_primitive(kind.value_type):
            return size
        lengths = compute.take(compute.binary_length(array.dictionary), array.indices)
        return size + (compute.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        first, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        parts = [array.keys, array.items] if pa.types.is_map(kind) else [array.values]
        return size + sum(_num_bytes(one.slice(first, end - first)) for one in parts)
    if pa.types.is_struct(kind) or pa.types.is_fixed_size_list(kind):
        parts = array.flatten()
        return size + sum(map(_num_bytes, parts if pa.types.is_struct(kind) else [parts]))
    return size + int(array.nbytes)


def _value(cell: Any, column: str, number: int) -> object:
    try:
        return cell.as_py(maps_as_pydicts="lossy")
    except _ODD as error:
        raise UnreadableParquet(
            f"cannot be read as Parquet: row {number:,}, column {ascii(column)[:60]}: a value that its type cannot have"
            f" ({type(error).__name__})"
        ) from error
