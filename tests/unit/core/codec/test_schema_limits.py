"""What a writer's schema may say: names, sizes and counts are checked, references resolved, tools' habits taken."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import payload
from tests.support.foreign import OWN_TEXT, plain_with
from worker.core.codec import avro_encoder, avro_schemas, impression as codec, schema_limits
from worker.core.codec.schema_limits import MAX_FIXED_BYTES, MAX_SCHEMA_CHARS, MAX_SCHEMA_TYPES, MAX_SYMBOLS, MAX_VALUES
from worker.core.errors import Poison

JsonRecord = dict[str, Any]


def fixed(size: object, **more: object) -> JsonRecord:
    return {"type": "fixed", "name": "F", "size": size, **more}


def enum(*symbols: object, **more: object) -> JsonRecord:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def record(*types: object, name: object = "R", **more: object) -> JsonRecord:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields, **more}


def named(name: object) -> JsonRecord:
    return {"type": "record", "name": "R", "fields": [{"name": name, "type": "int"}]}


BAD_SIZES: tuple[object, ...] = (-1, None, 2.0, 0.5, True, "1", [], 10**12)
REFUSED: dict[str, tuple[Any, str]] = {
    **{f"fixed of {size!r}": (fixed(size), "has a fixed of") for size in BAD_SIZES},
    "fixed of more than a long": (fixed(10**30), "has a fixed of"),
    "fixed without a size": ({"type": "fixed", "name": "F"}, "has a fixed of null bytes"),
    "fixed of no bytes in a list": ({"type": "array", "items": fixed(0)}, "items that take no bytes"),
    "enum without symbols": (enum(), "symbols are no list of names"),
    "enum of null": ({**enum(), "symbols": None}, "symbols are no list of names"),
    "enum of a text": ({**enum(), "symbols": "AB"}, "symbols are no list of names"),
    "enum of numbers": (enum(1, 2), "symbols are no list of names"),
    "enum of odd symbols": (enum("a b"), "symbols are no list of names"),
    "enum with one twice": (enum("A", "A"), "one symbol twice"),
    "enum with too many": (enum(*(f"S{n}" for n in range(MAX_SYMBOLS + 1))), "more than 10,000 symbols"),
    "name of a list": (record("int", name=["a"]), "no string"),
    "name of null": (record("int", name=None), "no string"),
    "name of a number": (record("int", name=5), "no string"),
    "empty name": (record("int", name=""), "Avro does not allow"),
    "name with a newline": (record("int", name="a\n"), "Avro does not allow"),
    "name with a sign": (record("int", name="a\u202eb"), "Avro does not allow"),
    "name that starts with a digit": (record("int", name="1a"), "Avro does not allow"),
    "name that ends with a dot": (record("int", name="a."), "Avro does not allow"),
    "surrogate name": (record("int", name="\ud800"), "Avro does not allow"),
    "long name": (record("int", name="a" * 513), "Avro does not allow"),
    "name of a primitive": (record("int", name="string"), "name of a primitive"),
    "name of a primitive with a namespace": (record("int", name="a.int"), "name of a primitive"),
    "namespace of a number": (record("int", namespace=5), "no string"),
    "namespace of a list": (record("int", namespace=["q"]), "no string"),
    "odd namespace": (record("int", namespace="a b"), "Avro does not allow"),
    "field name of a number": (named(5), "a field without a type or without a name"),
    "field name of null": (named(None), "a field without a type or without a name"),
    "field name with a dash": (named("a-b"), "a field without a type or without a name"),
    "field without a name": ({"type": "record", "name": "R", "fields": [{"type": "int"}]}, "a field without"),
    "field without a type": ({"type": "record", "name": "R", "fields": [{"name": "a"}]}, "a field without"),
    "field that is a list": ({"type": "record", "name": "R", "fields": [["a", "int"]]}, "a field without"),
    "field twice": ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}] * 2}, "one field twice"),
    "fields of a mapping": ({"type": "record", "name": "R", "fields": {"a": "int"}}, "fields are no list"),
    "fields of a text": ({"type": "record", "name": "R", "fields": "abc"}, "fields are no list"),
    "array without items": ({"type": "array"}, "an array without items"),
    "array of values": ({"type": "array", "values": "int"}, "an array without items"),
    "map without values": ({"type": "map", "items": "int"}, "a map without values"),
    "array of null items": ({"type": "array", "items": None}, "null where a type"),
    "union without branches": (record([]), "a union without branches"),
    "union in a union": (record(["null", ["int", "string"]]), "a union in a union"),
    "union with one type twice": (record(["int", "string", "int"]), "one type twice"),
    "too many types": (record([fixed(1, name=f"F{n}") for n in range(MAX_SCHEMA_TYPES)]), "more than 4,000 types"),
    "a type that is a number": (record(5), "5 where a type"),
    "a type that is null": (record(None), "null where a type"),
    "request": ({"type": "request", "name": "R", "fields": []}, "names a type that"),
    "error_union": ({"type": "error_union"}, "names a type that"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_impossible_schema_is_refused_with_the_reason(name: str) -> None:
    schema, words = REFUSED[name]
    for found in (schema, record(schema, name="Outer"), [schema, "null"]):
        with pytest.raises(Poison, match=r"^writer schema ") as caught:
            avro_schemas.writer_schema(json.dumps(found))
        assert caught.value.reason == "schema"
        assert words in str(caught.value) or found is not schema


def test_a_type_that_multiplies_is_refused_before_it_is_large() -> None:
    """Each takes its bytes, so only the payload would bound it: 8**7 values in 2 MB."""
    doubled = [record("int", name="S0"), *(record(*[f"S{n}"] * 8, name=f"S{n + 1}") for n in range(7))]
    with pytest.raises(Poison, match=f"more than {MAX_VALUES:,} values"):
        avro_schemas.writer_schema(json.dumps(record(*doubled)))


def test_a_text_that_is_too_long_is_refused_unread_with_its_references() -> None:
    half = json.dumps(record("int", doc="x" * (MAX_SCHEMA_CHARS // 2)))
    avro_schemas.writer_schema(half)
    with pytest.raises(Poison, match="characters with its references, want at most 262,144"):
        avro_schemas.writer_schema(half, [half.replace('"R"', '"S"')])


@pytest.mark.parametrize(
    "schema",
    [
        fixed(0),
        fixed(MAX_FIXED_BYTES),
        record(["null", {"type": "string", "avro.java.string": "String"}], name="com.acme.Outer", namespace=""),
        record({"type": "map", "values": "int", "avro.java.string": "String"}, namespace="com.acme.Outer$"),
        record("int", namespace=None),  # as Connect writes it
        record("int", name="größe"),  # letters of any script, as in Java
        record("int", aliases=5, doc=[], order="sideways"),  # nothing that a reader needs
        {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "default": {"a": [1]}, "aliases": 5}]},
        record({"type": "string", "connect.default": "", "connect.parameters": {"a": "b"}, "connect.doc": None}),
        record({"type": {"type": {"type": "string"}}}),
        record({"type": ["null", "int"]}),
        record(enum("A", default=["B"])),
        record(enum("A", default="B")),
        {"type": "error", "name": "E", "fields": []},
    ],
)
def test_what_tools_write_is_taken(schema: Any) -> None:
    avro_schemas.writer_schema(json.dumps(schema))


def parts(schema: Any, found: list[str], top: str) -> Any:
    """Take each record and enum out of a schema, dependencies first, and leave its name."""
    if isinstance(schema, list):
        return [parts(branch, found, top) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: parts(schema[key], found, top) for key in ("items", "values", "type") if key in schema}
    fields = [{**field, "type": parts(field["type"], found, top)} for field in schema.get("fields", ())]
    made = {**schema, **made, **({"fields": fields} if fields else {})}
    if "name" in schema and schema["name"] != top:
        found.append(json.dumps({**made, "namespace": "mirrorstream.v1"}))
        return f"mirrorstream.v1.{schema['name']}"
    return made


def test_references_give_the_types_that_a_schema_names() -> None:
    references: list[str] = []
    text = json.dumps(parts(json.loads(OWN_TEXT), references, "RecommendationImpression"))
    assert len(references) == 13
    plain = plain_with("event_id", "e")
    found = codec.decode(payload(plain), avro_schemas.writer_schema(text, references))
    assert avro_encoder.plain(found) == plain
    again = avro_schemas.writer_schema(text, [*references, references[0]])  # two that reference the same third
    assert avro_encoder.plain(codec.decode(payload(plain), again)) == plain


@pytest.mark.parametrize(
    ("text", "references", "problem"),
    [
        ('"a.S"', [], "names a type that neither it nor its references declare: a.S"),
        ('"a.S"', ['"a.T"', json.dumps(record("int", name="a.S"))], "declare: a.T"),  # not the dependency first
        ('"a.S"', [json.dumps(record(["null", "a.S"], name="a.S"))], "recursive"),
        ('"a.S"', [json.dumps(record("a.T", name="a.S")), json.dumps(record("a.S", name="a.T"))], "declare: a.T"),
        (json.dumps(record(["null", "R"], name="a.R", namespace="")), [], "recursive"),
        (json.dumps(record("int", name="a.S")), [json.dumps(record("string", name="a.S"))], "declares a.S more than"),
        ('"a.S"', ["{"], "is not JSON"),
        ('"a.S"', [json.dumps(record(fixed(-1), name="a.S"))], "has a fixed of -1 bytes"),
        ('{"type":"array","items":"a.S"}', [json.dumps(record(name="a.S"))], "no bytes"),
    ],
)
def test_references_are_checked_as_the_schema_is(text: str, references: list[str], problem: str) -> None:
    with pytest.raises(Poison, match=problem) as caught:
        avro_schemas.writer_schema(text, references)
    assert caught.value.reason == "schema"


def test_a_name_without_a_namespace_is_looked_for_within_it_first_and_then_without_as_in_java() -> None:
    main = json.dumps(record("S", {"type": "array", "items": "S"}, name="a.R"))
    avro_schemas.writer_schema(main, [json.dumps(record("int", name="S"))])
    with pytest.raises(Poison, match="no bytes"):  # the one within comes first
        avro_schemas.writer_schema(main, [json.dumps(record("int", name="S")), json.dumps(record(name="a.S"))])
    with pytest.raises(Poison, match="recursive"):
        avro_schemas.writer_schema(json.dumps(record(record(["null", "R"], name="a.S"), name="R")))


def test_a_chain_of_references_is_no_deeper_than_a_schema() -> None:
    chain = [json.dumps(record("int", name="S0"))]
    chain += [json.dumps(record(f"S{n}", name=f"S{n + 1}")) for n in range(40)]
    avro_schemas.writer_schema('"S10"', chain[:11])
    with pytest.raises(Poison, match="nested deeper than 16"):
        avro_schemas.writer_schema('"S40"', chain)


def test_a_topic_of_many_types_gives_ours() -> None:
    """With record names as subjects, the schema is a union of references; the payload starts with the branch."""
    other = json.dumps(record("int", name="com.acme.Other"))
    writer = avro_schemas.writer_schema(
        '["com.acme.Other", "mirrorstream.v1.RecommendationImpression"]', [other, OWN_TEXT]
    )
    plain = plain_with("event_id", "e")
    assert avro_encoder.plain(codec.decode(b"\x02" + payload(plain), writer)) == plain
    with pytest.raises(Poison, match=r"the writer's schema is of com\.acme\.Other, want RecommendationImpression"):
        codec.decode(b"\x00\x02", writer)


def test_names_of_inner_records_and_namespaces_may_be_anything() -> None:
    """Connect, Flink and Spark make them up; the outermost needs our record's name."""
    text = OWN_TEXT.replace("mirrorstream.v1", "com.acme")
    for name in ("User", "HistoryEntry", "HistoryItem", "Slate", "Item", "Role", "Domain"):
        text = text.replace(f'"name": "{name}"', f'"name": "ConnectDefault{name}"')
    plain = plain_with("event_id", "e")
    assert avro_encoder.plain(codec.decode(payload(plain), avro_schemas.writer_schema(text))) == plain


