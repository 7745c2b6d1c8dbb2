"""State files of other versions: taken over, refused with a command that helps, or emptied by it."""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.experiment import made
from tests.unit.experiment.store.test_database import DEFINED, counted, many, take
from worker.core.errors import Fatal
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store import tables
from worker.experiment.store.answers import Answer
from worker.experiment.store.database import State

# As version 2 made it: a SLATE had three metrics by place, a DUEL its share in the first.
ANSWER_2 = """create table answer_2(stream int, event text, question text, variant text, control text, role text,
    user int, occurred_at int, status text, v0 real, v1 real, v2 real, contested real, segments text,
    factors text, drawn text, overlap real, tau real, primary key (stream, event, question, variant)) without rowid"""
AS_2 = """insert into answer_2 select stream, event, question, variant, control, role, user, occurred_at, status,
    case question when 'DUEL' then metric_duel_share else metric_reciprocal_rank end, metric_utility, metric_entropy,
    contested, segments, factors, drawn, overlap, tau from answer"""


def of_version_2(path: Path, answers: Sequence[Answer]) -> Path:
    """Write a state file as version 2 had it."""
    take(State(path), answers).close()
    db = sqlite3.connect(path)
    for statement in (ANSWER_2, AS_2, "drop table answer", "alter table answer_2 rename to answer"):
        db.execute(statement)
    db.commit()
    db.execute("pragma user_version = 2")
    db.close()
    return path


def of_version_3(path: Path, answers: Sequence[Answer]) -> Path:
    """Write a state file as version 3 had it: without what duels offered."""
    take(State(path), answers).close()
    db = sqlite3.connect(path)
    db.execute("alter table answer drop column offered")
    db.execute("drop table item")
    db.execute("pragma user_version = 3")
    db.commit()
    db.close()
    return path


def test_an_experiments_file_of_version_3_is_taken_over_with_the_same_figures(tmp_path: Path) -> None:
    """What it did not keep is in no table by item; everything else is the same, now and later."""
    found = many()
    old, new = State(of_version_3(tmp_path / "old.db", found[:700])), take(State(), found[:700])
    for answers in ((), found[700:]):
        take(old, answers)
        take(new, answers)
        assert counted(old) == counted(new)
        assert report(old, Defaults()) == report(new, Defaults())


def of_version(path: Path, version: int) -> Path:
    """Write a state file of another version, with a definition and a forgotten user."""
    state = take(State(path), many())
    state.define(DEFINED)
    state.forget("u7")
    state.close()
    db = sqlite3.connect(path)
    db.execute("alter table answer drop column overlap")
    db.execute(f"pragma user_version = {version}")
    db.close()
    return path


def test_an_experiments_file_of_version_2_is_taken_over_with_the_same_figures(tmp_path: Path) -> None:
    """To the last bit, what was counted and what is counted anew and later; and only once."""
    found = many()
    old, new = State(of_version_2(tmp_path / "old.db", found[:700])), take(State(), found[:700])
    for change in (
        lambda state: None,
        lambda state: take(state, found[700:]),
        lambda state: state.define(DEFINED),
        lambda state: state.forget("u3"),
    ):
        change(old)
        change(new)
        assert counted(old) == counted(new)
        assert report(old, Defaults()) == report(new, Defaults())
    old.close()
    assert counted(State(tmp_path / "old.db")) == counted(new)


