"""The split between users and draws that a plan recommends is the cheapest of those that were simulated.

A pilot asks in two draws.  From its parts of the variance a plan says what 2 to 16 draws would cost; the same world,
really asked in so many draws by three times as many users, says whether that is so.
"""

from dataclasses import replace

import numpy as np
import pytest

from worker.bench.price.truth import Floats, Log, LogitEngine, World, duel_shares, generate
from worker.experiment.planning.plan import PlannedTraffic, PlanWanted, plan
from worker.experiment.planning.power import Goal, GoalKind, users_for
from worker.experiment.planning.variance import Spread, spread
from worker.experiment.statistics.confidence import EVEN
from worker.experiment.statistics.evalues import Sums as Squares
from worker.experiment.statistics.user_means import UserSums
from worker.experiment.store.sums import UNIT

EFFECT = 0.02
WORLD = World(users=2_000, shift=0.2, pool=10, slate=5, max_visits=5)
SIMULATED = (2, 4, 8, 16)


def draws_of(log: Log, noise: float, num: int) -> Floats:
    """Return the duel share of each event by draw, each of which errs by itself."""
    engine = LogitEngine(temperature=0.5, noise=noise)
    each = (engine.letters(engine.beliefs(log, seed=100 + n), log.in_a | log.in_b, order=None) for n in range(num))
    return np.stack([duel_shares(log, letters) for letters in each])


def means_of(log: Log, values: Floats) -> Floats:
    return np.asarray(np.bincount(log.user, values) / np.bincount(log.user))


def pilot(noise: float) -> Spread:
    log = generate(WORLD, seed=1)
    found = draws_of(log, noise, 2)
    ones, at = np.ones(log.user.size, np.int64), np.arange(log.user.size)
    total = np.rint(UNIT * found.mean(axis=0)).astype(np.int64)
    sums = UserSums(log.user, at, ones, 0 * ones, total, ones, UNIT)
    half = (found[0] - found[1]) / 2
    halves = Squares()
    for one in half.tolist():
        halves.add(one)
    return spread(means_of(log, found.mean(axis=0)), np.bincount(log.user), sums, halves, draws=2, differing=1.0)


@pytest.mark.parametrize(("noise", "prompt_cost"), [(1.0, 0.0), (4.0, 0.0), (4.0, 8.0)])
def test_the_recommended_split_is_the_cheapest_of_those_that_were_simulated(noise: float, prompt_cost: float) -> None:
    known = pilot(noise)
    traffic = PlannedTraffic(events_per_second=1.0, prompt_cost=prompt_cost)
    planned = plan(PlanWanted(EFFECT, None, None), traffic, known)
    log = generate(replace(WORLD, users=3 * WORLD.users), seed=2)
    asked = draws_of(log, noise, max(SIMULATED))
    cost = {}
    for draws in SIMULATED:
        sd = float(means_of(log, asked[:draws].mean(axis=0)).std(ddof=1))
        (told,) = (one for one in planned.by_draws if one.draws == draws)
        assert abs(told.sd**2 - sd**2) < known.high**2 - known.low**2  # four standard errors of the pilot's variance
        users = users_for(Goal(GoalKind.DIFFERENCE, EFFECT, sd, room=EVEN), power=0.8, alpha=0.05)
        cost[draws] = users * (prompt_cost + draws)
    assert planned.best_draws is not None
    best = min(planned.best_draws, max(SIMULATED))
    assert cost[best] <= 1.05 * min(cost.values())
