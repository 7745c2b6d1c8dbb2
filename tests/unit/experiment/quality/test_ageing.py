"""The skill of a mirror is watched for as long as one likes: no alarm while nothing changes, and one soon after.

A world of known truth: users of a logit, some harder to predict than others, who come back on other days; a mirror that
knows their utilities up to an error.  On a given day tastes change: the utilities of that part that the mirror knew
are drawn anew.
"""

from dataclasses import dataclass
from math import log

import numpy as np
import pytest

from worker.experiment.quality import ageing as module
from worker.experiment.quality.ageing import DAY_US, NAME, age, ageing
from worker.experiment.readout import CheckState
from worker.experiment.real_clicks.shown_slates import Columns, Seen

K = 5
LOOKS = 12  # at the state of a growing experiment


@dataclass(frozen=True, slots=True)
class World:
    users: int = 1_500
    per_day: int = 150
    days: int = 40
    changes_on: int | None = None
    new_taste: float = 1.0  # share of the utility that is drawn anew


def watched(world: World, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    num = world.days * world.per_day
    day = np.repeat(np.arange(world.days), world.per_day)
    # Heavy users come more often, and each has a sharpness of one's own.
    often = rng.pareto(2.0, world.users) + 0.2
    user = rng.choice(world.users, num, p=often / often.sum())
    sharpness = rng.lognormal(0.3, 0.5, world.users)
    known = rng.normal(0, 1, (num, K))
    true = known.copy()
    if world.changes_on is not None:
        late = day >= world.changes_on
        share = world.new_taste
        drawn = rng.normal(0, 1, (num, K))
        true[late] = np.sqrt(1 - share) * known[late] + np.sqrt(share) * drawn[late]
    pick = (sharpness[user, None] * true + rng.gumbel(size=(num, K))).argmax(axis=1)
    said = np.exp(1.3 * known + rng.normal(0, 0.3, (num, K)))
    every, at = np.ones((num, K), bool), day * DAY_US + np.sort(rng.integers(0, DAY_US, num))
    order = np.argsort(at, kind="stable")
    place = np.tile(np.arange(K), (num, 1))
    return Columns(
        user[order], at[order], np.full(num, ""), (said / said.sum(axis=1, keepdims=True))[order], place, place, every,
        (pick[:, None] == np.arange(K)).astype(float)[order], np.ones(num),
    )  # fmt: skip


def alarm(of: Columns, alpha: float) -> int | None:
    """Return the day of the first look that alarms."""
    num = of.user.size
    for upto in np.linspace(num / LOOKS, num, LOOKS).astype(int):
        found = age(of.rows(slice(0, int(upto))))
        if found is not None and found.log_e >= log(1 / alpha):
            return int(of.occurred_at[upto - 1] // DAY_US)
    return None


def false_alarms(runs: int, alpha: float) -> int:
    return sum(alarm(watched(World(), seed), alpha) is not None for seed in range(runs))


def test_nothing_changes_and_few_worlds_alarm() -> None:
    assert false_alarms(40, 0.05) <= 5  # of 2 expected at most; 6 or more have a probability of 1 % or so


@pytest.mark.long
def test_over_long_watching_no_more_than_alpha_alarm() -> None:
    runs = 400
    found = false_alarms(runs, 0.05)
    print(f"{found} of {runs} worlds raise a false alarm at 0.05, {false_alarms(runs, 0.01)} at 0.01")
    assert found <= 0.05 * runs


def test_a_changed_taste_is_found_within_days() -> None:
    found = [alarm(watched(World(changes_on=20), seed), module.ALPHA) for seed in range(20)]
    print(found)
    assert all(day is not None and day <= 26 for day in found)
    assert sum(day is not None and day < 20 for day in found) <= 1  # a false alarm, at 0.01


def test_half_a_change_is_found_too() -> None:
    found = [alarm(watched(World(changes_on=20, new_taste=0.5, days=60), seed), module.ALPHA) for seed in range(4)]
    print(found)
    assert all(day is not None and day >= 20 for day in found)


def seen(of: Columns) -> list[Seen]:
    return [
        Seen(f"e{row}", int(of.user[row]), int(of.occurred_at[row]), tuple("abcde"), tuple(range(K)),
             tuple(of.probability[row].tolist()), (int(of.weight[row].argmax()),))
        for row in range(of.user.size)
    ]  # fmt: skip


def test_the_check_warns_in_words_and_forbids_nothing() -> None:
    check = ageing(seen(watched(World(changes_on=20), 1)))
    assert (check.name, check.state, check.forbids) == (NAME, CheckState.FAILED, False)
    assert check.qualifies.startswith("the mirror has aged: its skill on real clicks is ")
    assert check.figures["recent"] < check.figures["first"]
    assert ageing(seen(watched(World(days=20), 1))).state is CheckState.OK
    assert ageing(seen(watched(World(days=2), 1))).state is CheckState.OPEN
    assert ageing(()).qualifies == ""


def test_the_order_of_equal_times_and_an_added_day_change_no_past() -> None:
    """A look at the same data gives the same figures."""
    of = watched(World(days=20), 3)
    assert age(of) == age(of.rows(slice(0, of.user.size)))
