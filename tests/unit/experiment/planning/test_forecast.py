"""The planner's forecast, against experiments that are simulated and read by the readout's own code.

    user     comes with 1 + Poisson(1) events; a taste of their own, sd 0.15
    event    duel share 0.5 + effect + taste + noise of the event, sd 0.2, + noise of two draws, sd 0.15 each

A pilot of this world gives the standard deviation and so the plan.  Then experiments run to 1.5 times the planned
users: `Users` makes the values, `confidence` the interval, and somebody looks every few users.  Looks every
25 users found no difference in 77.9 % of 4,000 runs by 1,461 planned users, every 5 in 80.3 %, and at each in 81.0 %.
"""

import numpy as np
import pytest
from numpy.typing import NDArray

from worker.experiment.planning.plan import ExperimentPlan, PlannedTraffic, PlanWanted, plan
from worker.experiment.planning.power import GoalKind
from worker.experiment.planning.variance import spread
from worker.experiment.statistics.confidence import EVEN, Interval, estimate
from worker.experiment.statistics.evalues import UNIT, Sums as Squares
from worker.experiment.statistics.user_means import Rule, Users, UserSums

ALPHA, POWER = 0.05, 0.8
TASTE_SD, EVENT_SD, DRAW_SD, DRAWS = 0.15, 0.2, 0.15, 2
SIZE = 0.025  # the effect, and the margin
LAST = 1.5  # of the planned users
PILOT_USERS = 20_000


def world(rng: np.random.Generator, users: int, effect: float) -> tuple[UserSums, NDArray[np.float64]]:
    """Return the sums of an experiment in the order that its users came, and half of each event's two draws' gap."""
    events = 1 + rng.poisson(1, users)
    user = np.repeat(np.arange(users), events)
    draws = rng.normal(0, DRAW_SD, (2, user.size))
    share = (
        EVEN + effect + rng.normal(0, TASTE_SD, users)[user] + rng.normal(0, EVENT_SD, user.size) + draws.mean(axis=0)
    )
    one = np.ones(user.size, np.int64)
    total = np.rint(share * UNIT).astype(np.int64)
    return UserSums(user, np.arange(user.size), one, 0 * one, total, one, UNIT), (draws[0] - draws[1]) / 2


def planned(effect: float | None, margin: float | None, *, seed: int = 1) -> ExperimentPlan:
    """Return the plan that a pilot of this world gives."""
    sums, gaps = world(np.random.default_rng(seed), PILOT_USERS, effect or 0.0)
    users = Users(sums, Rule(ALPHA, PILOT_USERS))
    halves = Squares()
    for gap in gaps.tolist():
        halves.add(gap)
    found = spread(users.values(), users.num_events(), sums, halves, draws=DRAWS, differing=1.0)
    return plan(PlanWanted(effect, margin, None, ALPHA, POWER, draws=DRAWS), PlannedTraffic(), found)


def shown_at(on: ExperimentPlan, *, runs: int, every: int, seed: int = 3) -> NDArray[np.float64]:
    """Return the users by whom each experiment has shown its goal, infinite where it has not; a look `every` users."""
    (goal,), rng = on.goals, np.random.default_rng(seed)
    effect = goal.size if goal.kind is GoalKind.DIFFERENCE else 0.0

    def shows(interval: Interval | None) -> bool:
        if interval is None:
            return False
        if goal.kind is GoalKind.DIFFERENCE:
            return EVEN not in interval
        return max(abs(interval.low - EVEN), abs(interval.high - EVEN)) <= goal.size

    found = []
    for _ in range(runs):
        values = Users(world(rng, round(LAST * on.users), effect)[0], Rule(ALPHA, on.users)).values()
        looks = range(max(100, on.users // 5), values.size + 1, every)
        found.append(
            next(
                (
                    n
                    for n in looks
                    if shows(
                        estimate(
                            values[:n].tolist(), num_differ=n, alpha=ALPHA, planned_users=on.users, bounds=(-9, 9)
                        ).interval
                    )
                ),
                np.inf,
            )
        )
    return np.array(found)


GOALS = pytest.mark.parametrize(("effect", "margin"), [(SIZE, None), (None, SIZE)], ids=["difference", "no-difference"])


@GOALS
def test_a_plan_keeps_its_promise(effect: float | None, margin: float | None) -> None:
    """A share of the long test: 60 experiments, within three standard errors of 80 %."""
    on = planned(effect, margin)
    assert (
        abs(float((shown_at(on, runs=60, every=10) <= on.users).mean()) - POWER) < 3 * (POWER * (1 - POWER) / 60) ** 0.5
    )


@pytest.mark.long
@GOALS
def test_the_forecast_and_400_experiments_agree_within_10_percent(effect: float | None, margin: float | None) -> None:
    on = planned(effect, margin)
    found = shown_at(on, runs=400, every=5)
    power = float((found <= on.users).mean())
    users, half = (float(np.quantile(found, share, method="lower")) for share in (POWER, 0.5))
    print(f"{on.goals[0].kind}: sd {on.sd:.4f}; forecast {on.users} users, half by {on.goals[0].half_by}; "
          f"simulated {users:.0f}, half by {half:.0f}; power {power:.4f}")  # fmt: skip
    assert power == pytest.approx(POWER, rel=0.1)
    assert users == pytest.approx(on.users, rel=0.1)
    assert half == pytest.approx(on.goals[0].half_by, rel=0.1)
    for reached in on.goals[0].curve:
        if reached.power > 0.3:  # below that 400 runs say little
            assert float((found <= reached.users).mean()) == pytest.approx(reached.power, rel=0.15), reached
