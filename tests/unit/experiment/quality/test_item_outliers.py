"""Items that win far more often than the others, of logit users whose tastes are known: how often one is told wrongly.

30 items of qualities with a standard deviation of 0.5 logits; each user sees 7 of them, three in each list alone.
"""

import random
from math import exp, fsum
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.experiment.made import answers, response
from worker.experiment.quality.item_outliers import MIN_ITEMS, MIN_USERS, item_outliers
from worker.experiment.readout import Report
from worker.experiment.report.assemble import OUTLYING, Defaults, report
from worker.experiment.statistics.where import Offers
from worker.experiment.store.database import State

NUM_ITEMS, SEEN = 30, 7
ATTACK = 4.0  # logits above the others: chosen in 9 of 10 lists of seven


def offers(seed: int, *, users: int, sd: float = 0.5, attack: float = 0.0) -> Offers:
    """Make one event per user; item 0 has `attack` logits more than its quality."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(0, sd, NUM_ITEMS)
    quality[0] += attack
    item = rng.random((users, NUM_ITEMS)).argsort(axis=1)[:, :SEEN]
    weights: NDArray[np.float64] = np.exp(quality[item] + rng.normal(0, 0.7, item.shape))
    chosen = (weights / weights.sum(axis=1, keepdims=True))[:, : SEEN - 1].ravel()
    entries = users * (SEEN - 1)
    return Offers(
        user=np.repeat(np.arange(users), SEEN - 1),
        item=item[:, : SEEN - 1].ravel(),
        side=np.tile([0, 0, 0, 1, 1, 1], users),
        position=np.zeros(entries, np.int64),
        chosen=chosen,
        chance=np.full(entries, 1 / SEEN),
        weight=np.full(entries, 1 / users),
    )


@pytest.mark.parametrize("sd", [0.5, 1.5])
def test_an_experiment_of_honest_items_has_an_outlier_in_at_most_5_of_100_runs(sd: float) -> None:
    """At two looks together, after 300 and 1,200 users; one item of 20 then has ten times the odds of another."""
    wrong = sum(
        any(item_outliers(offers(seed, users=users, sd=sd), alpha=0.05) for users in (300, 1_200))
        for seed in range(100)
    )
    assert wrong <= 5


def test_an_experiment_finds_an_item_that_speaks_to_the_model_in_90_of_100_runs() -> None:
    """Of 600 users, of whom about 120 see it in one list alone; and nothing but it."""
    found = [item_outliers(offers(seed, users=600, attack=ATTACK), alpha=0.05) for seed in range(100)]
    assert sum([one.item for one in rows] == [0] for rows in found) >= 90
    for rows in filter(None, found):
        assert 1 > rows[0].chosen > rows[0].fence > rows[0].chance == pytest.approx(1 / SEEN)
        assert 80 <= rows[0].users <= 160


def always_chosen(num_items: int, users: int) -> Offers:
    """Item 0 is chosen in each event of it, and against it nothing else is."""
    item = np.concatenate([np.zeros(users, np.int64), np.repeat(np.arange(1, num_items), users)])
    entries = item.size
    return Offers(
        user=np.tile(np.arange(users), num_items),
        item=item,
        side=np.ones(entries, np.int64),
        position=np.zeros(entries, np.int64),
        chosen=np.where(item == 0, 1.0, 0.0),
        chance=np.full(entries, 0.1),
        weight=np.full(entries, 1.0),
    )


def test_an_experiment_tells_an_item_that_always_wins_though_its_values_have_no_spread() -> None:
    (found,) = item_outliers(always_chosen(MIN_ITEMS, 40), alpha=0.05)
    assert (found.item, found.users, found.chosen) == (0, 40, 1.0)


def test_an_experiment_has_no_outlier_among_few_items_or_few_users() -> None:
    assert item_outliers(always_chosen(MIN_ITEMS - 1, 40), alpha=0.05) == []
    assert item_outliers(always_chosen(MIN_ITEMS, MIN_USERS - 1), alpha=0.05) == []


def options(rng: random.Random, attack: float) -> list[dict[str, Any]]:
    """Make the options of one duel."""
    items = rng.sample(range(NUM_ITEMS), SEEN)
    weights = [exp((attack if item == 3 else 0.0) + rng.gauss(0, 0.5)) for item in items]
    sides = [*[["control"], ["candidate"]] * 3, ["control", "candidate"]]
    return [
        {"item_id": f"i{item:02}", "position": place // 2, "variants": side, "kind": "ORGANIC",
         "probability": weight / fsum(weights), "value": None, "text": f"<b>Film</b> {item}"}
        for place, (item, weight, side) in enumerate(zip(items, weights, sides, strict=True))
    ]  # fmt: skip


def reported(attack: float) -> Report:
    """Report on 250 users with two events each."""
    rng, records = random.Random(5), []
    for user in range(250):
        for event in range(2):
            found = options(rng, attack)
            share = fsum(one["probability"] / len(one["variants"]) for one in found if "candidate" in one["variants"])
            records.append(response(user, event, options=found, duel_share=share))
    state = State()
    state.take(answers(records), health={}, positions={})
    return report(state, Defaults(planned_users=250))


def test_an_experiment_has_its_outlying_items_by_name_and_in_data_health() -> None:
    found = reported(ATTACK)
    (item,) = found.readouts[0].current.comparisons[0].outlying_items
    assert (item.name, item.title) == ("i03", "<b>Film</b> 3")
    assert item.chosen > item.fence > 2 * item.chance
    assert found.data_health[OUTLYING] == 1
    assert [one for _, one in found.outlying] == [item]


def test_an_experiment_of_honest_items_has_no_row_of_them() -> None:
    found = reported(0.0)
    assert found.outlying == ()
    assert OUTLYING not in found.data_health
