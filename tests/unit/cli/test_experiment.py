"""Files that an experiment's commands cannot use are one line and exit 2, before anybody is asked."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.experiment.made import answers, response
from tests.support.harness import mirrorstream
from worker.core.records import Partition
from worker.experiment.store.backtests import read_backtests
from worker.experiment.store.database import State

NOBODY = ("-b", "127.0.0.1:1")


@pytest.mark.parametrize("words", [("report",), ("serve", "--port", "0"), ("rebuild",)], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nosuch/state.db", "No such file or directory; want a file that can be written"),
        ("", "Is a directory; want a file that can be written"),
        ("text.db", "file is not a database; want a file that this program made, or none"),
        ("other.db", "is another program's database; want a file that this program made, or none"),
    ],
)
def test_a_state_that_cannot_be_used(tmp_path: Path, words: tuple[str, ...], name: str, told: str) -> None:
    (tmp_path / "text.db").write_text("no database at all, but long enough to be read as one\n" * 20)
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("create table bookmark(url text)")
    done = mirrorstream("experiment", *words, "--state", str(tmp_path / name), *NOBODY)
    assert done.returncode == 2
    assert done.stderr == f"error: --state {tmp_path / name}: {told}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("backtest", "--table", "FILE"), "--table FILE: No such file or directory; want a CSV file"),
        (("serve", "--token-file", "FILE"), "--token-file FILE: No such file or directory; want a file with one word"),
        (
            ("serve", "--on-verdict-change", "@FILE"),
            "--on-verdict-change FILE: No such file or directory; want a file with one word",
        ),
        (("define", "FILE"), "FILE: No such file or directory; want a YAML file of an experiment"),
        (("report", "-d", "FILE"), "FILE: No such file or directory; want a YAML file of an experiment"),
        (("forget", "u1", "--state", "FILE"), "--state FILE: want the file that a reader keeps"),
        (
            ("export", "--experiment", "e", "--state", "FILE", "--to", "FILE.csv"),
            "--state FILE: want the file that a reader keeps",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_file_that_is_missing(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    file = str(tmp_path / "nosuch")
    done = mirrorstream("experiment", *(word.replace("FILE", file) for word in words))
    assert done.returncode == 2
    assert done.stderr == f"error: {told.replace('FILE', file)}\n"


@pytest.mark.parametrize(
    ("user", "shown"),
    [("", "''"), ("u" * 257, f"'{'u' * 40}'"), ("\udcff", "'\\udcff'")],
    ids=["empty", "long", "bytes"],
)
def test_nobody_is_told_to_be_forgotten_whose_id_no_user_has(tmp_path: Path, user: str, shown: str) -> None:
    """Such as a variable of a script that is empty; what is no UTF-8 was a traceback."""
    State(tmp_path / "state.db").close()
    done = mirrorstream("experiment", "forget", user, "--state", str(tmp_path / "state.db"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: USER: {shown}: no user has such an id; want 1 to 256 characters of UTF-8\n"


def test_an_export_says_what_it_wrote_and_what_to_take_care_of(tmp_path: Path) -> None:
    state, to = tmp_path / "state.db", tmp_path / "out.csv"
    with closing(State(state)) as made:
        found = answers([response(1), response(2, user_id="=1+1")])
        made.take(found, health={}, positions={Partition("responses", 0): 1})
    words = ("experiment", "export", "--experiment", "exp", "--state", str(state), "--to", str(to))
    done = mirrorstream(*words)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            f"{to}: 2 rows; user ids are personal data: protect the file",
            "cells that could run as formulas in a spreadsheet: 1; see --safe-csv",
        ],
    )
    again = mirrorstream(*words)
    assert (again.returncode, again.stderr) == (
        2,
        f"error: --to {to}: is there already and was left unchanged; --force replaces it\n",
    )
    safe = mirrorstream(*words, "--what", "answers", "--format", "csv", "--force", "--safe-csv", "--json")
    assert safe.stdout == f'{{"to": "{to}", "what": "answers", "rows": 2, "formula_cells": 1}}\n'


def finished(tmp_path: Path) -> tuple[str, ...]:
    """Make a state of twelve finished tests and a table of their real lifts, with one test on each side alone."""
    with closing(State(tmp_path / "state.db")) as made:
        for test in range(12):
            sign = 1 if test % 3 else -1
            made.take(
                answers(
                    response(user, experiment_id=f"t{test}", event_id=f"t{test}-{user}", duel_share=share)
                    for user in range(110)
                    for share in [0.5 + sign * 0.01 * (test + 1) + (user % 5 - 2) / 50]
                ),
                health={},
                positions={Partition("responses", 0): 1},
            )
    rows = [f"t{test},{0.005 * (test + 1) * (1 if test % 3 else -1)},," for test in range(11)]
    (tmp_path / "real.csv").write_text("\n".join(["experiment,real,low,high", *rows, "t99,0.1,,"]))
    return ("experiment", "backtest", "--real", str(tmp_path / "real.csv"), "--state", str(tmp_path / "state.db"))


def test_a_backtest_joins_a_state_with_real_lifts_and_draws_it(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    words = finished(tmp_path)
    done = mirrorstream(*words, "--plot", str(plot))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "configuration: f1",
        "metric: duel_share",
        "left out: t99: not in the state",
        "in the state, but without a real lift: t11",
    ]
    assert "direction accuracy: 1.000" in lines
    assert lines[-5:-3] == ["  100 %    11 of 11    100 % (74 to 100)", "   80 %     9 of 9     100 % (70 to 100)"]
    assert plot.read_text().startswith("<svg ")
    found = json.loads(mirrorstream(*words, "--json").stdout)
    assert (found["configuration"], found["left_out"], found["without_lift"], found["tests"]) == (
        "f1", {"t99": "not in the state"}, ["t11"], 11,
    )  # fmt: skip
    assert found["by_confidence"][0]["right"] == 11


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "backtest: want --table FILE, or --real FILE with --state FILE"),
        (("--real", "r.csv"), "--real and --state need each other"),
        (("--table", "t.csv", "--configuration", "f"), "with --table, --keep and --configuration need each other"),
        (("--table", "t.csv", "--keep", "s.db"), "with --table, --keep and --configuration need each other"),
        (("--real", "r.csv", "--state", "s.db", "--keep", "nosuch.db"), "--keep nosuch.db: want the state file"),
        (("--real", "nosuch.csv", "--state", "s.db"), "--real nosuch.csv: No such file or directory; want a CSV file"),
    ],
)
def test_options_of_a_backtest_that_do_not_go_together(words: tuple[str, ...], told: str) -> None:
    done = mirrorstream("experiment", "backtest", *words)
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())


def test_raw_duel_shares_as_real_lifts_are_refused(tmp_path: Path) -> None:
    words = finished(tmp_path)
    (tmp_path / "real.csv").write_text("experiment,real\nt1,0.53\nt2,0.48\n")
    done = mirrorstream(*words)
    assert done.returncode == 2
    assert "column real: looks like raw duel shares" in " ".join(done.stderr.split())


def test_a_backtest_is_kept_with_its_date_and_configuration(tmp_path: Path) -> None:
    """In the state of the experiments that it stands beside, which may be another one."""
    words, shelf = finished(tmp_path), tmp_path / "shelf.db"
    State(shelf).close()
    today = datetime.now(UTC).date()
    done = mirrorstream(*words, "--keep", str(shelf))
    assert done.stdout.splitlines()[-1] == f"kept in {shelf}: it stands beside every verdict from now on"
    (tmp_path / "table.csv").write_text("experiment,simulated,real\na,0.1,0.2\n")
    by_hand = ("--table", str(tmp_path / "table.csv"), "--configuration", "f0", "--keep", str(shelf), "--json")
    assert mirrorstream("experiment", "backtest", *by_hand).returncode == 0
    with closing(State(shelf)) as state:
        found = read_backtests(state.db)
    assert found.keys() == {"f0", "f1"}
    assert (found["f1"].tests, found["f1"].right, found["f1"].passed, found["f1"].metric) == (
        11,
        11,
        True,
        "duel_share",
    )
    assert today <= datetime.fromtimestamp(found["f1"].at / 1e6, UTC).date() <= datetime.now(UTC).date()


def test_a_backtest_only_reads_a_state_which_an_older_reader_may_be_writing(tmp_path: Path) -> None:
    words = finished(tmp_path)
    state = Path(words[words.index("--state") + 1])
    with closing(sqlite3.connect(state)) as db:
        db.execute("pragma user_version = 4")
        db.commit()
    before = state.read_bytes()
    done = mirrorstream(*words)
    assert done.returncode == 2
    assert "a state file of version 4, want 5; its reader" in done.stderr
    assert state.read_bytes() == before


def test_a_definition_is_checked_without_kafka(tmp_path: Path) -> None:
    """Nobody listens at the address, and nobody is asked."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("{experiment_id: e, start: 2026-11-01, control: a, candidates: [b], margin: 0.02}")
    bad.write_text("{experiment_id: e, start: soon, control: a, candidates: b}")
    done = mirrorstream("experiment", "define", str(good), "--dry-run", *NOBODY)
    assert done.returncode == 0, done.stderr
    assert "nothing was published" in done.stdout
    assert "from 48.0 % to 52.0 % counts as no difference" in done.stdout
    done = mirrorstream("experiment", "define", str(bad), "--dry-run", "--json", *NOBODY)
    assert done.returncode == 2
    assert "start: want a time" in done.stderr
    assert "candidates: want a list" in done.stderr
