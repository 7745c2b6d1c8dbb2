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


@pytest.mark.parametrize("is_map", [False, True], ids=["list", "map"])
def test_a_row_that_takes_more_than_any_record_is_not_made(tmp_path: Path, is_map: bool) -> None:
    """A file of 1 KB whose only row, with one long text in each of 1,000 values, would be a gigabyte."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * MIB]))
    keys = pa.array([str(number) for number in range(1_000)])
    arrays = pa.MapArray.from_arrays([0, 1_000], keys, texts) if is_map else pa.ListArray.from_arrays([0, 1_000], texts)
    path = written(tmp_path, {"values": arrays})
    tracemalloc.start()
    with pytest.raises(UnreadableParquet, match=r"row 1 takes about 1,048,[0-9,]+ bytes, want at most 67,108,864"):
        rows(path)
    assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    tracemalloc.stop()


def test_rows_are_the_same_one_by_one_and_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = range(2_500)
    path = written(
        tmp_path,
        {
            "id": [f"i{n % 7}" for n in number],
            "tags": [["x"] * (n % 3) if n % 4 else None for n in number],
            "part": [{"s": f"s{n}", "l": [n]} for n in number],
            "pairs": pa.array([[("k", f"{n}")] for n in number], pa.map_(pa.string(), pa.string())),
            "vector": pa.array([[n, n] for n in number], pa.list_(pa.float32(), 2)),
            "none": pa.nulls(2_500),
        },
    )
    many = rows(path)
    monkeypatch.setattr(parquet_files, "MAX_AT_ONCE_BYTES", 0)
    assert rows(path) == many
    assert (len(many), many[2_499]["part"]) == (2_500, {"s": "s2499", "l": [2_499]})


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    parquet.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    with pytest.raises(UnreadableParquet, match="want a name for each column, each once"):
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
        pa.array([[({"q": 1}, "v")]], pa.map_(pa.struct([("q", pa.int64())]), pa.string())),
        pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")]),
    ],
    ids=["time", "date", "key", "text"],
)
def test_a_value_that_cannot_be_is_told_with_its_place(tmp_path: Path, values: Any) -> None:
    with pytest.raises(UnreadableParquet, match=r"row 1, column 'at': a value that its type cannot have"):
        rows(written(tmp_path, {"at": values}))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 1_000 + b"\x10\0\0\0PAR1")
    with pytest.raises(UnreadableParquet, match="cannot be read as Parquet"):
        rows(path)
