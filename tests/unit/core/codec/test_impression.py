"""Bytes to records and back: the three framings, what an impression must be, and that any bytes are read or refused."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, replace
from datetime import UTC, datetime
from io import BytesIO
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

import fastavro
import pytest
from annotated_types import Le
from hypothesis import given, settings, strategies as st

from tests.support.examples import avro_types, film, impression, impressions, payload, seen, slate
from worker.core.codec import avro_encoder, avro_schemas, framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.framing import GUID_HEADER, SchemaRef, SchemaRefKind
from worker.core.errors import Poison
from worker.core.records import (
    MAX_ENTRIES,
    MAX_HISTORY,
    MAX_ID,
    MAX_ITEMS,
    MAX_MAP,
    MAX_SLATES,
    Assignment,
    Domain,
    Experiment,
    HistoryEntry,
    HistoryItem,
    IdKind,
    Impression,
    Item,
    ItemKind,
    Layout,
    PropensityKind,
    Role,
    Slate,
    User,
)
from worker.settings import groups

NAME = "RecommendationImpression"
OWN = avro_schemas.own_schema(NAME)
OWN_TEXT = avro_schemas.schema_text(NAME)
SHOWN = impression(history=(seen("Heat (1995)", 1),))
PAYLOAD = payload(SHOWN)


def refused(do: Callable[[], object]) -> str:
    """Return the reason for which something is refused."""
    with pytest.raises(Poison) as caught:
        do()
    return caught.value.reason


# -- framing


def test_the_fingerprint_is_the_specifications() -> None:
    assert avro_schemas.schema_fingerprint('"int"')[::-1].hex() == "7275d51a3f395c8f"
    assert avro_schemas.schema_fingerprint('{"type": "int"}') == avro_schemas.schema_fingerprint('"int"')


def test_single_object_encoding_carries_the_fingerprint_low_byte_first() -> None:
    framed = Encoder(NAME).encode(SHOWN)
    ref, bare = framing.split(framed, ())
    assert framed[:10] == b"\xc3\x01" + avro_schemas.schema_fingerprint(OWN_TEXT)
    assert (ref, bare) == (
        SchemaRef(SchemaRefKind.FINGERPRINT, avro_schemas.schema_fingerprint(OWN_TEXT).hex()),
        PAYLOAD,
    )


@pytest.mark.parametrize("schema_id", [0, 1, 17, 2**31 - 1])
def test_the_registrys_prefix_carries_the_id(schema_id: int) -> None:
    ref, bare = framing.split(Encoder(NAME, schema_id=schema_id).encode(SHOWN), ())
    assert (ref, bare) == (SchemaRef(SchemaRefKind.ID, str(schema_id)), PAYLOAD)


def test_a_header_carries_a_guid_and_the_payload_stays_bare() -> None:
    headers = (("other", None), (GUID_HEADER, b"\x01" + bytes(range(16))))
    assert framing.split(PAYLOAD, headers) == (SchemaRef(SchemaRefKind.GUID, bytes(range(16)).hex()), PAYLOAD)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00\x01",  # an id, and no record
        b"\x00\xff\xff\xff\xff" + PAYLOAD,  # no registry gives such an id
        b"\x01\x00\x00\x00\x01" + PAYLOAD,
        b"\xc3\x01",
        b"\xc3\x01" + bytes(8),
        b"\xc3\x02" + bytes(8) + PAYLOAD,
        b"Obj\x01" + PAYLOAD,
        json.dumps(avro_encoder.plain(SHOWN)).encode(),
        b"\xef\xbb\xbf{}",
    ],
)
def test_bytes_without_a_known_frame_are_refused(value: bytes) -> None:
    assert refused(lambda: framing.split(value, ())) == "magic"


@pytest.mark.parametrize("data", [None, b"", b"\x01", b"\x02" + bytes(16), b"\x01" + bytes(15)])
def test_a_header_that_is_no_guid_leaves_the_prefix_to_tell(data: bytes | None) -> None:
    framed = Encoder(NAME, schema_id=5).encode(SHOWN)
    assert framing.split(framed, ((GUID_HEADER, data),))[0] == SchemaRef(SchemaRefKind.ID, "5")


# -- records there and back


@given(impressions)
@settings(max_examples=25, deadline=None)
def test_any_valid_impression_comes_back_as_it_went(shown: Impression) -> None:
    _, bare = framing.split(Encoder(NAME).encode(shown), ())
    assert codec.decode(bare, OWN) == shown
    assert codec.impression(json.loads(json.dumps(avro_encoder.plain(shown)))) == shown


def test_a_record_cut_at_any_byte_is_refused() -> None:
    for end in range(len(PAYLOAD)):
        assert refused(lambda end=end: codec.decode(PAYLOAD[:end], OWN)) in {"avro", "invalid", "limit"}, end  # type: ignore[misc]


@given(st.binary(max_size=40), st.integers(0, len(PAYLOAD)))
@settings(max_examples=25, deadline=None)
def test_any_bytes_are_read_or_refused(noise: bytes, at: int) -> None:
    for data in (noise, PAYLOAD[:at] + noise + PAYLOAD[at + len(noise) :]):
        try:
            assert isinstance(codec.decode(data, OWN), Impression)
        except Poison as poison:
            assert poison.reason in {"avro", "utf8", "invalid", "limit"}  # noqa: PT017 - either end is right


@pytest.mark.parametrize("tail", [b"\x00", b"\x00" * 100, PAYLOAD])
def test_bytes_after_the_record_are_refused(tail: bytes) -> None:
    assert refused(lambda: codec.decode(PAYLOAD + tail, OWN)) == "avro"


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xc0\x80"])
def test_a_string_that_is_not_utf8_is_refused(bad: bytes) -> None:
    broken = PAYLOAD.replace(b"film A", (b"film A" + bad)[-6:], 1)
    assert refused(lambda: codec.decode(broken, OWN)) == "utf8"


# -- what an impression must be


def items(*positions: int) -> tuple[Item, ...]:
    return tuple(film(f"i{number}", position=position) for number, position in enumerate(positions))


def with_user(**changes: object) -> Impression:
    return impression(user=replace(User("u"), **changes))  # type: ignore[arg-type]


def with_item(**changes: object) -> Impression:
    return impression(Slate("a", (replace(film("i"), **changes),)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "reason", "words"),
    [
        (impression(slate("a", "AB", Role.CONTROL), slate("b", "AB", Role.CONTROL)), "invalid", "2 slates are CONTROL"),
        (impression(slate("a", "AB"), slate("a", "BC")), "invalid", "2 slates of 1 variants"),
        (impression(Slate("a", items(0, 1, 1))), "invalid", "two items have one position"),
        (with_item(attributes={}), "invalid", "neither text nor attributes"),
        (with_item(text="", attributes={}), "invalid", "neither text nor attributes"),
        (impression(Slate("a", ())), "limit", r"slates\.0\.items"),
        (replace(impression(), slates=()), "limit", "slates"),
        (impression(*(slate(f"v{n}", "A") for n in range(MAX_SLATES + 1))), "limit", "slates"),
        (with_item(item_id="x" * (MAX_ID + 1)), "limit", "item_id"),
        (with_item(item_id=""), "limit", "item_id"),
        (with_user(profile={f"k{n}": "v" for n in range(MAX_MAP + 1)}), "limit", r"user\.profile"),
        (with_user(profile={"k" * (MAX_ID + 1): "x"}), "limit", r"user\.profile\.KEY"),
        (with_item(position=-1), "invalid", "position"),
        (with_item(propensity=0.0), "invalid", "propensity"),
        (with_item(propensity=1.5), "invalid", "propensity"),
        (with_item(propensity=float("nan")), "invalid", "propensity"),
        (impression(occurred_at=-1), "invalid", "occurred_at"),
        (impression(occurred_at=2**63 - 1), "invalid", "occurred_at"),
        (impression(history=(seen("x", 1, rating=float("nan")),)), "invalid", r"user\.history\.0\.rating"),
        (impression(history=(seen("x", 1, rating=float("inf")),)), "invalid", r"user\.history\.0\.rating"),
        (impression(event_id=""), "limit", "event_id"),
    ],
)
def test_an_impression_out_of_bounds_is_refused_with_its_place(bad: Impression, reason: str, words: str) -> None:
    with pytest.raises(Poison, match=words) as caught:
        codec.decode(payload(bad), OWN)
    assert caught.value.reason == reason


def test_the_bounds_themselves_are_within() -> None:
    full = impression(
        *(Slate(f"v{n}", items(*range(MAX_ITEMS if n == 0 else 1))) for n in range(MAX_SLATES)),
        history=(seen("x", 1),) * MAX_HISTORY,
        event_id="x" * MAX_ID,
    )
    assert codec.decode(payload(full), OWN) == full


def test_a_longer_history_keeps_its_newest_entries_and_a_longer_slate_its_first_items() -> None:
    """Real users have more of a past than any prompt shows; the responses are flagged as for every other cut."""
    past = tuple(seen("x", number + 1) for number in range(3 * MAX_HISTORY))
    shown = impression(Slate("a", items(*reversed(range(2 * MAX_ITEMS)))), slate("b", "A"), history=past)
    found = codec.decode(payload(shown), OWN)
    assert found.user.history == past[-MAX_HISTORY:]
    assert sorted(item.position for item in found.slates[0].items) == list(range(MAX_ITEMS))
    assert found.slates[1] == shown.slates[1]


def test_every_cut_is_more_than_any_prompt_shows() -> None:
    """So that the prompt's own cut, which is flagged, is there too."""
    bounds = {name: groups.QuestionSettings.model_fields[name].metadata for name in ("history_limit", "slate_depth")}
    largest = {name: next(int(str(one.le)) for one in found if isinstance(one, Le)) for name, found in bounds.items()}
    assert largest["history_limit"] < MAX_HISTORY
    assert largest["slate_depth"] < MAX_ITEMS


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"user": {"user_id": "u", "history": [{"item": {"item_id": ""}}] * 50_000}}, ["user.history.0.item.item_id"]),
        ({"slates": [{"variant": "", "items": []}] * 50_000}, ["slates.0.variant", "slates.0.items"]),
        (
            {"slates": [{"variant": "a", "items": [{"item_id": "", "position": 0}] * 50_000}]},
            ["slates.0.items.0.item_id"],
        ),
    ],
)
def test_many_bad_entries_are_one_problem(change: dict[str, object], places: list[str]) -> None:
    plain = avro_encoder.plain(SHOWN)
    assert isinstance(plain, dict)
    with pytest.raises(Poison) as caught:
        codec.impression({**plain, **change})
    assert [problem.split(":")[0] for problem in str(caught.value).split("; ")] == places


