"""A plan: users of several goals, events, days, GPU hours and draws; and what a pilot says of its users."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from worker.experiment.definition import load
from worker.experiment.planning.plan import PlannedTraffic, PlanWanted, plan
from worker.experiment.planning.summary import definition, summary
from worker.experiment.planning.variance import Spread, spread
from worker.experiment.statistics.evalues import UNIT, Sums as Squares
from worker.experiment.statistics.user_means import Rule, Users, UserSums

WANTED = PlanWanted(0.02, None, 0.2)
PILOT = Spread(900, 1_800, 0.3, 0.28, 0.32, 0.6, between=0.03, within=0.06, of_draw=0.08)
TRAFFIC = PlannedTraffic(users_per_day=1_000, events_per_day=3_000, sample_rate=0.5, events_per_second=5)


def pilot_of(users: int, *, draws: int, seed: int = 1, differing: float = 1.0) -> Spread:
    """Return the spread of a world with sd 0.15 between users, 0.2 between events and 0.3 between draws."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), 1 + rng.poisson(1, users))
    drawn = rng.normal(0, 0.3, (draws, user.size))
    share = 0.5 + rng.normal(0, 0.15, users)[user] + rng.normal(0, 0.2, user.size) + drawn.mean(axis=0)
    one, halves = np.ones(user.size, np.int64), Squares()
    for gap in ((drawn[::2].mean(axis=0) - drawn[1::2].mean(axis=0)) / 2).tolist():
        halves.add(gap)
    sums = UserSums(user, np.arange(user.size), one, 0 * one, np.rint(share * UNIT).astype(np.int64), one, UNIT)
    found = Users(sums, Rule(0.05, 5_000))
    return spread(found.values(), found.num_events(), sums, halves, draws=draws, differing=differing)


@pytest.mark.parametrize("draws", [2, 4])
def test_a_pilot_tells_users_events_and_draws_apart(draws: int) -> None:
    found = pilot_of(20_000, draws=draws)
    assert found.between is not None
    assert found.within is not None
    assert found.between == pytest.approx(0.15**2, rel=0.1)
    assert found.within == pytest.approx(0.2**2, rel=0.1)
    assert found.of_draw == pytest.approx(0.3**2, rel=0.1)


def test_the_sd_of_other_draws_is_foretold() -> None:
    """A pilot with 2 draws foretells what one with 8 has, and the other way round."""
    two, eight = pilot_of(20_000, draws=2), pilot_of(20_000, draws=8, seed=2)
    per_user = two.events_per_user
    assert two.sd_at(draws=8, was=2, events_per_user=per_user) == pytest.approx(eight.sd, rel=0.03)
    assert eight.sd_at(draws=2, was=8, events_per_user=per_user) == pytest.approx(two.sd, rel=0.03)


def test_the_interval_of_a_pilots_sd_holds_the_truth_as_often_as_it_says() -> None:
    """200 pilots of 200 users."""
    truth = pilot_of(50_000, draws=2, seed=9).sd
    held = [one.low <= truth <= one.high for one in (pilot_of(200, draws=2, seed=n) for n in range(200))]
    assert np.mean(held) > 0.91


