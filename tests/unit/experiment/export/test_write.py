"""An export has every row as the state has it, changes nothing that it reads, and is there whole or not at all."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.experiment.made import AT_US, answers, response, slate
from worker.core.errors import BadSettings
from worker.core.records import Partition
from worker.experiment.definition import Definition
from worker.experiment.export import table_files, write
from worker.experiment.export.columns import ANSWERS, USERS, Column, ColumnType
from worker.experiment.export.table_files import CsvFile
from worker.experiment.export.write import Exported, FileFormat, Table, Target, export
from worker.experiment.readout import Effect
from worker.experiment.report import assemble
from worker.experiment.statistics.confidence import Estimate
from worker.experiment.store.database import State
from worker.system import parquet_files
from worker.system.stopping import Stopped

DEFINED = Definition("exp", AT_US, "control", ("candidate",), segments=("country",), planned_users=400)
PAGE = Path(__file__).parents[4] / "docs" / "how-to" / "export-values.md"
NOTEBOOK = PAGE.with_name("headline.ipynb")
SCRIPT = re.compile(r'^```python title="headline.py"\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def records(users: int = 130, *, seed: int = 1, **more: Any) -> Iterator[dict[str, object]]:
    """Yield duels and slates of users who came once to four times, with odd floats, some of them failed."""
    chance = random.Random(seed)
    for user in range(users):
        for event in range(1 + user % 4):
            common: dict[str, Any] = {"segments": {"country": chance.choice(["NL", "BE"])}} | more
            p, q = chance.random(), chance.random()
            yield slate(user, event, "control", probabilities=(p, 1 - p), **common)
            yield slate(user, event, probabilities=(q, 1 - q), **common)
            options = [
                {"item_id": f"m{n}", "position": n, "variants": [side], "probability": share, "kind": "ORGANIC"}
                for n, (side, share) in enumerate([("control", p), ("candidate", 1 - p)])
            ]
            status = "OK" if chance.random() < 0.9 else "TIMEOUT"
            yield response(user, event, options=options, duel_share=1 - p, status=status, **common)


def state(path: Path, found: Iterable[dict[str, object]] = (), *definitions: Definition) -> Path:
    """Make a state file of responses."""
    with closing(State(path)) as made:
        for definition in definitions:
            made.define(definition)
        made.take(answers(found), health={}, positions={Partition("responses", 0): 1})
    return path


def exported(of: Path, what: Table = Table.USERS, name: str = "out.csv", **more: Any) -> list[dict[str, str]]:
    """Export to CSV, and return its rows."""
    target = Target(of.with_name(name), **more)
    export(of, "exp", what, target)
    with target.path.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def effects(of: Path) -> list[Effect]:
    """Return the primary effect of each epoch."""
    with closing(State(of)) as opened:
        [readout] = assemble.report(opened, assemble.Defaults(planned_users=400), experiment="exp").readouts
        return [epoch.comparisons[0].primary for epoch in readout.epochs]


def primary(of: Path) -> list[Estimate]:
    """Return the headline of each epoch."""
    return [one.overall for one in effects(of)]


def rederived(csv_file: Path, *words: str) -> list[dict[str, Any]]:
    """Run the script of the documentation, without this package, and return what it prints."""
    found = SCRIPT.search(PAGE.read_text(encoding="utf-8"))
    assert found
    script = csv_file.with_name("headline.py")
    script.write_text(found[1], encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(script), str(csv_file), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=csv_file.parent, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_script_of_the_page_finds_the_headline_of_the_report(tmp_path: Path) -> None:
    """Two configurations are two headlines; each has the report's mean and both ends to 1e-12."""
    both = (*records(), *records(users=200, seed=2, fingerprint="f2", experiment_id="exp"))
    made = state(tmp_path / "state.db", both, DEFINED)
    exported(made)
    wanted = effects(made)
    assert sorted(effect.alpha or 0.05 for effect in wanted)[1] == 0.05  # the first epoch has all of alpha
    assert len({effect.alpha for effect in wanted}) == len(wanted) == 2
    for effect in wanted:
        report = effect.overall
        shared = str(0.05 / (effect.alpha or 0.05))
        found = rederived(tmp_path / "out.csv", "duel_share", "0.05", "400", shared)
        [one] = [one for one in found if one["users"] == report.users]
        assert report.interval is not None
        assert report.value == pytest.approx(one["value"], abs=1e-12)
        assert (report.interval.low, report.interval.high) == pytest.approx((one["low"], one["high"]), abs=1e-12)


