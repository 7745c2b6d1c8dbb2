"""Experiments that ask less: the same headline, slates of a share of the users weighted by it, nothing made up."""

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from statistics import mean, stdev

import numpy as np
import pytest

from tests.support.experiment.made import AT_US, answers
from tests.support.experiment.truth import Engine, Floats, Log, World, generate
from tests.support.experiment.written import as_asked, outcomes, responses
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.experiment.definition import Definition, Guardrail
from worker.experiment.readout import CheckState, Comparison, Effect, Epoch
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics.confidence import Verdict
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome

ENGINE = Engine(temperature=0.5)
WORLD = World(users=400, shift=1.0, triggered=0.7, max_visits=5)
SETS = QuestionSet.BOTH, QuestionSet.DUELS, QuestionSet.SLATES
BOTH, DUELS, SLATES = (WantedQuestions(one, calibration_share=0.3) for one in SETS)
HALF = WantedQuestions(slate_share=0.5, calibration_share=0.3)
DEFINED = Definition("exp", AT_US, "control", ("candidate",), guardrails=(Guardrail("reciprocal_rank", 0.5),))
METRIC = "reciprocal_rank"
ALPHA = 0.05


def epoch_of(log: Log, wanted: WantedQuestions, *, seed: int = 1, definition: Definition | None = None) -> Epoch:
    """Count what the topics would carry, and report."""
    state = State()
    if definition:
        state.define(definition)
    found = answers(as_asked(responses(log, ENGINE, seed=seed), wanted))
    state.take(found, outcomes=map(read_outcome, outcomes(log)), health={}, positions={})
    ((epoch,),) = (one.epochs for one in report(state, Defaults(planned_users=400)).readouts)
    return epoch


def comparison_of(
    log: Log, wanted: WantedQuestions, *, seed: int = 1, definition: Definition | None = None
) -> Comparison:
    """Return the only comparison of that."""
    (comparison,) = epoch_of(log, wanted, seed=seed, definition=definition).comparisons
    return comparison


def effect_of(one: Comparison, metric: str) -> Effect | None:
    """Return what the simulation says of a metric."""
    return next((effect for effect in one.effects if (effect.metric, effect.estimand) == (metric, "simulated")), None)


def true_difference(world: World) -> float:
    """Return the reciprocal rank of the candidate less control's, as the engine has it, of the mean user."""
    log = generate(World(users=200_000, shift=world.shift, triggered=world.triggered, max_visits=1), seed=0)
    beliefs = ENGINE.beliefs(log, seed=0)
    a, b = (_rank(log, ENGINE.letters(beliefs, offered, order=None), slate)
            for offered, slate in ((log.in_a, log.slate_a), (log.in_b, log.slate_b)))  # fmt: skip
    return float((b - a).mean())


