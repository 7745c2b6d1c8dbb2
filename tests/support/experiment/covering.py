"""How often an estimator of the lift covers the truth, watched, and how wide it is beside one that knows the truth.

    world --> run 1 .. N --> log --> looks at 20, 40, .. 100 % of the events --> biased | oracle | raw simulation

The oracle is the same estimator, sequence and data with the true click probabilities in place of the engine's answers:
what is left of its width is the chance in the clicks and in the draws of slates and users, which no engine can take
away.  So the ratio of the widths is what the engine's faults cost.  (Who saw the true probabilities of both slates of
all users would need no clicks at all; that is no estimator from them.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tests.support.experiment.truth import Engine, Flags, Floats, Log, World, effects, generate
from worker.experiment.real_clicks.canary import CanaryEvents, canary
from worker.experiment.real_clicks.doubly_robust import ControlEvents, ObservedLift, by_user, doubly_robust
from worker.experiment.statistics.confidence import Interval, estimate

ALPHA = 0.05
LOOKS = (0.2, 0.4, 0.6, 0.8, 1.0)  # shares of the events

Estimator = Callable[[Log, Floats, Floats, int], ObservedLift]


@dataclass(frozen=True, slots=True)
class Covered:
    """Shares of runs whose interval held the truth at every look, and median widths at the last."""

    biased: float
    oracle: float
    raw: float
    width: float
    oracle_width: float


def study(estimator: Estimator, world: World, engine: Engine, *, runs: int, events: int) -> Covered:
    """Run the estimator with a biased engine, with the truth for an engine, and the raw simulation alone.

    `events` is how many the truth is integrated over.
    """
    lift = effects(world, events=events).lift
    found = [_run(estimator, generate(world, seed=seed), engine, seed) for seed in range(1, runs + 1)]
    held = np.mean([[_holds(looks, lift) for looks in run] for run in found], axis=0)
    widths = [median(run[kind][-1].high - run[kind][-1].low for run in found) for kind in (0, 1)]
    return Covered(float(held[0]), float(held[1]), float(held[2]), *widths)


def simulated(log: Log, engine: Engine, *, seed: int) -> tuple[Floats, Floats]:
    """Return the engine's click probabilities of slates A and B."""
    beliefs = engine.beliefs(log, seed=seed)
    return engine.click_rate(log, beliefs, log.in_a), engine.click_rate(log, beliefs, log.in_b)


def from_control(log: Log, control: Floats, candidate: Floats, rows: int) -> ObservedLift:
    """Estimate from the first rows, by doubly robust."""
    return doubly_robust(control_events(log, control, candidate, rows), alpha=ALPHA, planned_users=log.world.users)


def from_canary(log: Log, control: Floats, candidate: Floats, rows: int) -> ObservedLift:
    """Estimate from the first rows, by canary."""
    return canary(canary_events(log, candidate, rows), alpha=ALPHA, planned_users=log.world.users)


def control_events(log: Log, control: Floats, candidate: Floats, rows: int) -> ControlEvents:
    """Return the columns that doubly robust reads."""
    return ControlEvents(
        user=log.user[:rows],
        outcome=log.clicked[:rows],
        simulated_control=control[:rows],
        simulated_candidate=candidate[:rows],
        identical=~log.differs[:rows],
        whole_slate=np.full(rows, fill_value=True),
        slate_propensity=log.slate_propensity[:rows],
        target_propensity=log.target_propensity[:rows],
    )


def canary_events(log: Log, candidate: Floats, rows: int, *, assigned: Flags | None = None) -> CanaryEvents:
    """Return the columns that the canary reads."""
    return CanaryEvents(
        user=log.user[:rows],
        outcome=log.clicked[:rows],
        shown_candidate=log.shown_b[:rows],
        assigned=np.full(rows, fill_value=True) if assigned is None else assigned[:rows],
        simulated_candidate=candidate[:rows],
        identical=~log.differs[:rows],
    )


def _run(estimator: Estimator, log: Log, engine: Engine, seed: int) -> tuple[list[Interval], ...]:
    guessed = simulated(log, engine, seed=seed)
    true = (log.click_rate_a, log.click_rate_b)
    rows = [int(share * log.user.size) for share in LOOKS]
    return (
        [_interval(estimator(log, *guessed, count)) for count in rows],
        [_interval(estimator(log, *true, count)) for count in rows],
        [_raw(log, *guessed, count) for count in rows],
    )


def _interval(lift: ObservedLift) -> Interval:
    assert lift.interval is not None, lift.withheld
    return lift.interval


def _raw(log: Log, control: Floats, candidate: Floats, rows: int) -> Interval:
    values = by_user(log.user[:rows], (candidate - control)[:rows]).tolist()
    found = estimate(values, num_differ=len(values), alpha=ALPHA, planned_users=log.world.users, bounds=(-1, 1))
    assert found.value is not None
    return found.interval or Interval(found.value, found.value)  # of an engine that always says the same


def _holds(looks: Sequence[Interval], lift: float) -> bool:
    return all(lift in interval for interval in looks)