def test_a_refusal_names_no_text_of_the_event() -> None:
    secret = "anna@example.org\r\nforged line"  # noqa: S105 - stands for what no log shall hold
    bad = with_user(profile={secret * 20: secret})
    with pytest.raises(Poison) as caught:
        codec.decode(payload(bad), OWN)
    assert "anna" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_id": "\ud800"}, "invalid"),
        ({"domain": "podcasts"}, "invalid"),
        ({"slates": {}}, "invalid"),
        ({"user": None}, "invalid"),
        ({"occurred_at": "2026-01-01"}, "invalid"),
    ],
)
def test_json_that_is_no_impression_is_refused(change: dict[str, object], reason: str) -> None:
    plain = deepcopy(avro_encoder.plain(SHOWN))
    assert isinstance(plain, dict)
    assert refused(lambda: codec.impression({**plain, **change})) == reason


def test_a_null_among_attributes_is_as_if_it_were_not_there() -> None:
    plain = deepcopy(avro_encoder.plain(SHOWN))
    assert isinstance(plain, dict)
    plain["user"]["profile"] = {"gender": None, "age": ""}
    plain["slates"][0]["items"][0]["attributes"] = {"title": None, "genres": "Drama"}
    found = codec.impression(plain)
    assert found.user.profile == {"age": ""}
    assert found.slates[0].items[0].attributes == {"genres": "Drama"}


