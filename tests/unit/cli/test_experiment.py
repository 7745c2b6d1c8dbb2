"""Files that an experiment's commands cannot use are one line and exit 2, before anybody is asked."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.experiment.made import answers, response
from tests.support.harness import mirrorstream
from worker.core.records import Partition
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
