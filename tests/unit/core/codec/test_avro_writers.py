"""What we write of our own records: the bytes that fastavro makes of them."""

import json
from dataclasses import make_dataclass
from enum import Enum, StrEnum
from functools import cache
from io import BytesIO
from random import Random
from types import SimpleNamespace
from typing import Any

import fastavro
import pytest

from worker.core.codec import schema_limits
from worker.core.codec.avro_encoder import Encoder, plain
from worker.core.codec.avro_schemas import OWN, schema_text
from worker.core.codec.avro_writers import compile_writer
from worker.core.codec.schema_limits import Field, Type

_NUMBERS = {
    "int": (0, -1, 63, 64, -65, 2_047, 2_048, 2**31 - 1, -(2**31)),
    "long": (0, -1, 8_191, 8_192, 1_763_000_000_000_000, 2**63 - 1, -(2**63)),
    "float": (0.0, -1.5, 0.25),
    "double": (0.0, 0.1, -1e300, 1),
    "boolean": (False, True),
    "string": ("", "a", "Zoë 漢字", "x" * 63, "x" * 64, "x" * 5_000),
    "bytes": (b"", b"\x00\xff", b"x" * 3_000),
}


def _typed(text: str) -> Type:
    return schema_limits.parse(text, keep_defaults=True).root


@cache
def _kind(ours: Type) -> Any:
    return make_dataclass(ours.name.rpartition(".")[2], [each.name for each in ours.fields])


@cache
def _enum(ours: Type) -> Any:
    """Return an enum whose names differ from the symbols, as their hashes do."""
    return StrEnum("Other", [(symbol.lower(), symbol) for symbol in ours.symbols])


def _value(ours: Type, random: Random) -> Any:
    """Draw a value of a type; records are dataclasses with the schema's fields."""
    match ours.kind:
        case "record":
            return _kind(ours)(**{each.name: _value(each.type, random) for each in ours.fields})
        case "union":
            return random.choice((None, _value(ours.types[1], random)))
        case "array":
            num = random.choice((0, 1, 70 if ours.types[0].kind in _NUMBERS else 2))
            return tuple(_value(ours.types[0], random) for _ in range(num))
        case "map":
            return {f"key {number}": _value(ours.types[0], random) for number in range(random.choice((0, 1, 3)))}
        case "enum":
            return random.choice((str, _enum(ours)))(random.choice(ours.symbols))
    return random.choice(_NUMBERS[ours.kind])


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "logicalType"}
    return [_bare(one) for one in schema] if isinstance(schema, list) else schema


def _ours(ours: Type, value: object) -> bytes:
    out = bytearray()
    compile_writer(ours)(out, value)
    return bytes(out)


@pytest.mark.parametrize("name", OWN)
def test_the_bytes_are_those_of_fastavro(name: str) -> None:
    """Of any of our records, with numbers of every length, texts, empty lists, nulls and enums by name or symbol."""
    parsed = fastavro.parse_schema(_bare(json.loads(schema_text(name))))
    ours, random = _typed(schema_text(name)), Random(name)
    write = compile_writer(ours)
    for _ in range(20):
        record = _value(ours, random)
        theirs = BytesIO()
        fastavro.schemaless_writer(theirs, parsed, plain(record))
        found = bytearray()
        write(found, record)
        assert bytes(found) == theirs.getvalue()


def test_a_field_that_the_dataclass_lacks_has_its_default() -> None:
    """Whether the dataclass has one of the schema's fields or several."""
    text = json.dumps(
        {"type": "record", "name": "R", "fields": [
            {"name": "a", "type": "string"}, {"name": "b", "type": ["null", "string"], "default": None},
            {"name": "c", "type": "int", "default": 3},
        ]}
    )  # fmt: skip
    kind = make_dataclass("R", ["a"])
    assert _ours(_typed(text), kind("x")) == b"\x02x" + b"\x00" + b"\x06"


def test_a_dataclass_without_a_field_that_has_no_default_is_refused() -> None:
    """The record's name and the field are in the message."""
    ours = Type("record", name="R", fields=(Field("a", Type("string")),))
    with pytest.raises(TypeError, match="R has no a, which has no default"):
        _ours(ours, make_dataclass("R", ["b"])("x"))


def test_what_a_schema_does_not_have_is_refused() -> None:
    """Such bytes could not be read back."""
    with pytest.raises(ValueError, match="none of A, B"):
        _ours(Type("enum", symbols=("A", "B")), "C")
    for kind, number in (("int", 2**31), ("int", -(2**31) - 1), ("long", 2**63)):
        with pytest.raises(ValueError, match="a number of more than"):
            _ours(Type(kind), number)
    for kind, value in (("int", 5.0), ("long", 5_000.5), ("long", "5")):
        with pytest.raises(TypeError):
            _ours(Type(kind), value)
    with pytest.raises(AttributeError):
        _ours(Type("string"), SimpleNamespace())


@pytest.mark.parametrize("entry", ["string", "double"])
def test_nothing_is_no_empty_list_or_map(entry: str) -> None:
    """A reader could not tell a value that was forgotten."""
    with pytest.raises(TypeError):
        _ours(Type("array", types=(Type(entry),)), None)
    with pytest.raises(TypeError):
        _ours(Type("map", types=(Type(entry),)), None)
    with pytest.raises(AttributeError):
        _ours(Type("map", types=(Type("long"),)), {None: 1})


def test_an_encoder_takes_plain_data_too() -> None:
    """A record read from elsewhere is a dict, and its bytes are the same."""
    random = Random(1)
    encoder = Encoder("RecommendationImpression", schema_id=7)
    record = _value(_typed(schema_text("RecommendationImpression")), random)
    assert encoder.encode(record) == encoder.encode(plain(record))
    assert encoder.encode(record)[:5] == b"\x00\x00\x00\x00\x07"


def test_an_enum_is_written_by_its_symbol_whatever_its_type() -> None:
    """A member of `StrEnum`, of `Enum`, or the text, each the first time and again."""
    ours = Type("enum", symbols=("A", "B"))
    write = compile_writer(ours)

    class Plain(Enum):
        SECOND = "B"

    class Text(StrEnum):
        SECOND = "B"

    for value in (Plain.SECOND, Plain.SECOND, "B", Text.SECOND):
        out = bytearray()
        write(out, value)
        assert out == b"\x02"


def test_numbers_bytes_and_truth_are_avros() -> None:
    for kind, value in (("float", 0.1), ("double", 0.1), ("boolean", True), ("bytes", b"ab"), ("long", -(2**63))):
        theirs = BytesIO()
        fastavro.schemaless_writer(theirs, {"type": kind}, value)
        assert _ours(Type(kind), value) == theirs.getvalue()


def test_an_optional_value_outside_of_a_record_is_written_too() -> None:
    ours = Type("union", types=(Type("null"), Type("string")))
    assert (_ours(ours, None), _ours(ours, "a")) == (b"\x00", b"\x02\x02a")