def test_the_notebook_prints_what_the_script_of_the_page_prints(tmp_path: Path) -> None:
    """Cell by cell, as a reader runs it, beside the file that it names."""
    exported(state(tmp_path / "state.db", records()), name="users.csv")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == rederived(tmp_path / "users.csv", "duel_share", "0.05", "5000")
    assert found[0]["low"] is not None


def test_the_script_of_the_page_withholds_an_interval_where_the_report_does(tmp_path: Path) -> None:
    made = state(tmp_path / "state.db", records(users=60))
    exported(made)
    [found], [report] = rederived(tmp_path / "out.csv", "duel_share", "0.05", "5000"), primary(made)
    assert (found["users"], found["low"], report.interval) == (report.users, None, None)
    assert found["value"] == pytest.approx(report.value, abs=1e-12)


@pytest.mark.parametrize("metric", ["duel_share", "reciprocal_rank"])
def test_the_script_of_the_page_finds_what_is_missing_where_a_part_was_not_asked(tmp_path: Path, metric: str) -> None:
    """A duel, or a slate of a user of whom others were asked, is missing if it was not asked, in both alike."""
    chance, found = random.Random(4), list(records(users=200))
    for one in found:
        user = int(str(one["user_id"])[1:])  # the first thirty were asked nothing
        if one["role"] == "CANDIDATE" and (user < 30 or chance.random() < 0.1):
            one |= {"status": "NOT_ASKED", "duel_share": None, "contested_mass": None, "options": []}
    form = replace(DEFINED, primary_metric=metric)
    made = state(tmp_path / "state.db", found, form)
    exported(made)
    with closing(State(made)) as opened:
        [readout] = assemble.report(opened, assemble.Defaults(), experiment="exp").readouts
    told = readout.current.comparisons[0]
    duels = [one for one in found if one["question"] == "DUEL"]
    assert told.missing > sum(one["status"] == "TIMEOUT" for one in duels) * (metric == "duel_share")
    report = told.primary.overall
    assert report.interval is not None
    [again] = rederived(tmp_path / "out.csv", metric, "0.05", "400")
    assert (again["users"], again["pairs"], again["missing"]) == (report.users, told.events, told.missing)
    assert again["missing"] / again["pairs"] == told.missing_share > 0.05
    shown = (report.value, report.interval.low, report.interval.high)
    assert (again["value"], again["low"], again["high"]) == pytest.approx(shown, abs=1e-12)


def test_a_user_is_one_row_per_metric_and_segment(tmp_path: Path) -> None:
    common: dict[str, Any] = {"segments": {"country": "NL"}}
    duels = [
        response(1, 3, duel_share=0.25, **common),
        response(1, 5, duel_share=1.0, **common),
        response(1, 7, status="TIMEOUT", segments={"country": "BE"}),
        response(2, 0, status="IDENTICAL"),
    ]
    of_slates = [slate(1, 3, "control", **common), slate(1, 3, probabilities=(1, 0), **common)]
    made = state(tmp_path / "state.db", [*duels, *of_slates], DEFINED)
    rows = {(row["user_id"], row["metric"], row["segment"]): row for row in exported(made)}
    shown = ("value", "events", "missing", "differs", "first_event_at")
    named = {key: tuple(row[name] for name in shown) for key, row in rows.items() if key[1] == "duel_share"}
    third = "2026-01-01T00:03:00.000000Z"
    assert named == {
        ("u1", "duel_share", ""): ("0.625", "2", "1", "2", third),
        ("u1", "duel_share", "country=NL"): ("0.625", "2", "0", "2", third),
        ("u1", "duel_share", "country=BE"): ("", "0", "1", "0", third),
        ("u2", "duel_share", ""): ("0.5", "1", "0", "0", "2026-01-01T00:00:00.000000Z"),
    }
    assert rows["u1", "reciprocal_rank", ""]["value"] == "0.25"
    assert rows["u1", "reciprocal_rank", ""]["first_event_at"] == third
    assert {(row["config_fingerprint"], row["definition_key"]) for row in rows.values()} == {("f1", DEFINED.epoch)}
    assert {metric for _, metric, _ in rows} == {"duel_share", "reciprocal_rank", "entropy"}