def _rank(log: Log, letters: Floats, slate: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Floats:
    places = 1 / np.arange(1, log.world.slate + 1)
    return np.asarray((np.take_along_axis(letters, slate, axis=1) * places).sum(axis=1))


def test_an_experiment_that_asks_duels_alone_has_the_same_headline() -> None:
    """To the last digit; so has one that asks slates of half of the users, whose figures say of how many."""
    log = generate(WORLD, seed=1)
    full, duels, half = (comparison_of(log, wanted) for wanted in (BOTH, DUELS, HALF))
    assert full.primary == duels.primary == half.primary
    assert full.primary.overall.interval is not None
    assert (full.verdict, full.events, full.missing) == (duels.verdict, duels.events, duels.missing)
    assert effect_of(duels, METRIC) is None
    every, some = effect_of(full, METRIC), effect_of(half, METRIC)
    assert every
    assert some
    assert every.overall.users == 400
    assert 160 < some.overall.users < 240
    inside = some.overall.users
    assert some.note == f"asked of {inside} of 400 users, chosen by a hash: each stands for {400 / inside:.3g}"
    assert not every.note


@pytest.mark.parametrize("wanted", [DUELS, SLATES, HALF])
def test_an_experiment_that_asks_less_fails_no_check_because_of_it(wanted: WantedQuestions) -> None:
    failed = [
        {one.name for one in comparison_of(generate(WORLD, seed=2), each).checks if one.state is CheckState.FAILED}
        for each in (BOTH, wanted)
    ]
    assert failed[1] <= failed[0]


def test_an_experiment_says_what_it_did_not_ask() -> None:
    """A guardrail without slates and a headline without duels are not identified, with the reason, and no failure."""
    log = generate(WORLD, seed=3)
    duels = comparison_of(log, DUELS, definition=DEFINED)
    (rail,) = duels.guardrails
    assert (rail.state, duels.verdict) == ("UNMEASURED", Verdict.KEEP_RUNNING)
    assert "not identified: slates were not asked (`questions` of the definition or the worker)" in rail.words
    slates = comparison_of(log, SLATES)
    assert slates.verdict is Verdict.KEEP_RUNNING
    assert slates.reason.startswith("not identified: duels were not asked (`questions` of the definition or")
    assert slates.primary.overall.withheld == slates.reason
    (check,) = (one for one in slates.checks if one.name == "candidate slates")
    assert (check.state, check.words) == (CheckState.OPEN, slates.reason)


def test_an_experiment_that_asks_duels_alone_is_still_held_against_clicks() -> None:
    """Control's slate of the calibrating users, each standing for as many as the share says."""
    log = generate(WORLD, seed=4)
    full, duels = epoch_of(log, BOTH).calibration, epoch_of(log, DUELS).calibration
    assert full
    assert duels
    assert 0 < duels.clicks < full.clicks
    assert 0 < duels.slates < 0.6 * full.slates


def test_an_experiment_with_candidate_slates_that_are_absent_weights_the_users_who_were_asked() -> None:
    """Bounds go by the users inside the share: absent slates of users outside say nothing of them."""
    log = generate(WORLD, seed=5)
    gone = {f"e-{n}" for n in range(0, log.user.size, 10)}

    def worst(wanted: WantedQuestions) -> float:
        kept = [one for one in as_asked(responses(log, ENGINE, seed=5), wanted)
                if one["variant"] == "control" or one["event_id"] not in gone]  # fmt: skip
        state = State()
        state.define(Definition("exp", AT_US, "control", ("candidate",), primary_metric=METRIC))
        state.take(answers(kept), health={}, positions={})
        ((epoch,),) = (one.epochs for one in report(state, Defaults()).readouts)
        (comparison,) = epoch.comparisons
        assert comparison.worst_case is not None
        return comparison.worst_case.high - comparison.worst_case.low

    assert worst(HALF) == pytest.approx(worst(BOTH), rel=0.3)


@dataclass(frozen=True, slots=True)
class Found:
    """What so many experiments say of a metric of slates that half of the users were asked."""

    bias: float  # in standard errors of the mean over the experiments
    missed: float  # share of the experiments whose interval left out the truth
    ratio: float  # of the spread of the estimates to that with all users


def one_run(seed: int, truth: float) -> tuple[float, float, bool]:
    """Return the estimates of an experiment with half of the users and with all, and whether the first missed."""
    log = generate(WORLD, seed=seed)
    some, every = (effect_of(comparison_of(log, wanted, seed=seed), METRIC) for wanted in (HALF, BOTH))
    assert some
    assert every
    assert some.overall.value is not None
    assert every.overall.value is not None
    assert some.overall.interval is not None
    return some.overall.value, every.overall.value, truth not in some.overall.interval


def found_of(runs: Sequence[tuple[float, float, bool]], truth: float) -> Found:
    half, full, missed = zip(*runs, strict=True)
    return Found((mean(half) - truth) / (stdev(half) / len(runs) ** 0.5), mean(missed), stdev(half) / stdev(full))


def watched(runs: int) -> Found:
    """Run so many experiments, each 2.5 s of one core (2026-11), on all cores."""
    truth = true_difference(WORLD)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        return found_of(list(pool.map(partial(one_run, truth=truth), range(1, runs + 1))), truth)


def test_an_experiments_slates_of_half_of_the_users_are_unbiased_and_cover_the_truth() -> None:
    """A share of the long test."""
    truth = true_difference(WORLD)
    found = found_of([one_run(seed, truth) for seed in range(1, 6)], truth)
    assert abs(found.bias) < 4
    assert found.missed <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / 5) ** 0.5


@pytest.mark.long
def test_the_slates_of_half_of_the_users_in_400_experiments() -> None:
    found = watched(400)
    print(found)
    assert abs(found.bias) < 3
    assert found.missed <= ALPHA
    assert 1.2 < found.ratio < 1.7  # sqrt(2): half of the users