def test_an_experiments_file_is_taken_over_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies half-way leaves version 2, which the next one takes over."""
    path = of_version_2(tmp_path / "old.db", many())

    def dying(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tables, "_add_metrics", dying)
        with pytest.raises(KeyboardInterrupt):
            State(path)
    assert sqlite3.connect(path).execute("select count(v0) from answer").fetchone()[0]
    assert counted(State(path)) == counted(take(State(), many()))


def test_an_experiments_file_of_version_3_is_counted_anew_where_its_epochs_have_other_names(tmp_path: Path) -> None:
    """The rule that names them is another one; figures are the same, and nobody knows when it was defined."""
    path = tmp_path / "old.db"
    state = take(State(path), many())
    state.define(DEFINED)
    state.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("update epoch set key = 'by-another-rule'")
        db.execute("drop table taken")
        db.execute("pragma user_version = 3")
        db.commit()
    for _ in range(2):  # a process that dies half-way leaves it to the next one
        old = State(path)
        fresh = State()
        fresh.define(DEFINED)
        assert counted(old) == counted(take(fresh, many()))
        (readout,) = [one for one in report(old, Defaults()).readouts if one.experiment_id == "exp"]
        assert readout.current.exploratory == "it is not known when the definition was recorded"
        old.close()
    old = State(path)
    old.define(DEFINED, taken_at=1)
    (readout,) = [one for one in report(old, Defaults()).readouts if one.experiment_id == "exp"]
    assert readout.current.exploratory == ""


def test_an_experiments_file_of_version_4_counts_by_user_what_is_missing_on_one_side(tmp_path: Path) -> None:
    """It had that by event alone: the answers are counted anew, once."""
    path, found = tmp_path / "old.db", many()
    take(State(path), found).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("delete from total where series in (select id from series where metric = 'missing_side')")
        db.execute("delete from series where metric = 'missing_side'")
        for column in ("arm_probability", "assigned_at"):
            db.execute(f"alter table shown drop column {column}")
        db.execute("pragma user_version = 4")
        db.commit()
    old = State(path)
    assert counted(old) == counted(take(State(), found))
    version = old.version
    old.close()
    assert State(path).version == version


def test_an_experiments_items_of_version_4_get_their_categories_from_later_answers(tmp_path: Path) -> None:
    """What was read before has none, and stays; a later answer that names one counts for the item's earlier ones."""
    path = tmp_path / "old.db"
    options = [
        {"item_id": f"i{place}", "position": 0, "variants": [side], "kind": "ORGANIC", "probability": p, "value": None}
        for place, (side, p) in enumerate((("control", 0.3), ("candidate", 0.7)))
    ]
    before = made.answers(made.response(user, options=options, duel_share=0.7) for user in range(5))
    take(State(path), before).close()
    with closing(sqlite3.connect(path)) as db:
        for table, columns in {"shown": ("arm_probability", "assigned_at"), "item": ("category", "provider")}.items():
            for column in columns:
                db.execute(f"alter table {table} drop column {column}")
        db.execute("pragma user_version = 4")
        db.commit()
    state = State(path)
    (one,) = report(state, Defaults()).readouts[0].current.comparisons
    assert [row.offers for row in one.items] == [5, 5]
    assert (one.categories, one.providers) == ((), ())
    later = [{**option, "attributes": {"category": "Drama"}} for option in options]
    take(state, made.answers([made.response(9, options=later, duel_share=0.7)]))
    (one,) = report(state, Defaults()).readouts[0].current.comparisons
    assert [(row.name, row.offers) for row in one.categories] == [("Drama", 6), ("Drama", 6)]
    assert one.providers == ()


@pytest.mark.parametrize("version", [1, 99])
def test_an_experiments_file_of_another_version_is_refused_until_it_is_rebuilt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """The message has the command, and what the command does keeps definitions and forgotten users."""
    path = of_version(tmp_path / "state.db", version)
    before = path.read_bytes()
    with pytest.raises(Fatal) as refused:
        State(path)
    assert str(refused.value) == (
        f"--state {path}: a state file of version {version}, want 5; it is left unchanged. "
        f"`mirrorstream experiment rebuild --state {path}` empties it and reads the topics again"
    )
    assert path.read_bytes() == before
    with caplog.at_level(logging.WARNING):
        tables.start_over(path)
        tables.start_over(path)  # nothing more to do
    assert len(caplog.messages) == 1
    state = State(path)
    assert (state.forms("exp"), state.positions(), counted(state)["epoch"]) == ((DEFINED,), {}, [])
    fresh = State()
    fresh.define(DEFINED)
    fresh.forget("u7")
    assert counted(take(state, many())) == counted(take(fresh, many()))


def test_a_rebuild_of_an_experiment_empties_no_file_of_another_program(tmp_path: Path) -> None:
    """Its tables stay."""
    path = tmp_path / "other.db"
    db = sqlite3.connect(path)
    db.execute("create table answer(text text)")
    db.execute("pragma user_version = 7")
    with pytest.raises(Fatal, match="another program's database"):
        tables.start_over(path)
    assert db.execute("select count(*) from answer").fetchone() == (0,)
    db.close()