def test_an_answer_is_one_row_also_if_it_is_in_no_figure(tmp_path: Path) -> None:
    found = [*records(users=1), response(2, occurred_at=AT_US - 1), response(3, 0, variant="stranger")]
    rows = exported(state(tmp_path / "state.db", found, DEFINED), Table.ANSWERS)
    assert [(row["question"], row["variant"], row["left_out"]) for row in rows] == [
        ("DUEL", "candidate", ""),
        ("SLATE", "candidate", ""),
        ("SLATE", "control", ""),
        ("DUEL", "candidate", "outside"),
        ("DUEL", "stranger", "unknown_variant"),
    ]
    duel, share = rows[0], float(rows[0]["duel_share"])
    assert json.loads(duel["options"]) == [
        {"item_id": "m0", "variant": "control", "position": 0, "probability": pytest.approx(1 - share, abs=1e-7)},
        {"item_id": "m1", "variant": "candidate", "position": 1, "probability": pytest.approx(share, abs=1e-7)},
    ]
    assert duel["occurred_at"] == "2026-01-01T00:00:00.000000Z"
    assert (rows[1]["duel_share"], rows[1]["options"], duel["reciprocal_rank"]) == ("", "", "")


def test_every_float_reads_back_as_the_same_float(tmp_path: Path) -> None:
    shares = [0.1 + 0.2, 1 / 3, 5e-324, 2.0**-30, 0.9999999999999999]
    duels = [response(n, duel_share=share) for n, share in enumerate(shares)]
    rows = exported(state(tmp_path / "state.db", duels), Table.ANSWERS)
    assert [float(row["duel_share"]) for row in rows] == shares


HOSTILE = ("=1+1", "+1", "-1", "@a", "\tx", "\rx", "＝1", 'a"b,c', "line\nbreak", "lone\rreturn", "'=1", "ü")


def test_text_reads_back_as_it_is_whatever_stands_in_it(tmp_path: Path) -> None:
    made = state(tmp_path / "state.db", [response(n, user_id=name) for n, name in enumerate(HOSTILE)])
    assert [row["user_id"] for row in exported(made)] == list(HOSTILE)


def test_cells_that_a_spreadsheet_may_run_are_counted_and_numbers_stay_numbers(tmp_path: Path) -> None:
    """With `safe_csv` no text begins as a formula does; a negative number is written as ever."""
    found = [one for n, name in enumerate(HOSTILE) for one in (
        slate(n, 0, "control", probabilities=(1, 0), user_id=name),
        slate(n, 0, probabilities=(0, 1), user_id=name),
    )]  # fmt: skip
    made = state(tmp_path / "state.db", found)
    raw = export(made, "exp", Table.USERS, Target(tmp_path / "raw.csv"))
    safe = export(made, "exp", Table.USERS, Target(tmp_path / "safe.csv", safe_csv=True))
    assert raw.formula_cells == safe.formula_cells == 7 * 2  # of two metrics
    rows = exported(made, name="again.csv", safe_csv=True)
    assert [row["user_id"] for row in rows if row["user_id"].startswith(table_files.FORMULA)] == []
    assert {row["user_id"] for row in rows} == {f"'{name}" for name in HOSTILE[:7]} | set(HOSTILE[7:])
    assert {row["value"] for row in rows if row["metric"] == "reciprocal_rank"} == {"-0.5"}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a;=1", "a;'=1"),  # a spreadsheet whose decimal point is a comma ends a cell at a semicolon
        ("a\t@b|+c", "a\t'@b|'+c"),
        (" =1", "' =1"),
        ("\ufeff\0=1", "'\ufeff\0=1"),
        ('a;"=1"', 'a;\'"=1"'),
        ("a;b-c", "a;b-c"),
        ("a=1", "a=1"),
        (";=1\n\n+2", ";'=1\n'\n'+2"),
        ("|\t=", "|'\t'="),
        ("a ;=", "a ;'="),
        ("a\n", "a\n"),
    ],
)
def test_a_formula_is_found_wherever_a_cell_may_begin(tmp_path: Path, name: str, told: str) -> None:
    found = [slate(1, 0, "control", probabilities=(1, 0), user_id=name), slate(1, 0, user_id=name)]
    made = state(tmp_path / "state.db", found)
    raw = export(made, "exp", Table.USERS, Target(tmp_path / "raw.csv"))
    assert bool(raw.formula_cells) is (name != told)
    assert {row["user_id"] for row in exported(made, safe_csv=True)} == {told}


