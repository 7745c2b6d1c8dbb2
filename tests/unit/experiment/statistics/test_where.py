"""Where the candidate wins, of logit users whose tastes are known: which items are found, and how often none is there.

list A   4 of 30 common items     list B   4 others     each user sees 3 events, chosen by softmax(quality + taste)
"""

import random
from math import exp, fsum
from typing import Any

import numpy as np
import pytest

from tests.support.experiment.made import answers, response
from worker.experiment.readout import Comparison, List
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.statistics import where
from worker.experiment.statistics.user_means import Rule
from worker.experiment.store import offered
from worker.experiment.store.database import State

NUM_ITEMS = 30


def duel(rng: random.Random, quality: dict[int, float], *, taste: float, depth: int = 4) -> list[dict[str, Any]]:
    """Make the options of one duel; B prefers nothing, so a difference is the items' alone."""
    items = rng.sample(range(NUM_ITEMS), 2 * depth - 1)
    weights = [exp(quality.get(item, 0.0) + rng.gauss(0, taste)) for item in items]
    sides = [["control"]] * (depth - 1) + [["candidate"]] * (depth - 1) + [["control", "candidate"]]
    return [
        {"item_id": f"i{item:02}", "position": place % (depth - 1) if place < 2 * depth - 2 else depth - 1,
         "variants": side, "kind": "ORGANIC", "probability": weight / fsum(weights), "value": None,
         "text": f"Film {item}"}
        for place, (item, weight, side) in enumerate(zip(items, weights, sides, strict=True))
    ]  # fmt: skip


def share(options: list[dict[str, Any]]) -> float:
    """Return what goes to the candidate."""
    return fsum(one["probability"] / len(one["variants"]) for one in options if "candidate" in one["variants"])


def compared(seed: int, quality: dict[int, float], *, users: int = 250, same: int = 0) -> Comparison:
    """Report on users of these tastes, and on some whose lists are the same."""
    rng, records = random.Random(seed), []
    for user in range(users):
        for event in range(3):
            options = duel(rng, quality, taste=0.5)
            records.append(response(user, event, options=options, duel_share=share(options)))
    records += [response(10_000 + user, status="IDENTICAL", duel_share=0.5) for user in range(same)]
    state = State()
    state.take(answers(records), health={}, positions={})
    return report(state, Defaults(planned_users=users)).readouts[0].current.comparisons[0]


def test_an_experiment_finds_the_items_that_made_the_difference() -> None:
    """One good item and one bad one of 30, wherever they are offered: both stand out, with their titles."""
    one = compared(1, {3: 1.5, 7: -2.0}, users=800)
    marked = {(row.name, row.title) for row in one.items if row.notable}
    assert {("i03", "Film 3")} <= marked <= {("i03", "Film 3"), ("i07", "Film 7")}
    good = {row.side: row for row in one.items if row.name == "i03"}
    assert good[List.B].points > 0 > good[List.A].points
    for row in good.values():
        assert row.effect.interval is None or row.effect.interval.low > 0
        assert row.chosen > 2 * row.chance


def test_an_experiments_items_add_up_to_its_whole_difference() -> None:
    """Points of all items, as of all positions, are the headline's difference from 50 %; equal lists add nothing."""
    one = compared(2, {3: 1.0, 4: 0.8, 20: -1.0}, same=200)
    headline = one.primary.overall.value
    assert headline is not None
    for table in (one.items, one.positions):
        assert sum(row.points for row in table) == pytest.approx(headline - 0.5, abs=1e-5)
    assert sorted(row.name for row in one.positions if row.side is List.B) == ["1", "2", "3"]


def test_an_experiment_of_equal_items_marks_none_in_95_of_100_runs() -> None:
    """e-BH over 60 rows, 1,500 users and items of one quality: at most 5 % of runs mark any."""
    rule, wrong, names = Rule(0.05, 1_000), 0, {item: f"i{item:02}" for item in range(NUM_ITEMS)}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        weights = np.exp(rng.normal(0, 0.7, (1_500, 7)))
        chosen = (weights / weights.sum(axis=1, keepdims=True))[:, :6].ravel()
        item = rng.random((1_500, NUM_ITEMS)).argsort(axis=1)[:, :6].ravel()
        user, side = np.repeat(np.arange(1_500), 6), np.tile([0, 0, 0, 1, 1, 1], 1_500)
        found = where.Offers(user, item, side, 0 * item, chosen, np.full(9_000, 1 / 7), np.full(9_000, 1 / 1_500))
        table = where.table(found, found.item, names, rule)
        assert all(row.effect.interval for row in table)
        wrong += any(row.notable for row in table)
    assert wrong <= 5


def test_an_experiment_withholds_the_interval_of_an_item_that_few_users_saw() -> None:
    """It says why, keeps its points, and marks nothing."""
    one = compared(4, {3: 3.0}, users=40)
    assert all(row.effect.withheld.startswith("not identified: ") and not row.notable for row in one.items)


