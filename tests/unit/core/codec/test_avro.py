"""Avro read within bounds: as fastavro reads it, and refused at once where a count or a length lies."""

import json
import struct
from functools import cache
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import impression, payload, seen, varint
from tests.support.foreign import OWN_TEXT
from worker.core.codec import avro_encoder, avro_schemas, impression as codec, schema_limits
from worker.core.codec.avro import Bounds, compile_reader
from worker.core.codec.logical_types import Unfit
from worker.core.errors import Poison
from worker.core.records import MAX_HISTORY, MAX_MAP, MAX_SLATES, MAX_TEXT

PAYLOAD = payload(impression(history=(seen("Heat (1995)", 1),)))
LEAVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=80),
    "string": st.lists(st.sampled_from("aé\u20ac\U0001f600"), max_size=80).map("".join),
}
Made = tuple[Any, st.SearchStrategy[Any]]  # a schema, and values of it


def leaf(kind: str) -> Made:
    return kind, LEAVES[kind]


def array(inner: Made) -> Made:
    return {"type": "array", "items": inner[0]}, st.lists(inner[1], max_size=3)


def mapping(inner: Made) -> Made:
    return {"type": "map", "values": inner[0]}, st.dictionaries(LEAVES["string"], inner[1], max_size=3)


def optional(inner: Made) -> Made:
    if inner[0] == "null" or isinstance(inner[0], list):
        return inner
    return ["null", inner[0]], st.none() | inner[1]


def record(inner: list[Made]) -> Made:
    fields = [{"name": f"f{number}", "type": kind} for number, (kind, _) in enumerate(inner)]
    values = st.fixed_dictionaries({f"f{number}": value for number, (_, value) in enumerate(inner)})
    return {"type": "record", "name": "R", "fields": fields}, values


