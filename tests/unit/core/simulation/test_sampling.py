"""Who is simulated: whole users, decided alike everywhere, and why others are not."""

from dataclasses import replace
from time import process_time
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.support.examples import AT_US, DAY_US, impression
from worker.core.records import Experiment, User
from worker.core.simulation.sampling import USER_DAY_BYTES, Sampling, Skip, UserBudget

NOW_S = AT_US / 1e6 + 10
USERS = [f"user-{number}" for number in range(2_000)]


def test_a_user_is_taken_whole_whatever_the_event() -> None:
    who = Sampling(sample_rate=0.5)
    for user in USERS[:50]:
        events = [
            impression(user=User(user), event_id=event, occurred_at=AT_US - days * DAY_US, domain=domain)
            for event in ("e1", "e2")
            for days in (0, 1)
            for domain in ("movies", "news")
        ]
        assert len({who.skip(event, now_s=NOW_S) for event in events}) == 1


def test_a_higher_rate_keeps_everybody_that_a_lower_one_takes() -> None:
    few = {user for user in USERS if Sampling(sample_rate=0.1).takes_user("exp", user)}
    many = {user for user in USERS if Sampling(sample_rate=0.3).takes_user("exp", user)}
    assert few < many
    assert 150 < len(few) < 250
    assert 530 < len(many) < 670


def test_experiments_and_salts_take_other_users() -> None:
    taken = [
        frozenset(user for user in USERS if Sampling(sample_rate=0.5, salt=salt).takes_user(experiment, user))
        for salt, experiment in (("", "exp"), ("", "other"), ("salt", "exp"))
    ]
    assert len(set(taken)) == 3
    assert all(400 < len(one & other) < 600 for one in taken for other in taken if one is not other)


def test_a_rate_of_an_experiment_wins_over_the_general_one() -> None:
    who = Sampling(sample_rate=0.000001, sample_rates={"exp": 1.0})
    assert (who.rate("exp"), who.rate("other")) == (1.0, 0.000001)
    assert who.skip(impression(), now_s=NOW_S) is None
    assert who.skip(impression(experiment=Experiment("other")), now_s=NOW_S) is Skip.SAMPLE


def test_everybody_is_taken_at_a_rate_of_one() -> None:
    assert all(Sampling().takes_user("exp", user) for user in USERS)


@pytest.mark.parametrize(
    ("rules", "event", "skip"),
    [
        ({}, {}, None),
        ({}, {"is_test": True}, Skip.TEST),
        ({"include_test": True}, {"is_test": True}, None),
        ({}, {"user": User("u", is_bot=True)}, Skip.BOT),
        ({"include_bots": True}, {"user": User("u", is_bot=True)}, None),
        ({}, {"experiment": Experiment("exp", holdout=True)}, Skip.HOLDOUT),
        ({"include_holdout": True}, {"experiment": Experiment("exp", holdout=True)}, None),
        ({"experiments": frozenset({"exp"})}, {}, None),
        ({"experiments": frozenset({"other"})}, {}, Skip.EXPERIMENT),
        ({"experiments": frozenset({"exp"})}, {"experiment": None}, Skip.EXPERIMENT),
        ({"max_age_s": 60.0}, {}, None),
        ({"max_age_s": 9.0}, {}, Skip.AGE),
        ({"max_age_s": 60.0}, {"occurred_at": AT_US - DAY_US}, Skip.AGE),
        ({"max_age_s": 60.0}, {"occurred_at": AT_US + DAY_US}, None),  # a clock ahead of ours is not old
        ({}, {"occurred_at": 0}, None),
    ],
)
def test_an_impression_is_skipped_for_one_reason(
    rules: dict[str, Any], event: dict[str, Any], skip: Skip | None
) -> None:
    assert Sampling(**rules).skip(replace(impression(), **event), now_s=NOW_S) is skip


# -- events of one user a day


def test_a_user_has_so_many_events_a_day_and_tomorrow_again() -> None:
    budget = UserBudget(limit=2)
    assert [budget.takes("u", f"e{n}", AT_US) for n in range(4)] == [True, True, False, False]
    assert budget.takes("u", "e9", AT_US + DAY_US)
    assert budget.takes("other", "e2", AT_US)


def test_an_event_that_comes_again_is_answered_as_before() -> None:
    budget = UserBudget(limit=1)
    assert [budget.takes("u", event, AT_US) for event in ("e1", "e2", "e1", "e2")] == [True, False, True, False]


def test_no_limit_counts_nothing() -> None:
    budget = UserBudget(limit=0)
    assert all(budget.takes("u", f"e{n}", AT_US) for n in range(100))
    assert not budget._taken


def test_the_count_forgets_the_users_seen_longest_ago() -> None:
    budget = UserBudget(limit=1, max_bytes=2 * (USER_DAY_BYTES + 8))
    for user in ("a", "b", "a", "c"):
        budget.takes(user, "e1", AT_US)
    assert len(budget._taken) == 2
    assert not budget.takes("a", "e2", AT_US)  # still known
    assert budget.takes("b", "e2", AT_US)  # forgotten


def test_only_a_day_that_goes_on_is_missed() -> None:
    budget = UserBudget(limit=1, max_bytes=2 * (USER_DAY_BYTES + 8))
    for user in ("a", "b"):
        budget.takes(user, "e1", AT_US)
    for user in ("a", "b"):
        budget.takes(user, "e2", AT_US + DAY_US)
    assert budget.num_forgotten == 0  # yesterday's
    budget.takes("c", "e2", AT_US + DAY_US)
    assert budget.num_forgotten == 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 1)), max_size=60), st.integers(1, 3))
def test_the_budget_decides_as_sets_of_events_would(events: list[tuple[int, int, int]], limit: int) -> None:
    budget, taken = UserBudget(limit), dict[tuple[int, int], set[int]]()
    for user, event, day in events:
        seen = taken.setdefault((user, day), set())
        expected = event in seen or len(seen) < limit
        if expected:
            seen.add(event)
        assert budget.takes(f"u{user}", f"e{event}", AT_US + day * DAY_US) is expected


def test_ten_thousand_events_of_one_user_are_counted_in_no_time() -> None:
    budget, start_s = UserBudget(limit=20_000), process_time()
    assert all(budget.takes("u", f"e{n}", AT_US) for n in range(10_000))
    assert process_time() - start_s < 1.5  # measured: 0.15 s