def test_formulas_are_looked_for_in_a_time_that_grows_with_the_text() -> None:
    """Nobody bounds the segments of a response: 16,000 line breaks took 11 s, and each user and metric has a row."""
    written = CsvFile(Path(os.devnull), [Column("segment", ColumnType.TEXT, "", "")], safe=True)
    start_s = time.process_time()
    written.write([("country=x" + blanks * 20_000,) for blanks in ("\n", "\t ", ";\n", '"', "|")])
    written.close()
    assert (written.formula_cells, time.process_time() - start_s < 5) == (0, True)


def test_nothing_of_a_forgotten_user_is_in_a_later_export(tmp_path: Path) -> None:
    made = state(tmp_path / "state.db", records(users=20), DEFINED)
    with closing(State(made)) as opened:
        opened.forget("u7")
    for what in Table:
        rows = exported(made, what, f"{what}.csv")
        assert "u6" in {row["user_id"] for row in rows}
        assert not any(re.search(r"\bu7\b|e-7-", cell) for row in rows for cell in row.values())


@pytest.mark.parametrize("what", Table)
def test_an_export_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: Table) -> None:
    """What a reader writes meanwhile is in none of its rows, however many queries they come from."""
    monkeypatch.setattr(write, "BATCH_ROWS", 10)
    made = state(tmp_path / "state.db", records(users=40))
    before = exported(made, what)
    with closing(State(made)) as reader:
        late = answers(records(users=80, seed=3))[-40 * 3 :]

        def meanwhile(_: int) -> None:
            reader.take([late.pop() for _ in range(min(3, len(late)))], health={}, positions={})

        export(made, "exp", what, Target(tmp_path / "meanwhile.csv"), tell=meanwhile)
    assert (tmp_path / "meanwhile.csv").read_bytes() == (tmp_path / "out.csv").read_bytes()
    assert len(exported(made, what, "after.csv")) > len(before)


class BreaksError(Exception):
    pass


def test_an_export_that_fails_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    made, target = state(tmp_path / "state.db", records(users=5)), tmp_path / "out.csv"
    target.write_text("of before")

    def fail(_: int) -> None:
        raise BreaksError

    with pytest.raises(BreaksError):
        export(made, "exp", Table.USERS, Target(target, force=True), tell=fail)
    assert target.read_text() == "of before"
    assert list(tmp_path.glob(".export-*")) == []
    export(made, "exp", Table.USERS, Target(target, force=True))
    assert target.read_text().startswith("user_id,")
    assert target.stat().st_mode & 0o777 == 0o600


