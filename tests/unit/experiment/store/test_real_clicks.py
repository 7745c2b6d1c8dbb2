"""What is known of what real users did: clicks, a real no, and what is still pending."""

import json
from collections.abc import Callable

import pytest

from tests.support.experiment.made import AT_US, MINUTE_US, answers, response, slate
from worker.core.errors import BadRecord
from worker.core.outcomes import Outcome
from worker.experiment.real_clicks.shown_slates import Seen
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.store import queries
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import MAX_CLICKS, read_outcome, seen, without_response

WINDOW_US = 10 * MINUTE_US


def outcome(
    user: int = 0, event: int = 0, *clicks: tuple[str, int], closed: bool = False, at: int = 1, **changes: object
) -> Outcome:
    """Make an outcome; clicks are (item, minutes after the impression), and it was observed `at` minutes after."""
    shown_us = AT_US + event * MINUTE_US
    record: dict[str, object] = {
        "outcome_id": "8d5a4d5e-6c3f-4b57-9a54-2f3c9b1f1a11",
        "event_id": f"e-{user}-{event}",
        "user_id": f"u{user}",
        "variant": "control",
        "observed_at": shown_us + at * MINUTE_US,
        "window_closed": closed,
        "actions": [
            {"item_id": item, "kind": "CLICK", "occurred_at": shown_us + minute * MINUTE_US} for item, minute in clicks
        ],
    }  # fmt: skip
    return read_outcome(record | changes)


def after(*outcomes: Outcome, num_events: int = 1) -> State:
    """Count shown slates of two items and outcomes."""
    state = State()
    shown = answers(slate(0, event, "control", probabilities=(0.7, 0.3), shown=True) for event in range(num_events))
    state.take(shown, outcomes=outcomes, health={}, positions={})
    return state


def found(state: State) -> list[Seen]:
    (epoch,) = queries.epochs(state.db)
    return list(seen(state.db, epoch.id, "control", window_us=WINDOW_US))


def test_an_experiment_sees_what_was_clicked_beside_what_was_simulated() -> None:
    (one,) = found(after(outcome(0, 0, ("i1", 2), closed=True)))
    assert (one.items, one.positions, one.probabilities, one.clicked) == (("i0", "i1"), (0, 1), (0.7, 0.3), (1,))


@pytest.mark.parametrize(
    ("outcomes", "clicked"),
    [
        ([], None),  # the feed says nothing
        ([outcome(closed=False, at=9)], None),  # the window is open
        ([outcome(closed=True, at=1)], ()),
        ([outcome(closed=False, at=10)], ()),  # the feed has moved past the window
        ([outcome(7, 30)], ()),  # of another event: the feed moves all the same
        ([outcome(0, 0, ("i0", 1), at=9)], None),  # a click is not known sooner than a no
        ([outcome(0, 0, ("i0", 9), at=10)], (0,)),
        ([outcome(0, 0, ("i0", 11), at=11)], ()),  # too late to count
        ([outcome(0, 0, ("i9", 1), closed=True)], None),  # an item that was not asked about
        ([outcome(0, 0, ("i0", 1)), outcome(0, 0, ("i1", 2), closed=True)], (0, 1)),
        ([outcome(0, 0, ("i0", 1)), outcome(0, 0, ("i0", 1)), outcome(closed=True)], (0,)),
    ],
)
def test_an_experiment_takes_an_outcome_only_when_its_window_is_over(
    outcomes: list[Outcome], clicked: tuple[int, ...] | None
) -> None:
    """Pending is None; several outcomes of an event add up, in any order."""
    for order in (1, -1):
        assert found(after(*outcomes[::order]))[0].clicked == clicked


def test_an_experiment_counts_only_actions_that_are_clicks() -> None:
    seen_only = outcome(closed=True, actions=[{"item_id": "i0", "kind": "VIEW"}, {"item_id": "i1", "kind": "LIKE"}])
    bought = outcome(closed=True, actions=[{"item_id": "i1", "kind": "PURCHASE"}])
    assert found(after(seen_only))[0].clicked == ()
    assert found(after(bought))[0].clicked == (1,)


def test_an_experiment_names_outcomes_of_events_that_it_knows_nothing_of() -> None:
    state = after(outcome(0, 0), outcome(5, 5))
    assert without_response(state.db) == 1