@pytest.mark.parametrize("version", [0, 2, 3])
def test_another_programs_database_stays_as_it_is_whatever_its_tables_are_called(tmp_path: Path, version: int) -> None:
    """`rebuild` would empty it: a forum has answers, users and topics too."""
    path = tmp_path / "forum.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript("create table answer(id, body); create table user(id); create table topic(name);")
        db.execute("insert into answer values (1, 'theirs')")
        db.execute(f"pragma user_version = {version}")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(Fatal, match="another program's database"):
        State(path)
    with pytest.raises(Fatal, match="another program's database"):
        tables.start_over(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [2, 4])
def test_an_experiments_file_is_only_read_where_nothing_else_is_asked_for(tmp_path: Path, version: int) -> None:
    """An older reader may be writing it: an export brings nothing up to date, and makes no file."""
    path = tmp_path / "state.db"
    take(State(path), many()).close()
    with closing(State(path, to_read=True)) as read:
        assert counted(read) == counted(take(State(), many()))
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            read.db.execute("delete from answer")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"pragma user_version = {version}")
        db.commit()
    before = path.read_bytes()
    with pytest.raises(Fatal, match=f"of version {version}, want 5; its reader"):
        State(path, to_read=True)
    assert path.read_bytes() == before


def test_an_experiments_file_is_not_read_while_it_is_counted_anew(tmp_path: Path) -> None:
    """Its sums are of the version before, under names that are none."""
    path = tmp_path / "state.db"
    take(State(path), many()).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("update epoch set key = 'version 4: ' || key")
        db.commit()
    with pytest.raises(Fatal, match="being counted anew"):
        State(path, to_read=True)
    State(path).close()
    State(path, to_read=True).close()


def test_no_byte_of_a_forgotten_user_stays_in_the_files_of_an_experiment(tmp_path: Path) -> None:
    """Though another process reads them: SQLite's log kept what was deleted for as long as it did."""
    path, name = tmp_path / "state.db", "somebody-with-a-name"
    state = take(State(path), made.answers([made.response(0, event, user_id=name) for event in range(3)]))
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("select count(*) from answer").fetchone()
        assert any(name.encode() in file.read_bytes() for file in tmp_path.iterdir())
        assert state.forget(name) == 3
        assert not any(name.encode() in file.read_bytes() for file in tmp_path.iterdir())
    state.close()


def test_a_log_that_a_forgotten_user_may_still_be_in_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader in the middle of a query keeps it, such as an export; afterwards the same command empties it."""
    path, name = tmp_path / "state.db", "somebody-with-a-name"
    with closing(take(State(path), made.answers([made.response(0, 0, user_id=name)]))) as state:
        state.db.execute("pragma busy_timeout = 0")
        with closing(State(path, to_read=True)) as reader, reader.snapshot():
            assert reader.db.execute("select count(*) from answer").fetchone() == (1,)
            assert state.forget(name) == 1
        [told] = caplog.messages
        assert "it may still have data of this user; run the same command again" in told
        assert any(name.encode() in file.read_bytes() for file in tmp_path.iterdir())
        assert state.forget(name) == 0
        assert len(caplog.messages) == 1
        assert not any(name.encode() in file.read_bytes() for file in tmp_path.iterdir())


def test_what_an_old_file_had_is_overwritten_where_a_rebuild_empties_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever SQLite was built with: who is forgotten after it would stay in its free pages."""
    path, connect = of_version(tmp_path / "state.db", 1), sqlite3.connect

    def as_built_without(*args: Any, **more: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **more)
        db.execute("pragma secure_delete = off")
        return db

    monkeypatch.setattr(sqlite3, "connect", as_built_without)
    event = next(answer for answer in many() if answer.user_id != "u7").event_id.encode()
    assert event in path.read_bytes()
    tables.start_over(path)
    assert event not in path.read_bytes()


def test_what_an_experiment_forgets_is_overwritten(tmp_path: Path) -> None:
    """Whatever SQLite was built with."""
    with closing(State(tmp_path / "state.db")) as state:
        assert state.db.execute("pragma secure_delete").fetchone() == (1,)
