"""Writes our own records, dataclasses, as Avro: a schema becomes a chain of small functions, once.

    ours   {"type": "array", "items": "double"}      count, the numbers, 0
    ours   ["null", "string"]                        0, or 2 and the text

It is the counterpart of `codec.avro_readers`, for schemas of ours alone.  Each function appends one value to the bytes
so far.  A record's fields are taken by name, so that no dict is made of it; a field that the dataclass lacks has the
schema's default.

fastavro writes the same bytes from dicts, and takes 2.5 times as long with the making of the dicts (the responses of
the bench, two busy cores, 2026-11).  It looks for the branch of a union by validating the value against each of them;
ours are of null and one more.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from operator import attrgetter, index
from typing import Any, TypeAlias

from worker.core.codec.schema_limits import NO_DEFAULT, Field, Type

Write: TypeAlias = Callable[[bytearray, Any], None]
Values: TypeAlias = Callable[[Any], Iterable[Any]]

_BRANCH_1 = 2  # as Avro writes the whole number 1
_MORE = 0x80  # bit of a byte after which a number goes on
_MAX_INT, _MAX_LONG = 2**31, 2**63
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_NUMBERS: Mapping[str, str] = {"double": "d", "float": "f"}  # that `struct` packs side by side


def compile_writer(ours: Type) -> Write:
    """Return a function that appends one value of our type to a `bytearray`.

    Only the types that our schemas have; the function raises `TypeError`, `AttributeError` or `struct.error` for a
    value of another type, and `ValueError` or `OverflowError` for a number or symbol that Avro or the schema lacks.
    A truth value is written of any value.
    """
    make = _MAKERS.get(ours.kind)
    return make(ours) if make else _LEAVES[ours.kind]


def _number(value: int) -> bytes:
    """Return a whole number as Avro writes it: zigzag, seven bits a byte, the lowest first."""
    rest = (value << 1) ^ (value >> 63)
    found = bytearray()
    while rest >= _MORE:
        found.append((rest & 0x7F) | _MORE)
        rest >>= 7
    found.append(rest)
    return bytes(found)


# Lengths, counts, positions: most numbers by far.
_NUM_SMALL = 2_048
_SMALL: tuple[bytes, ...] = tuple(_number(value) for value in range(_NUM_SMALL))


def _length(number: int) -> bytes:
    return _SMALL[number] if number < _NUM_SMALL else _number(number)


def _number_writer(bound: int) -> Write:
    def write(out: bytearray, value: int) -> None:
        if 0 <= value < _NUM_SMALL:
            out += _SMALL[value]
        elif -bound <= value < bound:
            out += _number(index(value))
        else:
            raise ValueError(f"a number of more than {bound.bit_length()} bits")

    return write


def _write_text(out: bytearray, value: str) -> None:
    data = value.encode()
    size = len(data)
    out += _SMALL[size] if size < _NUM_SMALL else _number(size)
    out += data


def _write_bytes(out: bytearray, value: bytes) -> None:
    out += _length(len(value))
    out += value


def _write_boolean(out: bytearray, value: object) -> None:
    out.append(1 if value else 0)


def _write_float(out: bytearray, value: float) -> None:
    out += _FLOAT.pack(value)


def _write_double(out: bytearray, value: float) -> None:
    out += _DOUBLE.pack(value)


_LEAVES: Mapping[str, Write] = {
    "string": _write_text,
    "bytes": _write_bytes,
    "boolean": _write_boolean,
    "int": _number_writer(_MAX_INT),
    "long": _number_writer(_MAX_LONG),
    "float": _write_float,
    "double": _write_double,
}


def _enum_writer(ours: Type) -> Write:
    known: dict[object, bytes] = {symbol: _number(place) for place, symbol in enumerate(ours.symbols)}

    def write(out: bytearray, value: object) -> None:
        found = known.get(value)  # a `StrEnum` is found by its symbol, other enums once they were met
        if found is None:
            symbol = value.value if isinstance(value, Enum) else value
            if symbol not in known:
                raise ValueError(f"a symbol that is none of {', '.join(ours.symbols)}")
            found = known[value] = known[symbol]
        out += found

    return write


def _optional_writer(ours: Type) -> Write:
    write_value = compile_writer(_other(ours))

    def write(out: bytearray, value: object) -> None:
        if value is None:
            out.append(0)
        else:
            out.append(_BRANCH_1)
            write_value(out, value)

    return write


def _other(ours: Type) -> Type:
    null, other = ours.types
    assert null.kind == "null", "our unions are of null and one more type"
    return other


def _array_writer(ours: Type) -> Write:
    [entry] = ours.types
    if entry.kind in _NUMBERS:
        return _numbers_writer(_NUMBERS[entry.kind])
    write_entry = compile_writer(entry)

    def write(out: bytearray, values: Sequence[object]) -> None:
        if num := len(values):
            out += _length(num)
            for value in values:
                write_entry(out, value)
        out.append(0)

    return write


def _numbers_writer(kind: str) -> Write:
    def write(out: bytearray, values: Sequence[float]) -> None:
        if num := len(values):
            out += _length(num)
            out += struct.pack(f"<{num}{kind}", *values)
        out.append(0)

    return write


def _map_writer(ours: Type) -> Write:
    write_entry = compile_writer(ours.types[0])

    def write(out: bytearray, entries: Mapping[str, object]) -> None:
        if num := len(entries):
            out += _length(num)
            for key, value in entries.items():
                _write_text(out, key)
                write_entry(out, value)
        out.append(0)

    return write


def _record_writer(ours: Type) -> Write:
    # An optional field is written here, without a call for each null: half of all fields are optional.
    writers = tuple(
        (True, compile_writer(_other(each.type))) if each.type.kind == "union" else (False, compile_writer(each.type))
        for each in ours.fields
    )
    getters: dict[type, Values] = {}

    def write(out: bytearray, record: object) -> None:
        kind = type(record)
        values = getters.get(kind)
        if values is None:
            values = getters[kind] = _values_of(kind, ours.fields)
        for (optional, write_value), value in zip(writers, values(record), strict=True):
            if optional:
                if value is None:
                    out.append(0)
                    continue
                out.append(_BRANCH_1)
            write_value(out, value)

    return write


def _values_of(kind: Any, wanted: tuple[Field, ...]) -> Values:
    """Return what lists a dataclass's values in the order of the schema's fields."""
    there = {each.name for each in fields(kind)}
    if lacking := [each.name for each in wanted if each.name not in there and each.default is NO_DEFAULT]:
        raise TypeError(f"{kind.__name__} has no {lacking[0]}, which has no default")
    if all(each.name in there for each in wanted) and len(wanted) > 1:
        return attrgetter(*(each.name for each in wanted))
    return lambda record: tuple(getattr(record, each.name) if each.name in there else each.default for each in wanted)


_MAKERS: Mapping[str, Callable[[Type], Write]] = {
    "record": _record_writer,
    "union": _optional_writer,
    "array": _array_writer,
    "map": _map_writer,
    "enum": _enum_writer,
}
