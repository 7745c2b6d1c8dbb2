"""Canary users who are lost on the way: no effect, and those who are left click more."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from worker.experiment.readout import CheckState
from worker.experiment.real_clicks.canary import CanaryEvents, canary
from worker.experiment.real_clicks.sample_ratio import (
    DAY_US,
    FirstExposures,
    chances,
    events_by_arm,
    sample_ratio,
    withholds,
)

USERS, LOOKS = 8_000, range(1_000, 8_001, 1_000)


@dataclass(frozen=True)
class Run:
    """Users in order of arrival, one event each, with a taste of their own for clicking."""

    chance: np.ndarray
    in_canary: np.ndarray
    clicked: np.ndarray
    kept: np.ndarray


def made(seed: int, *, lost: float, days: tuple[float, ...] = (0.2,)) -> Run:
    """Assign users at each day's chance, without an effect; of the idle canary users the share `lost` is not logged."""
    rng = np.random.default_rng(seed)
    chance = np.repeat(days, USERS // len(days))
    in_canary, clicked = rng.random(chance.size) < chance, rng.random(chance.size) < rng.beta(1, 4, chance.size)
    return Run(chance, in_canary, clicked, ~(in_canary & ~clicked & (rng.random(chance.size) < lost)))


def first(run: Run, upto: int = USERS, *, logged: bool = True) -> FirstExposures:
    kept = np.flatnonzero(run.kept[:upto])
    inside, chance = run.in_canary[kept], run.chance[kept]
    return FirstExposures(
        user=kept,
        in_canary=inside,
        probability=np.where(inside, chance, 1 - chance) if logged else np.full(kept.size, np.nan),
        at=np.cumsum(np.r_[0, np.diff(run.chance) != 0])[kept] * DAY_US,
        clicked=run.clicked[kept],
        events=np.ones(kept.size, np.int64),
    )


def lift(run: Run, upto: int = USERS, *, stages: bool = True) -> tuple[float, bool]:
    """Return the lift, and whether its interval leaves 0 out."""
    of = first(run, upto)
    found = canary(
        CanaryEvents(
            user=of.user,
            outcome=of.clicked.astype(np.float64),
            shown_candidate=of.in_canary,
            assigned=np.full(of.user.size, fill_value=True),
            simulated_candidate=np.full(of.user.size, 0.5),
            identical=np.full(of.user.size, fill_value=False),
            chance=chances(of) if stages else np.empty(0),
        ),
        alpha=0.05,
        planned_users=USERS,
    )
    return found.value or 0.0, found.interval is not None and 0 not in found.interval


def printed(runs: int, *, lost: float) -> tuple[float, float]:
    """Return the shares of runs with a lift at any look, without the check and with it."""
    without = checked = 0
    for seed in range(runs):
        run = made(seed, lost=lost)
        seen = [upto for upto in LOOKS if lift(run, upto)[1]]
        without += bool(seen)
        checked += any(not withholds(sample_ratio(first(run, upto))) for upto in seen)
    return without / runs, checked / runs


def test_an_experiment_whose_canary_loses_its_idle_users_prints_no_lift() -> None:
    """A share of the long test."""
    without, checked = printed(15, lost=0.2)
    assert without > 0.5
    assert checked <= 0.1


@pytest.mark.long
def test_400_experiments_whose_canary_loses_its_idle_users_print_no_lift() -> None:
    without, checked = printed(400, lost=0.2)
    print(f"a lift in {without:.1%} without the check, {checked:.1%} with it")
    assert without > 0.5
    assert checked <= 0.05


def test_an_experiment_watched_whose_canary_is_whole_hardly_ever_cries() -> None:
    """One constant chance, and a ramp of three days: at most 1 of 200 at any look, by an error of 0.1 %."""
    for days in ((0.2,), (0.01, 0.1, 0.5)):
        cried = 0
        for seed in range(100):
            run = made(seed, lost=0.0, days=days)
            cried += any(sample_ratio(first(run, upto)).state is CheckState.FAILED for upto in LOOKS)
        assert cried <= 1, days


def test_an_experiment_names_the_day_on_which_its_canary_lost_users_and_who_they_are() -> None:
    run = made(1, lost=0.0, days=(0.1, 0.5))
    lost = run.in_canary & ~run.clicked & (np.arange(run.chance.size) >= USERS // 2) & (np.arange(USERS) % 3 == 0)
    check = sample_ratio(first(Run(run.chance, run.in_canary, run.clicked, ~lost)))
    assert check.state is CheckState.FAILED
    assert "; on 1970-01-02 4" in check.words
    assert "on 1970-01-01" not in check.words
    assert "of users who did not" in check.words
    assert not check.forbids


def test_an_experiment_of_three_arms_has_the_chance_of_two_of_them() -> None:
    """10 % and 30 % of all are a quarter and three quarters of these."""
    inside = np.tile([True, False, False, False], 100)
    of = FirstExposures(
        user=np.arange(400), in_canary=inside, probability=np.where(inside, 0.1, 0.3),
        at=np.zeros(400, np.int64), clicked=np.zeros(400, bool), events=np.ones(400, np.int64),
    )  # fmt: skip
    assert chances(of).round(6).tolist() == [0.25] * 400
    assert sample_ratio(of).state is CheckState.OK


@pytest.mark.parametrize("users_a_day", [5, 10])
def test_an_experiment_of_three_arms_with_few_users_a_day_hardly_ever_cries(users_a_day: int) -> None:
    """80 % control, 10 % each of two candidates: many days lack one of the arms."""
    cried = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        arm = rng.choice(3, 200 * users_a_day, p=[0.8, 0.1, 0.1])
        seen = np.flatnonzero(arm < 2)
        inside = arm[seen] == 1
        of = FirstExposures(
            user=seen, in_canary=inside, probability=np.where(inside, 0.1, 0.8), at=seen // users_a_day * DAY_US,
            clicked=np.zeros(seen.size, bool), events=np.ones(seen.size, np.int64),
        )  # fmt: skip
        cried += sample_ratio(of).state is CheckState.FAILED
    assert cried == 0


def test_an_experiment_whose_ramp_turns_within_a_day_compares_users_of_one_stage() -> None:
    """The chance is 0.1 in the morning and 0.5 in the afternoon; all is of one day."""
    printed = 0
    for seed in range(20):
        run = made(seed, lost=0.0, days=(0.1, 0.5))
        clicks = np.random.default_rng(1_000 + seed).random(USERS) < np.where(run.chance < 0.3, 0.5, 0.2)
        run = Run(run.chance, run.in_canary, clicks, run.kept)
        of = replace(first(run), at=np.arange(USERS))
        assert np.isin(chances(of).round(6), (0.1, 0.5)).mean() > 0.99  # but for who is next to the other stage
        assert lift(run, stages=False)[1]
        printed += lift(run)[1]
    assert printed <= 1


def test_an_experiment_tests_the_users_whose_chance_was_logged() -> None:
    """2 % without one switched the test off."""
    of = first(made(1, lost=0.5))
    of = replace(of, probability=np.where(np.arange(of.user.size) % 50 == 0, np.nan, of.probability))
    check = sample_ratio(of)
    assert (check.state, withholds(check)) == (CheckState.FAILED, True)
    assert check.words.startswith("unknown of ")


def test_an_experiment_whose_canary_loses_idle_events_prints_no_lift() -> None:
    """No user is lost: each has ten events, and a fifth of the idle ones of canary users are not logged."""
    rng = np.random.default_rng(3)
    run = made(3, lost=0.0)
    clicks = rng.random((USERS, 10)) < rng.beta(1, 4, (USERS, 1))
    logged = clicks | (rng.random((USERS, 10)) >= 0.2) | ~run.in_canary[:, None]
    of = replace(first(run), events=logged.sum(axis=1))
    check = events_by_arm(of, planned_users=USERS)
    assert (check.state, withholds(check)) == (CheckState.FAILED, True)
    assert "events were lost, or the candidate changes how often users come" in check.words
    fine = events_by_arm(replace(of, events=np.full(USERS, 10)), planned_users=USERS)
    assert (fine.state, withholds(fine)) == (CheckState.OK, False)


def test_an_experiment_without_logged_chances_does_not_know_its_sample_ratio() -> None:
    check = sample_ratio(first(made(1, lost=0.2), logged=False))
    assert (check.state, "assignment.probability was not logged" in check.words) == (CheckState.OPEN, True)
    assert sample_ratio(first(made(1, lost=0.0), 50)).state is CheckState.OPEN


def test_an_experiment_on_a_ramp_compares_users_of_one_stage() -> None:
    """Users of the first day click more, and nearly all are in control: without stages it looks like a loss."""
    run = made(1, lost=0.0, days=(0.05, 0.5))
    early = np.arange(USERS) < USERS // 2
    clicks = np.random.default_rng(2).random(USERS) < np.where(early, 0.4, 0.1)
    run = Run(run.chance, run.in_canary, clicks, run.kept)
    blunt, found = lift(run, stages=False)
    assert blunt < -0.1
    assert found
    value, found = lift(run)
    assert abs(value) < 0.03
    assert not found


def test_an_experiment_waits_for_a_stage_that_has_both_arms() -> None:
    of = made(1, lost=0.0, days=(0.001, 0.002))
    assert lift(of, 6_000) == (0.0, False)


def test_an_experiment_whose_ramp_ends_an_arm_compares_users_of_one_stage() -> None:
    """The first day has three arms, 10 % and 10 % and 80 %; the second two, 10 % and 90 %. Early users click more."""
    rng, printed = np.random.default_rng(4), 0
    for _ in range(10):
        early = np.arange(USERS) < USERS // 2
        canary_share = np.where(early, 0.5, 0.1)  # of the users of these two arms
        inside = rng.random(USERS) < canary_share
        clicked = rng.random(USERS) < np.where(early, 0.4, 0.1)
        of = FirstExposures(
            user=np.arange(USERS), in_canary=inside, probability=np.where(inside | early, 0.1, 0.9),
            at=np.arange(USERS), clicked=clicked, events=np.ones(USERS, np.int64),
        )  # fmt: skip
        assert sorted(set(chances(of).round(4)))[:2] == [0.1, 0.5]
        assert sample_ratio(of).state is CheckState.OK
        printed += _lift_of(of)
    assert printed <= 1


def _lift_of(of: FirstExposures) -> bool:
    found = canary(
        CanaryEvents(
            user=of.user, outcome=of.clicked.astype(np.float64), shown_candidate=of.in_canary,
            assigned=np.full(of.user.size, fill_value=True), simulated_candidate=np.full(of.user.size, 0.5),
            identical=np.full(of.user.size, fill_value=False), chance=chances(of),
        ),
        alpha=0.05, planned_users=USERS,
    )  # fmt: skip
    return found.interval is not None and 0 not in found.interval
