"""Canary: it covers the truth where the raw simulation misses it, and no bias of the engine moves it."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from tests.support.experiment.covering import ALPHA, Covered, canary_events, from_canary, simulated, study
from tests.support.experiment.truth import Engine, Floats, World, generate
from worker.experiment.real_clicks.canary import CanaryEvents, canary, power_tuning, ppi_mean
from worker.experiment.real_clicks.doubly_robust import Estimand, ObservedLift
from worker.experiment.statistics.confidence import half_width

WORLD = World(users=4_000, shift=1.0, canary=0.2)
BIASED = Engine(temperature=0.5, noise=0.5)


def _events(world: World = WORLD, engine: Engine = BIASED) -> CanaryEvents:
    log = generate(world, seed=1)
    return canary_events(log, simulated(log, engine, seed=1)[1], log.user.size)


def _lift(events: CanaryEvents) -> ObservedLift:
    return canary(events, alpha=ALPHA, planned_users=WORLD.users)


def _claim(covered: Covered) -> None:
    assert covered.biased >= 0.93
    assert covered.oracle >= 0.93
    assert covered.raw <= 0.5
    assert covered.width <= 1.2 * covered.oracle_width


def test_canary_experiments_cover_where_the_raw_simulation_misses() -> None:
    """A few of the runs of the long test."""
    _claim(study(from_canary, WORLD, BIASED, runs=5, events=100_000))


@pytest.mark.long
def test_a_thousand_canary_experiments_cover_where_the_raw_simulation_misses() -> None:
    """An over-confident, noisy engine: all five looks hold the truth in 93 % of the runs, within 1.2 oracle widths."""
    covered = study(from_canary, WORLD, BIASED, runs=1_000, events=400_000)
    print(covered)
    _claim(covered)


def _one_event_a_user() -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(20)
    simulation, shadow = rng.random(500), rng.random(20_000)
    return (rng.random(500) < 0.1 + 0.6 * simulation).astype(np.float64), simulation, shadow


def _fixed_time(outcome: Floats, simulation: Floats, shadow: Floats) -> list[float]:
    found, z = ppi_mean(outcome, simulation, shadow), NormalDist().inv_cdf(0.975)
    return [found.value - z * found.standard_error, found.value + z * found.standard_error]


def test_the_closed_form_of_a_canary_experiment_is_that_of_ppi_python() -> None:
    """As `ppi_py.ppi_mean_ci(*_one_event_a_user(), alpha=0.05)` of ppi-python 0.2.3 gave it, installed beside."""
    assert _fixed_time(*_one_event_a_user()) == pytest.approx([0.3664687856672816, 0.44603674508364], abs=1e-8)


def test_the_closed_form_of_a_canary_experiment_agrees_with_ppi_python_where_it_is_installed() -> None:
    """The same beside the package itself."""
    ppi_py = pytest.importorskip("ppi_py")
    theirs = [float(np.ravel(end)[0]) for end in ppi_py.ppi_mean_ci(*_one_event_a_user(), alpha=0.05)]
    assert _fixed_time(*_one_event_a_user()) == pytest.approx(theirs, abs=1e-8)


def test_a_constant_added_to_the_simulation_of_a_canary_experiment_cancels() -> None:
    """So no constant can be shown as a correction of the lift."""
    events = replace(_events(), identical=np.zeros_like(_events().identical))
    lift, shifted = _lift(events), _lift(replace(events, simulated_candidate=events.simulated_candidate + 0.2))
    assert lift.interval is not None
    assert shifted.interval is not None
    assert shifted.value == pytest.approx(lift.value, abs=1e-12)
    assert shifted.interval.low == pytest.approx(lift.interval.low, abs=1e-12)
    assert shifted.tuning == pytest.approx(lift.tuning, abs=1e-12)


def test_a_useless_engine_leaves_a_canary_experiment_with_its_difference_of_means() -> None:
    """Tuning 0: the interval is that of two independent samples, in the confidence sequence."""
    events = replace(_events(engine=Engine(uniform=True)), identical=np.zeros(_events().user.size, dtype=bool))
    lift = _lift(events)
    means = {user: events.outcome[events.user == user].mean() for user in np.unique(events.user)}
    inside = {user: bool(events.shown_candidate[events.user == user][0]) for user in means}
    b = np.array([means[user] for user in means if inside[user]])
    a = np.array([means[user] for user in means if not inside[user]])
    assert lift.tuning == 0
    assert lift.value == pytest.approx(b.mean() - a.mean(), abs=1e-12)
    n = len(means)
    error = (b.var() / len(b) + a.var() / len(a)) ** 0.5
    half = half_width(n, error * n**0.5, alpha=ALPHA, planned_users=WORLD.users)
    assert lift.interval is not None
    assert (lift.interval.high - lift.interval.low) / 2 == pytest.approx(half, rel=1e-3)


def test_the_tuning_of_a_canary_experiment_is_the_narrowest() -> None:
    """No other share of the simulation has a smaller variance of the lift."""
    rng = np.random.default_rng(5)
    taste = rng.random(4_000)
    clicked = (rng.random(4_000) < taste * 0.8).astype(np.float64)
    y, s, y_shadow, s_shadow = clicked[:800], taste[:800], clicked[800:], taste[800:]
    tuning = power_tuning(y, s, s_shadow, y_shadow)

    def variance(t: float) -> float:
        return float((y - t * s).var() / 800 + (t * s_shadow - y_shadow).var() / 3_200)

    shares = np.linspace(0, 1, 101)
    assert tuning == pytest.approx(shares[np.argmin([variance(t) for t in shares])], abs=0.02)
    assert power_tuning(y, 1 - s, 1 - s_shadow, y_shadow) == 0  # upside down: not used rather than turned round


def test_identical_slates_of_a_canary_experiment_count_as_no_difference() -> None:
    """With 5 % of users whose slates differ, the clicks of all others are no noise."""
    events = _events(replace(WORLD, users=20_000, triggered=0.05))
    lift, blunt = _lift(events), _lift(replace(events, identical=np.zeros_like(events.identical)))
    assert lift.interval is not None
    assert blunt.interval is not None
    assert lift.interval.high - lift.interval.low < 0.4 * (blunt.interval.high - blunt.interval.low)


def test_a_canary_experiment_counts_logged_assignments_only() -> None:
    """Who was shown the candidate for an unknown reason is no random user."""
    events = _events()
    kept = events.user % 2 == 0
    half = CanaryEvents(**{name: getattr(events, name)[kept] for name in CanaryEvents.__slots__})
    assert _lift(replace(events, assigned=kept)) == _lift(half)
    none = _lift(replace(events, assigned=~events.shown_candidate))
    assert (none.estimand, none.value, none.interval) == (Estimand.CANARY, None, None)
    assert none.withheld.startswith(
        "not identified: of the users with a logged assignment, 0 were shown the candidate and "
    )


def test_users_with_both_arms_leave_a_canary_experiment_not_identified() -> None:
    """A few are left out; more than 1 % mean that the user was not the unit."""
    events = _events()
    mixed = np.random.default_rng(6).random(len(events.user)) < 0.5
    assert "users were shown both arms" in _lift(replace(events, shown_candidate=mixed)).withheld
    visits = np.bincount(events.user)
    flipped = int(np.flatnonzero(visits[events.user] > 1)[0])
    one = events.shown_candidate.copy()
    one[flipped] = ~one[flipped]
    assert _lift(replace(events, shown_candidate=one)).users == WORLD.users - 1


def test_a_canary_experiment_of_few_users_has_a_value_and_no_interval() -> None:
    """100 users in all may be 5 in the canary."""
    lift = _lift(_events(replace(WORLD, users=1_000, canary=0.05)))
    assert lift.value is not None
    assert lift.interval is None
    assert lift.withheld.endswith("at least 100 of each are needed")


def test_a_canary_experiment_of_few_clicks_has_a_value_and_no_interval() -> None:
    """3 clicks of 150 users have hardly any spread: such an interval would be too narrow."""
    lift = _lift(_events(replace(WORLD, users=2_400, canary=0.06, reluctance=6.0)))
    assert lift.value is not None
    assert lift.interval is None
    assert " users in the canary clicked, " in lift.withheld


def test_pending_outcomes_of_a_canary_experiment_do_not_count() -> None:
    """An open window is neither a click nor none."""
    events = _events()
    pending = np.arange(len(events.user)) >= 5_000
    columns = {name: getattr(events, name)[~pending] for name in CanaryEvents.__slots__}
    open_ = replace(events, outcome=np.where(pending, np.nan, events.outcome))
    assert _lift(open_) == _lift(CanaryEvents(**columns))


def test_missing_simulations_of_a_canary_experiment_cost_width_and_not_truth() -> None:
    """Without any simulation what is left is the difference of means."""
    events = _events()
    blind = _lift(replace(events, simulated_candidate=np.full(len(events.user), np.nan)))
    assert blind.value == pytest.approx(_lift(events).value, abs=0.02)
    assert blind.interval is not None
    assert blind.interval.high - blind.interval.low < 0.15


def test_no_event_is_no_canary_experiment() -> None:
    """Nothing seen: no value, no interval, no crash."""
    events = _events()
    lift = _lift(CanaryEvents(**{name: getattr(events, name)[:0] for name in CanaryEvents.__slots__}))
    assert (lift.users, lift.value, lift.interval) == (0, None, None)
