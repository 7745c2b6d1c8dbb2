"""What is kept and added up, whatever the order, the batches, the kills and the changes of mind."""

import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response, slate
from worker.core.errors import BadSettings, Retryable
from worker.core.records import Partition
from worker.experiment.definition import Definition, Guardrail
from worker.experiment.store.answers import Answer
from worker.experiment.store.database import MAX_FORMS, State
from worker.experiment.store.sums import UNIT

TABLES = {
    "total": "candidate, control, metric, segment, name, bucket, answered, missing, total, differs "
             "from total join series on series.id = series join user on user.id = user",
    "pair": "candidate, control, status, count, contested, num_contested from pair",
    "epoch": "experiment, fingerprint, key, first, last, responses, slates "
             "from epoch join stream on stream.id = stream",
    "aside": "experiment, fingerprint, reason, count from aside join stream on stream.id = stream",
}  # fmt: skip
DEFINED = Definition("exp", AT_US, "control", ("candidate",), segments=("country",))


def counted(state: State) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that was counted, without the numbers that rows happen to have."""
    return {table: sorted(state.db.execute(f"select {query}")) for table, query in TABLES.items()}


def take(state: State, found: Iterable[Answer], offset: int = 0) -> State:
    """Count answers as one batch."""
    state.take(found, health={}, positions={Partition("responses", 0): offset})
    return state


def sums(state: State, metric: str = "duel_share") -> list[tuple[object, ...]]:
    """Return (user, answered, missing, total) of a metric, segments aside."""
    query = """select name, sum(answered), sum(missing), sum(total) from total join series on series.id = series
        join user on user.id = user where metric = ? and segment = '' group by name order by name"""
    return [(name, n, missing, total / UNIT) for name, n, missing, total in state.db.execute(query, (metric,))]


def many(seed: int = 1) -> list[Answer]:
    """Return answers of 30 users on 300 events, some failed, in two configurations and two candidates."""
    chance = random.Random(seed)
    records: list[dict[str, object]] = []
    for event in range(300):
        user, fingerprint = chance.randrange(30), chance.choice(["f1", "f2"])
        common: dict[str, Any] = {"segments": {"country": chance.choice(["NL", "BE"])}, "fingerprint": fingerprint}
        for variant in ("control", "candidate", "other"):
            first = chance.random()
            status = chance.choice(["OK", "OK", "OK", "TIMEOUT"])
            records.append(slate(user, event, variant, probabilities=(first, 1 - first), status=status, **common))
        for variant in ("candidate", "other"):
            share, status = chance.random(), chance.choice(["OK", "OK", "IDENTICAL", "SAME_SET", "LENGTH"])
            records.append(response(user, event, variant=variant, duel_share=share, status=status, **common))
    return answers(records)


def test_an_experiment_counts_duels_as_they_are_and_slates_by_pairs() -> None:
    """A SLATE pair is candidate - control, as soon as both are there, whichever comes first."""
    for order in (1, -1):
        found = answers([response(), slate(variant="control"), slate(probabilities=(1.0, 0.0))])[::order]
        state = take(State(), found)
        assert sums(state) == [("u0", 1, 0, pytest.approx(0.6))]
        assert sums(state, "reciprocal_rank") == [("u0", 1, 0, 0.25)]
        assert sums(state, "utility") == []


def test_an_experiment_counts_an_answer_once() -> None:
    """The first one read counts, in one batch as in two."""
    state = take(State(), answers([response(), response(duel_share=0.1), slate(), slate(), slate(variant="control")]))
    take(state, answers([response(), slate(variant="control")]))
    assert sums(state) == [("u0", 1, 0, pytest.approx(0.6))]
    assert sums(state, "reciprocal_rank") == [("u0", 1, 0, 0)]
    assert state.health() == {"duplicate": 4}


@pytest.mark.parametrize("seed", range(5))
def test_an_experiment_adds_up_to_the_same_in_any_order_and_any_batches(seed: int) -> None:
    """To the last bit: a reader that was killed, and one that starts anew, end with the same figures."""
    found, chance = many(), random.Random(seed)
    whole = counted(take(State(), found))
    chance.shuffle(found)
    state = State()
    while found:
        size = chance.randrange(1, 60)
        take(state, found[:size])
        found = found[size:]
    assert counted(state) == whole


def test_an_experiment_reader_that_dies_in_a_batch_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Sums and positions move together: what a batch wrote before it failed is gone with its position."""
    found = many()

    def dying() -> Iterator[Answer]:
        yield from found[100:150]
        raise KeyboardInterrupt

    state = take(State(tmp_path / "state.db"), found[:100], offset=100)
    before = counted(state)
    with pytest.raises(KeyboardInterrupt):
        take(state, dying(), offset=150)
    assert counted(state) == before
    state.close()
    again = State(tmp_path / "state.db")
    assert again.positions() == {Partition("responses", 0): 100}
    assert counted(take(again, found[100:])) == counted(take(State(), found))