# -- what is accepted can be sent on


def changed(value: object, chance: Random, odd: list[object]) -> object:
    """Return plain data with a few values changed to odd ones, at any place."""
    if isinstance(value, dict):
        return {key: changed(inner, chance, odd) for key, inner in value.items() if chance.random() > 0.005}
    if isinstance(value, list):
        return [changed(inner, chance, odd) for inner in value]
    return chance.choice(odd) if chance.random() < 0.02 else value


odd_values = st.lists(
    st.integers(-(2**65), 2**65)
    | st.sampled_from([2**31, 2**31 - 1, -(2**31) - 1, 2**63, 10**400, True, None, "", "5", "x" * 4_000, "\ud800"])
    | st.floats(allow_nan=False)
    | st.binary(max_size=3),
    min_size=1,
    max_size=4,
)


@given(impressions, odd_values, st.integers(0, 9_999).map(Random))
@settings(max_examples=200, deadline=None)
def test_whatever_is_accepted_is_encoded_and_comes_back(shown: Impression, odd: list[object], chance: Random) -> None:
    plain = changed(avro_encoder.plain(shown), chance, odd)
    assert isinstance(plain, dict)
    try:
        found = codec.impression(plain)
    except Poison as poison:
        assert poison.reason in {"invalid", "limit"}  # noqa: PT017 - either end is right
        return
    _, bare = framing.split(Encoder(NAME).encode(found), ())
    assert codec.decode(bare, OWN) == found


