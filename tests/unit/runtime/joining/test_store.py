"""The store of facts: rows and positions together, versions bounded, one process, and nothing of another source."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from worker.core.errors import BadSettings, Fatal
from worker.core.joining.facts import MAX_VERSIONS, FactKind, FactVersion, ItemFacts, Statement
from worker.core.joining.progress import FactBatch, StoreProgress
from worker.runtime.joining.known import KnownFacts
from worker.runtime.joining.store import FactStore, StoreMemory

MIB = 1 << 20
PROGRESS = StoreProgress("items", "id-1", {0: 7, 1: 9}, whole_until_s=12.5)


def opened(folder: Path, source: str = "topic items") -> FactStore:
    return FactStore(folder, FactKind.ITEMS, source=source, memory=StoreMemory(12 * MIB, 4 * MIB))


def said(name: str, since: int = 1, text: str = "x") -> Statement:
    return Statement(name, since, f'{{"text":"{text}"}}')


def test_rows_and_positions_are_there_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert (store.progress, store.is_whole) == (None, False)
    store.take(FactBatch((said("a"), said("b"), "a", said("c"), said("a", 2)), PROGRESS, at_end=True))
    store.close()
    again = opened(tmp_path)
    assert (again.progress, again.is_whole, again.num_held()) == (PROGRESS, True, 3)
    assert again.versions(["a", "b", "d"]) == [("a", 2, '{"text":"x"}'), ("b", 1, '{"text":"x"}')]
    again.close()


def test_a_load_that_was_cut_off_is_not_whole_and_goes_on(tmp_path: Path) -> None:
    store = opened(tmp_path)
    half = StoreProgress("items", "id-1", {0: 3})
    store.take(FactBatch((said("a"),), half))
    store.close()
    again = opened(tmp_path)
    assert (again.progress, again.is_whole) == (half, False)
    known = KnownFacts([again])
    assert known.held_up == "items are being read; events that need them wait"
    again.take(FactBatch((), PROGRESS, at_end=True))
    assert known.held_up == ""
    again.close()


def test_many_ids_at_once_and_versions_in_their_order(tmp_path: Path) -> None:
    store = opened(tmp_path)
    names = [f"i{number}" for number in range(1_500)]
    late = tuple(said(name, 9) for name in reversed(names[:700]))
    store.take(FactBatch((*late, *(said(name, 3) for name in names)), PROGRESS, at_end=True))
    rows = store.versions([*names, "nobody"])
    assert sorted({name for name, _, _ in rows}) == sorted(names)
    assert [since for name, since, _ in rows if name == "i5"] == [3, 9]
    assert len(rows) == 2_200
    store.close()


def test_what_is_held_ready_is_of_now_and_bounded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.take(FactBatch((said("a"), said("b")), PROGRESS, at_end=True))
    known = KnownFacts([store], ready_bytes=4_000)
    reads: list[tuple[str, ...]] = []
    read = store.versions
    store.versions = lambda ids: reads.append(tuple(ids)) or read(ids)  # type: ignore[method-assign,func-returns-value]
    assert known.items(["a", "x"]) == {"a": [FactVersion(1, ItemFacts("x"))]}
    assert known.items(["a", "b"]).keys() == {"a", "b"}
    assert known.items(["b", "a"]).keys() == {"a", "b"}
    assert known.items(["a", "b"]).keys() == {"a", "b"}
    assert reads == [("a", "x"), ("a", "b"), ("b",)]  # held from the second time on
    assert known.items(["x"]) == known.items(["x"]) == {}
    assert reads[3:] == [("x",), ("x",)]  # what nobody knows is asked for again
    store.take(FactBatch((said("a", 2, "y"), "b"), PROGRESS))
    assert known.items(["a", "b"]) == {"a": [FactVersion(1, ItemFacts("x")), FactVersion(2, ItemFacts("y"))]}
    store.take(FactBatch(tuple(said(f"i{number}") for number in range(40)), PROGRESS))
    for _ in range(2):
        for number in range(40):
            known.items([f"i{number}"])
    assert known._ready == {}, "each was named twice, but with more between than is remembered"
    for number in range(40):
        known.items([f"i{number}"])
        known.items([f"i{number}"])
    held = sum(f"i{number}" in known._ready for number in range(40))
    assert 0 < held < 4_000 // 600
    assert len(known._read_once) <= 4_000 // 1_000
    store.close()


def test_a_topic_made_anew_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.take(FactBatch((said("a"),), PROGRESS, at_end=True))
    store.take(FactBatch((said("b"),), StoreProgress("items", "id-2", {0: 1}), made_anew=True))
    assert store.versions(["a"]) == []
    assert not store.is_whole
    assert store.progress == StoreProgress("items", "id-2", {0: 1})
    store.close()


def test_a_store_of_another_source_is_emptied(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.take(FactBatch((said("a"),), PROGRESS, at_end=True))
    store.close()
    other = opened(tmp_path, "file /catalogue.csv")
    assert (other.num_held(), other.is_whole, other.progress) == (0, False, None)
    other.close()


def test_only_the_newest_versions_are_kept_and_the_same_time_is_replaced(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.take(FactBatch(tuple(said("a", since, str(since)) for since in range(1, 100)), PROGRESS))
    store.take(FactBatch((said("a", 99, "again"),), PROGRESS, at_end=True))
    found = KnownFacts([store]).items(["a"])["a"]
    assert len(found) == MAX_VERSIONS
    assert (found[0].valid_from, found[-1]) == (100 - MAX_VERSIONS, FactVersion(99, ItemFacts("again")))
    store.close()


def test_two_workers_never_share_a_folder(tmp_path: Path) -> None:
    store = opened(tmp_path)
    with pytest.raises(BadSettings, match="in use by another process; want one folder per worker"):
        opened(tmp_path)
    store.close()


def test_a_file_that_is_no_store_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "items.sqlite").write_bytes(b"something else" * 1_000)
    store = opened(tmp_path)
    assert (store.num_held(), store.progress) == (0, None)
    store.close()


@pytest.mark.parametrize("table", ["about", "reached"])
def test_a_store_that_is_damaged_where_it_begins_is_made_anew(tmp_path: Path, table: str) -> None:
    """Its tables are there, and what it is about, or how far it was read, is not: no restart would mend that."""
    store = opened(tmp_path)
    store.take(FactBatch((said("a"),), PROGRESS, at_end=True))
    store.close()
    path = tmp_path / "items.sqlite"
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("select rootpage from sqlite_master where name = ?", (table,)).fetchone()
        (size,) = db.execute("pragma page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * 64)
    again = opened(tmp_path)
    assert (again.progress, again.is_whole, again.num_held()) == (None, False, 0)
    again.close()


def test_a_place_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    (tmp_path / "items.sqlite").mkdir()
    with pytest.raises(BadSettings, match=r"join_folder: .*items.sqlite: .*; want a folder of this worker's own"):
        opened(tmp_path)


def test_a_batch_is_known_although_the_log_cannot_be_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stored by then: events that wait for its items would not be looked at else, and old ones stay ready."""
    store = opened(tmp_path)
    known = KnownFacts([store], ready_bytes=4_000)

    def full(_: FactStore) -> None:
        raise Fatal("the disk is full")

    monkeypatch.setattr(FactStore, "_empty_log", full)
    with pytest.raises(Fatal, match="full"):
        store.take(FactBatch((said("a"),), PROGRESS, at_end=True))
    assert (known.num_changes, known.held_up) == (2, "")
    store.close()


