"""Placebos as the worker would ask them, answered by engines that know the items, or nothing, or a side."""

from dataclasses import replace
from functools import cache
from math import exp, fsum

import pytest

from worker.core.records import Experiment, HistoryEntry, HistoryItem, Impression, Item, Role, Slate, User
from worker.core.seeding import unit
from worker.core.simulation.draws import by_option
from worker.core.simulation.questions import Depths, Kind, Option, Question, Status, plan, presented_orders
from worker.core.simulation.uncertainty import duel_share
from worker.core.steering.placebo_ids import Placebo
from worker.experiment.quality.checks import SlotShares, by_slot, position_profile
from worker.experiment.quality.placebos import placebo, placebo_check
from worker.experiment.statistics.confidence import Estimate, Interval, estimate

USERS, SLATE, CATALOGUE = 400, 7, 300
UNPOPULAR = tuple(Item(f"i{number}", 0) for number in range(CATALOGUE - 60, CATALOGUE))


def worth(item_id: str, user: str) -> float:
    """Return the utility that is true: less the further down the catalogue, and the user's own surprise."""
    return 2 * unit("surprise", user, item_id) - 2 * int(item_id[1:]) / CATALOGUE


def impression(user: int = 0, *, experiment: str = "exp") -> Impression:
    """Make one with a popular control slate, the best item first."""
    name = f"u{user}"
    popular = sorted(range(40), key=lambda item: unit(name, "retrieved", str(item)))[:SLATE]
    ranked = sorted((f"i{number}" for number in popular), key=lambda item: -worth(item, name))
    items = tuple(Item(item, place) for place, item in enumerate(ranked))
    control = Slate("live", items, Role.CONTROL, shown=True, slate_propensity=0.5)
    other = Slate("new", (Item("i41", 0), Item("i42", 1)), Role.CANDIDATE)
    return Impression(f"e{user}", 0, User(name), (control, other), experiment=Experiment(experiment))


def letters(engine: str, asked: Impression, question: Question, order: tuple[int, ...]) -> tuple[float, ...]:
    """Return the answer by slot."""

    def logit(slot: int, option: Option) -> float:
        if engine == "useless":
            return 0.0
        bonus = {"last slot": 1.0 * (slot == len(order) - 1), "sided": 1.0 * (question.variant in option.variants)}
        return worth(option.item_id, asked.user.user_id) + bonus.get(engine, 0.0)

    mass = [exp(logit(slot, question.options[index])) for slot, index in enumerate(order)]
    return tuple(one / fsum(mass) for one in mass)


@cache
def asked(kind: Placebo, engine: str) -> tuple[Estimate, SlotShares]:
    """Ask every user's placebo in two turned-round draws; return the estimate and the position profile."""
    shares, profile = [], SlotShares()
    for user in range(USERS):
        made = placebo(impression(user), kind, unpopular=UNPOPULAR)
        assert made
        (question,) = (q for q in plan(made, lambda item: item.item_id, Depths()) if q.kind is Kind.DUEL)
        assert question.status is None
        orders = presented_orders(made.event_id, 2, question.options)
        draws = [by_option(order, letters(engine, made, question, order)) for order in orders]
        profile.add([by_slot(draw, order) for draw, order in zip(draws, orders, strict=True)])
        mean = [fsum(column) / 2 for column in zip(*draws, strict=True)]
        shares.append(duel_share(mean, [option.variants for option in question.options], question.variant)[0])
    return estimate(shares, num_differ=USERS, alpha=0.05, planned_users=USERS), profile


@pytest.mark.parametrize(
    ("kind", "engine", "state"),
    [
        (Placebo.SPLIT, "knows", "OK"),
        (Placebo.SPLIT, "sided", "FAILED"),
        (Placebo.SPLIT, "last slot", "OK"),  # hashed order keeps it even: the position profile is what sees it
        (Placebo.DECOY, "knows", "OK"),
        (Placebo.DECOY, "useless", "FAILED"),
        (Placebo.PARITY, "knows", "OK"),
    ],
)
def test_experiment_placebo_is_judged_by_what_the_engine_knows(kind: Placebo, engine: str, state: str) -> None:
    """A useless engine cannot tell decoys from real items; one that likes a side is caught by a split."""
    check = placebo_check(kind, asked(kind, engine)[0])
    assert (check.name, check.state) == (f"placebo: {kind}", state), check.words


def test_experiment_placebo_of_a_useless_engine_says_so() -> None:
    """The words name what failed."""
    words = placebo_check(Placebo.DECOY, asked(Placebo.DECOY, "useless")[0]).words
    assert words.startswith("no user prefers real items to random unpopular ones")


def test_experiment_placebo_answers_show_the_last_slot() -> None:
    """A last-slot bias is caught by the position profile of the same answers, and named."""
    check = position_profile(asked(Placebo.SPLIT, "last slot")[1])
    assert (check.state, "of 6 options, the one listed last gets" in check.words) == ("FAILED", True)
    assert position_profile(asked(Placebo.SPLIT, "knows")[1]).state != "FAILED"


