"""A whole experiment from its records to a report that says what real outcomes say: doubly robust, and a canary."""

import pytest

from tests.support.experiment.made import answers
from tests.support.experiment.truth import Engine, World, effects, generate
from tests.support.experiment.written import outcomes, responses
from worker.experiment.readout import Comparison, Effect
from worker.experiment.real_clicks.doubly_robust import Estimand
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome

ENGINE = Engine(temperature=0.5)
RANDOMISED = World(users=2_000, pool=5, slate=2, shift=1.0, ranker_noise=0.3, explore=1.0, target_explore=1.0)
CANARY = World(users=2_000, shift=1.0, canary=0.3)
DETERMINISTIC = World(users=300, shift=1.0)


def read(world: World, seed: int = 1) -> Comparison:
    """Count what the topics would carry, and report."""
    log, state = generate(world, seed=seed), State()
    found = answers(responses(log, ENGINE, seed=seed))
    state.take(found, outcomes=map(read_outcome, outcomes(log)), health={}, positions={})
    ((comparison,),) = (
        epoch.comparisons for one in report(state, Defaults(planned_users=2_000)).readouts for epoch in one.epochs
    )
    return comparison


def without_idle_canary(world: World, *, seed: int = 1) -> Comparison:
    """Count what the topics would carry of a canary whose users who never click are not logged."""
    log, state = generate(world, seed=seed), State()
    clicking = set(log.user[log.click >= 0].tolist())
    lost = {f"u{user}" for user in log.user[log.shown_b].tolist() if user not in clicking}
    kept = [one for one in responses(log, ENGINE, seed=seed) if one["user_id"] not in lost]
    happened = [one for one in outcomes(log) if one["user_id"] not in lost]
    state.take(answers(kept), outcomes=map(read_outcome, happened), health={}, positions={})
    ((comparison,),) = (
        epoch.comparisons for one in report(state, Defaults(planned_users=2_000)).readouts for epoch in one.epochs
    )
    return comparison


def test_an_experiment_whose_canary_loses_users_withholds_its_lift_and_says_why() -> None:
    whole, lost = read(CANARY), without_idle_canary(CANARY)
    states = {one.name: one.state for one in whole.checks}
    assert states["sample ratio"] == "OK"
    effect = of(lost, Estimand.CANARY)
    assert effect is not None
    assert effect.overall.value is None
    assert effect.overall.withheld.startswith("not identified: the canary seems to have lost some")
    assert [one.state for one in lost.checks if one.name == "sample ratio"] == ["FAILED"]


def of(comparison: Comparison, estimand: str) -> Effect | None:
    return next((effect for effect in comparison.effects if effect.estimand == estimand), None)


@pytest.mark.parametrize(
    ("world", "estimand"), [(RANDOMISED, Estimand.DOUBLY_ROBUST), (CANARY, Estimand.CANARY)], ids=["drawn", "canary"]
)
def test_an_experiment_with_real_outcomes_finds_the_real_lift(world: World, estimand: Estimand) -> None:
    """The engine is over-confident; the interval holds the truth all the same, and says how much it rests on."""
    effect, truth = of(read(world), estimand), effects(world, events=50_000).lift
    assert effect is not None
    assert effect.overall.interval is not None, effect.overall.withheld
    assert truth in effect.overall.interval
    assert effect.note


def test_an_experiment_that_no_chance_drew_is_not_identified() -> None:
    effect = of(read(DETERMINISTIC), Estimand.DOUBLY_ROBUST)
    assert effect is not None
    assert effect.overall.value is None
    assert effect.overall.withheld.startswith("not identified: ")


def test_an_experiment_without_a_canary_says_nothing_of_one() -> None:
    assert of(read(DETERMINISTIC), Estimand.CANARY) is None


def test_an_experiment_says_how_alike_the_slates_are() -> None:
    """Where no slate differs, all is shared and in one order."""
    different, same = read(DETERMINISTIC), read(World(users=200, triggered=0.0))
    assert (same.overlap, same.rank_correlation) == (1.0, 1.0)
    assert different.overlap is not None
    assert 0 < different.overlap < 1
    assert different.rank_correlation is not None
    assert -1 < different.rank_correlation < 1
