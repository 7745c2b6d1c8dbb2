"""A metric is registered in one place, and is there everywhere."""

import sqlite3
from pathlib import Path

import pytest

from tests.support.experiment.made import AT_US, answers, response, slate
from worker.core.errors import BadSettings
from worker.experiment.definition import from_record
from worker.experiment.metrics import METRICS, Metric
from worker.experiment.page.document import render
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store import sums
from worker.experiment.store.database import State

FIRST = Metric(0.0, -1.0, 1.0, "B less A. How often the first item is chosen.", lambda of: of.probabilities[0])
DEFINITION = {
    "experiment_id": "exp", "start": AT_US, "control": "control", "candidates": ["candidate"],
    "primary_metric": "first_item", "guardrails": [{"metric": "first_item", "margin": 0.1}],
}  # fmt: skip


def records(users: range) -> list[dict[str, object]]:
    return [
        record
        for user in users
        for record in (response(user), slate(user, variant="control"), slate(user, probabilities=(0.75, 0.25)))
    ]


def count(state: State, users: range) -> None:
    state.take(answers(records(users)), health={}, positions={})


def test_a_fourth_metric_of_an_experiment_takes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored, compared, named by a definition, guarded and shown; before the line nothing knows it."""
    with pytest.raises(BadSettings, match=r"primary_metric: .*one of duel_share, reciprocal_rank, utility"):
        from_record(DEFINITION)
    monkeypatch.setitem(METRICS, "first_item", FIRST)
    state = State(tmp_path / "state.db")
    count(state, range(3))
    state.define(from_record(DEFINITION))  # counts again, from the answers as they were stored
    found = report(state, Defaults())
    (comparison,) = found.readouts[0].current.comparisons
    assert (comparison.primary.metric, comparison.primary.overall.value) == ("first_item", 0.25)
    assert comparison.guardrails[0].metric == "first_item"
    assert "How often the first item is chosen." in render(found, written_at=AT_US)


def test_a_metric_that_an_experiments_file_lacks_is_added_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Answers from before have no value of it, which is said once, with the command that helps."""
    state = State(tmp_path / "state.db")
    count(state, range(2))
    state.close()
    monkeypatch.setitem(METRICS, "first_item", FIRST)
    for said in (1, 0):
        caplog.clear()
        state = State(tmp_path / "state.db")
        assert len(caplog.messages) == said
        assert not said or f"mirrorstream experiment rebuild --state {tmp_path / 'state.db'}" in caplog.messages[0]
        count(state, range(2, 5))
        (comparison,) = report(state, Defaults()).readouts[0].current.comparisons
        by_name = {effect.metric: effect.overall for effect in comparison.effects}
        assert (by_name["first_item"].users, by_name["reciprocal_rank"].users) == (3, 5)
        state.close()
    monkeypatch.delitem(METRICS, "first_item")
    count(State(tmp_path / "state.db"), range(5, 7))  # an older program leaves the column alone


def test_a_state_file_of_an_experiment_has_a_column_for_each_metric(tmp_path: Path) -> None:
    """None has the name of a series that is no metric: their sums would be one."""
    State(tmp_path / "state.db").close()
    columns = {row[1] for row in sqlite3.connect(tmp_path / "state.db").execute("pragma table_info(answer)")}
    assert {f"metric_{name}" for name in METRICS} <= columns
    assert not METRICS.keys() & {sums.FLIP, sums.CHANCE, sums.OVERLAP, sums.REASON}
