"""One id that has most of the events is named by its alias, and no figure by event is told of it."""

from tests.support.experiment.made import response
from tests.unit.experiment.report.test_assemble import only, report_of, shares
from worker.experiment.quality.dominance import alias, dominant, words


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


def test_an_experiment_has_no_crowd_among_few_events() -> None:
    """Of twenty events anybody may have a fifth; none of ten equal users has one."""
    assert dominant(dict.fromkeys(range(10), 2)) == {}
    assert dominant(dict.fromkeys(range(10), 100)) == {}
    assert list(dominant(dict.fromkeys(range(3), 300))) == [0, 1, 2]
    assert words([]) == ""
    assert words([0.4, 0.3]).startswith("2 users have 70% of the events")