@pytest.mark.parametrize("bucket", [2**31, -(2**31) - 1, 2**63, 10**400])
def test_a_bucket_that_no_int_holds_is_refused(bucket: int) -> None:
    """Found by a replay of JSON Lines: it was accepted, and the encoder raised."""
    plain: Any = avro_encoder.plain(SHOWN)
    plain["experiment"]["assignment"]["bucket"] = bucket
    with pytest.raises(Poison, match=r"experiment\.assignment\.bucket") as caught:
        codec.impression(plain)
    assert caught.value.reason == "invalid"


@pytest.mark.parametrize("bucket", [2**31 - 1, -(2**31)])
def test_the_largest_bucket_comes_back(bucket: int) -> None:
    shown = impression(experiment=Experiment("e", assignment=Assignment(bucket=bucket)))
    assert codec.decode(payload(shown), OWN) == shown


def test_the_largest_impression_that_is_accepted_comes_back() -> None:
    """So the count of values in reading refuses nothing that a file's line may hold; one attribute more is told."""
    history = (seen("x", 1),) * MAX_HISTORY  # with two attributes each
    left = iter(range(MAX_ENTRIES - 2 * MAX_HISTORY))
    slates = [
        Slate(
            f"v{s}",
            tuple(
                Item("i", n, text="x", attributes={f"k{key}": "v" for key in islice(left, 3)}) for n in range(MAX_ITEMS)
            ),
        )
        for s in range(MAX_SLATES)
    ]
    shown = impression(*slates, user=User("u", history=history))
    assert next(left, None) is None
    assert codec.impression(avro_encoder.plain(shown)) == shown  # type: ignore[arg-type]
    assert codec.decode(payload(shown), OWN) == shown
    with pytest.raises(Poison, match="10,001 in all, want at most 10,000") as caught:
        codec.decode(payload(replace(shown, context={"one": "more"})), OWN)
    assert caught.value.reason == "limit"


# -- our own schema


def test_an_impression_has_the_fields_and_words_of_its_schema() -> None:
    types = avro_types(NAME)
    names = {
        name: {field["name"] for field in schema["fields"]} for name, schema in types.items() if "fields" in schema
    }
    parts = (Impression, User, HistoryEntry, HistoryItem, Experiment, Assignment, Slate, Item)
    assert names == {
        ("Recommendation" if part is Impression else "") + part.__name__: {f.name for f in fields(part)}
        for part in parts
    }
    words = {name: set(schema["symbols"]) for name, schema in types.items() if "symbols" in schema}
    assert words == {kind.__name__: set(kind) for kind in (Domain, IdKind, Role, Layout, PropensityKind, ItemKind)}


# -- encoding


def test_an_encoder_takes_a_dataclass_or_plain_data_alike() -> None:
    plain = avro_encoder.plain(SHOWN)
    assert Encoder(NAME).encode(plain) == Encoder(NAME).encode(SHOWN)
    assert codec.decode_plain(PAYLOAD, OWN, NAME) == plain


def test_a_reader_with_logical_types_reads_what_is_written() -> None:
    """Our schemas declare them, so any tool's reader makes times and UUIDs of what we write."""
    found = fastavro.schemaless_reader(BytesIO(PAYLOAD), fastavro.parse_schema(json.loads(OWN_TEXT)), None)
    assert isinstance(found, dict)
    assert found["occurred_at"] == datetime(2000, 11, 1, 12, tzinfo=UTC)
    assert found["user"]["history"][0]["occurred_at"] == datetime(2000, 11, 1, 11, 59, 59, 999_999, tzinfo=UTC)
    assert found["event_id"] == UUID(SHOWN.event_id)