def test_an_experiments_table_by_item_is_bounded_by_how_often_items_are_offered() -> None:
    """Of more items than it has rows for, those offered most are listed, in whatever order they were numbered."""
    item = np.array([*range(300), 0])
    tables = []
    for numbered in (np.arange(300), np.arange(300)[::-1]):
        names = {int(numbered[n]): f"rare-{n}" if n else "common" for n in range(300)}
        chosen = np.where(item == 0, 0.01, 0.99)
        found = where.Offers(
            0 * item, numbered[item], 1 * (item > 0), 0 * item, chosen, 0 * item + 0.5, 0 * item + 1 / 301
        )
        table = where.table(found, found.item, names, Rule(0.05, 100))
        tables.append([(names[row.group], row.side, row.points) for row in table])
    assert len(tables[0]) == where.MAX_ROWS
    assert tables[0][0][0] == "common"
    assert tables[0] == tables[1]


def test_an_experiments_items_are_not_those_of_its_busiest_user() -> None:
    """One of 200 users has most events, all for one item: it is one user's, as in the headline."""
    rng, records = random.Random(6), []
    for user, event in [*((user, 0) for user in range(200)), *((0, event) for event in range(1, 600))]:
        options = duel(rng, {3: 9.0} if user == 0 else {}, taste=0.0)
        records.append(response(user, event, options=options, duel_share=share(options)))
    state = State()
    state.take(answers(records), health={}, positions={})
    one = report(state, Defaults(planned_users=200)).readouts[0].current.comparisons[0]
    assert one.dominant
    assert one.primary.overall.value is not None
    assert sum(row.points for row in one.items) == pytest.approx(one.primary.overall.value - 0.5, abs=1e-5)
    assert all(abs(row.points) < 0.01 for row in one.items)


KINDS = {0: "Drama|Crime", 1: "drama", 2: "News, Crime", 3: "", 4: "a|b|c|d|e|f|g|h|i|j"}


def grouped(seed: int = 8, users: int = 250) -> Comparison:
    """Report on users whose items have categories and providers, those of one kind in five neither."""
    rng, records = random.Random(seed), []
    for user in range(users):
        for event in range(1 + user % 3):
            options = duel(rng, {0: 1.5, 5: 1.5, 10: 1.5}, taste=0.5)
            for one in options:
                number = int(one["item_id"][1:])
                told = {"category": KINDS[number % 5], "provider": f"Studio {number % 4}" if number % 5 != 3 else ""}
                one["attributes"] = {name: text for name, text in told.items() if text}
            records.append(response(user, event, options=options, duel_share=share(options)))
    state = State()
    state.take(answers(records), health={}, positions={})
    return report(state, Defaults(planned_users=users)).readouts[0].current.comparisons[0]


def test_an_experiments_categories_and_providers_add_up_to_its_whole_difference() -> None:
    """Also where an item has several, none, or one spelled in two ways; more than eight count as the first eight."""
    one = grouped()
    assert one.primary.overall.value is not None
    for table in (one.items, one.categories, one.providers, one.positions):
        assert sum(row.points for row in table) == pytest.approx(one.primary.overall.value - 0.5, abs=1e-5)
    assert {row.name for row in one.categories} == {"Drama", "Crime", "News", "(none)", *"abcdefgh"}
    assert {row.name for row in one.providers} == {"Studio 0", "Studio 1", "Studio 2", "Studio 3", "(none)"}
    offers = {(row.name, row.side): row.offers for row in one.categories}
    of_kind = [sum(row.offers for row in one.items if row.side is List.B and int(row.name[1:]) % 5 == kind)
               for kind in range(5)]  # fmt: skip
    assert offers["Drama", List.B] == of_kind[0] + of_kind[1]
    assert offers["Crime", List.B] == of_kind[0] + of_kind[2]
    assert offers["(none)", List.B] == of_kind[3]


def test_an_experiment_whose_items_have_no_categories_has_no_table_of_them() -> None:
    """One row of "(none)" for each list would say nothing."""
    one = compared(9, {}, users=40)
    assert one.items
    assert (one.categories, one.providers) == ((), ())


