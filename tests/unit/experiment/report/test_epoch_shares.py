"""What later epochs have of alpha: together they find something by accident in 5 % of experiments at most.

    experiment   twelve epochs one after the other, each watched to ten times its plan; nothing is better
    user         one value an epoch, half of it a taste that stays, seen in all epochs or in one

A share for each epoch so far (alpha / 2 for the second, alpha / 3 for the third) finds a difference in more.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from math import sqrt

import numpy as np
import pytest

from tests.support.experiment.truth import Floats
from worker.experiment.planning.power import Goal, GoalKind, power_at, users_for
from worker.experiment.report.epoch_shares import LEAST, LookedAtEpoch, shares
from worker.experiment.statistics.confidence import excluding
from worker.experiment.statistics.spending import spent

ALPHA, PLAN, EPOCHS = 0.05, 200, 12
ONE = LookedAtEpoch(started_at=0, name="", alpha=ALPHA, planned_users=5_000, users=0)


def after(*users: int) -> float:
    """Return the share of an epoch that comes after others with so many users."""
    looked = [replace(ONE, started_at=number, users=many) for number, many in enumerate((*users, 0))]
    return shares(looked)[-1]


def test_what_is_spent_is_what_the_planner_integrates() -> None:
    """Two ways: a rate of crossings that is known in closed form, and the density carried from time to time."""
    for times in (1, 3, 10):
        for among in (1, 3):
            goal = Goal(GoalKind.DIFFERENCE, 0.0, 1.0, candidates=among)
            (by_steps,) = power_at(goal, [times * 5_000], planned_users=5_000, alpha=ALPHA)
            found = spent(ALPHA, users=times * 5_000, planned_users=5_000, among=among)
            assert found == pytest.approx(by_steps * among / ALPHA, abs=0.03)


def test_the_first_epoch_pays_nothing_and_whoever_watches_for_longer_leaves_less() -> None:
    assert shares([ONE]) == [1.0]
    assert shares([replace(ONE, users=10**6)]) == [1.0]
    left = [after(0), after(2_500), after(5_000), after(50_000)]
    assert left[0] == left[1] == 0.64  # up to half of the plan: it counts as if it had run to its plan
    assert 0.64 > left[2] > left[3] > 0
    assert after(*[50_000] * 11) == LEAST


def test_epochs_are_in_the_order_in_which_they_had_an_interval_however_they_are_given() -> None:
    looked = [replace(ONE, started_at=at, users=users) for at, users in ((3, 9_000), (5, 400), (9, 1_200))]
    of = dict(zip(looked, shares(looked), strict=True))
    for order in permutations(looked):
        assert dict(zip(order, shares(order), strict=True)) == of


def test_a_definition_that_was_replaced_from_the_start_has_used_up_its_plan() -> None:
    assert shares([ONE], replaced=1) == [after(0)]
    assert shares([ONE], replaced=2) == [after(0, 0)]
    assert shares([], replaced=2) == []


@pytest.mark.parametrize(
    ("users", "wanted"),
    [(500, (1.10, 1.19, 1.26, 1.72)), (5_000, (1.15, 1.29, 1.42, 2.13)), (50_000, (1.37, 1.68, 1.97, 2.40))],
)
def test_the_price_of_later_epochs(users: int, wanted: tuple[float, ...]) -> None:
    """In users of an experiment with 80 % power, against those of the first epoch; as the page on intervals has it."""
    goal = Goal(GoalKind.DIFFERENCE, 0.02, sd=0.2)
    first = users_for(goal, power=0.8, alpha=ALPHA)
    prices = [users_for(goal, power=0.8, alpha=ALPHA * after(*[users] * before)) / first for before in (1, 2, 3, 11)]
    assert prices == pytest.approx(wanted, abs=0.006)


def test_an_epoch_that_grows_beyond_half_of_its_plan_leaves_less() -> None:
    """As the page says: until then the shares of later epochs stay as they are."""
    assert after(100) == after(2_500) > after(3_000) > after(4_000)


# -- what it is for


def crossings(rng: np.random.Generator, looks: Sequence[int], *, same_users: bool) -> Floats:
    """Return how far the mean is from the tie, in standard deviations of a user, by epoch and look."""
    users, taste = looks[-1], rng.normal(0, sqrt(0.5), looks[-1])
    at, found = np.array(looks), []
    for _ in range(EPOCHS):
        own = taste[rng.permutation(users)] if same_users else rng.normal(0, sqrt(0.5), users)
        values = own + rng.normal(0, sqrt(0.5), users)
        sums, squares = np.cumsum(values)[at - 1], np.cumsum(values**2)[at - 1]
        found.append(np.abs(sums) / at / np.sqrt((squares - sums**2 / at) / (at - 1)))
    return np.array(found)


def false_preferences(*, runs: int, times: int, same_users: bool = True) -> tuple[float, float]:
    """Return the share of A/A experiments with a preference: by this rule, and by alpha over the epochs so far."""
    looks = np.unique(np.geomspace(100, times * PLAN, 80).astype(int)).tolist()
    one = replace(ONE, planned_users=PLAN, users=times * PLAN)
    by_rule = shares([replace(one, started_at=number) for number in range(EPOCHS)])
    far = np.array([[_far(n, 1 / share) for n in looks] for share in by_rule])
    before = np.array([[_far(n, number) for n in looks] for number in range(1, EPOCHS + 1)])
    rng, ours, theirs = np.random.default_rng(7), 0, 0
    for _ in range(runs):
        found = crossings(rng, looks, same_users=same_users)
        ours, theirs = ours + bool((found > far).any()), theirs + bool((found > before).any())
    return ours / runs, theirs / runs


def _far(users: int, among: float) -> float:
    return excluding(users, 1.0, alpha=ALPHA, planned_users=PLAN, candidates=among)


@pytest.mark.parametrize("same_users", [True, False], ids=["same-users", "new-users"])
def test_400_experiments_of_twelve_epochs_print_a_false_preference_in_five_percent(same_users: bool) -> None:
    """Each epoch is watched to ten times its plan; within the binomial error."""
    ours, before = false_preferences(runs=400, times=10, same_users=same_users)
    print(f"same users {same_users}: {100 * ours:.1f} %; alpha over the epochs so far {100 * before:.1f} %")
    assert ours <= ALPHA
    assert before > ours


@pytest.mark.long
@pytest.mark.parametrize("times", [1, 10])
def test_4000_experiments_of_twelve_epochs_print_a_false_preference_in_five_percent(times: int) -> None:
    for same_users in (True, False):
        ours, before = false_preferences(runs=4_000, times=times, same_users=same_users)
        print(f"{times} times the plan, same users {same_users}: {100 * ours:.2f} %; "
              f"alpha over the epochs so far {100 * before:.2f} %")  # fmt: skip
        assert ours <= ALPHA
