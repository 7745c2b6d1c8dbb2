"""Catalogues in files: the three formats say the same, bad rows are told, and a file is read once."""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from worker.core.errors import BadSettings
from worker.core.joining.facts import FactKind, FactVersion, ItemFacts, UserFacts
from worker.core.records import HistoryEntry, HistoryItem
from worker.runtime.joining import files
from worker.runtime.joining.known import KnownFacts
from worker.runtime.joining.store import FactStore, StoreMemory

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
SINCE_US = 1_767_225_600_000_000
HEAT = FactVersion(SINCE_US, ItemFacts(None, {"title": "Heat", "year": "1995", "genres": '["Crime", "Drama"]'}))


def store(folder: Path, kind: FactKind = FactKind.ITEMS) -> FactStore:
    return FactStore(folder / "store", kind, source="file", memory=StoreMemory(12 << 20, 4 << 20))


def written(folder: Path, suffix: str) -> Path:
    path = folder / f"items{suffix}"
    genres = ["Crime", "Drama"]
    if suffix == ".jsonl":
        attributes = {"title": "Heat", "year": 1995, "genres": genres}
        path.write_text(json.dumps({"item_id": "i7", "valid_from": "2026-01-01T00:00:00Z", "attributes": attributes}))
    elif suffix == ".csv":
        path.write_text(
            'item_id,valid_from,title,year,genres\ni7,2026-01-01T00:00:00Z,Heat,1995,"[""Crime"", ""Drama""]"\n'
        )
    else:
        table = {"item_id": ["i7"], "valid_from": [SINCE], "title": ["Heat"], "year": [1995], "genres": [genres]}
        parquet.write_table(pa.table(table), path)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_the_three_formats_say_the_same(tmp_path: Path, suffix: str) -> None:
    found = store(tmp_path)
    assert files.load(found, written(tmp_path, suffix)) == (1, 0)
    assert KnownFacts([found]).items(["i7"]) == {"i7": [HEAT]}
    found.close()


def test_users_have_a_profile_of_the_other_columns_and_a_history_in_json(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text('user_id,age,history\nu1,34,"[{""item"": {""item_id"": ""i7""}, ""rating"": 4}]"\n')
    found = store(tmp_path, FactKind.USERS)
    assert files.load(found, path) == (1, 0)
    [version] = KnownFacts([found]).user("u1")
    assert version == FactVersion(0, UserFacts({"age": "34"}, None, (HistoryEntry(HistoryItem("i7"), rating=4.0),)))
    found.close()


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    found, path = store(tmp_path), written(tmp_path, ".csv")
    assert files.load(found, path) == (1, 0)
    assert files.load(found, path) == (0, 0)
    path.write_text("item_id,title\ni8,Ran\n")
    assert files.load(found, path) == (1, 0)
    assert list(KnownFacts([found]).items(["i7", "i8"])) == ["i8"]
    found.close()


def test_rows_that_cannot_be_used_are_told_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\n" + "\n".join([",no id"] * 12 + ["i1,Heat"]) + "\n")
    found = store(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert files.load(found, path) == (1, 12)
    told = [one.getMessage() for one in caplog.records if "cannot be used" in one.getMessage()]
    assert len(told) == 10
    assert told[0].startswith(
        f"{path}, row 1: cannot be used: has no item_id, but title; want that column; a mapping's"
    )
    assert told[-1].endswith("; further ones are only counted")
    found.close()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "items.csv",
            "item,title\ni1,Heat\n",
            "none of 1 rows can be used; row 1: has no item_id, but item, title; want ",
        ),
        ("items.jsonl", "{oops", "items.jsonl, line 1: is not JSON"),
        ("items.parquet", "no", "cannot be read as Parquet"),
    ],
)
def test_a_file_that_says_nothing_stops_the_start(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = store(tmp_path)
    with pytest.raises(BadSettings, match=told):
        files.load(found, path)
    assert not found.is_whole
    found.close()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('i1,,Heat,"' + "[" * 200_000 + '"', "attributes"),
        ('i1,,Heat,"{""a"": ' + "9" * 5_000 + '}"', "attributes"),
        ("i1," + "9" * 5_000 + ",Heat,", "valid_from: want a whole number of 64 bits"),
    ],
    ids=["nested", "digits", "time"],
)
def test_a_cell_of_json_is_read_within_the_bounds_of_a_message(tmp_path: Path, row: str, told: str) -> None:
    """A catalogue is other people's: no cell of it ends the worker, and none is passed over in silence."""
    path = tmp_path / "items.csv"
    path.write_text(f"item_id,valid_from,title,attributes\n{row}\n")
    found = store(tmp_path)
    with pytest.raises(BadSettings, match=f"none of 1 rows can be used; row 1: {told}"):
        files.load(found, path)
    found.close()


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text("item_id,item_id,title\ni1,i2,Heat\n")
    found = store(tmp_path)
    with pytest.raises(BadSettings, match="want a name for each column, each once"):
        files.load(found, path)
    found.close()


def test_a_time_that_no_calendar_has_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    since = pa.array([2**62], pa.timestamp("us"))
    parquet.write_table(pa.table({"item_id": ["i1"], "valid_from": since, "title": ["Heat"]}), path)
    found = store(tmp_path)
    with pytest.raises(BadSettings, match="row 1, column 'valid_from'"):
        files.load(found, path)
    found.close()