def test_an_experiment_pools_nothing_across_configurations() -> None:
    """A SLATE of one fingerprint is no partner of another's."""
    state = take(State(), answers([slate(fingerprint="f1"), slate(variant="control", fingerprint="f2")]))
    assert sums(state, "reciprocal_rank") == []
    assert len(counted(state)["epoch"]) == 2


def test_an_experiment_counts_only_between_its_start_and_its_stop() -> None:
    """What lies outside is kept and counted aside, and comes in when the definition moves."""
    state = State()
    state.define(replace(DEFINED, start=AT_US + MINUTE_US, stop=AT_US + 3 * MINUTE_US))
    take(state, answers(response(0, event) for event in range(5)))
    assert sums(state)[0][1] == 2
    assert counted(state)["aside"] == [("exp", "f1", "outside", 3)]
    state.define(replace(DEFINED, start=AT_US + MINUTE_US, stop=AT_US + 4 * MINUTE_US))
    assert sums(state)[0][1] == 3
    assert counted(state)["aside"] == [("exp", "f1", "outside", 2)]


def test_an_experiment_leaves_out_variants_that_its_definition_does_not_name() -> None:
    state = State()
    state.define(DEFINED)
    take(state, answers([response(), response(variant="other"), response(1, control_variant="old")]))
    assert [row[0] for row in sums(state)] == ["u0"]
    assert counted(state)["aside"] == [("exp", "f1", "unknown_variant", 2)]


def test_an_experiment_whose_rule_changes_after_a_look_counts_on_in_an_epoch_of_its_own() -> None:
    """Without a date for the change it holds from the newest event that was counted."""
    state = State()
    state.define(DEFINED)
    take(state, answers(response(0, event) for event in range(3)))
    changed = state.define(replace(DEFINED, alpha=0.1))
    assert changed.revised_at == AT_US + 2 * MINUTE_US + 1
    take(state, answers(response(0, event) for event in range(3, 5)))
    assert sorted((row[2], row[5]) for row in counted(state)["epoch"]) == sorted([(DEFINED.key, 3), (changed.epoch, 2)])
    back = state.define(DEFINED)
    take(state, answers([response(0, 5)]))
    assert back.key == DEFINED.key
    assert sorted(row[5] for row in counted(state)["epoch"]) == [1, 2, 3]  # what was left is not taken up again


