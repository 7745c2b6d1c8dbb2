"""Files of events are read row by row, whatever their form, and what is wrong in one is told with its place."""

import bz2
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.cli.replay_sources import EventFile
from worker.core.codec.mapping import TableForm
from worker.core.codec.mapping_compiler import compile_mapping
from worker.core.errors import BadSettings
from worker.offline.events import event_files, item_facts

ROWS = [{"id": str(number), "user": f"u{number}", "title": f"Film, {number}"} for number in range(3)]
MAPPING: dict[str, Any] = {
    "missing": [""],
    "impression": {
        "event_id": "id",
        "occurred_at": {"value": "2026-11-01T00:00:00Z"},
        "user": {"user_id": "user"},
        "slates": [{"variant": {"value": "control"}, "items": [{"item_id": "id", "text": "title"}]}],
    },
}


def zstd(data: bytes) -> bytes:
    pa = pytest.importorskip("pyarrow")
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress), (".zst", zstd)
]  # fmt: skip
JSON = "\n".join(map(json.dumps, ROWS))
CSV = "id,user,title\n" + "\n".join(f'{row["id"]},{row["user"]},"{row["title"]}"' for row in ROWS)
TSV = "id\tuser\ttitle\r\n" + "\r\n".join("\t".join(row.values()) for row in ROWS)


def read(path: Path, table: TableForm | None = None) -> list[tuple[str, dict[str, object]]]:
    event_files.check(path, table)
    return [(place.rpartition(", ")[2], dict(event)) for place, event in event_files.events(path, table)]


