"""Few ids that have most of the events are named by their aliases, and no figure by event is told of them."""

import numpy as np
import pytest

from tests.support.experiment.made import response
from tests.unit.experiment.report.test_assemble import only, report_of, shares
from worker.experiment.quality.dominance import MAX_NAMED, alias, dominant, words


def test_an_experiment_names_a_user_who_is_a_crowd_by_an_alias() -> None:
    """An "anonymous" id with most of the events: in data health without the id, and no figure by event."""
    records = [*shares(150, 0.5, 0.6), *(response(user=999, event=event, duel_share=0.9) for event in range(1_000))]
    found = report_of(records)
    assert found.data_health[f"percent_of_events_of_user_{alias('u999')}"] == 87
    assert "u999" not in str(found.as_json()["data_health"])
    by_event = next(effect for effect in only(found).effects if effect.metric == "duel_share_by_event")
    assert (by_event.overall.value, by_event.overall.interval) == (None, None)
    assert "one user has 87% of the events" in by_event.overall.withheld


def test_an_experiment_of_ordinary_users_has_its_figure_by_event() -> None:
    found = report_of(shares(150, 0.5, 0.6))
    by_event = next(effect for effect in only(found).effects if effect.metric == "duel_share_by_event")
    assert by_event.overall.interval is not None
    assert not [name for name in found.data_health if "percent" in name]


def crowd(num: int, share: float, *, others: int = 200, each: int = 3) -> dict[int, int]:
    """Return the events of so many users who have a share of all together, beside others who come equally often."""
    heavy = round(share / (1 - share) * others * each / num)
    return dict.fromkeys(range(others), each) | dict.fromkeys(range(1_000, 1_000 + num), heavy)


@pytest.mark.parametrize(
    ("num", "share"), [(1, 0.21), (2, 0.38), (3, 0.45), (5, 0.5), (10, 0.65), (20, 0.95)], ids=lambda value: f"{value}"
)
def test_an_experiment_withholds_its_figure_by_event_where_few_users_dominate(num: int, share: float) -> None:
    """None of two with 19 % each is large by itself; together they are more than a third of the events."""
    found = dominant(crowd(num, share))
    assert list(found) == list(range(1_000, 1_000 + num))
    assert sum(found.values()) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("num", "share"), [(1, 0.1), (2, 0.15), (5, 0.25), (10, 0.5), (50, 0.5)])
def test_an_experiment_bears_some_heavy_users(num: int, share: float) -> None:
    assert dominant(crowd(num, share)) == {}


def test_an_experiment_of_two_ids_with_a_fifth_each_has_no_figure_by_event() -> None:
    """Both are named by their aliases, at most ten of a larger crowd."""
    few = [response(user, event, duel_share=0.5) for user in range(124) for event in range(2)]
    two = [response(900 + user, event, duel_share=0.9) for user in range(2) for event in range(76)]
    found = report_of([*few, *two])
    by_event = next(effect for effect in only(found).effects if effect.metric == "duel_share_by_event")
    assert (by_event.overall.value, by_event.overall.interval, by_event.triggered.value) == (None, None, None)
    assert "2 users have 38% of the events" in by_event.overall.withheld
    named = {f"percent_of_events_of_user_{alias(name)}": 19 for name in ("u900", "u901")}
    assert {name: one for name, one in found.data_health.items() if "percent" in name} == named
    many = [response(900 + user, event, duel_share=0.9) for user in range(15) for event in range(60)]
    health = report_of([*few, *many]).data_health
    assert len([name for name in health if "percent" in name]) == MAX_NAMED


@pytest.mark.parametrize("users", [100, 200])
def test_an_experiment_of_ordinary_activity_keeps_its_figure_by_event(users: int) -> None:
    """Lognormal numbers of events: nobody dominates in 96 % of runs of 100 users, and in more of 200."""
    rng = np.random.default_rng(1)
    runs = [dict(enumerate(np.ceil(rng.lognormal(1.5, 1, users)).astype(int).tolist())) for _ in range(200)]
    assert sum(bool(dominant(events)) for events in runs) <= 10


def test_an_experiment_has_no_crowd_among_few_events() -> None:
    """Of twenty events anybody may have a fifth; none of ten equal users has one."""
    assert dominant(dict.fromkeys(range(10), 2)) == {}
    assert dominant(dict.fromkeys(range(10), 100)) == {}
    assert list(dominant(dict.fromkeys(range(3), 300))) == [0, 1, 2]
    assert words([]) == ""
    assert words([0.4, 0.3]).startswith("2 users have 70% of the events")
