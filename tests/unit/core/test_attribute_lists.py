"""A list in an attribute's text: a JSON array, or parts between bars; nothing else is guessed."""

import pytest

from worker.core.attribute_lists import from_json, joined, parts
from worker.core.simulation.item_attributes import carried


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('["comics, graphic", "60s/70s", "A & B; C|D"]', ("comics, graphic", "60s/70s", "A & B; C|D")),
        ('["a", null, 1, 2.5]', ("a", "1", "2.5")),
        ("[]", ()),
        ("Action|Crime | War|", ("Action", "Crime", "War")),
        ("fiction, classics", None),
        ("rock/pop; 70s", None),
        ("", None),
        ("[A] Team", None),
        ("[A] | [B]", ("[A]", "[B]")),  # no JSON, and parts between bars
        ('[["nested"]]', None),
        ('{"a": 1}', None),
        ("[" * 4_000 + "]", None),
    ],
)
def test_the_parts_of_a_list_are_as_given(text: str, found: tuple[str, ...] | None) -> None:
    assert parts(text) == found


def test_only_a_json_array_is_joined_anew() -> None:
    assert from_json("a|b") is None
    assert (joined('["a", "b"]', ", "), joined("a|b", ", ")) == ("a, b", "a|b")


def test_a_response_carries_a_list_with_bars_between_its_parts() -> None:
    assert carried({"genres": '["Drama", "Crime"]'}) == {"category": "Drama|Crime"}
