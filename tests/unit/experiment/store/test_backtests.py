"""The last backtest of each configuration stays in the state file, whatever becomes of what was read."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tests.support.experiment.made import answers, response
from tests.support.experiment.page_examples import AT_US, kept
from worker.experiment.store import tables
from worker.experiment.store.backtests import read_backtests
from worker.experiment.store.database import State


def test_the_last_backtest_of_each_configuration_is_kept_the_newest_first(tmp_path: Path) -> None:
    with closing(State(tmp_path / "state.db")) as state:
        before = state.version
        for at, fingerprint in ((1, "f1"), (2, "f2"), (3, "f1")):
            state.keep_backtest(kept(fingerprint, at=AT_US + at))
        assert state.version == before + 3, "want a page to notice"
    with closing(State(tmp_path / "state.db")) as state:
        found = read_backtests(state.db)
    assert [(name, one.at - AT_US) for name, one in found.items()] == [("f1", 3), ("f2", 2)]
    assert found["f1"] == kept("f1", at=AT_US + 3)


def test_a_state_that_never_had_one_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(State(tmp_path / "state.db")) as state, state.snapshot():
        assert read_backtests(state.db) == {}
        names = {name for (name,) in state.db.execute("select name from sqlite_master")}
    assert "backtest" not in names


def test_a_rebuild_keeps_it_also_from_a_file_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(State(path)) as state:
        state.take(answers([response(1)]), health={}, positions={})
        state.keep_backtest(kept("f1"))
        state.reset()
        assert read_backtests(state.db).keys() == {"f1"}
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma user_version = 1")
    tables.start_over(path)
    with closing(State(path)) as state:
        assert read_backtests(state.db).keys() == {"f1"}


def test_what_a_newer_version_added_to_a_record_is_left_out() -> None:
    with closing(State()) as state:
        state.keep_backtest(kept("f1"))
        state.db.execute("update backtest set record = json_set(record, '$.weather', 'fine')")
        assert read_backtests(state.db)["f1"] == replace(kept("f1"))
