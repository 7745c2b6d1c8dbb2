"""Two configurations that answered the same events."""

import pytest
from rich.console import Console

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response
from tests.support.experiment.truth import Engine, World, generate
from tests.support.experiment.written import outcomes, responses
from tests.unit.experiment.store.test_real_clicks import outcome
from worker.core.errors import BadSettings
from worker.experiment.definition import Definition
from worker.experiment.report.compare_configurations import ConfigurationComparison, compare
from worker.experiment.report.terminal import render_configurations
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome

ALPHA, PLANNED = 0.05, 500


def counted(*records: dict[str, object]) -> State:
    state = State()
    state.take(answers(records), health={}, positions={})
    return state


def of(state: State, first: str = "f1", second: str = "f2") -> ConfigurationComparison:
    (found,) = compare(state.db, "exp", (first, second), alpha=ALPHA, planned_users=PLANNED)
    return found


def test_an_experiment_compares_configurations_on_the_events_that_both_answered() -> None:
    """User 0 was answered by both, user 1 by the first alone, user 2 twice by the second."""
    found = of(counted(
        response(0, 0, duel_share=0.8), response(0, 0, fingerprint="f2", duel_share=0.6),
        response(0, 1, duel_share=0.4), response(0, 1, fingerprint="f2", duel_share=0.6),
        response(1, 0), response(2, 0, fingerprint="f2"), response(2, 1, fingerprint="f2"),
        response(3, 0), response(3, 0, fingerprint="f2", status="TIMEOUT", duel_share=None),
    ))  # fmt: skip
    assert (found.events, found.first_only, found.second_only) == (2, 2, 2)
    assert (found.first_share, found.second_share) == pytest.approx((0.6, 0.6))
    assert found.difference.value == pytest.approx(0)
    assert found.same_side == 0.5


def test_an_experiment_compares_only_events_of_its_definitions_time() -> None:
    records = [
        response(user, event, fingerprint=name) for user in range(3) for event in (0, 5) for name in ("f1", "f2")
    ]
    state = counted(*records, response(4, 0))
    assert (of(state).events, of(state).first_only) == (6, 1)
    state.define(Definition("exp", AT_US + MINUTE_US, "control", ("candidate",)))
    assert (of(state).events, of(state).first_only) == (3, 0)


def test_an_experiment_shows_a_difference_between_two_models() -> None:
    """The second gives every candidate 0.1 more, and 300 users are enough to see it; event noise is shared."""
    records = []
    for user in range(300):
        share = (0.3, 0.5, 0.7)[user % 3]
        records += [response(user, duel_share=share),
                    response(user, fingerprint="f2", duel_share=share + (0.08, 0.12)[user % 2])]  # fmt: skip
    found = of(counted(*records))
    assert found.difference.interval is not None
    assert 0.09 < found.difference.interval.low < found.difference.interval.high < 0.11
    assert found.correlation is not None
    assert found.correlation > 0.98


def test_an_experiment_names_the_model_that_knows_more_about_clicks() -> None:
    """The truth against an engine that knows nothing, on the same clicks."""
    log, state = generate(World(users=300), seed=1), State()
    for name, engine in (("knows", Engine()), ("guesses", Engine(uniform=True))):
        found = [one | {"provenance": {"config_fingerprint": name}} for one in responses(log, engine, seed=1)]
        state.take(answers(found), outcomes=map(read_outcome, outcomes(log)), health={}, positions={})
    loss = of(state, "knows", "guesses").log_loss
    assert loss is not None
    assert loss.interval is not None
    assert loss.interval.low > 0


@pytest.mark.parametrize("start", ["nothing", "f"])
def test_an_experiment_says_which_configurations_there_are(start: str) -> None:
    """One that is not there, or a start that two share."""
    with pytest.raises(BadSettings, match="there: f1, f2"):
        of(counted(response(0, 0), response(0, 1, fingerprint="f2")), start, "f2")


def test_an_experiment_without_clicks_compares_answers_alone() -> None:
    state = counted(response(0, 0), response(0, 0, fingerprint="f2"))
    state.take([], outcomes=[outcome()], health={}, positions={})
    found = of(state)
    assert found.log_loss is None
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(render_configurations([found], "f1", "f2"))
    assert "events that both answered" in capture.get()
    assert "no clicks" in capture.get()
    assert "not identified: 1 users so far" in capture.get(), "a difference without an interval is no figure"
