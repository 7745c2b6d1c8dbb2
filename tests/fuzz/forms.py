"""JSON and Protobuf for the fuzzing: valid messages, and events of another structure."""

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz.mutations import change_value, junk_value, places, plain_impression
from tests.support.protobuf import CLASS
from worker.core.codec import protobuf_schemas
from worker.core.codec.input_forms import InputForm, JsonInput, ProtobufInput
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.protobuf_encoder import ProtobufEncoder


@dataclass(frozen=True, slots=True)
class Form:
    """A wire format: what reads it, and what writes valid messages and any plain data."""

    reader: InputForm
    valid: Callable[[Any], bytes]
    write: Callable[[Any, Random], bytes]
    prefixes: tuple[bytes, ...]  # framings


def write_json(value: Any, _chance: Random) -> bytes:
    return json.dumps(value, default=lambda data: data.decode("latin1"), ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def write_protobuf(value: Any, chance: Random, kind: Any = CLASS.DESCRIPTOR) -> bytes:
    """Write plain data by the numbers of a message's fields, whatever the values are."""
    data = b""
    given = value.items() if isinstance(value, dict) else ()
    for name, one in ((name, one) for name, one in given if one is not None):
        field = kind.fields_by_name.get(name) if kind is not None else None
        number = field.number if field is not None else chance.randrange(1, 40)
        inner = field.message_type if field is not None else None
        is_map = inner is not None and inner.GetOptions().map_entry
        if is_map and isinstance(one, dict):
            entries = [{"key": key, "value": each} for key, each in one.items()]
        else:
            entries = one if isinstance(one, list) else [one]
        for each in entries:
            data += _value(number, each, inner, field, chance)
    return data


def _value(number: int, value: Any, inner: Any, field: Any, chance: Random) -> bytes:
    if inner is not None and inner.name == "Timestamp" and isinstance(value, int):
        value = {"seconds": value // 1_000_000, "nanos": value % 1_000_000 * 1_000}
    if field is not None and field.enum_type is not None and isinstance(value, str):
        value = next((one.number for one in field.enum_type.values if one.name.endswith(f"_{value}")), 0)
    if isinstance(value, bool | int):
        return _varint(number << 3) + _varint(int(value))
    if isinstance(value, float):
        return _varint(number << 3 | 1) + struct.pack("<d", value)
    data = value if isinstance(value, bytes) else write_protobuf(value, chance, inner)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
    length = len(data) + (chance.randrange(-3, 4) if chance.random() < 0.001 else 0)
    return _varint(number << 3 | 2) + _varint(max(0, length)) + data


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


FORMS = {
    "json": Form(JsonInput(JsonRules()), lambda event: write_json(event, Random(0)), write_json, (b"\0\0\0\0\7", b"")),
    "protobuf": Form(
        ProtobufInput(protobuf_schemas.own(), always=True),
        lambda event: ProtobufEncoder().encode(event),
        write_protobuf,
        (b"\0\0\0\0\7\0", b"\0\0\0\0\7\2\0", b""),
    ),
}


def valid_messages(form: Form, chance: Random) -> list[bytes]:
    """Return valid messages, plain and framed."""
    event = plain_impression(chance)
    return [prefix + form.valid(event) for prefix in form.prefixes]


def changed_events(form: Form, chance: Random, number: int) -> Iterator[bytes]:
    """Yield events whose values or names have none to three changes of structure."""
    for _ in range(number):
        value = plain_impression(chance)
        for _ in range(chance.randrange(4)):
            if chance.random() < 0.3:
                _change_names(value, chance)
            else:
                change_value(value, chance)
        yield chance.choice(form.prefixes) + form.write(value, chance)


def _change_names(value: Any, chance: Random) -> None:
    """Rename, remove or add a field of some object."""
    holders = [holder for holder, _ in places(value) if isinstance(holder, dict)]
    holder = chance.choice(holders)
    name = chance.choice(list(holder)) if holder else ""
    match chance.randrange(3):
        case 0 if holder:
            holder[name + "_"] = holder.pop(name)
        case 1 if holder:
            del holder[name]
        case _:
            holder[chance.choice(("theirs", "Slates", "item_id", "slates"))] = junk_value(chance)