def test_a_foreign_name_in_a_message_is_short_and_plain() -> None:
    for name in ("a" * 500, "a\u202eb", "a\nb"):
        with pytest.raises(Poison, match=r"declare: \(an odd name\)$"):
            avro_schemas.writer_schema(json.dumps(name))


def test_a_schema_knows_what_it_holds_of_memory() -> None:
    """It is a bound for caches: what `tracemalloc` finds for our own is 102 KB (2026-11)."""
    assert 100_000 < avro_schemas.own_schema("RecommendationImpression").num_bytes < 500_000
    assert avro_schemas.writer_schema(json.dumps(enum(*(f"S{n}" for n in range(5_000))))).num_bytes > 1_000_000


words = st.sampled_from(("record", "array", "null", "int", "R", "enum", "fixed", "map", "a.R", "", 0, -1, None, True))
keys = st.sampled_from(
    ("type", "name", "fields", "items", "values", "namespace", "symbols", "size", "default", "logicalType", "scale")
)
schemas = st.recursive(
    words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=10
)


@given(schemas, st.lists(schemas, max_size=2), st.binary(max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_json_is_a_schema_or_refused(schema: Any, references: list[Any], data: bytes) -> None:
    try:
        writer = avro_schemas.writer_schema(json.dumps(schema), list(map(json.dumps, references)))
        codec.decode(data, writer)
    except Poison as poison:
        assert poison.reason in {"schema", "avro"}  # noqa: PT017 - either end is right


def test_the_limits_leave_room_for_our_own_schemas() -> None:
    for name in ("RecommendationImpression", "SimulatedResponse", "Outcome", "ExperimentDefinition"):
        root = schema_limits.parse(avro_schemas.schema_text(name)).root
        assert (root.num_values < 100, root.height <= 8) == (True, True), name