def test_a_batch_that_the_disk_does_not_take_leaves_neither_rows_nor_positions(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.take(FactBatch((said("a"),), PROGRESS, at_end=True))
    store._writer.execute("pragma max_page_count = 10")
    with pytest.raises(Fatal, match="full"):
        store.take(
            FactBatch(tuple(said(f"b{n}", 1, "y" * 500) for n in range(1_000)), StoreProgress("items", "id-1", {0: 99}))
        )
    assert store.progress == PROGRESS
    assert store.num_held() == 1
    store.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadSettings, match="want a folder that can be written"):
        opened(tmp_path / "file")


def test_more_ids_than_one_statement_takes_are_found(tmp_path: Path) -> None:
    store = opened(tmp_path)
    names = [f"i{number}" for number in range(1_300)]
    store.take(FactBatch(tuple(said(name) for name in names), PROGRESS, at_end=True))
    assert sorted(name for name, _, _ in store.versions(names)) == sorted(names)
    store.close()


def test_a_reader_never_finds_a_store_without_tables(tmp_path: Path) -> None:
    store = opened(tmp_path)
    other = sqlite3.connect(tmp_path / "items.sqlite")
    for _ in range(50):
        store.clear()
        assert other.execute("select count(*) from facts").fetchone() == (0,)
    other.close()
    store.close()


def test_no_byte_of_what_was_removed_stays_in_the_files_or_their_log(tmp_path: Path) -> None:
    """A tombstone may be a person's wish; SQLite's log has pages as they were before, for as long as it runs."""

    def found(text: bytes) -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir() if text in path.read_bytes())

    store = opened(tmp_path)
    for number in range(20):
        store.take(FactBatch((said(f"u{number}", text=f"profile of {number}."),), PROGRESS, at_end=True))
    assert found(b"profile of 7.") != []
    store.take(FactBatch(("u7",), PROGRESS, at_end=True))
    assert found(b"profile of 7.") == []
    assert store.versions(["u7", "u8"]) == [("u8", 1, '{"text":"profile of 8."}')]
    store.take(FactBatch((said("other"),), PROGRESS, made_anew=True, at_end=True))
    assert found(b"profile of 8.") == []
    store.close()


def test_a_store_of_another_version_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its tables and pages are another version's: nothing of them is kept, and the topic is read again."""
    opened(tmp_path).close()
    path = tmp_path / "items.sqlite"
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute("update about set value = '1' where name = 'format'")
        theirs.execute("create table facts_of_theirs (id text)")
        theirs.commit()
    store = opened(tmp_path)
    assert (store.progress, store.versions(["a"])) == (None, [])
    store.take(FactBatch((said("a"),), PROGRESS, at_end=True))
    store.close()
    with closing(sqlite3.connect(path)) as ours:
        names = {name for (name,) in ours.execute("select name from sqlite_master where type = 'table'")}
    assert names == {"about", "reached", "facts"}
    assert f"{path}: another version has written it; it is made anew" in caplog.text
