"""Flat rows of CSV and Parquet become what items and users look like on a topic."""

from datetime import UTC, datetime

import pytest

from worker.core.joining.facts import FactKind
from worker.core.joining.rows import Row, nested

TIME = datetime(2026, 11, 1, tzinfo=UTC)
TIME_US = 1_793_491_200_000_000


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (
            {"item_id": "i", "title": "Heat", "year": 1995, "price": None},
            {"attributes": {"title": "Heat", "year": 1995}},
        ),
        ({"item_id": "i", "attributes": '{"title": "Heat"}'}, {"attributes": {"title": "Heat"}}),
        ({"item_id": "i", "attributes": [("title", "Heat")]}, {"attributes": {"title": "Heat"}}),
        ({"item_id": "i", "attributes": '{"title": "Heat"}', "title": "Ronin"}, {"attributes": {"title": "Heat"}}),
        ({"item_id": "i", "seen": {"at": TIME, "by": None}}, {"attributes": {"seen": {"at": TIME_US}}}),
        ({"item_id": "i", "valid_from": str(TIME_US)}, {"valid_from": TIME_US}),
        ({"item_id": "i", "valid_from": TIME}, {"valid_from": TIME_US}),
    ],
)
def test_columns_without_a_place_of_their_own_are_attributes(row: Row, wanted: Row) -> None:
    """What the row gives as attributes comes first."""
    assert nested(row, FactKind.ITEMS) == {"item_id": "i", **wanted}


def test_a_users_other_columns_are_its_profile() -> None:
    row = {"user_id": "u", "age": "30", "history": '[{"item": {"item_id": "i", "text": "Heat"}}]'}
    history = [{"item": {"item_id": "i", "text": "Heat"}}]
    assert nested(row, FactKind.USERS) == {"user_id": "u", "history": history, "profile": {"age": "30"}}


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ({"attributes": "[[[", "title": "Heat"}, {"attributes": "[[["}),
        ({"attributes": [1, 2]}, {"attributes": [1, 2]}),
        ({"valid_from": "9" * 21}, {"valid_from": "9" * 21}),
        ({"valid_from": TIME.replace(tzinfo=None)}, {"valid_from": "2026-11-01T00:00:00"}),
    ],
)
def test_what_cannot_be_read_is_left_as_it_is(row: Row, kept: Row) -> None:
    """Validation refuses it, and names the field."""
    assert nested({"item_id": "i", **row}, FactKind.ITEMS) == {"item_id": "i", **kept}