def test_an_experiment_keeps_slates_that_were_shown_alone() -> None:
    """What nobody saw has no real outcome; what was shown and has no answer is known, and calibrates nothing."""
    state = State()
    unasked = slate(variant="control", shown=True, status="NOT_SAMPLED", probabilities=(), values=())
    records = [slate(1, variant="control"), slate(2, shown=True, status="TIMEOUT"), unasked]
    state.take(answers(records), health={}, positions={})
    assert state.db.execute("select count(*) from shown").fetchone() == (2,)
    assert found(state) == []


def test_an_experiment_weighs_a_slate_by_the_share_of_users_that_it_was_asked_of() -> None:
    state = State()
    records = [slate(user, variant="control", shown=True, sample_rate=rate) for user, rate in ((1, 0.05), (2, 1.0))]
    state.take(answers(records), health={}, positions={})
    assert sorted(one.weight for one in found(state)) == [1.0, 20.0]


def test_an_experiment_forgets_what_a_user_did() -> None:
    state = after(outcome(0, 0, ("i1", 2)))
    state.forget("u0")
    state.take([], outcomes=[outcome(0, 0, ("i1", 2))], health={}, positions={})
    assert state.db.execute("select (select count(*) from shown) + (select count(*) from outcome)").fetchone() == (0,)
    assert state.health() == {"forgotten_user": 1}


@pytest.mark.parametrize("leave", [lambda state: state.forget("u0"), lambda state: state.reset()])
def test_an_experiment_leaves_no_row_of_who_is_forgotten_or_of_what_is_read_anew(
    leave: Callable[[State], None],
) -> None:
    """In no table: a propensity that stayed would be taken for that of another configuration."""
    state = after(outcome(0, 0, ("i1", 2)))
    there = [slate(0, 0, shown=False, target_propensity=0.5), response(0, 0, duel_share=0.9)]
    state.take(answers(there), health={}, positions={})
    assert state.db.execute("select count(*) from target").fetchone() == (1,)
    leave(state)
    kept = ("definition", "forgotten", "change", "stream", "position", "health", "sqlite_stat1", "looked")
    dumped = [line for line in state.db.iterdump() if line.startswith("INSERT INTO")]
    assert [line for line in dumped if not line.startswith(tuple(f'INSERT INTO "{name}"' for name in kept))] == []


def test_an_experiment_bounds_the_clicks_of_an_event() -> None:
    state = after(outcome(0, 0, *((f"i{number}", 1) for number in range(200))))
    (clicks,) = state.db.execute("select clicks from outcome").fetchone()
    assert len(json.loads(clicks)) == MAX_CLICKS


@pytest.mark.parametrize("change", [{"event_id": ""}, {"observed_at": -1}, {"actions": [{}]}, {"variant": None}])
def test_an_experiment_refuses_an_outcome_that_is_none(change: dict[str, object]) -> None:
    with pytest.raises(BadRecord):
        outcome(**change)  # type: ignore[arg-type]


def test_a_log_of_one_policy_is_calibrated_although_nothing_is_compared() -> None:
    state = State()
    asked = [slate(user, variant="control", shown=True, probabilities=(0.8, 0.2)) for user in range(200)]
    told = [outcome(user, 0, *[("i0", 1)] * (user % 2), closed=True) for user in range(200)]
    state.take(answers(asked), outcomes=told, health={}, positions={})
    [epoch] = report(state, Defaults()).readouts[0].epochs
    assert epoch.comparisons == ()
    assert epoch.calibration is not None
    assert (epoch.calibration.slates, epoch.calibration.clicks) == (200, 100)


def test_a_clock_far_ahead_closes_no_window() -> None:
    """One user's clock said tomorrow, and all that others had not clicked yet was known as no click."""
    state = State()
    state.take(answers([slate(user, variant="control", shown=True) for user in range(30)]), health={}, positions={})
    (row,) = queries.epochs(state.db)

    def known() -> int:
        found = seen(state.db, row.id, "control", window_us=WINDOW_US)
        return sum(one.clicked is not None for one in found)

    state.take([], outcomes=[outcome(user, at=1) for user in range(20)], health={}, positions={})
    state.take([], outcomes=[outcome(0, at=23 * 60)], health={}, positions={})
    assert known() == 0
    state.take([], outcomes=[outcome(user, at=11) for user in range(20)], health={}, positions={})
    assert known() == 30