@pytest.mark.parametrize(("ending", "pack"), PACKED, ids=lambda one: str(one)[:5])
@pytest.mark.parametrize(
    ("name", "text"), [("e.jsonl", JSON), ("e.csv", CSV), ("e.tsv", TSV)], ids=["json", "csv", "tsv"]
)
def test_rows_of_each_form_are_events(
    tmp_path: Path, name: str, text: str, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / (name + ending)
    path.write_bytes(pack(text.encode("utf-8-sig")))
    found = read(path)
    assert [event for _, event in found] == ROWS
    first = 1 if name == "e.jsonl" else 2  # after the names of the columns
    assert [place for place, _ in found] == [f"line {number}" for number in range(first, first + 3)]


def test_parquet_is_read_with_its_types(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pa.table({
        "id": [1, 2], "price": pa.array([49.9, None], pa.float32()), "at": pa.array([0, 1], pa.timestamp("us", "UTC")),
        "items": [[{"sku": "a", "price": 0.1}], []], "tags": [{"a": "b"}, None], "nan": [float("nan"), 1.5],
        "raw": [b"a", b"\xff"],
    }, schema=None)  # fmt: skip
    path = tmp_path / "part-0.parquet"
    parquet.write_table(table, path)
    progress = event_files.Progress()
    (place, one), (_, two) = event_files.events(path, None, progress)
    assert place.endswith("row 1")
    assert (one["id"], one["price"].text, one["at"]) == (1, "49.9", "1970-01-01T00:00:00+00:00")  # type: ignore[attr-defined]
    assert (one["items"], one["nan"], one["raw"], two["raw"]) == ([{"sku": "a", "price": 0.1}], None, "a", "/w==")
    assert (two["price"], progress.share) == (None, 1.0)


def test_a_mapping_names_the_columns_and_the_separator_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text('1::"u::Heat\n\n2::v::Antz\n')
    found = read(path, TableForm(("id", "user", "title"), "::"))
    assert [event["user"] for _, event in found] == ['"u', "v"]
    path.write_text('1\tu"\t"Heat\n')
    assert read(path, TableForm(("id", "user", "title"), "\t", quoted=False))[0][1]["title"] == '"Heat'


def test_wrong_rows_are_counted_with_their_places_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(CSV.encode() + b"\n7,u\n8,u8,\xff\n9,u9,\n10,u10,Heat\n")
    mapping = compile_mapping("m", MAPPING)
    moments = EventFile(path, limit=0, mapping=mapping, strict=False)
    assert [one.event_id for one, _ in moments if one] == ["0", "1", "2", "10"]
    assert [one.split(", ", 1)[1].split(":")[0] for one in moments.bad] == ["line 5", "line 6", "line 7"]
    assert "has 2 cells, want 3" in moments.bad[0]
    with pytest.raises(BadSettings, match=r"line 5: has 2 cells, want 3, .*; nothing more was replayed"):
        list(EventFile(path, limit=0, mapping=mapping))


def test_the_end_of_a_line_beyond_the_bound_is_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read as the next one, whatever somebody had put there, and all that came after had another number."""
    monkeypatch.setattr(event_files, "MAX_LINE_BYTES", 300)
    good = '{"id": "%d", "user": "u", "title": "Heat"}\n'
    path = tmp_path / "events.jsonl"
    path.write_text(good % 0 + "x" * 600 + good % 1 + "not JSON\n" + good % 2 + "y" * 900)
    moments = EventFile(path, limit=0, mapping=compile_mapping("m", MAPPING), strict=False)
    assert [one.event_id for one, _ in moments if one] == ["0", "2"]
    assert [one.split(", ", 1)[1].split(":")[0] for one in moments.bad] == ["line 2", "line 3", "line 5"]


def test_a_quote_that_is_never_closed_costs_one_row_and_not_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_files, "MAX_CELL_CHARS", 1_000)
    path = tmp_path / "events.csv"
    path.write_text('id,user,title\n1,u,"Heat\n' + "2,v,Antz\n" * 1_000)
    moments = EventFile(path, limit=0, mapping=compile_mapping("m", MAPPING), strict=False)
    assert len(list(moments)) > 800
    assert moments.bad[0].endswith("is no row of a table: field larger than field limit (1000)")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("e.csv", b"a,a\n1,2\n", "want a name for each column, each once"),
        ("e.csv", b"", "is empty: want a table"),
        ("e.jsonl", b"PAR1" + bytes(10), "is Parquet: give it a name that ends in .parquet"),
        ("e.parquet", b"hello", "cannot be read as Parquet"),
        ("e.jsonl.gz", gzip.compress(JSON.encode())[:-20], "is damaged or cut off"),
        ("e.jsonl.bz2", bz2.compress(JSON.encode())[:-20], "is damaged or cut off"),
    ],
)
def test_a_file_that_is_damaged_or_something_else_is_told(tmp_path: Path, name: str, data: bytes, problem: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadSettings, match=problem):
        read(path)


def test_a_table_without_a_mapping_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(CSV)
    with pytest.raises(BadSettings, match=r"e.csv: is a table: want --mapping"):
        EventFile(path, limit=0)


def test_items_of_a_catalogue_are_joined_where_an_event_has_ids_alone(tmp_path: Path) -> None:
    content = MAPPING | {
        "items": {"table": {"columns": ["sku", "name"]}, "item_id": "sku", "attributes": {"title": "name"}}
    }
    mapping = compile_mapping("m", content)
    catalogue, path = tmp_path / "items.csv", tmp_path / "e.csv"
    catalogue.write_text("0,Heat\n1,Antz\n")
    path.write_text("id,user,title\n0,u,\n1,u,Own\n2,u,\n")
    moments = EventFile(path, limit=0, mapping=mapping, items=catalogue, strict=False)
    found = [(one.slates[0].items[0].text, one.slates[0].items[0].attributes) for one, _ in moments if one]
    assert found[0] == (None, {"title": "Heat"})
    assert found[1][0] == "Own"
    assert moments.bad == [f"{path}, line 4: slate control: an item has neither text nor attributes"]


def test_a_file_of_the_setting_items_file_is_read_without_a_mapping_of_items(tmp_path: Path) -> None:
    """Columns that are no field of an item are attributes; one version of an item is held, the last row's."""
    path = tmp_path / "films.csv"
    path.write_text("item_id,valid_from,title,genres\n1,2020-01-01T00:00:00Z,Heat,Crime\n1,,Antz,\n2,,Ronin,Crime\n")
    told: list[str] = []
    found = item_facts.read(path, compile_mapping("m", MAPPING), on_bad=lambda error: told.append(str(error)))
    assert found == {"1": {"attributes": {"title": "Antz"}}, "2": {"attributes": {"title": "Ronin", "genres": "Crime"}}}
    lines = tmp_path / "films.jsonl"
    lines.write_text(
        '{"item_id": "1", "valid_from": "2020-01-01T00:00:00Z", "text": "Heat"}\n{"item_id": "2", "name": 1}\n'
    )
    assert item_facts.read(lines, None, on_bad=lambda error: told.append(str(error))) == {"1": {"text": "Heat"}}
    assert told == [f"{lines}, line 2: name: is no field of ItemFacts; {item_facts.WANT}"]


def test_a_wrong_row_of_items_is_counted_with_the_wrong_lines_and_strict_ends(tmp_path: Path) -> None:
    """KuaiRec's captions have line breaks without quotes, which break rows."""
    catalogue, path = tmp_path / "items.csv", tmp_path / "e.csv"
    catalogue.write_text("item_id,title\n0,Heat\n1,An\ntz\n2,Ronin\n")
    path.write_text("id,user,title\n0,u,\n2,u,\n")
    mapping = compile_mapping("m", MAPPING)
    moments = EventFile(path, limit=0, mapping=mapping, items=catalogue, strict=False)
    assert [one.slates[0].items[0].attributes["title"] for one, _ in moments if one] == ["Heat", "Ronin"]
    assert (moments.num_bad, moments.bad) == (1, [f"{catalogue}, line 4: has 1 cells, want 2, separated by ','"])
    with pytest.raises(BadSettings, match=r"items.csv, line 4: has 1 cells, want 2.*nothing was replayed"):
        EventFile(path, limit=0, mapping=mapping, items=catalogue)


BARE = {
    "event_id": "e", "occurred_at": "2026-11-01T00:00Z", "user": {"user_id": "u"},
    "slates": [{"variant": "a", "items": [{"item_id": "1"}]}],
}  # fmt: skip


def test_own_events_with_ids_alone_take_items_of_a_file_or_stay_as_they_are_for_a_worker_that_joins(
    tmp_path: Path,
) -> None:
    path, items = tmp_path / "e.jsonl", tmp_path / "items.csv"
    path.write_text(json.dumps(BARE))
    items.write_text("item_id,title\n1,Heat\n")
    [(joined, _)] = EventFile(path, limit=0, items=items)
    assert joined is not None
    assert joined.slates[0].items[0].attributes == {"title": "Heat"}
    [(bare, _)] = EventFile(path, limit=0, joined_later=True)
    assert bare is not None
    assert (bare.slates[0].items[0].item_id, bare.slates[0].items[0].attributes) == ("1", {})
    with pytest.raises(BadSettings, match="an item has neither text nor attributes"):
        list(EventFile(path, limit=0))


MEMORY = """
import resource, sys
from pathlib import Path
from worker.offline.events import event_files, item_facts
from worker.offline.events.event_files import Progress
import numpy
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
progress = Progress()
number = sum(1 for _ in event_files.events(Path(sys.argv[1]), None, progress))
print(number, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, progress.share)
"""


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_large_file_is_never_in_memory(tmp_path: Path, ending: str) -> None:
    """30 MiB of JSON Lines, which are about 30 KiB when packed."""
    path = tmp_path / f"e.jsonl{ending}"
    line = (json.dumps({"id": "x" * 10_000}) + "\n").encode()
    path.write_bytes(dict(PACKED)[ending](line * 3_000))
    done = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True)
    number, risen_kib, share = done.stdout.split()
    assert (number, share) == ("3000", "1.0")
    assert int(risen_kib) < 20 << 10
