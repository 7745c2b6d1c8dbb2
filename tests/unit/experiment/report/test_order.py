"""Figures of real clicks are the same whatever the order in which records came, to the last digit."""

import random
from dataclasses import replace

import pytest

from tests.support.experiment import written
from tests.support.experiment.made import MINUTE_US, answers
from tests.support.experiment.truth import Engine, World, generate
from worker.experiment.readout import Readout
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome

WORLD = World(users=300, shift=1.0, canary=0.5, explore=0.5, target_explore=0.5)


def told(seed: int) -> tuple[Readout, ...]:
    """Return the readouts of one world, its records shuffled; many events are of one moment."""
    log, chance, state = generate(WORLD, seed=1), random.Random(seed), State()
    responses = [
        replace(one, occurred_at=one.occurred_at // MINUTE_US * MINUTE_US)
        for one in answers(written.responses(log, Engine(), seed=1))
    ]
    outcomes = [read_outcome(one) for one in written.outcomes(log)]
    chance.shuffle(responses)
    chance.shuffle(outcomes)
    state.take(responses, outcomes=outcomes, health={}, positions={})
    return tuple(report(state, Defaults(planned_users=300)).readouts)


@pytest.fixture(scope="module")
def first() -> tuple[Readout, ...]:
    return told(1)


def test_an_experiments_figures_of_real_clicks_are_there(first: tuple[Readout, ...]) -> None:
    """What the next test compares: otherwise it would compare nothing."""
    calibration = first[0].current.calibration
    assert calibration is not None
    assert {figure.name for figure in calibration.figures if figure.low is not None} >= {"ece_top1", "skill_uniform"}
    effects = {effect.estimand for effect in first[0].current.comparisons[0].effects if effect.overall.interval}
    assert "canary" in effects


@pytest.mark.parametrize("seed", [2, 3])
def test_an_experiment_says_the_same_in_any_order_of_records(first: tuple[Readout, ...], seed: int) -> None:
    """Before, ends of the bootstrap moved by up to 5 %, for users were numbered as they came."""
    assert told(seed) == first