def test_an_export_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM, as a container's end sends: the unfinished file has ids of users."""
    made = state(tmp_path / "state.db", records(users=5))
    with pytest.raises(Stopped):
        export(
            made,
            "exp",
            Table.USERS,
            Target(tmp_path / "out.csv"),
            tell=lambda _: os.kill(os.getpid(), signal.SIGTERM),
        )
    assert [one.name for one in tmp_path.iterdir() if not one.name.startswith("state.db")] == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    made, target = state(tmp_path / "state.db", records(users=5)), tmp_path / "out.csv"
    with pytest.raises(BadSettings, match="is there already"):
        export(made, "exp", Table.USERS, Target(target), tell=lambda _: target.write_text("of another"))
    assert target.read_text() == "of another"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a batch of rows exists at once."""
    monkeypatch.setattr(write, "BATCH_ROWS", 50)
    made = state(tmp_path / "state.db", records(users=100))
    seen: list[int] = []
    done = export(made, "exp", Table.ANSWERS, Target(tmp_path / "out.csv"), tell=seen.append)
    assert seen == [*range(50, done.rows, 50), done.rows]
    assert done.rows == 250 * 3


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"path": "out.txt"}, "--to .*out.txt: want a name that ends in .csv or .parquet, or --format"),
        ({"path": "there.csv"}, "--to .*there.csv: is there already and was left unchanged; --force replaces it"),
        ({"path": "nosuch/out.csv"}, "--to .*out.csv: No such file or directory; want a file that can be written"),
        ({"path": "folder.csv", "force": True}, "--to .*folder.csv: is a folder; want a file"),
        ({"path": "state.db", "force": True, "format": FileFormat.CSV}, "is the state file itself; want another file"),
        ({"path": "state.db-wal", "force": True, "format": FileFormat.CSV}, "is SQLite's part of the state file"),
        (
            {"path": "pipe.csv", "force": True},
            "pipe.csv: is a device, a pipe or a socket and was left unchanged",
        ),
        ({"path": "nowhere.csv"}, "--to .*nowhere.csv: is there already and was left unchanged; --force replaces it"),
        ({"path": "out.parquet"}, "needs the package pyarrow, which is not installed; `pip install pyarrow`"),
    ],
)
def test_a_target_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: dict[str, Any], told: str
) -> None:
    monkeypatch.setattr(parquet_files, "is_installed", lambda: False)
    (tmp_path / "there.csv").touch()
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "nowhere.csv").symlink_to("nosuch")
    made = state(tmp_path / "state.db", records(users=2))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(BadSettings, match=told):
        export(made, "exp", Table.USERS, Target(**target | {"path": tmp_path / target["path"]}))
    beside = {"state.db-shm", "state.db-wal"}  # SQLite's, for whoever reads beside a writer
    assert [one for one in sorted(tmp_path.iterdir()) if one.name not in beside] == before


def test_an_experiment_or_a_state_that_is_not_there(tmp_path: Path) -> None:
    made = state(tmp_path / "state.db", records(users=2))
    with pytest.raises(BadSettings, match="no experiment expo; there is exp; did you mean exp"):
        export(made, "expo", Table.USERS, Target(tmp_path / "out.csv"))
    with pytest.raises(BadSettings, match="want the file that a reader keeps"):
        export(tmp_path / "nosuch.db", "exp", Table.USERS, Target(tmp_path / "out.csv"))
    assert not (tmp_path / "nosuch.db").exists()


def test_a_row_has_a_cell_for_each_column(tmp_path: Path) -> None:
    made = state(tmp_path / "state.db", records(users=2))
    for what, columns in ((Table.USERS, USERS), (Table.ANSWERS, ANSWERS)):
        row = exported(made, what, f"{what}.csv")[0]
        assert list(row) == [column.name for column in columns]
        assert len(set(row)) == len(columns)


def test_parquet_has_the_same_rows_with_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    made = state(tmp_path / "state.db", records(users=20), DEFINED)
    for what in Table:
        lines = exported(made, what, f"{what}.csv")
        done = export(made, "exp", what, Target(tmp_path / f"{what}.parquet"))
        table = parquet.read_table(tmp_path / f"{what}.parquet")
        assert done == Exported(str(tmp_path / f"{what}.parquet"), what.value, len(lines), 0)
        assert table.num_rows == len(lines)
        for name in table.column_names:
            cells = table.column(name).to_pylist()
            texts = [as_csv(cell) for cell in cells]
            assert texts == [line[name] for line in lines], name


def as_csv(cell: Any) -> str:
    if cell is None:
        return ""
    if hasattr(cell, "isoformat"):
        return str(cell.isoformat(timespec="microseconds")).replace("+00:00", "Z")
    return repr(cell) if isinstance(cell, float) else str(cell)


def test_an_export_of_an_empty_table_has_its_header(tmp_path: Path) -> None:
    made = state(tmp_path / "state.db", [], DEFINED)
    export(made, "exp", Table.USERS, Target(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").read_text().count("\n") == 1