def test_experiment_parity_finds_the_better_items_ahead() -> None:
    """With the best item first, each even place holds a better one than the odd place below it."""
    estimated = asked(Placebo.PARITY, "knows")[0]
    assert estimated.interval is not None
    assert estimated.interval.high < 0.5


@pytest.mark.parametrize(
    ("kind", "interval", "state"),
    [
        (Placebo.SPLIT, Interval(0.49, 0.51), "OK"),
        (Placebo.SPLIT, Interval(0.501, 0.51), "FAILED"),
        (Placebo.SPLIT, Interval(0.48, 0.499), "FAILED"),
        (Placebo.DECOY, Interval(0.4, 0.499), "OK"),
        (Placebo.DECOY, Interval(0.4, 0.51), "OPEN"),
        (Placebo.DECOY, Interval(0.4901, 0.499), "FAILED"),  # surely below, by next to nothing
        (Placebo.DECOY, Interval(0.495, 0.505), "FAILED"),
        (Placebo.PARITY, Interval(0.49, 0.51), "OK"),
        (Placebo.PARITY, Interval(0.4, 0.49), "OK"),
        (Placebo.PARITY, Interval(0.51, 0.6), "OPEN"),
    ],
)
def test_experiment_placebo_judgement(kind: Placebo, interval: Interval, state: str) -> None:
    """What the interval must show, by kind; parity has no wrong answer."""
    assert placebo_check(kind, Estimate(500, fsum((interval.low, interval.high)) / 2, interval)).state == state


def test_experiment_placebo_without_an_interval_is_open() -> None:
    """Too few users say nothing, and why is told."""
    check = placebo_check(Placebo.DECOY, estimate([0.5] * 40, num_differ=40, alpha=0.05, planned_users=500))
    assert (check.state, "at least 100 needed" in check.words) == ("OPEN", True)


@pytest.mark.parametrize("kind", Placebo)
def test_experiment_placebo_is_an_impression_of_its_own(kind: Placebo) -> None:
    """New event, own experiment, two unseen slates of one length without propensities, places from 0 on; repeatable."""
    made = placebo(impression(), kind, unpopular=UNPOPULAR)
    assert made == placebo(impression(), kind, unpopular=reversed(UNPOPULAR))
    assert made
    assert made.experiment == Experiment(f"exp~{kind}")
    assert len({"e0", *(m.event_id for k in Placebo if (m := placebo(impression(), k, unpopular=UNPOPULAR)))}) == 4
    assert [slate.role for slate in made.slates] == [Role.CONTROL, Role.CANDIDATE]
    assert [(slate.shown, slate.slate_propensity) for slate in made.slates] == [(False, None)] * 2
    places = [[item.position for item in slate.items] for slate in made.slates]
    assert places[0] == places[1] == list(range(len(places[0])))
    duel = plan(made, lambda item: item.item_id, Depths())[-1]
    assert duel.status not in (Status.IDENTICAL, Status.SAME_SET, Status.TRIVIAL)


def test_experiment_split_parts_the_slate_without_overlap() -> None:
    """Both halves come from the control slate, no item is in both, and each item is on either side at times."""
    firsts = set()
    for user in range(30):
        made = placebo(impression(user), Placebo.SPLIT)
        assert made
        first, second = ({item.item_id for item in slate.items} for slate in made.slates)
        control = [item.item_id for item in impression(user).slates[0].items]
        assert (len(first), len(second), first & second) == (SLATE // 2, SLATE // 2, set())
        assert first | second <= set(control)
        firsts.add(control[0] in first)
    assert firsts == {True, False}


def test_experiment_decoys_are_unknown_to_the_user() -> None:
    """What is offered or in the history is no decoy; too few decoys make no placebo."""
    event, known = impression(), UNPOPULAR[3:]
    history = tuple(HistoryEntry(HistoryItem(item.item_id)) for item in known)
    event = replace(event, user=replace(event.user, history=history))
    made = placebo(event, Placebo.DECOY, unpopular=UNPOPULAR)
    assert made
    real, decoys = ([item.item_id for item in slate.items] for slate in made.slates)
    planted = {b for a, b in zip(real, decoys, strict=True) if a != b}
    assert planted == {item.item_id for item in UNPOPULAR[:3]}  # half of the 6 that are asked
    assert placebo(event, Placebo.DECOY, unpopular=UNPOPULAR[1:]) is None
    assert placebo(event, Placebo.DECOY, unpopular=event.slates[1].items * 9) is None


def test_experiment_placebo_needs_a_control_slate_an_experiment_and_two_items() -> None:
    """What cannot be compared makes no placebo; an item that stands twice is one."""
    event = impression()
    control = event.slates[0]
    twice = replace(control, items=(control.items[0], replace(control.items[0], position=1)))
    assert placebo(replace(event, experiment=None), Placebo.SPLIT) is None
    assert placebo(replace(event, slates=event.slates[1:]), Placebo.SPLIT) is None
    assert placebo(replace(event, slates=(twice,)), Placebo.PARITY) is None
    assert placebo(impression(experiment="x" * 251), Placebo.SPLIT) is None
    assert placebo(impression(experiment="x" * 250), Placebo.SPLIT) is not None
