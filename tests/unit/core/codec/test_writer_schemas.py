"""Foreign schemas: older and newer writers are read, and what would end the process is refused."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import AT_US, impression, payload, seen, varint
from tests.support.patience import patience
from worker.core.attribute_maps import nulls
from worker.core.codec import avro_encoder, avro_schemas, impression as codec
from worker.core.errors import Poison
from worker.core.records import Domain, Impression, Item, Slate, User

OWN_TEXT = avro_schemas.schema_text("RecommendationImpression")
SHOWN = impression(history=(seen("Heat (1995)", 1),))
PAYLOAD = payload(SHOWN)
LIMIT_S = 40.0  # for the child that decodes dangerous payloads; it takes one second
MAX_CPU_S, MAX_MIB = 0.25, 64  # of one of them; 50 ms are the promise, on a core that nobody shares

JsonRecord = dict[str, Any]


def refusal(schema: str) -> str:
    """Return the reason for which a schema is refused."""
    with pytest.raises(Poison) as caught:
        avro_schemas.writer_schema(schema)
    return caught.value.reason


def own_with(*added: JsonRecord, **top: object) -> str:
    """Write our own schema with further fields, as another writer's."""
    schema = json.loads(OWN_TEXT)
    return json.dumps({**schema, "fields": [*schema["fields"], *added], **top})


def of_record(*types: object, name: str = "R", **more: object) -> JsonRecord:
    """Make a record schema with a field of each type."""
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": f"f{n}", "type": t} for n, t in enumerate(types)],
        **more,
    }


def test_a_null_in_a_map_is_as_if_it_were_not_there_but_one_of_nulls_alone_has_their_names() -> None:
    """A writer whose attributes may be null says that they are not available; "" says that they are empty."""
    own = json.dumps(json.loads(OWN_TEXT), separators=(",", ":"))
    nullable = own.replace('"values":"string"', '"values":["null","string"]')
    item = Item("a", 0, attributes={"price": None, "tags": "", "title": "Heat"})  # type: ignore[dict-item]
    shown = replace(SHOWN, slates=(Slate("control", (item,)),), context={"weather": None})  # type: ignore[dict-item]
    found = codec.decode(payload(shown, nullable), avro_schemas.writer_schema(nullable))
    assert found.slates[0].items[0].attributes == {"tags": "", "title": "Heat"}
    assert (found.context, nulls(found.context)) == ({}, frozenset({"weather"}))
    assert found.user == SHOWN.user


def test_an_older_writer_without_the_optional_fields_is_read_with_their_defaults() -> None:
    def required(schema: Any) -> Any:
        if isinstance(schema, list):
            return [required(branch) for branch in schema]
        if not isinstance(schema, dict):
            return schema
        fields = [{**f, "type": required(f["type"])} for f in schema.get("fields", ()) if "default" not in f]
        nested = {key: required(schema[key]) for key in ("items", "values", "type") if key in schema}
        return {**schema, **nested, **({"fields": fields} if "fields" in schema else {})}

    old = json.loads(OWN_TEXT)
    old = required(old)
    # No older schema had items without any text, so this field was always there.
    slate_type = next(f for f in old["fields"] if f["name"] == "slates")["type"]["items"]
    item_type = next(f for f in slate_type["fields"] if f["name"] == "items")["type"]["items"]
    item_type["fields"].append({"name": "text", "type": "string"})
    text = json.dumps(old)
    writer = avro_schemas.writer_schema(text)
    plain = {
        "event_id": "e",
        "occurred_at": AT_US,
        "user": {"user_id": "u"},
        "slates": [{"variant": "a", "items": [{"item_id": "i", "position": 0, "text": "x"}]}],
    }
    assert codec.decode(payload(plain, text), writer) == Impression(
        "e", AT_US, User("u"), (Slate("a", (Item("i", 0, text="x"),)),)
    )


def test_a_newer_writers_fields_and_words_are_passed_over() -> None:
    schema = json.loads(own_with({"name": "added", "type": {"type": "array", "items": of_record("string", "long")}}))
    next(f for f in schema["fields"] if f["name"] == "domain")["type"]["symbols"] += ["podcasts"]
    text = json.dumps(schema)
    plain = {**avro_encoder.plain(SHOWN), "domain": "podcasts", "added": [{"f0": "x", "f1": 1}]}  # type: ignore[dict-item]
    assert codec.decode(payload(plain, text), avro_schemas.writer_schema(text)) == replace(SHOWN, domain=Domain.UNKNOWN)


