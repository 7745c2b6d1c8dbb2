"""Files that an experiment's commands cannot use are one line and exit 2, before anybody is asked."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.harness import mirrorstream

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
        (("define", "FILE"), "FILE: No such file or directory; want a YAML file of an experiment"),
        (("report", "-d", "FILE"), "FILE: No such file or directory; want a YAML file of an experiment"),
        (("forget", "u1", "--state", "FILE"), "--state FILE: want the file that a reader keeps"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_file_that_is_missing(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    file = str(tmp_path / "nosuch")
    done = mirrorstream("experiment", *(word.replace("FILE", file) for word in words))
    assert done.returncode == 2
    assert done.stderr == f"error: {told.replace('FILE', file)}\n"
