"""Power is computed from the readout's own boundary: held against known crossings, one look, and simulated sums."""

from dataclasses import replace
from math import exp, inf, sqrt

import numpy as np
import pytest
from scipy.stats import norm

from worker.experiment.planning import crossing
from worker.experiment.planning.power import Goal, GoalKind, power_at, users_for
from worker.experiment.quality.skew import USERS_PER_SQUARE, SampledSkewness, sampled_skewness, skew, skewness
from worker.experiment.readout import CheckState
from worker.experiment.statistics.confidence import estimate, half_width

ALPHA = 0.05
DIFFERENCE, NO_DIFFERENCE = (Goal(kind, 0.02, 0.2) for kind in GoalKind)


def simulated(goal: Goal, users: list[int], *, planned: int, runs: int = 4_000) -> list[float]:
    """Return the share of simulated sequences that have shown a goal by each number of users, looked at after each."""
    n, drift = np.arange(1, planned + 1), goal.size / goal.sd
    half = np.array([half_width(int(k), 1, alpha=ALPHA, planned_users=planned) for k in n])
    rng, found = np.random.default_rng(1), np.zeros(planned)
    for _ in range(runs // 500):
        mean = np.abs(
            np.cumsum(rng.normal(drift if goal.kind is GoalKind.DIFFERENCE else 0, 1, (500, planned)), axis=1) / n
        )
        shown = mean > half if goal.kind is GoalKind.DIFFERENCE else mean + half <= drift
        shown[:, : goal.first_look - 1] = False
        found += np.logical_or.accumulate(shown, axis=1).sum(axis=0)
    return [float(found[k - 1] / runs) for k in users]


@pytest.mark.parametrize("drift", [0.0, 1.0, 3.0])
def test_a_motion_crosses_a_level_as_often_as_is_known(drift: float) -> None:
    """The first passage of a Brownian motion with a drift through 2 by time 1 (Bachelier and Levy)."""
    level, times = 2.0, crossing.times(0.02, 1, width=12)
    stayed = crossing.inside(lambda t: np.full_like(t, -10.0), lambda t: np.full_like(t, level), times, drift=drift)
    known = norm.cdf(drift - level) + exp(2 * drift * level) * norm.cdf(-drift - level)
    assert 1 - stayed[-1] == pytest.approx(known, abs=2e-4)


@pytest.mark.parametrize(
    ("goal", "users"), [(DIFFERENCE, 1_282), (NO_DIFFERENCE, 1_653)], ids=lambda one: str(one)[:20]
)
def test_power_is_that_of_simulated_sequences(goal: Goal, users: int) -> None:
    """4,000 sequences: within four standard errors, which are 0.032 at most."""
    at = [users * 3 // 4, users]
    forecast = power_at(goal, at, planned_users=users, alpha=ALPHA)
    assert simulated(goal, at, planned=users) == pytest.approx(forecast, abs=0.032)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("kind", GoalKind)
@pytest.mark.parametrize("candidates", [1, 4])
def test_users_are_those_by_whom_the_power_is_reached(kind: GoalKind, power: float, candidates: int) -> None:
    goal = Goal(kind, 0.03, 0.25, candidates=candidates)
    users = users_for(goal, power=power, alpha=ALPHA)
    fewer, enough = (power_at(goal, [n], planned_users=n, alpha=ALPHA)[0] for n in (users - 3, users))
    assert fewer < power <= enough + 1e-4


@pytest.mark.parametrize(("power", "factor", "one_look"), [(0.8, 12.7, 15.0), (0.9, 16.2, 18.6)])
def test_watching_finds_a_difference_with_fewer_users_than_one_look(
    power: float, factor: float, one_look: float
) -> None:
    """So many (sd / size)^2 users, of an effect that is small."""
    users = users_for(Goal(GoalKind.DIFFERENCE, 0.001, 0.2), power=power, alpha=ALPHA)
    assert users * 0.005**2 == pytest.approx(factor, abs=0.05)
    edge = half_width(users, 1, alpha=ALPHA, planned_users=users) * sqrt(users)
    assert (edge + norm.ppf(power)) ** 2 == pytest.approx(one_look, abs=0.05)


def test_without_an_effect_a_difference_is_shown_no_more_often_than_alpha() -> None:
    nothing = Goal(GoalKind.DIFFERENCE, 1e-9, 0.2)
    assert power_at(nothing, [100_000], planned_users=5_000, alpha=ALPHA)[0] < ALPHA


def test_power_grows_with_users_and_is_none_before_the_first_look() -> None:
    late = Goal(GoalKind.DIFFERENCE, 0.02, 0.2, first_look=700)
    powers = power_at(late, [300, 699, 700, 900, 1_282, 2_000], planned_users=1_282, alpha=ALPHA)
    assert powers[:2] == [0.0, 0.0]
    assert sorted(powers) == powers
    assert powers[2] > 0.3
    assert power_at(late, [500], planned_users=1_282, alpha=ALPHA) == [0.0]


def test_a_large_effect_takes_the_users_of_the_first_look() -> None:
    assert users_for(Goal(GoalKind.DIFFERENCE, 0.3, 0.2), power=0.8, alpha=ALPHA) == 100


def test_an_effect_that_nobody_can_show_is_refused() -> None:
    with pytest.raises(ValueError, match="users or more"):
        users_for(Goal(GoalKind.DIFFERENCE, 1e-6, 0.5), power=0.8, alpha=ALPHA)


def test_a_plan_for_another_number_of_users_has_less_power() -> None:
    """At 1,282 users, planned for them, and for a hundred times as many."""
    own, other = (power_at(DIFFERENCE, [1_282], planned_users=n, alpha=ALPHA)[0] for n in (1_282, 128_200))
    assert own == pytest.approx(0.8, abs=0.001)
    assert other < 0.4


@pytest.mark.parametrize(("sd", "effect"), [(0.05, 0.01), (0.03, 0.003)])
def test_an_experiment_whose_users_hardly_differ_is_planned_with_what_the_check_of_skew_asks(
    sd: float, effect: float
) -> None:
    """The interval alone leaves the tie by 326 users, and the verdict waits for a group that may be unseen."""
    goal = Goal(GoalKind.DIFFERENCE, effect, sd, room=0.5)
    users, rng, said = users_for(goal, power=0.8, alpha=0.05), np.random.default_rng(1), 0
    assert users > users_for(replace(goal, room=inf), power=0.8, alpha=0.05)
    for _ in range(60):
        values = np.clip(0.5 + effect + rng.normal(0, sd, users), 0, 1)
        for n in {*range(100, users, max(1, users // 40)), users}:
            found = estimate(values[:n].tolist(), num_differ=n, alpha=0.05, planned_users=users)
            if found.interval and found.interval.low > 0.5:
                check = skew(values[:n], found.interval, null=0.5, bounds=(0.0, 1.0), closed=None)
                if check.state is CheckState.OK:
                    said += 1
                    break
    assert 0.65 <= said / 60 <= 0.93


def test_a_plan_of_skewed_users_waits_for_users_enough_for_their_skewness() -> None:
    """As the verdict does; the interval of users after their first day may stand in for it."""
    even = Goal(GoalKind.DIFFERENCE, 0.01, 0.08, room=0.5)
    skewed = replace(even, skewness=SampledSkewness(1.04, 14.4, 0.65))
    unbounded = replace(skewed, room=inf)  # has no interval of users after their first day
    interval, verdict, alone = (
        power_at(one, [900], planned_users=900, alpha=0.05)[0] for one in (even, skewed, unbounded)
    )
    assert alone < verdict < interval
    assert users_for(even, power=0.8, alpha=0.05) < users_for(skewed, power=0.8, alpha=0.05)


def test_no_difference_waits_for_users_enough_for_their_skewness_too() -> None:
    even = Goal(GoalKind.NO_DIFFERENCE, 0.02, 0.08, room=0.5)
    skewed = replace(even, skewness=SampledSkewness(1.04, 14.4, 0.65))
    interval, verdict = (power_at(one, [500], planned_users=500, alpha=0.05)[0] for one in (even, skewed))
    assert verdict < 0.8 * interval


def test_a_difference_that_every_sample_shows_still_waits_for_users_enough_for_their_skewness() -> None:
    """The interval shows it with a probability of 1, as a float has it."""
    skewed = Goal(GoalKind.DIFFERENCE, 0.5, 0.3, skewness=SampledSkewness(1.04, 14.4, 0.65))
    powers = power_at(skewed, [300, 900], planned_users=600, alpha=0.05)
    assert 0.1 < powers[0] < powers[1] < 1


@pytest.mark.parametrize("size", [0.01, 0.02])
def test_very_many_users_are_enough_for_any_skewness(size: float) -> None:
    even = Goal(GoalKind.DIFFERENCE, size, 0.5, room=0.5)
    skewed = replace(even, skewness=SampledSkewness(1.04, 14.4, 0.65))
    both = [users_for(one, power=0.8, alpha=0.05) for one in (even, skewed)]
    assert both[0] == both[1]


def test_the_skewness_of_samples_varies_with_their_mean_as_it_is_told() -> None:
    """Of users of whom 70 % have no difference and the rest a skewed one, in 2,000 samples."""
    rng = np.random.default_rng(3)
    everyone = np.where(rng.random(200_000) < 0.7, 0.0, rng.gamma(2.0, size=200_000) - 1.5)
    told = sampled_skewness(everyone)
    users = round(USERS_PER_SQUARE * told.value**2)
    samples = rng.choice(everyone, (2_000, users))
    means, found = samples.mean(axis=1), np.array([skewness(one) for one in samples])
    assert found.std() * sqrt(users) == pytest.approx(told.error, rel=0.1)
    assert np.corrcoef(means, found)[0, 1] == pytest.approx(told.with_mean, abs=0.06)
    z = (means - everyone.mean()) / everyone.std() * sqrt(users)
    for low, high in ((-1.5, -0.5), (-0.5, 0.5), (0.5, 1.5)):
        inside = (z >= low) & (z < high)
        too_few = (users < USERS_PER_SQUARE * found[inside] ** 2).mean()
        assert too_few == pytest.approx(told.beyond(users, z[inside]).mean(), abs=0.12)
