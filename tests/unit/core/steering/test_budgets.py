"""Budgets of tokens: kept, used, spread over the period, by whole users, and carried with the partition."""

import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest

from worker.core.delivery.offset_metadata import MAX_CHARS, Note, with_topic_id
from worker.core.records import Partition
from worker.core.seeding import unit
from worker.core.steering.budgets import DAY_S, EVERY, HOUR_S, MAX_EXPERIMENTS, MAX_METERS, Budgets, Period, TokenLimits

PARTITIONS = [Partition("impressions", number) for number in range(4)]
A, B, *_ = PARTITIONS
EACH = 100  # tokens of an event


class Stream:
    """Events of many users at random times, each asked if the budget pays for its user; clocks in seconds since 0."""

    def __init__(self, budgets: Budgets, *, users: int = 1_000, own: TokenLimits | None = None, seed: int = 1) -> None:
        self.budgets, self._own, self._users = budgets, own, users
        self._chance = random.Random(seed)
        self.spent = defaultdict[int, int](int)  # by hour
        self.asked = defaultdict[tuple[int, str], list[bool]](list)  # by hour and user, in order
        self.now_s = 0.0
        self.kill_every = 0  # events
        self._notes: dict[Partition, str] = {}  # what is committed
        for partition in PARTITIONS:
            budgets.restore(partition, {})

    def run(self, until_s: float, events_an_hour: float) -> None:
        num = 0
        while self.now_s < until_s:
            num += 1
            self._event()
            self.now_s += self._chance.expovariate(events_an_hour / HOUR_S)
            if self.kill_every and num % self.kill_every == 0:
                self.budgets.drop(PARTITIONS)
                for partition in PARTITIONS:
                    self.budgets.restore(partition, Note.decode(self._notes.get(partition, "")).spent)

    def _event(self) -> None:
        number = self._chance.randrange(self._users)
        user, partition = f"u{number}", PARTITIONS[number % len(PARTITIONS)]
        share = self.budgets.share(partition, "exp", self._own, now_s=self.now_s)
        takes = unit("", "exp", user) < share
        hour = int(self.now_s // HOUR_S)
        self.asked[hour, user].append(takes)
        if takes:
            self.spent[hour] += EACH
            assert self.budgets.spend(partition, "exp", self._own, EACH, now_s=self.now_s)
            self._notes[partition] = Note(spent=self.budgets.note(partition)).encode()


def hourly(tokens: int) -> Budgets:
    return Budgets(every=TokenLimits(per_hour=tokens), num_partitions=lambda: len(PARTITIONS))


@pytest.mark.parametrize(("demand", "kill_every"), [(0.5, 0), (2.0, 0), (10.0, 0), (2.0, 37)])
def test_an_hours_tokens_are_kept_and_used_whatever_the_demand_and_under_kills(demand: float, kill_every: int) -> None:
    budget = 100_000
    stream = Stream(hourly(budget))
    stream.kill_every = kill_every
    stream.run(5 * HOUR_S, demand * budget / EACH)
    spent = [stream.spent[hour] for hour in range(5)]
    assert max(spent) <= budget + EACH * len(PARTITIONS)  # one event of each partition passes its part
    assert min(spent[1:]) >= 0.6 * min(demand, 1.0) * budget  # of 250 events an hour and partition: chance is large
    assert all(all(asked) for asked in stream.asked.values()) == (demand < 1)


def test_whoever_is_left_out_is_left_out_for_the_rest_of_the_hour() -> None:
    stream = Stream(hourly(100_000))
    stream.run(4 * HOUR_S, 5_000)
    flips = [(before, after) for asked in stream.asked.values() for before, after in pairwise(asked)]
    assert (False, True) not in flips
    assert (True, False) in flips


def test_once_the_share_has_settled_most_users_are_asked_of_all_their_events_or_of_none() -> None:
    stream = Stream(hourly(100_000))
    stream.run(8 * HOUR_S, 5_000)
    later = [asked for (hour, _), asked in stream.asked.items() if hour >= 4 and len(asked) >= 2]
    assert sum(len(set(asked)) == 1 for asked in later) / len(later) > 0.9


def test_the_users_who_are_asked_are_not_chosen_by_how_often_they_come() -> None:
    """A hash chooses them: heavy users, who come ten times as often, are asked as often as light ones."""
    budgets = hourly(100_000)
    stream = Stream(budgets)
    stream.run(6 * HOUR_S, 5_000)
    share = budgets.share(A, "exp", None, now_s=stream.now_s)
    light, heavy = ([unit("", "exp", f"{kind}{n}") < share for n in range(4_000)] for kind in ("light", "heavy"))
    assert abs(sum(light) - sum(heavy)) / 4_000 < 0.03


def test_tokens_last_for_the_whole_period_once_the_share_has_settled() -> None:
    stream = Stream(hourly(100_000))
    stream.run(5 * HOUR_S, 10_000)
    before = stream.spent[5]
    stream.run(5.5 * HOUR_S, 10_000)
    assert 0.3 * 100_000 < stream.spent[5] - before < 0.75 * 100_000


def test_a_definitions_limits_count_for_its_experiment_and_override_the_settings_total() -> None:
    budgets = Budgets(each=TokenLimits(total=1_000), num_partitions=lambda: 1)
    budgets.restore(A, {})

    def share(experiment: str, own: TokenLimits | None) -> float:
        return budgets.share(A, experiment, own, now_s=0.0)

    own = TokenLimits(total=5_000)
    assert budgets.spend(A, "one", own, 2_000, now_s=0.0)
    assert budgets.spend(A, "two", None, 2_000, now_s=0.0)
    assert (share("one", own), share("two", None), share("three", None)) == (1.0, 0.0, 1.0)
    assert budgets.states(now_s=9 * DAY_S) == {
        ("one", Period.TOTAL): 1.0, ("two", Period.TOTAL): 0.0, ("three", Period.TOTAL): 1.0,
    }  # fmt: skip
    assert share("two", TokenLimits(total=9_000)) == 1.0  # raised


def test_each_partition_has_its_part_and_one_that_is_not_ours_has_none() -> None:
    budgets = hourly(4_000)
    budgets.restore(A, {})
    assert budgets.spend(A, "exp", None, 1_000, now_s=1_800.0)
    assert budgets.share(A, "exp", None, now_s=1_800.0) == 0.0
    assert not budgets.spend(B, "exp", None, 1_000, now_s=1_800.0)
    assert budgets.share(B, "exp", None, now_s=1_800.0) == 1.0
    budgets.drop([A])
    assert budgets.states(now_s=1_800.0) == {}


def test_without_a_limit_nothing_is_counted_or_noted() -> None:
    budgets = Budgets()
    budgets.restore(A, {})
    assert budgets.share(A, "exp", TokenLimits(), now_s=0.0) == 1.0
    assert not budgets.spend(A, "exp", TokenLimits(), 10**9, now_s=0.0)
    assert budgets.note(A) == {}


def test_a_day_has_a_budget_of_its_own() -> None:
    budgets = Budgets(every=TokenLimits(per_hour=10_000, per_day=10_000), num_partitions=lambda: 1)
    budgets.restore(A, {})
    budgets.spend(A, "exp", None, 10_000, now_s=1.0)
    assert budgets.states(now_s=HOUR_S + 1)[EVERY, Period.DAY] == 0.0
    assert budgets.states(now_s=HOUR_S + 1)[EVERY, Period.HOUR] > 0.0
    assert budgets.share(A, "exp", None, now_s=HOUR_S + 1) == 0.0
    assert budgets.share(A, "exp", None, now_s=3 * DAY_S) == 1.0  # after days without events: everybody


def test_a_budget_that_is_raised_pays_again_within_the_period() -> None:
    budgets = Budgets(num_partitions=lambda: 1)
    budgets.restore(A, {})
    budgets.spend(A, "exp", TokenLimits(per_hour=1_000), 1_000, now_s=60.0)
    assert budgets.share(A, "exp", TokenLimits(per_hour=1_000), now_s=61.0) == 0.0
    assert budgets.share(A, "exp", TokenLimits(per_hour=100_000), now_s=62.0) == 1.0


def notes() -> Iterator[object]:
    good = [100, 1, 50, 0, 0.5, 0.0, 0.1, -1, 0, 0, 1.0, 0.0, 0.0]
    yield from ([], [1], good[:-1], [*good, 1], "text", None, 5, {"a": 1})
    for place in range(7):
        for odd in (-2, "x", None, 2**60, 1.5e300, math.inf, math.nan):
            yield [*good[:place], odd, *good[place + 1 :]]


@pytest.mark.parametrize("told", list(notes()))
def test_a_note_that_is_none_of_ours_says_nothing(told: object) -> None:
    text = json.dumps({"mirrorstream": 1, "spent": {"exp": told}})
    budgets = Budgets(every=TokenLimits(per_hour=100))
    budgets.restore(A, Note.decode(text).spent)
    assert budgets.note(A) == {}
    assert budgets.share(A, "exp", None, now_s=0.0) == 1.0


def test_a_period_that_a_wrong_clock_began_in_the_future_is_forgotten() -> None:
    """Else nobody would be asked until then."""
    ahead, budgets = hourly(4_000), hourly(4_000)
    ahead.restore(A, {})
    ahead.spend(A, "exp", None, 1_000, now_s=1_000 * DAY_S)
    budgets.restore(A, ahead.note(A))
    assert budgets.share(A, "exp", None, now_s=DAY_S) == 1.0
    budgets.restore(A, ahead.note(A))
    assert budgets.share(A, "exp", None, now_s=1_000 * DAY_S - 1) == 0.0  # a clock that is a second late


def test_a_limit_that_is_taken_away_is_no_longer_told() -> None:
    budgets = Budgets(num_partitions=lambda: 1)
    budgets.restore(A, {})
    budgets.spend(A, "exp", TokenLimits(total=1_000), 1_000, now_s=0.0)
    assert budgets.states(now_s=0.0) == {("exp", Period.TOTAL): 0.0}
    assert budgets.share(A, "exp", TokenLimits(), now_s=0.0) == 1.0
    assert budgets.states(now_s=0.0) == {}


def test_the_experiments_that_are_counted_are_bounded_and_those_that_cost_most_stay() -> None:
    """Ids come with events."""
    budgets = Budgets(every=TokenLimits(per_hour=10**12), each=TokenLimits(total=1_000), num_partitions=lambda: 1)
    budgets.restore(A, {})
    budgets.spend(A, "costly", None, 1_000, now_s=0.0)
    for number in range(2 * MAX_METERS):
        assert budgets.share(A, f"experiment-{number}", None, now_s=0.0) == 1.0
        budgets.spend(A, f"experiment-{number}", None, 1, now_s=0.0)
    assert budgets.share(A, "costly", None, now_s=0.0) == 0.0
    assert len(budgets.states(now_s=0.0)) <= MAX_METERS
    assert len(budgets._of[A]) == len(budgets._limits) == MAX_METERS
    assert EVERY in budgets.note(A)


@pytest.mark.parametrize("limits", [{"per_hour": 10**9}, {"per_day": 10**9}, {"total": 10**9}])
def test_the_note_keeps_the_experiments_that_cost_most_whatever_limits_them(limits: dict[str, int]) -> None:
    budgets = Budgets(each=TokenLimits(**limits), num_partitions=lambda: 1)
    budgets.restore(A, {})
    for number in range(20):
        budgets.spend(A, f"experiment-{number}", None, 1_000 - number, now_s=0.0)
    assert set(budgets.note(A)) == {f"experiment-{number}" for number in range(MAX_EXPERIMENTS)}


def test_an_experiment_with_a_name_too_long_for_the_note_does_not_keep_others_out() -> None:
    budgets = Budgets(each=TokenLimits(total=10**12), num_partitions=lambda: 1)
    budgets.restore(A, {})
    budgets.spend(A, "\U0001f3b2" * 256, None, 2_000, now_s=0.0)
    budgets.spend(A, "short", None, 1_000, now_s=0.0)
    assert list(Note.decode(Note(spent=budgets.note(A)).encode()).spent) == ["short"]


def test_many_experiments_fit_beside_an_offset_and_those_that_cost_most_are_kept() -> None:
    budgets = Budgets(every=TokenLimits(per_hour=10**12), each=TokenLimits(total=10**12))
    budgets.restore(A, {})
    for number in range(200):
        budgets.spend(A, f"experiment-{number}-{'ü' * 80}", None, 1_000 * (number + 1), now_s=DAY_S * 20_000)
    note = budgets.note(A)
    assert len(note) == MAX_EXPERIMENTS
    text = with_topic_id(Note(dict.fromkeys(range(0, 9000, 7), 1), "x" * 200, note).encode(), "TeUE4O3qTsK")
    assert len(text) <= MAX_CHARS + 40
    kept = Note.decode(text).spent
    assert EVERY in kept
    assert list(kept) == list(note)[-len(kept) :]