@pytest.mark.parametrize(
    "change",
    [{"candidates": ("candidate", "other")}, {"guardrails": (Guardrail("entropy", 0.1),)}, {"segments": ()},
     {"start": AT_US - 1}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_an_experiment_whose_verdict_could_change_opens_an_epoch(change: dict[str, Any]) -> None:
    """What was looked at under one rule is never counted under another: it begins where it was taken."""
    state = State()
    state.define(DEFINED, taken_at=AT_US - 1)
    take(state, answers(response(0, event) for event in range(3)))
    changed = state.define(replace(DEFINED, **change), taken_at=AT_US + 3 * MINUTE_US)
    assert changed.revised_at == AT_US + 3 * MINUTE_US
    take(state, answers(response(0, event) for event in range(3, 5)))
    assert sorted((row[2], row[5]) for row in counted(state)["epoch"]) == sorted([(DEFINED.key, 3), (changed.epoch, 2)])
    assert state.taken_at("exp") == {DEFINED.key: AT_US - 1, changed.epoch: AT_US + 3 * MINUTE_US}


@pytest.mark.parametrize("later_us", [0, 1_000_000_000])
def test_an_experiment_has_a_bound_on_its_forms(later_us: int) -> None:
    """Each has all answers counted anew, and is kept: after 1,000 changes one took 25 ms without any answer."""
    with closing(State()) as state:
        take(state, many())
        for number in range(MAX_FORMS):
            state.define(replace(DEFINED, margin=0.01 + number / 1_000), taken_at=AT_US + later_us + number)
        before = counted(state), state.forms("exp"), state.version
        with pytest.raises(BadSettings, match="changed 50 times, want no more; what was defined before holds"):
            state.define(replace(DEFINED, margin=0.5), taken_at=AT_US + later_us + MAX_FORMS)
        assert (counted(state), state.forms("exp"), state.version) == before
        state.define(replace(state.forms("exp")[-1], draws=3), taken_at=AT_US + later_us + MAX_FORMS)  # opens no epoch
        assert state.forms("exp")[-1].draws == 3


def test_an_experiment_whose_verdict_stays_what_it_is_about_is_not_counted_anew() -> None:
    """A definition may flip its draws at any rate: to count a million answers anew takes minutes."""
    with closing(State()) as state:
        take(state, many())
        state.define(DEFINED, taken_at=AT_US)
        before, changes = counted(state), state.db.total_changes
        state.define(replace(DEFINED, draws=3, sample_rate=0.5), taken_at=AT_US + 1)
        assert state.db.total_changes - changes < 20
        assert counted(state) == before
        assert state.forms("exp")[-1].draws == 3


def test_an_experiment_that_looks_at_clicks_for_longer_goes_on_in_another_epoch() -> None:
    """The skill on real clicks, which may forbid a preference, depends on how long they count."""
    state = State()
    state.define(DEFINED, taken_at=AT_US - 1)
    take(state, answers(response(0, event) for event in range(2)))
    state.define(replace(DEFINED, outcome_window_s=3_600.0), taken_at=AT_US + 2 * MINUTE_US)
    take(state, answers(response(0, event) for event in range(2, 6)))
    assert sorted(row[5] for row in counted(state)["epoch"]) == [2, 4]


def test_an_experiments_file_of_before_the_outcome_window_opened_an_epoch_knows_when_it_was_defined(
    tmp_path: Path,
) -> None:
    """Its epoch has another name; what was counted and when it was defined stay."""
    path, form = tmp_path / "state.db", replace(DEFINED, outcome_window_s=60.0)
    with closing(State(path)) as state:
        state.define(form, taken_at=AT_US - 1)
        take(state, answers(response(user) for user in range(3)))
        state.db.execute("update taken set epoch = ?", (form.epoch_before,))
        state.db.execute("update epoch set key = ?", (form.epoch_before,))
        before = counted(state)
    with closing(State(path)) as state:
        assert state.taken_at("exp") == {form.epoch: AT_US - 1}
        assert [row[2] for row in counted(state)["epoch"]] == [form.epoch]
        assert (counted(state)["total"], len(before["total"])) == (before["total"], 3)


def test_an_experiments_file_is_opened_while_its_reader_writes_whatever_its_outcome_window(tmp_path: Path) -> None:
    """The page and the publisher open it, too; each waited for the lock, and ended with SQLite's own words."""
    path, form = tmp_path / "state.db", replace(DEFINED, outcome_window_s=60.0)
    with closing(State(path)) as reader:
        reader.define(form, taken_at=AT_US - 1)
        reader.db.execute("begin immediate")
        with closing(State(path)) as page:
            assert page.taken_at("exp") == {form.epoch: AT_US - 1}


def test_an_experiment_that_is_stopped_keeps_its_epoch_and_one_that_is_prolonged_goes_on_in_another() -> None:
    """Events up to the stop count as before, whenever they are read; what a stop lies before stays counted."""
    state = State()
    state.define(DEFINED, taken_at=AT_US - 1)
    take(state, answers(response(0, event) for event in range(2)))
    state.define(replace(DEFINED, stop=AT_US + 3 * MINUTE_US), taken_at=AT_US + MINUTE_US)
    take(state, answers(response(0, event) for event in range(2, 6)))
    assert [(row[2], row[5]) for row in counted(state)["epoch"]] == [(DEFINED.key, 3)]
    longer = state.define(replace(DEFINED, stop=AT_US + 9 * MINUTE_US), taken_at=AT_US + 4 * MINUTE_US)
    assert sorted((row[2], row[5]) for row in counted(state)["epoch"]) == sorted([(DEFINED.key, 3), (longer.epoch, 2)])
    state.define(replace(DEFINED, stop=AT_US + MINUTE_US), taken_at=AT_US + 8 * MINUTE_US)
    assert sorted(row[5] for row in counted(state)["epoch"]) == [2, 3]


def test_an_experiment_whose_definition_is_mended_before_its_data_has_one() -> None:
    """Nothing was counted, so nothing was looked at: events from before the second form count under it."""
    state = State()
    state.define(replace(DEFINED, margin=0.2), taken_at=AT_US - 2)
    state.define(DEFINED, taken_at=AT_US - 1)
    take(state, answers([response()]))
    assert ([row[2] for row in counted(state)["epoch"]], state.taken_at("exp")) == (
        [DEFINED.key],
        {DEFINED.key: AT_US - 1},
    )


def live_and_again(tmp_path: Path) -> tuple[State, list[tuple[Definition, int]], list[Answer]]:
    """Return a state whose definition changed after three of six events, its definitions and its answers."""
    forms = [(DEFINED, AT_US - 1), (replace(DEFINED, alpha=0.1), AT_US + 2 * MINUTE_US + 1)]
    found, state = answers(response(0, event) for event in range(6)), State(tmp_path / "live.db")
    state.define(DEFINED, taken_at=forms[0][1])
    take(state, found[:3])
    state.define(forms[1][0], taken_at=forms[1][1])
    return take(state, found[3:]), forms, found


def test_an_experiment_has_the_same_epochs_for_whom_was_there_and_whom_comes_later(tmp_path: Path) -> None:
    """A new reader has all definitions before the first answer, and a rebuilt one has them twice."""
    live, forms, found = live_and_again(tmp_path)
    late = State()
    for form, taken_at in forms:
        late.define(form, taken_at=taken_at)
    assert counted(take(late, found)) == counted(live)
    assert late.taken_at("exp") == live.taken_at("exp")
    before = counted(live)
    live.reset()
    for form, taken_at in forms:
        live.define(form, taken_at=taken_at)
    assert counted(take(live, found)) == before
    assert live.taken_at("exp") == late.taken_at("exp")


def test_an_experiment_that_is_opened_while_its_form_changes_is_not_counted_under_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page opens the state beside its reader: epochs that it does not know are newer than its forms, not older."""
    live, forms, _ = live_and_again(tmp_path)
    read = State._read_forms
    before: dict[str, tuple[Definition, ...]] = {"exp": (forms[0][0],)}
    with monkeypatch.context() as patched:
        opened: list[int] = []

        def once(self: State) -> dict[str, tuple[Definition, ...]]:
            opened.append(1)
            return before if len(opened) == 1 else read(self)

        patched.setattr(State, "_read_forms", once)
        State(tmp_path / "live.db").close()
    assert sorted(row[5] for row in counted(live)["epoch"]) == [3, 3]


def test_an_experiment_of_a_file_without_times_does_not_know_when_it_was_defined(tmp_path: Path) -> None:
    """Whoever opens it later did not define it then; Kafka may still say when."""
    state = State(tmp_path / "old.db")
    state.define(DEFINED, taken_at=AT_US - 9)
    take(state, answers([response()]))
    state.db.execute("delete from taken")
    state.define(DEFINED, taken_at=AT_US + 1_000 * MINUTE_US)
    assert state.taken_at("exp") == {}
    state.define(DEFINED, taken_at=AT_US - 9)
    assert state.taken_at("exp") == {DEFINED.key: AT_US - 9}


def test_an_experiment_is_defined_when_its_form_is_first_taken(tmp_path: Path) -> None:
    """A form that is sent again is not younger, in the file neither, nor after a rebuild."""
    state = State(tmp_path / "state.db")
    for taken_at in (AT_US, AT_US - 5, AT_US + 5):
        state.define(DEFINED, taken_at=taken_at)
    version = state.version
    state.define(DEFINED, taken_at=AT_US + 9)
    assert (state.taken_at("exp"), state.version) == ({DEFINED.key: AT_US - 5}, version)
    state.reset()
    state.close()
    assert State(tmp_path / "state.db").taken_at("exp") == {DEFINED.key: AT_US - 5}


def test_an_experiment_defined_late_ends_with_the_figures_of_one_defined_first(tmp_path: Path) -> None:
    """Answers are kept, so the sums can be made anew without the topics; a file remembers definitions."""
    first, late = State(), State(tmp_path / "state.db")
    first.define(DEFINED)
    take(first, many())
    take(late, many()).define(DEFINED)
    assert counted(late) == counted(first)
    late.close()
    again = State(tmp_path / "state.db")
    assert again.forms("exp") == (DEFINED,)
    again.reset()
    assert again.positions() == {}
    assert counted(take(again, many())) == counted(first)


def test_an_experiment_that_two_processes_define_is_as_if_one_had_defined_both(tmp_path: Path) -> None:
    """The second opened the file before: what was looked at under the first form is not counted again by its own."""
    late = replace(DEFINED, planned_users=700)
    serial = take(State(), ())
    serial.define(DEFINED, taken_at=AT_US - 9)
    take(serial, many()).define(late, taken_at=AT_US - 3)
    with closing(State(tmp_path / "state.db")) as slow, closing(State(tmp_path / "state.db")) as quick:
        quick.define(DEFINED, taken_at=AT_US - 9)
        take(quick, many())
        slow.define(late, taken_at=AT_US - 3)
        assert slow.forms("exp") == serial.forms("exp")
        assert slow.taken_at("exp") == serial.taken_at("exp")
        assert counted(slow) == counted(serial)
        assert [epoch for _, _, epoch, *_ in counted(slow)["epoch"]] == [DEFINED.epoch] * 2
        for one in (quick, serial):  # a form that returns, where `quick` knows of no other
            one.define(DEFINED, taken_at=AT_US + 5)
        assert quick.forms("exp") == serial.forms("exp")
        assert len(quick.forms("exp")) > 1


def test_an_experiment_forgets_a_user_for_good() -> None:
    """All figures are as if the user had never come, and stay so when the topics are read again."""
    without = [answer for answer in many() if answer.user_id != "u7"]
    state = take(State(), many())
    assert state.forget("u7") == len(many()) - len(without)
    assert counted(state) == counted(take(State(), without))
    assert "u7" not in {name for (name,) in state.db.execute("select name from user")}
    state.reset()
    assert counted(take(state, many())) == counted(take(State(), without))
    assert state.health()["forgotten_user"] == len(many()) - len(without)
    assert state.forget("nobody") == 0


@pytest.mark.parametrize("gone", ["u7", "u29"])
def test_an_experiment_forgets_a_user_while_its_reader_runs(tmp_path: Path, gone: str) -> None:
    """The command is another process than the page: its reader went on counting the user, under a number that may be
    a new user's by then."""
    found = sorted(many(), key=lambda answer: answer.user_id == gone)  # the one to forget has the highest number
    first, later = found[::2], found[1::2]
    with closing(State(tmp_path / "state.db")) as reader:
        take(reader, first)
        with closing(State(tmp_path / "state.db")) as command:
            assert command.forget(gone) > 0
        take(reader, answers([response(77, 0), response(78, 0)]))
        take(reader, later)
        known = [answer for answer in (*first, *answers([response(77, 0), response(78, 0)]), *later)
                 if answer.user_id != gone]  # fmt: skip
        assert counted(reader) == counted(take(State(), known))
        assert reader.health()["forgotten_user"] == sum(answer.user_id == gone for answer in later) > 0


def test_an_experiment_forgets_a_user_while_its_reader_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten after the reader has read whom to refuse is not lost to it."""
    path, read = tmp_path / "state.db", State._read_forgotten

    def and_then_forget(state: State) -> set[bytes]:
        found = read(state)
        monkeypatch.undo()
        with closing(State(path)) as command:
            command.forget("u7")
        return found

    monkeypatch.setattr(State, "_read_forgotten", and_then_forget)
    with closing(State(path)) as reader:
        take(reader, many())
        assert "u7" not in {name for name, *_ in sums(reader)}


def test_an_experiment_state_that_another_process_has_emptied_is_counted_from_what_is_there(tmp_path: Path) -> None:
    with closing(State(tmp_path / "state.db")) as reader:
        take(reader, many())
        with closing(State(tmp_path / "state.db")) as command:
            command.reset()
        take(reader, many(2))
        assert counted(reader) == counted(take(State(), many(2)))


def test_an_experiment_state_has_a_new_version_after_every_change() -> None:
    state = State()
    seen = [state.version]
    for change in (lambda: take(state, many()), lambda: state.define(DEFINED), lambda: state.forget("u1")):
        change()
        seen.append(state.version)
    assert seen == sorted(set(seen))


def test_an_experiment_state_is_not_mistaken_for_another_file(tmp_path: Path) -> None:
    """The message says what was wanted."""
    (tmp_path / "text").write_text("no database at all, but long enough to be read as one\n" * 20)
    with pytest.raises(BadSettings, match="want a file that this program made"):
        State(tmp_path / "text")
    with closing(sqlite3.connect(tmp_path / "old")) as db:
        db.execute("pragma user_version = 99")
    with pytest.raises(BadSettings, match="version 99"):
        State(tmp_path / "old")


def test_an_experiment_state_leaves_another_programs_database_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "browser.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table bookmark(url text)")
    before = path.read_bytes()
    with pytest.raises(BadSettings, match="is another program's database; want a file that this program made, or none"):
        State(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["nosuch/state.db", "."])
def test_an_experiment_state_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, place: str) -> None:
    with pytest.raises(BadSettings, match=r"--state .*: unable to open database file; want a file that can be written"):
        State(tmp_path / place)


def test_an_experiment_state_knows_what_was_read_and_what_is_defined() -> None:
    state = State()
    assert state.experiments() == []
    state.define(DEFINED)
    assert state.experiments() == [DEFINED.experiment_id]
    take(state, many())
    assert set(state.experiments()) >= {DEFINED.experiment_id}


def test_an_experiment_that_is_rebuilt_knows_that_a_replaced_form_was_looked_at() -> None:
    """A second form says that it holds from before the data: what was looked at under the first counts as a look."""
    first, second = (DEFINED, AT_US - 1), (replace(DEFINED, margin=0.1, revised_at=AT_US - 9), AT_US + 99 * MINUTE_US)
    state = State()
    state.define(first[0], taken_at=first[1])
    take(state, answers(response(0, event) for event in range(3)))
    state.define(second[0], taken_at=second[1])
    before = state.taken_at("exp"), state.forms("exp"), counted(state)
    assert len(before[0]) == 2
    for order in ((first, second), (second, first)):
        state.reset()
        for form, taken_at in order:
            state.define(form, taken_at=taken_at)
        take(state, answers(response(0, event) for event in range(3)))
        assert (state.taken_at("exp"), state.forms("exp"), counted(state)) == before


def test_an_experiment_state_that_another_process_writes_for_long_is_waited_for(tmp_path: Path) -> None:
    """Forgetting a user of a large state takes seconds: the reader tries again, and does not end."""
    path = tmp_path / "state.db"
    state = State(path)
    state.db.execute("pragma busy_timeout = 10")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("begin immediate")
        with pytest.raises(Retryable, match="another process may be writing it"):
            take(state, many())
        other.execute("rollback")
    assert counted(take(state, many())) == counted(take(State(), many()))
