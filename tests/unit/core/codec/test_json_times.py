"""A time in JSON may be ISO 8601 wherever the schema has microseconds; one without a zone is refused with its place."""

from typing import Any

import pytest

from worker.core.codec.json_times import with_times
from worker.core.errors import Poison

AT_US = 1_793_491_200_000_000  # 2026-11-01 UTC


def impression(at: object) -> dict[str, Any]:
    return {
        "event_id": "e",
        "occurred_at": at,
        "user": {"user_id": "u", "history": [{"item": {"item_id": "i"}, "occurred_at": at}, {"item": {}}]},
        "experiment": {"experiment_id": "x", "assignment": {"assigned_at": at}},
        "context": {"occurred_at": "2026-11-01T00:00:00Z"},
    }


@pytest.mark.parametrize(
    "text",
    ["2026-11-01T00:00:00Z", "2026-11-01T00:00Z", "2026-11-01T01:00:00.000000+01:00", "2026-10-31T19:00:00-05:00"],
)
def test_a_text_is_read_at_every_place_of_a_time_and_nowhere_else(text: str) -> None:
    assert with_times(impression(text), "RecommendationImpression") == {
        **impression(AT_US), "context": {"occurred_at": "2026-11-01T00:00:00Z"},
    }  # fmt: skip


@pytest.mark.parametrize("value", [AT_US, str(AT_US), None, 1.5, True])
def test_what_is_no_text_of_a_time_is_left_to_validation(value: object) -> None:
    assert with_times(impression(value), "RecommendationImpression") == impression(value)


@pytest.mark.parametrize("odd", [{"user": 7}, {"user": {"history": "x"}}, {"experiment": None}, {"occurred_at": [[]]}])
def test_a_record_of_another_form_is_left_to_validation(odd: dict[str, object]) -> None:
    assert with_times(odd, "RecommendationImpression") == odd


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2026-11-01T00:00:00", "occurred_at: 2026-11-01T00:00:00 has no zone; want an ISO 8601 time with its zone"),
        ("2026-11-01", "occurred_at: 2026-11-01 has no zone"),
        ("yesterday", "occurred_at: want an ISO 8601 time with its zone, such as 2026-11-01T00:00:00Z"),
        ("", "occurred_at: want an ISO 8601 time"),
    ],
)
def test_a_time_without_a_zone_or_no_time_is_refused(text: str, problem: str) -> None:
    with pytest.raises(Poison, match=problem):
        with_times({"occurred_at": text}, "RecommendationImpression")


def test_the_place_is_told_inside_a_list_too() -> None:
    with pytest.raises(Poison, match=r"^user.history.1.occurred_at: "):
        with_times({"user": {"history": [{}, {"occurred_at": "x"}]}}, "RecommendationImpression")


def test_an_outcome_has_its_times_too() -> None:
    at = "2026-11-01T00:00:00Z"
    assert with_times({"observed_at": at, "actions": [{"occurred_at": at}]}, "Outcome") == {
        "observed_at": AT_US, "actions": [{"occurred_at": AT_US}],
    }  # fmt: skip
