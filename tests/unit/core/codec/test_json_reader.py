"""JSON is read by the rules that the module names, and nothing is made of what is too much."""

import json
from typing import Any

import pytest

from worker.core.attribute_maps import MAX_NULLS, nulls
from worker.core.codec import avro_encoder, avro_schemas, impression as codec
from worker.core.codec.avro_encoder import Encoder, JsonEncoder
from worker.core.codec.json_reader import MAX_CHARS, MAX_DEPTH, MAX_DIGITS, JsonRules, decode, fields, parse
from worker.core.codec.protobuf_encoder import ProtobufEncoder
from worker.core.errors import Poison

NAME = "RecommendationImpression"
IN_A_LOG, IN_A_FILE = JsonRules(), JsonRules(show_names=True)
LENIENT = JsonRules(refuse_unknown=False)
AT_US = 1_793_491_200_000_000  # 2026-11-01 UTC


def read(plain: dict[str, Any], name: str = NAME, rules: JsonRules = IN_A_LOG) -> Any:
    return fields(plain, name, rules)


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
    assert read(impression(text)) == {
        **impression(AT_US), "context": {"occurred_at": "2026-11-01T00:00:00Z"},
    }  # fmt: skip


@pytest.mark.parametrize("value", [AT_US, str(AT_US), 1.5, True])
def test_what_is_no_text_of_a_time_is_left_to_validation(value: object) -> None:
    assert read(impression(value)) == impression(value)


@pytest.mark.parametrize("odd", [{"user": 7}, {"user": {"history": "x"}}, {"slates": [7]}, {"occurred_at": [[]]}])
def test_a_record_of_another_form_is_left_to_validation(odd: dict[str, object]) -> None:
    assert read(odd) == odd


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
        read({"occurred_at": text})


def test_the_place_is_told_inside_a_list_too() -> None:
    with pytest.raises(Poison, match=r"^user.history.1.occurred_at: "):
        read({"user": {"history": [{}, {"occurred_at": "x"}]}})


def test_an_outcome_has_its_times_too() -> None:
    at = "2026-11-01T00:00:00Z"
    assert read({"observed_at": at, "actions": [{"occurred_at": at}]}, "Outcome") == {
        "observed_at": AT_US, "actions": [{"occurred_at": AT_US}],
    }  # fmt: skip


def one(**attributes: object) -> dict[str, Any]:
    item = {"item_id": "i", "position": 0, "attributes": attributes}
    return {
        "event_id": "e",
        "occurred_at": AT_US,
        "user": {"user_id": "u"},
        "slates": [{"variant": "a", "items": [item]}],
    }


def shown(**attributes: object) -> dict[str, str]:
    text = json.dumps(one(**attributes)).replace('"49.90"', "49.90")  # which no Python writes
    return dict(codec.impression(decode(text.encode(), NAME, IN_A_LOG)).slates[0].items[0].attributes)


def test_attributes_are_texts_whatever_json_has_for_them() -> None:
    """A number stays as it is written, null is missing, a list is what layouts read as one."""
    assert shown(price="49.90", stock=3, id=12345678901234567890, small=1e-9, new=True, brand=None, empty="") == {
        "price": "49.90", "stock": "3", "id": "12345678901234567890", "small": "1e-09", "new": "true", "empty": "",
    }  # fmt: skip
    assert shown(genres=["comics, graphic", None, 7]) == {"genres": '["comics, graphic", "7"]'}


@pytest.mark.parametrize("value", [{"amount": 5}, [["a"]], [{"a": 1}]])
def test_an_attribute_that_has_no_text_is_told_with_its_name_where_that_may_be_shown(value: object) -> None:
    place = "slates.0.items.0.attributes."
    with pytest.raises(Poison, match=f"^{place}price: is .*, want text, a number or a list of them$"):
        read(one(price=value), rules=IN_A_FILE)
    with pytest.raises(Poison, match=f"^{place}KEY: is "):
        read(one(price=value))


def test_the_names_of_nulls_are_known_and_written_as_nulls_again() -> None:
    """Of a map of nulls alone: not of any number of them, and only names that a layout could have."""
    plain = one(title="t")
    plain["user"]["profile"] = {"gender": None, "a b": None, "\ud800": None, "x" * 300: None}
    found = codec.impression(read(plain))
    assert (found.user.profile, nulls(found.user.profile)) == ({}, frozenset({"gender"}))
    again = codec.decode_json(JsonEncoder().encode(found), IN_A_LOG)
    assert (again, nulls(again.user.profile)) == (found, frozenset({"gender"}))
    for encoded in (Encoder(NAME).encode(found), Encoder(NAME).encode(avro_encoder.plain(found))):
        own = avro_schemas.writer_schema(avro_schemas.schema_text(NAME))
        assert codec.decode(encoded[10:], own) == found  # whose maps have no nulls
    assert b"gender" not in ProtobufEncoder().encode(found)
    plain["user"]["profile"] = {f"a{n}": None for n in range(10_000)}
    assert len(nulls(codec.impression(read(plain)).user.profile)) == MAX_NULLS