def unnamed(schema: Any, number: list[int]) -> Any:
    """Give each record a name of its own."""
    if isinstance(schema, list):
        return [unnamed(branch, number) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    number[0] += 1
    name = {"name": f"R{number[0]}"} if "name" in schema else {}
    inner = {key: unnamed(schema[key], number) for key in ("items", "values") if key in schema}
    fields = [{**field, "type": unnamed(field["type"], number)} for field in schema.get("fields", ())]
    return {**schema, **name, **inner, **({"fields": fields} if "fields" in schema else {})}


kinds = st.recursive(
    st.sampled_from([leaf(kind) for kind in LEAVES if kind != "null"]),
    lambda inner: (
        inner.map(array)
        | inner.map(mapping)
        | inner.map(optional)
        | st.lists(inner, min_size=1, max_size=3).map(record)
    ),
    max_leaves=6,
)


@st.composite
def written(draw: st.DrawFn) -> tuple[Any, Any, bytes]:
    """Draw a record's schema, a value of it, and the value's bytes."""
    kind, values = record(draw(st.lists(kinds, min_size=1, max_size=4)))
    schema, value = unnamed(kind, [0]), draw(values)
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    return schema, value, stream.getvalue()


def parsed(schema: Any) -> schema_limits.Type:
    return schema_limits.parse(json.dumps(schema)).root


@given(written())
@settings(max_examples=100, deadline=None)
def test_any_value_is_read_as_fastavro_reads_it(drawn: tuple[Any, Any, bytes]) -> None:
    schema, _, data = drawn
    kind = parsed(schema)
    assert compile_reader(kind, kind, Bounds())(data) == fastavro.schemaless_reader(BytesIO(data), schema, None)


@given(written(), st.integers(-(2**63), 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_any_value_of_a_field_that_only_the_writer_has_is_skipped_whole(drawn: tuple[Any, Any, bytes], n: int) -> None:
    schema, _, data = drawn
    outer = {"type": "record", "name": "Top", "fields": [{"name": "x", "type": schema}, {"name": "n", "type": "long"}]}
    ours = parsed({**outer, "fields": outer["fields"][1:]})
    assert compile_reader(parsed(outer), ours, Bounds())(data + varint(n)) == {"n": n}


@given(written(), st.binary(max_size=12), st.integers(0, 60), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(drawn: tuple[Any, Any, bytes], noise: bytes, at: int, skipped: bool) -> None:
    schema, _, data = drawn
    outer = {"type": "record", "name": "Top", "fields": [{"name": "x", "type": schema}]}
    writer, ours = parsed(outer), parsed({**outer, "fields": []} if skipped else outer)
    try:
        found = compile_reader(writer, ours, Bounds())(data[:at] + noise + data[at + len(noise) :])
    except Unfit as error:
        assert error.reason in {"avro", "utf8", "limit"}  # noqa: PT017 - either end is right
    else:
        assert isinstance(found, dict)


@cache
def writer_with(kind: str) -> avro_schemas.Schema:
    """Return our schema with one more field of a type, after ours."""
    schema = json.loads(OWN_TEXT)
    schema["fields"].append({"name": "theirs", "type": json.loads(kind)})
    return avro_schemas.writer_schema(json.dumps(schema))


def refusal(kind: Any, data: bytes) -> tuple[str, str]:
    with pytest.raises(Poison) as caught:
        codec.decode(PAYLOAD + data, writer_with(json.dumps(kind)))
    return caught.value.reason, str(caught.value).removeprefix("(a field that only the writer has): ")


HUGE, LEAST = varint(2**63 - 1), varint(-(2**63))
INTS = {"type": "array", "items": "int"}
FIXED = {"type": "fixed", "name": "Theirs", "size": 1 << 20}


@pytest.mark.parametrize(
    ("kind", "data", "problem"),
    [
        ("string", HUGE, "a length of 9,223,372,036,854,775,807 bytes where 0 are left"),
        ("string", varint(2**62), "a length of 4,611,686,018,427,387,904 bytes where 0 are left"),
        ("string", varint(-5) + b"junk" * 250, "a length of -5 bytes where 1,000 are left"),
        ("bytes", LEAST, "a length of -9,223,372,036,854,775,808 bytes"),
        (FIXED, b"x", "1,048,576 bytes where 1 are left"),
        ("double", b"1234567", "8 bytes where 7 are left"),
        ("boolean", b"", "1 bytes where 0 are left"),
        ("int", b"", "the record ends within a value"),
        ("int", b"\xff" * 9, "the record ends within a value"),
        ("int", b"\xff" * 100_000, "a number of more than 64 bits"),
        (INTS, HUGE, "9,223,372,036,854,775,807 entries where 0 bytes are left"),
        (INTS, LEAST + LEAST, "a block of -9,223,372,036,854,775,808 bytes"),
        (INTS, varint(-(2**62)) + varint(0) + b"\x00", "4,611,686,018,427,387,904 entries where 0 bytes are left"),
        (INTS, varint(-1) + varint(9) + b"\x00", "a block of 9 bytes where 1 are left"),
        (INTS, varint(2), "2 entries where 0 bytes are left"),
        (["null", "int"], varint(2), "branch 2 of a union of 2"),
        (["null", "int"], varint(-1), "branch -1 of a union of 2"),
        ({"type": "map", "values": "null"}, varint(2) + b"\x00", "2 entries where 1 bytes are left"),
        ({"type": "array", "items": "double"}, varint(2**60), "entries where 0 bytes are left"),
    ],
)
def test_a_count_or_length_that_lies_is_refused_at_once(kind: Any, data: bytes, problem: str) -> None:
    reason, message = refusal(kind, data)
    assert (reason, problem in message) == ("avro", True), message


WIDE = {"type": "record", "name": "Wide", "fields": [{"name": f"f{n}", "type": "null"} for n in range(250)]}
WIDE["fields"].append({"name": "one", "type": "int"})  # type: ignore[attr-defined]
PAIR = {"type": "record", "name": "Pair", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": "int"}]}
MANY: dict[str, tuple[Any, bytes]] = {
    "numbers": (INTS, varint(980_000) + bytes(980_001)),
    "texts": ({"type": "array", "items": "string"}, varint(980_000) + bytes(980_001)),
    "unions": ({"type": "array", "items": ["null", "int"]}, varint(980_000) + bytes(980_001)),
    "lists of nothing": ({"type": "array", "items": INTS}, varint(980_000) + bytes(980_001)),
    "wide records": ({"type": "array", "items": WIDE}, varint(980_000) + bytes(980_001)),
    "records in a union": ({"type": "array", "items": ["null", PAIR]}, varint(60_000) + b"\x02\x00\x00" * 60_000),
    "a map of one key": ({"type": "map", "values": "null"}, varint(900_000) + bytes(900_001)),
    "blocks of one": (INTS, (varint(1) + b"\x00") * 490_000 + b"\x00"),
    "blocks that tell their bytes": (INTS, (varint(-1) + varint(1) + b"\x00") * 330_000 + b"\x00"),
}


@pytest.mark.parametrize("name", MANY)
def test_a_record_of_too_many_values_is_refused_before_they_are_read(name: str) -> None:
    assert refusal(*MANY[name]) == ("limit", "more than 70,000 values in one record, skipped ones included")


def test_a_long_vector_that_only_the_writer_has_is_no_many_values() -> None:
    """An embedding of 245,000 floats is skipped at once."""
    kind = {"type": "array", "items": "float"}
    data = PAYLOAD + varint(245_000) + bytes(980_000) + b"\x00"
    assert codec.decode(data, writer_with(json.dumps(kind))).event_id


def history_of(num: int, *, blocks: int = 1) -> bytes:
    """Write our own impression with a history of so many entries, in so many blocks."""
    one, two = (payload(impression(history=(seen("a", 1),) * n)) for n in (1, 2))
    at = next(n for n in range(len(one)) if one[n] != two[n])
    entry = one[at + 1 : at + 1 + len(two) - len(one)]
    rest = one[at + 1 + len(entry) :]
    return one[:at] + (varint(num // blocks) + entry * (num // blocks)) * blocks + rest


def entries(count: int, limit: int) -> str:
    return f"{count:,} entries or more, want at most {limit:,}"


def test_a_history_of_more_values_than_a_record_may_have_is_refused_with_its_place() -> None:
    with pytest.raises(Poison) as caught:
        codec.decode(history_of(49_000), avro_schemas.own_schema("RecommendationImpression"))
    problem = "user.history: more than 70,000 values in one record, skipped ones included"
    assert (caught.value.reason, str(caught.value)) == ("limit", problem)


@pytest.mark.parametrize("blocks", [1, 300])
def test_a_long_history_is_read_and_cut_in_any_number_of_blocks(blocks: int) -> None:
    found = codec.decode(history_of(300, blocks=blocks), avro_schemas.own_schema("RecommendationImpression"))
    assert len(found.user.history) == MAX_HISTORY


def plain(**changes: Any) -> dict[str, Any]:
    found: Any = avro_encoder.plain(impression(history=(seen("a", 1),)))
    return {**found, **changes}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"slates": [plain()["slates"][0]] * 17}, "slates: " + entries(17, MAX_SLATES)),
        ({"context": {f"k{n}": "v" for n in range(65)}}, "context: " + entries(65, MAX_MAP)),
    ],
)  # fmt: skip
def test_what_of_ours_is_too_much_is_refused_with_place_seen_and_wanted(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(Poison) as caught:
        codec.decode(payload(plain(**change)), avro_schemas.own_schema("RecommendationImpression"))
    assert (caught.value.reason, str(caught.value)) == ("limit", problem)


@pytest.mark.parametrize("sign", ["x", "é", "字", "\U0001f600"])
def test_of_a_long_text_the_beginning_is_read(sign: str) -> None:
    """It tells by one character more that it is longer; the memory that it takes is bounded."""
    long = {"user_id": "u", "profile_text": sign * 300_000, "profile": {"k": f"a{sign * 300_000}"}}
    found = codec.decode(payload(plain(user=long)), avro_schemas.own_schema("RecommendationImpression")).user
    assert found.profile_text == sign * (MAX_TEXT + 1)
    assert found.profile == {"k": f"a{sign * MAX_TEXT}"}


def test_a_block_that_tells_its_bytes_is_read_and_held_to_them() -> None:
    """Java and C# write such blocks for those who skip them."""
    data = payload(plain(context={"k": "v"}))
    ends = b"\x02\x02k\x02v\x00\x00\x00\x00"  # the context of one entry, and three that are false
    assert data.endswith(ends)
    own = avro_schemas.own_schema("RecommendationImpression")
    told = data.removesuffix(ends) + varint(-1) + varint(4) + ends[1:]
    assert codec.decode(told, own) == codec.decode(data, own)
    with pytest.raises(Poison, match="context: a block of entries that ends 1 bytes from where it says"):
        codec.decode(data.removesuffix(ends) + varint(-1) + varint(5) + ends[1:], own)


@pytest.mark.parametrize(
    ("ours", "data", "problem"),
    [
        ("boolean", b"\x02", "a boolean that is neither 0 nor 1"),
        ("int", varint(2**31), "an int of more than 32 bits"),
        ("long", b"\xff" * 9 + b"\x02", "a number of more than 64 bits"),
        ("long", b"\xff" * 10 + b"\x01", "a number of more than 64 bits"),
        (["null", "int"], b"\x04", "a branch of a union of 2 that is neither"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x01", "symbol -1 of 1"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, b"\x02", "symbol 1 of 1"),
        ("bytes", b"\x06a", "a length of 3 bytes where 2 are left"),
        ("string", b"\x06a", "a length of 3 bytes where 2 are left"),
        ("string", b"\x01a", "a length of -1 bytes where 2 are left"),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_place(ours: Any, data: bytes, problem: str) -> None:
    kind = parsed({"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": ours}}]})
    with pytest.raises(Unfit) as caught:
        compile_reader(kind, kind, Bounds())(varint(1) + data + b"\x00")
    assert str(caught.value) == f"a.0: {problem}"


def test_the_largest_numbers_are_read() -> None:
    kind = parsed(
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "double"}]}
    )
    for number in (2**63 - 1, -(2**63), 0, -1, 63, -64, 64):
        assert compile_reader(kind, kind, Bounds())(varint(number) + struct.pack("<d", 0.1)) == {"a": number, "b": 0.1}


def test_a_required_field_that_the_writer_has_not_is_named() -> None:
    schema = json.loads(OWN_TEXT)
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "occurred_at"]
    with pytest.raises(Poison, match="the writer's record has no field occurred_at, which has no default"):
        codec.decode(b"", avro_schemas.writer_schema(json.dumps(schema)))


def test_a_refused_schema_is_refused_for_each_record_alike() -> None:
    writer = avro_schemas.writer_schema('{"type": "record", "name": "Other", "fields": []}')
    told = set()
    for _ in range(3):
        with pytest.raises(Poison) as caught:
            codec.decode(b"", writer)
        told.add(str(caught.value))
    assert told == {"the writer's schema is of Other, want RecommendationImpression"}


def test_the_bounds_of_reading_are_those_of_the_records() -> None:
    bounds = codec.BOUNDS["RecommendationImpression"]
    assert bounds.entries == {"slates": MAX_SLATES}  # slates and histories are cut
    assert (bounds.map_entries, bounds.text_chars) == (MAX_MAP, MAX_TEXT + 1)  # one more tells of a cut
