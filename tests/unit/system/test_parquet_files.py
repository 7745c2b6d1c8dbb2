"""Parquet of others: small files that hold much, and values that Python has not."""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from worker.system import parquet_files
from worker.system.parquet_files import MAX_COLUMNS, UnreadableParquet

MIB = 1 << 20


def rows(path: Path) -> list[Mapping[str, object]]:
    with parquet_files.opened(path) as file:
        return list(file.rows())


def written(folder: Path, columns: Mapping[str, Any]) -> Path:
    path = folder / "events.parquet"
    parquet.write_table(pa.table(columns), path, compression="zstd")
    return path


def test_rows_come_as_plain_values(tmp_path: Path) -> None:
    columns = {
        "id": ["a", "b", None],
        "tags": [["x", "y"], [], None],
        "part": [{"n": 1}, {"n": 2}, None],
        "pairs": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
        "share": pa.array([0.5, None, 1.5], pa.float32()),
        "data": [b"\xff", b"", None],
    }
    first = {"id": "a", "tags": ["x", "y"], "part": {"n": 1}, "pairs": {"k": "v"}, "share": 0.5, "data": b"\xff"}
    with parquet_files.opened(written(tmp_path, columns)) as file:
        assert file.num_rows == 3
        assert file.narrow == {"share"}
        assert next(file.rows()) == first


def test_a_text_that_stands_in_each_row_stands_in_memory_once(tmp_path: Path) -> None:
    """A file of 500 bytes, which as a table is a gigabyte."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * MIB]))
    path = written(tmp_path, {"text": text})
    assert path.stat().st_size < 1_000
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    with parquet_files.opened(path) as file:
        for number, row in enumerate(file.rows()):
            assert len(str(row["text"])) == MIB
            if number % 100 == 0:
                assert pa.total_allocated_bytes() - before < 32 * MIB
    assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    tracemalloc.stop()


def test_a_list_that_is_larger_than_any_record_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"list": pa.ListArray.from_arrays([0, 200_000], pa.nulls(200_000, pa.int8()))})
    with pytest.raises(
        UnreadableParquet, match=r"column 'list.list.element' has 200,000 values in 1 rows .* at most 70,000"
    ):
        rows(path)


def test_too_many_columns_are_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, {f"c{number}": [None] for number in range(MAX_COLUMNS + 1)})
    with pytest.raises(UnreadableParquet, match="has 10,001 columns, want at most 10,000"):
        rows(path)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**62], pa.timestamp("us")),
        pa.array([2**30], pa.date32()),
        pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]),
    ],
    ids=["time", "date", "text"],
)
def test_a_value_that_cannot_be_is_told_with_its_place(tmp_path: Path, values: Any) -> None:
    with pytest.raises(UnreadableParquet, match=r"row 1, column 'at': a value that its type cannot have"):
        rows(written(tmp_path, {"at": values}))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 1_000 + b"\x10\0\0\0PAR1")
    with pytest.raises(UnreadableParquet, match="cannot be read as Parquet"):
        rows(path)