def test_ids_may_be_numbers_and_null_is_missing() -> None:
    plain = one(title="t") | {"event_id": 7, "request_id": None, "domain": None, "context": None}
    found = codec.impression(read(plain))
    assert (found.event_id, found.request_id, found.domain, found.context) == ("7", None, "UNKNOWN", {})


def test_an_unknown_field_is_refused_at_any_depth_or_passed_over() -> None:
    plain = one(title="t")
    plain["slates"][0]["items"][0]["propensty"] = 0.5
    with pytest.raises(
        Poison, match=r"^slates.0.items.0: propensty: is no field of an item; did you mean propensity\?"
    ):
        read(plain, rules=IN_A_FILE)
    with pytest.raises(Poison, match=r"^slates.0.items.0: has a field that an item has not; did you mean propensity\?"):
        read(plain)
    assert read(plain, rules=LENIENT) == one(title="t")


def test_a_word_that_an_enum_has_not_is_refused_or_unknown_as_in_avro() -> None:
    plain = one(title="t") | {"domain": "films"}
    assert codec.impression(read(plain, rules=LENIENT)).domain == "UNKNOWN"
    with pytest.raises(Poison, match=r"^domain: want 'movies'"):
        codec.impression(read(plain))


@pytest.mark.parametrize("missing", [{}, {"position": None}])
def test_a_slate_without_positions_is_numbered_by_its_order(missing: dict[str, None]) -> None:
    plain = one(title="t")
    plain["slates"][0]["items"] = [{"item_id": name, "text": name} | missing for name in "ab"]
    assert [item.position for item in codec.impression(read(plain)).slates[0].items] == [0, 1]


@pytest.mark.parametrize("positions", [(1, 1), (1, 2), ("(not set)", "(not set)"), (None, 4)])
def test_positions_that_mean_nothing_are_numbered_if_that_is_asked_for(positions: tuple[object, object]) -> None:
    plain = one(title="t")
    plain["slates"][0]["items"] = [{"item_id": "i", "text": "t", "position": one} for one in positions]
    numbered = JsonRules(number_positions=True)
    assert [item.position for item in codec.impression(read(plain, rules=numbered)).slates[0].items] == [0, 1]


@pytest.mark.parametrize(
    ("text", "reason", "problem"),
    [
        (b"", "json", "is not JSON: Expecting value at character 0"),
        (b"{", "json", "is not JSON"),
        (b"[]", "json", "holds a list, want an object"),
        (b'{"event_id": "1"} {}', "json", "is not JSON: Extra data at character 18"),
        (b'{"event_id": "1", "event_id": "2"}', "json", "has an object with one field twice"),
        (b'{"user": {"a": 1, "a": 1}}', "json", "one field twice"),
        (b'{"score": NaN}', "json", "has NaN or Infinity"),
        (b'{"event_id": ' + b"9" * 5_000 + b"}", "json", "too many digits"),
        (b'{"a": [' + b"9" * (MAX_DIGITS + 1) + b"]}", "json", "too many digits"),
        (b'{"a": 0.' + b"9" * (MAX_DIGITS + 1) + b"}", "json", "too many digits"),
        (b'{"\\\\": ' + b"[" * (MAX_DEPTH + 1) + b'"\\""', "limit", f"is nested deeper than {MAX_DEPTH}"),
        (b'{\\"": ' + b"[" * (MAX_DEPTH + 1), "json", "is not JSON"),
        (b'{"event_id": "\xff"}', "utf8", "byte 14: is not UTF-8"),
        (b'{"a": ' + b"[" * 100_000, "limit", "values in one record, want at most 70,000"),
        (b'{"a": ' + b"[" * (MAX_DEPTH + 1), "limit", f"is nested deeper than {MAX_DEPTH}"),
        (b'{"a": [' + b"0," * 70_000 + b"0]}", "limit", "values in one record, want at most 70,000"),
        (b'{"a": "' + b"x" * MAX_CHARS + b'"}', "limit", "characters of JSON"),
        (b"\xff" * (4 * MAX_CHARS + 1), "limit", "8,388,609 bytes of JSON, want at most 2,097,152 characters"),
    ],
)
def test_what_cannot_be_read_has_a_reason(text: bytes, reason: str, problem: str) -> None:
    with pytest.raises(Poison, match=problem) as caught:
        decode(text, NAME, IN_A_LOG)
    assert caught.value.reason == reason


def test_brackets_and_commas_inside_texts_are_no_structure() -> None:
    text = '[{,"\\' * 500
    assert shown(title=text * 1) == {"title": text}
    assert parse(json.dumps({"a": text * 100})) == {"a": text * 100}


def test_half_of_a_character_pair_is_refused_and_not_written_later() -> None:
    with pytest.raises(Poison, match=r"slates\.0\.items\.0\.attributes\.KEY") as caught:
        codec.impression(decode(json.dumps(one(title="\ud800")).encode(), NAME, IN_A_LOG))
    assert caught.value.reason == "invalid"


def test_a_byte_order_mark_is_passed_over() -> None:
    assert decode(b"\xef\xbb\xbf{}", NAME, IN_A_LOG) == {}