def test_a_writer_of_another_record_is_refused() -> None:
    writer = avro_schemas.writer_schema(json.dumps(of_record("string", name="Other")))
    with pytest.raises(Poison) as caught:
        codec.decode(b"\x02x", writer)
    assert caught.value.reason == "avro"


@pytest.mark.parametrize(
    "schema",
    [
        json.loads(OWN_TEXT),
        "string",
        ["null", "string"],
        of_record("int", {"type": "map", "values": "null"}),  # a key takes a byte
        of_record({"type": "array", "items": ["null", "int"]}),  # and so does a branch
        of_record({"type": "array", "items": {"type": "enum", "name": "E", "symbols": ["A"]}}),
        of_record({"type": "enum", "name": "E", "symbols": ["A"]}, "E", name="a.b.R"),  # found in a.b
        of_record({"type": "enum", "name": "E", "symbols": ["A"], "namespace": "c"}, "c.E", namespace="a"),
        of_record(of_record(name="Empty"), of_record("null", name="Nothing")),
        of_record({"type": "long", "logicalType": "no-such-type"}),
        of_record({"type": "bytes", "logicalType": "decimal", "precision": "many"}),  # taken off, so it cannot harm
    ],
)
def test_a_plain_schema_passes_the_lint(schema: Any) -> None:
    avro_schemas.writer_schema(json.dumps(schema))


def nested(depth: int) -> Any:
    return {"type": "array", "items": nested(depth - 1)} if depth else "int"


REFUSED: dict[str, Any] = {
    "recursion": of_record(["null", "R"]),
    "recursion through an array": of_record({"type": "array", "items": "R"}),
    "recursion over two": of_record(of_record(["null", "a.R"], name="S"), name="R", namespace="a"),
    "recursion by the full name": of_record(["null", "a.b.R"], name="a.b.R"),
    "recursion by the short name": of_record(["null", "R"], name="a.b.R"),
    "recursion behind another of that name": of_record(
        {"type": "fixed", "name": "R", "namespace": "", "size": 1}, ["null", "R"], name="a.R"
    ),
    "depth": nested(20),
    "a great depth": json.loads("[" * 900 + '"int"' + "]" * 900),
    "width": of_record(*["int"] * 401),
    "width over two": of_record(of_record(*["int"] * 200, name="S"), of_record(*["int"] * 200, name="T")),
    "array of null": {"type": "array", "items": "null"},
    "array of an empty record": {"type": "array", "items": of_record()},
    "array of a record of nulls": {"type": "array", "items": of_record("null", of_record("null", name="S"))},
    "array of fixed of no size": {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
    "array of an empty record by name": of_record(of_record(name="S"), {"type": "array", "items": "S"}),
    "a record of nothing, doubled": of_record(of_record("null", name="S0"), of_record("S0", "S0", name="S1")),
    "unknown type": of_record("unknown"),
    "a name that is not there yet": of_record("E", {"type": "enum", "name": "E", "symbols": ["A"]}),
    "a name twice": of_record(of_record(name="S"), of_record(name="S")),
    "no name": {"type": "record", "fields": []},
    "no type": {"name": "R"},
    "null": None,
    "a number": 5,
    "a record without fields": {"type": "record", "name": "R"},
    "fields that are none": {"type": "record", "name": "R", "fields": [5]},
    "a name that is a number": {"type": "record", "name": 5, "fields": []},
    "an enum without symbols": {"type": "enum", "name": "E"},
}


@pytest.mark.parametrize("schema", REFUSED.values(), ids=list(REFUSED))
def test_a_schema_that_no_decoder_can_bound_is_refused(schema: Any) -> None:
    assert refusal(json.dumps(schema)) == "schema"


@pytest.mark.parametrize("name", [name for name in REFUSED if name.startswith("recursion")])
def test_a_recursive_schema_is_called_so(name: str) -> None:
    with pytest.raises(Poison, match="recursive"):
        avro_schemas.writer_schema(json.dumps(REFUSED[name]))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\ud800", "int", '{"type": NaN}'])
def test_a_text_that_is_no_schema_is_refused(text: str) -> None:
    assert refusal(text) == "schema"


words = st.sampled_from(("record", "array", "null", "int", "R", "enum", "fixed", "map", "a.R", "", 0, None, True))
keys = st.sampled_from(("type", "name", "fields", "items", "values", "namespace", "symbols", "size", "default"))
schemas = st.recursive(
    words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)


@given(schemas)
@settings(max_examples=50, deadline=None)
def test_any_json_is_a_schema_or_refused(schema: Any) -> None:
    try:
        avro_schemas.writer_schema(json.dumps(schema))
    except Poison as poison:
        assert poison.reason == "schema"  # noqa: PT017 - either end is right


# -- what ends the process, or fills its memory; no `try` can catch it, so it runs in a child

DEEP = b"\x02" * 200_000 + b"\x00"
NODE = of_record(["null", "Node"], name="Node")
DOUBLED = [of_record("null", name="S0"), *(of_record(f"S{n}", f"S{n}", name=f"S{n + 1}") for n in range(40))]
ROLE = "mirrorstream.v1.Role"  # an enum of ours; a parsed schema could say that it is this instead
TRUSTED = {"__fastavro_parsed": True, "__named_schemas": {ROLE: of_record(["null", ROLE], name=ROLE)}}
AFTER = PAYLOAD  # a field that only the writer has comes after ours
HUGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"  # 2**62 - 1, as a count or a length
LEAST = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -2**63
MILLION = varint(980_000)


def fields_of(name: str, **types: object) -> JsonRecord:
    """Make a record schema of named fields."""
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in types.items()]}