def test_a_pilot_with_one_event_per_user_knows_no_parts() -> None:
    one = np.ones(50, np.int64)
    sums = UserSums(np.arange(50), one, one, 0 * one, np.arange(50) * UNIT // 50, one, UNIT)
    users = Users(sums, Rule(0.05, 5_000))
    found = spread(users.values(), users.num_events(), sums, Squares(), draws=2, differing=1.0)
    assert (found.between, found.within, found.of_draw) == (None, None, None)
    assert found.sd_at(draws=64, was=2, events_per_user=1) == found.sd


def test_users_become_events_days_and_gpu_hours() -> None:
    found = plan(WANTED, TRAFFIC)
    assert found.users == 1_282
    assert found.events == 3 * 1_282
    assert found.days == pytest.approx(1_282 / 500)
    assert found.gpu_hours == pytest.approx(3 * 1_282 / 5 / 3_600)
    unknown = plan(WANTED, PlannedTraffic())
    assert (unknown.days, unknown.gpu_hours, unknown.events) == (None, None, 1_282)


def test_two_goals_take_the_users_of_the_larger() -> None:
    found = plan(replace(WANTED, margin=0.02), PlannedTraffic())
    assert [one.users for one in found.goals] == [1_282, 1_653]
    assert found.users == 1_653
    # The difference has more than the wanted power then.
    assert {one.users: one.power for one in found.goals[0].curve}[1_653] > 0.88


def test_candidates_share_alpha() -> None:
    one, four = plan(WANTED, PlannedTraffic()), plan(replace(WANTED, candidates=4), PlannedTraffic())
    assert four.users > 1.2 * one.users


def test_half_of_the_experiments_are_done_where_the_curve_says() -> None:
    (goal,) = plan(WANTED, PlannedTraffic()).goals
    assert goal.half_by is not None
    at = np.interp(goal.half_by, [one.users for one in goal.curve], [one.power for one in goal.curve])
    assert at == pytest.approx(0.5, abs=0.02)


def test_the_best_draws_are_the_cheapest_and_a_deadline_asks_for_more_of_them() -> None:
    """All GPU time grows with the draws: few are cheapest; a dear prompt or few users make more of them worth it."""
    wanted = PlanWanted(0.02, None, None)
    free = plan(wanted, TRAFFIC, PILOT)
    assert free.best_draws == 2
    users = [cost.users for cost in free.by_draws]
    assert users == sorted(users, reverse=True)
    assert next(cost for cost in free.by_draws if cost.draws == 2).relative_cost == 1
    dear = plan(wanted, replace(TRAFFIC, prompt_cost=20.0), PILOT)
    assert dear.best_draws is not None
    assert dear.best_draws > 2
    days = {cost.draws: cost.days for cost in free.by_draws}
    assert days[8] is not None
    assert plan(wanted, replace(TRAFFIC, max_days=days[8] + 0.01), PILOT).best_draws == 8
    assert plan(wanted, replace(TRAFFIC, max_days=0.01), PILOT).best_draws == 64


def test_few_users_whose_slates_differ_delay_the_first_look() -> None:
    rare = replace(PILOT, differing=0.01)
    assert plan(PlanWanted(0.2, None, None), PlannedTraffic(), rare).users >= 5_000


def test_the_uncertainty_of_the_pilot_is_told() -> None:
    found = plan(PlanWanted(0.02, None, None), PlannedTraffic(), PILOT)
    assert found.users_low is not None
    assert found.users_high is not None
    assert found.users_low == pytest.approx(found.users * (0.28 / 0.3) ** 2, rel=0.01)
    assert found.users_high == pytest.approx(found.users * (0.32 / 0.3) ** 2, rel=0.01)
    text = summary(found, PlannedTraffic())
    assert f"so users   {found.users_low:,} to {found.users_high:,}" in text
    assert "sd         0.3 (95 % interval 0.28 to 0.32)" in text
    assert "between users 33 %; between events of a user 40 %; between draws 27 %" in text


@pytest.mark.parametrize(("sd", "is_said"), [(0.05, True), (0.2, False)])
def test_a_plan_says_where_it_includes_users_for_the_check_of_skew(sd: float, *, is_said: bool) -> None:
    text = summary(plan(PlanWanted(0.01, None, sd), PlannedTraffic()), PlannedTraffic())
    assert ("users hardly differ: this includes the users that the check of skew needs" in text) == is_said


def test_more_events_per_user_need_fewer_users() -> None:
    few, many = (plan(PlanWanted(0.02, None, None), PlannedTraffic(1_000, 1_000 * n), PILOT).users for n in (1, 10))
    assert many < few / 2


def test_a_written_definition_is_one_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "planned.yaml"
    found = plan(replace(WANTED, margin=0.02, candidates=2), PlannedTraffic())
    text = definition(found, experiment_id="no: 7 \"'#", start=datetime(2026, 12, 1, tzinfo=UTC), control="~",
                      candidates=["a, b", "yes"], metric="duel_share")  # fmt: skip
    path.write_text(text, encoding="utf-8")
    one = load(path)
    assert (one.experiment_id, one.control, one.candidates) == ("no: 7 \"'#", "~", ("a, b", "yes"))
    assert (one.planned_users, one.alpha, one.margin) == (found.users, 0.05, 0.02)
