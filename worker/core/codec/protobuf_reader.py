"""A Protobuf message to the plain fields of an object, bounded whatever its bytes and its schema say.

    message Slate { string variant = 1; Role role = 2; repeated Item items = 11; }
        ->  {"variant": "control", "role": "CONTROL", "items": [{...}, ...]}

What comes out is what JSON would be (`codec.json_reader`), so mappings and validation are the same:

    a field that is not set                 is not there; proto3 does not write a 0 without `optional`, so it is not set
    an enum                                 its symbol, without the prefix that all symbols of its type have
    google.protobuf.Timestamp               microseconds since 1970
    a wrapper, such as StringValue          what it wraps
    a double or float                       a number with its shortest text: 49.9
    bytes                                   their text, base64 if that is not UTF-8

Google's library reads the bytes.  It bounds neither the number of values nor memory: two bytes make a message of 200,
and of 62,000 where its type has 3,900 fields.  So a message that is large enough to hold more values than are allowed,
or to take much memory, is counted first, tag by tag.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal.type_checkers import ToShortestFloat
from google.protobuf.message import DecodeError

from worker.core.codec.json_reader import WrittenNumber
from worker.core.codec.logical_types import Unfit
from worker.core.codec.protobuf_schemas import ProtobufSchema, is_well_known
from worker.core.codec.protobuf_wire import MAX_DEPTH, WireError, examine, message_weight
from worker.core.codec.schema_limits import MAX_VALUES
from worker.core.errors import Poison
from worker.core.records import Reason

MAX_BYTES = 2 << 20  # of one message: twice what Kafka takes by default
UNCOUNTED_BYTES = 16 << 10  # a message of less is not counted before: it makes at most half as many values as bytes
UNCOUNTED_FIELDS = 128  # of the widest type, for a message of so many bytes; a wider one is counted from fewer bytes on
_F = FieldDescriptor
_TEXTS, _MESSAGES = (_F.TYPE_STRING,), (_F.TYPE_MESSAGE, _F.TYPE_GROUP)
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
_TIMESTAMP = "google.protobuf.Timestamp"
_NANOS = 1_000_000_000
_EXACT = 2.0**53  # from here on a double is not every whole number; 1e300 would be one of 301 digits
_Read = Callable[[Any, "_Walk", int], Any]


def decode(payload: bytes, schema: ProtobufSchema, name: str) -> Mapping[str, object]:
    """Return the fields of a message by the full name of its type.

    Raises `Poison`: `PROTOBUF` if it is no such message, `LIMIT` beyond a bound, `UTF8`, `INVALID`, or `SCHEMA`.
    """
    if len(payload) > MAX_BYTES:
        raise Poison(Reason.LIMIT, f"{len(payload):,} bytes of Protobuf, want at most {MAX_BYTES:,}")
    kind = schema.type_of(name)
    try:
        if len(payload) * max(1, schema.max_fields / UNCOUNTED_FIELDS) > UNCOUNTED_BYTES:
            examine(payload, kind.DESCRIPTOR, check_texts=False)
        message = kind.FromString(payload)
        return _Walk(schema).fields(message, 1)
    except DecodeError as error:
        raise _why(payload, kind.DESCRIPTOR) from error
    except UnicodeDecodeError as error:  # of the key or value of a map: proto2 reads any bytes as text
        raise Poison(Reason.UTF8, "a text that is not UTF-8") from error
    except WireError as problem:
        raise Poison(problem.reason, str(problem)) from problem
    except Unfit as unfit:
        raise Poison(unfit.reason, str(unfit)) from unfit


def _why(payload: bytes, descriptor: Any) -> Poison:
    """Return why the library, which does not say it, refuses a message."""
    try:
        examine(payload, descriptor, check_texts=True)
    except WireError as problem:
        return Poison(problem.reason, str(problem))
    return Poison(Reason.PROTOBUF, "is no message of its type")


class _Walk:
    """Reads one message, and counts its values."""

    def __init__(self, schema: ProtobufSchema) -> None:
        self._schema, self._left = schema, MAX_VALUES

    def fields(self, message: Any, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            raise Unfit(Reason.LIMIT, f"is nested deeper than {MAX_DEPTH}")
        kind = type(message)  # a field of a writer's may be called DESCRIPTOR or ListFields, and hides what is there
        descriptor = kind.DESCRIPTOR
        made = self._schema.plans.get(descriptor.full_name)
        if made is None:
            plan = _plan(descriptor, checks_texts=descriptor.file.name in self._schema.unchecked)
            made = self._schema.plans[descriptor.full_name] = message_weight(descriptor), plan
        weight, plan = made
        found = {}
        set_fields = kind.ListFields(message)
        self.spend(len(set_fields) + weight - 1)
        for each, value in set_fields:
            if (known := plan.get(each.number)) is None:
                continue  # an extension, which has no name of ours
            name, read = known
            try:
                found[name] = value if read is None else read(value, self, depth + 1)
            except Unfit as error:
                error.place.insert(0, name)
                raise
        return found

    def spend(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise Unfit(Reason.LIMIT, f"more than {MAX_VALUES:,} values in one record")


def _plan(descriptor: Any, *, checks_texts: bool) -> dict[int, tuple[str, _Read | None]]:
    return {each.number: (each.name, _reader(each, checks_texts=checks_texts)) for each in descriptor.fields}


def _reader(each: Any, *, checks_texts: bool) -> _Read | None:
    if each.message_type is not None and each.message_type.GetOptions().map_entry:
        value = _one(each.message_type.fields_by_name["value"])
        return lambda entries, walk, depth: _map(entries, value, walk, depth)
    one = _one(each, checks_texts=checks_texts)
    return (lambda values, walk, depth: _list(values, one, walk, depth)) if each.is_repeated else one


def _one(each: Any, *, checks_texts: bool = False) -> _Read | None:
    """Return what reads one value of a field; None if it is left as it is."""
    if each.type in _MESSAGES:
        return _message(each.message_type)
    if each.type == _F.TYPE_ENUM:
        names = _symbols(each.enum_type)
        return lambda value, _walk, _depth: names.get(value, str(value))
    if each.type == _F.TYPE_FLOAT:
        return lambda value, _walk, _depth: _number(ToShortestFloat(value))
    if each.type == _F.TYPE_DOUBLE:
        return lambda value, _walk, _depth: _number(value)
    if each.type == _F.TYPE_STRING and checks_texts:
        return lambda value, _walk, _depth: _utf8(value)
    return (lambda value, _walk, _depth: _text(value)) if each.type == _F.TYPE_BYTES else None


def _message(kind: Any) -> _Read:
    name = kind.full_name if is_well_known(kind) else ""  # a writer's own type of that name has other fields
    if name == _TIMESTAMP:
        return lambda value, _walk, _depth: _micros(value)
    if name in _WRAPPERS:
        return _wrapped
    if name in _JSON_KINDS:
        return _JSON_KINDS[name]
    return lambda value, walk, depth: walk.fields(value, depth)


def _micros(value: Any) -> int:
    if not 0 <= value.nanos < _NANOS:
        raise Unfit(Reason.INVALID, f"is a Timestamp with {value.nanos:,} nanos, want 0 to {_NANOS - 1:,}")
    return int(value.seconds * 1_000_000 + value.nanos // 1_000)


def _wrapped(value: Any, walk: _Walk, depth: int) -> Any:
    """Return what a wrapper wraps, which may be the default that is not on the wire."""
    found = walk.fields(value, depth)
    if "value" in found:
        return found["value"]
    read = _one(value.DESCRIPTOR.fields_by_name["value"])
    return value.value if read is None else read(value.value, walk, depth)


def _list(values: Any, one: _Read | None, walk: _Walk, depth: int) -> list[Any]:
    walk.spend(len(values))
    if one is None:
        return list(values)
    found = []
    for number, value in enumerate(values):
        try:
            found.append(one(value, walk, depth))
        except Unfit as error:
            error.place.insert(0, str(number))
            raise
    return found


def _map(entries: Any, value: _Read | None, walk: _Walk, depth: int) -> dict[str, Any]:
    walk.spend(4 * len(entries))
    if value is None:
        return {_key(key): one for key, one in entries.items()}
    return {_key(key): value(one, walk, depth) for key, one in entries.items()}


def _key(key: object) -> str:
    """Return the key of a map as JSON has it: true, not True."""
    return str(key).lower() if isinstance(key, bool) else str(key)


def _symbols(enum: Any) -> dict[int, str]:
    """Return the symbols of an enum by number, without the prefix that style guides give to all: ROLE_CONTROL."""
    names = {one.number: one.name for one in reversed(enum.values)}  # of two for one number, the first
    prefix = "".join("_" * (letter.isupper() and at > 0) + letter.upper() for at, letter in enumerate(enum.name)) + "_"
    if all(name.startswith(prefix) and name != prefix for name in names.values()):
        return {number: name.removeprefix(prefix) for number, name in names.items()}
    return names


def _number(value: float) -> WrittenNumber:
    if not isfinite(value):
        raise Unfit(Reason.INVALID, "is NaN or infinite; leave the field out where there is no number")
    return WrittenNumber(repr(value))


def _utf8(value: str | bytes) -> str:
    """Return a text; the library gives one that is not UTF-8 as bytes."""
    if isinstance(value, bytes):
        raise Unfit(Reason.UTF8, "a text that is not UTF-8")
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return b64encode(value).decode()


# -- google.protobuf.Struct, which is JSON


def _struct(value: Any, walk: _Walk, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unfit(Reason.LIMIT, f"is nested deeper than {MAX_DEPTH}")
    walk.spend(len(value.fields))
    return {name: _json(one, walk, depth + 1) for name, one in value.fields.items()}


def _values(value: Any, walk: _Walk, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise Unfit(Reason.LIMIT, f"is nested deeper than {MAX_DEPTH}")
    walk.spend(len(value.values))
    return [_json(one, walk, depth + 1) for one in value.values]


def _json(value: Any, walk: _Walk, depth: int) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if abs(number) < _EXACT and number.is_integer() else _number(number)
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _struct(value.struct_value, walk, depth)
        case "list_value":
            return _values(value.list_value, walk, depth)
    return None


_JSON_KINDS: Mapping[str, _Read] = {
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _values,
    "google.protobuf.Value": _json,
}