def listed(items: object) -> JsonRecord:
    """Make a list's schema."""
    return {"type": "array", "items": items}


# Our impression as an older writer may have it: an entry of a list may take one byte, where ours takes eight.
SMALL_ITEM = fields_of("Item", item_id="string", position="int", text="string")
SMALL = json.dumps(
    fields_of(
        "RecommendationImpression",
        event_id="string",
        occurred_at="long",
        user=fields_of(
            "User",
            user_id="string",
            history=listed(fields_of("HistoryEntry", item=fields_of("HistoryItem", item_id="string"))),
        ),
        slates=listed(fields_of("Slate", variant="string", items=listed(SMALL_ITEM))),
    )
)
SMALL_HEAD = b"\x02e" + varint(AT_US) + b"\x02u"
SMALL_SLATES = varint(1) + b"\x02v" + varint(1) + b"\x02i\x00\x02t\x00\x00"

DANGEROUS: dict[str, tuple[str, bytes]] = {
    "recursive": (json.dumps(NODE), DEEP),
    "recursive field that only the writer has": (own_with({"name": "x", "type": NODE}), AFTER + DEEP),
    "recursive array": (
        own_with({"name": "x", "type": of_record({"type": "array", "items": "N"}, name="N")}),
        AFTER + DEEP,
    ),
    "recursive behind another of that name": (
        own_with(
            {
                "name": "x",
                "type": of_record(
                    {"type": "fixed", "name": "N", "namespace": "", "size": 1}, ["null", "N"], name="a.N"
                ),
            }
        ),
        AFTER + b"x" + DEEP,
    ),
    "array of null": (json.dumps({"type": "array", "items": "null"}), b"\x80\x84\xaf\x5f\x00"),
    "array of null that only the writer has": (
        own_with({"name": "x", "type": {"type": "array", "items": "null"}}),
        AFTER + HUGE + b"\x00",
    ),
    "nothing, doubled 40 times": (
        own_with(*({"name": f"x{n}", "type": t} for n, t in enumerate(DOUBLED))),
        AFTER,
    ),
    "a schema that says it is parsed": (
        own_with({"name": "x", "type": ROLE}, **TRUSTED),
        AFTER + DEEP,
    ),
    "a schema nested without end": ('{"type":"array","items":' * 50_000 + '"int"' + "}" * 50_000, b""),
    "a field of 2 GB that only the writer has": (
        own_with({"name": "x", "type": {"type": "fixed", "name": "F", "size": 2**31 - 1}}),
        AFTER + b"x",
    ),
    "a string of 2**62 bytes": (OWN_TEXT, HUGE + b"x"),
    "a string of -2**63 bytes": (OWN_TEXT, LEAST + b"x"),
    "2**62 slates": (OWN_TEXT, PAYLOAD[:40] + HUGE * 20),
    "-2**63 of a field that only the writer has": (
        own_with({"name": "x", "type": {"type": "array", "items": "int"}}),
        AFTER + LEAST + LEAST,
    ),
    **{
        f"a list of fixed of {size} bytes": (
            json.dumps(of_record("string", {"type": "array", "items": {"type": "fixed", "name": "F", "size": size}})),
            b"\x02e" + HUGE,
        )
        for size in (-1, -(2**31), None, 0.0, False, "0")
    },
    **{
        f"a list of fixed of {size} bytes that only the writer has": (
            own_with({"name": "x", "type": {"type": "array", "items": {"type": "fixed", "name": "F", "size": size}}}),
            AFTER + HUGE,
        )
        for size in (-1, None)
    },
    "a list of an enum without symbols": (
        own_with({"name": "x", "type": {"type": "array", "items": {"type": "enum", "name": "E", "symbols": []}}}),
        AFTER + HUGE,
    ),
    "a text of 2**62 bytes that only the writer has": (own_with({"name": "x", "type": "string"}), AFTER + HUGE),
    "a text of -5 bytes that only the writer has": (own_with({"name": "x", "type": "string"}), AFTER + b"\x09" + HUGE),
    "a history of 980,000 entries of one byte": (SMALL, SMALL_HEAD + MILLION + bytes(980_001) + SMALL_SLATES),
    "980,000 slates of two bytes": (SMALL, SMALL_HEAD + b"\x00" + MILLION + bytes(2 * 980_000 + 1)),
    "980,000 items of three bytes": (
        SMALL,
        SMALL_HEAD + b"\x00" + varint(1) + b"\x02v" + MILLION + bytes(3 * 980_000 + 2),
    ),
    "a million numbers that only the writer has": (
        own_with({"name": "x", "type": {"type": "array", "items": "int"}}),
        AFTER + MILLION + bytes(980_001),
    ),
    "as many numbers as may be": (
        own_with({"name": "x", "type": listed("long")}),
        AFTER + varint(69_000) + (b"\xff" * 8 + b"\x01") * 69_000 + b"\x00",
    ),
    "as many texts as may be": (
        own_with({"name": "x", "type": listed("string")}),
        AFTER + varint(69_000) + b"\x02a" * 69_000 + b"\x00",
    ),
    "an enum of 30,000 symbols": (
        json.dumps({"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(30_000)]}),
        b"",
    ),
    "a schema of empty lists": ("[" + "[]," * 80_000 + "[]]", b""),
    "a number without end": (OWN_TEXT, b"\xff" * 100_000),
    "noise": (OWN_TEXT, bytes(range(256)) * 1000),
}

HARMLESS = {"as many numbers as may be", "as many texts as may be"}

_CHILD = """
import json, resource, sys, time
from worker.core.codec import avro_encoder, avro_schemas, impression as codec
from worker.core.errors import Poison

def peak_mib(again=False):
    if again:  # from now on
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024

codec.decode(bytes.fromhex(sys.argv[2]), avro_schemas.own_schema("RecommendationImpression"))
resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))
for line in sys.stdin:
    name, schema, payload = json.loads(line)
    data = bytes.fromhex(payload)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + float(sys.argv[1])) + 1,) * 2)
    before_s, before_mib = time.process_time(), peak_mib(again=True)
    try:
        codec.decode(data, avro_schemas.writer_schema(schema))
        end = "read"
    except Poison as poison:
        end = poison.reason
    cost = [time.process_time() - before_s, peak_mib() - before_mib]
    print(json.dumps([name, end, *cost]), flush=True)
print("whole", flush=True)
"""


@pytest.fixture(scope="module")
def ends() -> Mapping[str, tuple[str, float, float]]:
    """Decode all that is dangerous in one child, and tell how each ended, its CPU seconds and its MiB of memory."""
    lines = "".join(json.dumps([name, schema, data.hex()]) + "\n" for name, (schema, data) in DANGEROUS.items())
    root = Path(codec.__file__).parents[3]
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, "5", PAYLOAD.hex()],
        input=lines, capture_output=True, text=True, timeout=patience(LIMIT_S), check=False, cwd=root,
    )  # fmt: skip
    found = child.stdout.splitlines()
    met = {name: (end, cpu_s, mib) for name, end, cpu_s, mib in (json.loads(line) for line in found if line != "whole")}
    if found[-1:] != ["whole"]:
        unmet = next(name for name in DANGEROUS if name not in met)
        met[unmet] = (f"the process ended with {child.returncode}: {child.stderr[-500:]}", 0, 0)
    return met


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_dangerous_payload_is_refused_within_bounds(ends: Mapping[str, tuple[str, float, float]], name: str) -> None:
    end, cpu_s, mib = ends.get(name, ("not reached", 0, 0))
    if name == "a schema that says it is parsed":  # it is believed no more, so its field is the plain enum it names
        assert end == "avro"
    assert end in ({"read"} if name in HARMLESS else {"schema", "avro", "utf8", "limit", "invalid"})
    if name.startswith("980,000") or "980,000 entries" in name:
        assert end == "limit"
    assert cpu_s < MAX_CPU_S
    assert mib < MAX_MIB