def test_an_experiments_item_of_several_categories_has_an_equal_part_in_each() -> None:
    """By hand: of two items of one user, one has a third in each of three groups; a user is one value in each."""
    offers = where.Offers(
        user=np.array([1, 1, 2]), item=np.array([10, 20, 20]), side=np.array([1, 1, 1]), position=np.array([0, 1, 0]),
        chosen=np.array([0.9, 0.3, 0.5]), chance=np.full(3, 0.2), weight=np.array([0.5, 0.5, 0.25]),
    )  # fmt: skip
    entries, group = where.divided(offers, {10: [0, 1, 2], 20: [2]})
    assert list(zip(entries.item.tolist(), group.tolist(), strict=True)) == [
        (10, 0), (10, 1), (10, 2), (20, 2), (20, 2)]  # fmt: skip
    assert entries.part is not None
    assert entries.part.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 1])
    rows = {row.group: row for row in where.table(entries, group, {0: "a", 1: "b", 2: "c"}, Rule(0.05, 100))}
    assert {number: row.offers for number, row in rows.items()} == {0: 1, 1: 1, 2: 3}
    assert rows[0].points == pytest.approx(0.5 * 0.7 / 3 / 2)
    assert rows[2].points == pytest.approx((0.5 * 0.7 / 3 + 0.5 * 0.1 + 0.25 * 0.3) / 2)
    assert rows[2].effect.users == 2
    of_first = (0.7 / 3 + 0.1) / (1 / 3 + 1)  # the mean of the first user, by parts
    assert rows[2].effect.value == pytest.approx((of_first + 0.3) / 2)
    whole, plain = where.table(offers, offers.item, {10: "x", 20: "y"}, Rule(0.05, 100)), sum(
        (offers.weight * (offers.chosen - offers.chance)).tolist()
    )  # fmt: skip
    assert sum(row.points for row in rows.values()) == pytest.approx(sum(row.points for row in whole))
    assert sum(row.points for row in whole) == pytest.approx(plain / 2)


def test_an_experiment_of_equal_categories_marks_none_in_95_of_100_runs() -> None:
    """e-BH over 20 rows, items in one to three of ten categories, and 1,000 users of one quality."""
    rng, wrong = np.random.default_rng(11), 0
    names = {group: f"c{group}" for group in range(10)}
    of_item = {item: rng.choice(10, rng.integers(1, 4), replace=False).tolist() for item in range(NUM_ITEMS)}
    for seed in range(100):
        rng = np.random.default_rng(seed)
        weights = np.exp(rng.normal(0, 0.7, (1_000, 7)))
        chosen = (weights / weights.sum(axis=1, keepdims=True))[:, :6].ravel()
        item = rng.random((1_000, NUM_ITEMS)).argsort(axis=1)[:, :6].ravel()
        user, side = np.repeat(np.arange(1_000), 6), np.tile([0, 0, 0, 1, 1, 1], 1_000)
        found = where.Offers(user, item, side, 0 * item, chosen, np.full(6_000, 1 / 7), np.full(6_000, 1 / 1_000))
        table = where.table(*where.divided(found, of_item), names, Rule(0.05, 1_000))
        assert all(row.effect.interval for row in table)
        wrong += any(row.notable for row in table)
    assert wrong <= 5


def test_an_experiment_finds_the_category_that_made_the_difference() -> None:
    """Items of one kind are better: their category stands out on the lists that offer it, with its interval."""
    best = {row.side: row for row in grouped(users=900).categories if row.name == "Drama"}
    assert best[List.B].points > 0
    assert best[List.B].notable
    interval = best[List.B].effect.interval
    assert interval is not None
    assert interval.low > 0


@pytest.mark.parametrize("seed", range(3))
def test_an_experiment_keeps_the_same_attributes_of_an_item_in_any_order(seed: int) -> None:
    """Answers differ in what they know of it: the first in their order is kept, in one batch or several."""
    rng = random.Random(seed)
    told = [{}, {"category": "Western"}, {"category": "Crime", "provider": "Z"}, {"provider": "A"}, {"price": "3"}]
    records = []
    for number, attributes in enumerate(told * 20):
        options = duel(rng, {}, taste=0.1)
        for one in options:
            one |= {"item_id": f"i{int(one['item_id'][1:]) % 9}x{options.index(one)}", "attributes": attributes}
        records.append(response(number, options=options, duel_share=share(options)))
    kept = []
    for _ in range(2):
        rng.shuffle(records)
        state = State()
        for start in range(0, len(records), 7):
            state.take(answers(records[start : start + 7]), health={}, positions={})
        (stream,) = state.db.execute("select distinct stream from item").fetchone()
        kept.append(
            sorted((one.name, one.title, one.category, one.provider) for one in offered.items(state.db, stream))
        )
    assert kept[0] == kept[1]
    assert {one[2] for one in kept[0]} <= {"", "Crime", "Western"}


def test_an_experiment_samples_duels_by_a_hash_and_not_by_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids in the order of time: the first of them would show the items of the first days alone."""
    monkeypatch.setattr(offered, "MAX_DUELS", 200)
    rng, records = random.Random(7), []
    for event in range(2_000):
        options = duel(rng, {}, taste=0.0)
        title = "early" if event < 1_000 else "late"
        options[0] |= {"item_id": title, "text": title}
        records.append(response(event % 400, event, event_id=f"{event:06}", options=options, duel_share=share(options)))
    state = State()
    state.take(answers(records), health={}, positions={})
    one = report(state, Defaults(planned_users=400)).readouts[0].current.comparisons[0]
    seen = {row.name: row.offers for row in one.items}
    assert 60 < seen["early"] < 140
    assert 60 < seen["late"] < 140
