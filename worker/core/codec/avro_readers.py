"""Small functions that read or skip one value of Avro's binary form, for `worker.core.codec.avro` to chain.

    number         (n << 1) ^ (n >> 63), seven bits a byte, the last byte below 0x80
    text, bytes    a number, the length, then so many bytes
    list, map      blocks: how many entries, then these; 0 ends.  A negative count has its length in bytes behind it
    union, enum    the index of the branch or symbol
    record         its fields, one after the other

Each takes the bytes, the place of the value, and in a list of one how many values may still come, and returns
the place after the value.  A place beyond the end raises `IndexError` or `struct.error`; all else that is
wrong, `Unfit`.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from worker.core.codec.logical_types import Convert, Unfit
from worker.core.codec.schema_limits import MAX_VALUES, Type
from worker.core.records import Reason

Read: TypeAlias = Callable[[bytes, int, list[int]], tuple[Any, int]]
Skip: TypeAlias = Callable[[bytes, int, list[int]], int]
# A field of a record: our name, how it is read, and the `Read` or `Skip`.
Step: TypeAlias = tuple[str, int, Callable[..., Any]]

READ, OPTIONAL, SKIP = range(3)
MORE = 0x80  # bit of a byte after which a number goes on
BRANCH_1 = 2  # as Avro writes the whole number 1
BLOCK_VALUES = 2  # what the head of a block costs, in values: 1 MB may be 500,000 blocks of one entry
MAX_NUMBER_BYTES = 10  # of 64 bits
_MAX_INT, _MAX_LONG = 2**31, 2**63
_FLOAT, _DOUBLE = struct.Struct("<f"), struct.Struct("<d")
_FIXED_BYTES = {"boolean": 1, "float": 4, "double": 8}


def _number(data: bytes, at: int, _left: list[int] | None = None) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < MORE:
        return (byte >> 1) ^ -(byte & 1), at
    value, shift, last = byte & 0x7F, 7, at + MAX_NUMBER_BYTES - 1
    while at < last:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < MORE:
            if value >= 2 * _MAX_LONG:
                break
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise Unfit(Reason.AVRO, "a number of more than 64 bits")


def _read_int(data: bytes, at: int, _left: list[int]) -> tuple[int, int]:
    value, at = _number(data, at)
    if not -_MAX_INT <= value < _MAX_INT:
        raise Unfit(Reason.AVRO, "an int of more than 32 bits")
    return value, at


def _read_null(_data: bytes, at: int, _left: list[int]) -> tuple[None, int]:
    return None, at


def _read_boolean(data: bytes, at: int, _left: list[int]) -> tuple[bool, int]:
    byte = data[at]
    if byte > 1:
        raise Unfit(Reason.AVRO, "a boolean that is neither 0 nor 1")
    return byte == 1, at + 1


def _read_float(data: bytes, at: int, _left: list[int]) -> tuple[float, int]:
    return _FLOAT.unpack_from(data, at)[0], at + 4


def _read_double(data: bytes, at: int, _left: list[int]) -> tuple[float, int]:
    return _DOUBLE.unpack_from(data, at)[0], at + 8


LEAVES: Mapping[str, Read] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": _read_int,
    "long": _number,
    "float": _read_float,
    "double": _read_double,
}


def _span(data: bytes, at: int) -> tuple[int, int]:
    """Return where a text or bytes start and end."""
    length, at = _number(data, at)
    if not 0 <= length <= len(data) - at:
        raise Unfit(Reason.AVRO, f"a length of {length:,} bytes where {len(data) - at:,} are left")
    return at, at + length


def bytes_reader(max_bytes: int) -> Read:
    """Read bytes, at most `max_bytes`."""

    def read(data: bytes, at: int, _left: list[int]) -> tuple[bytes, int]:
        at, end = _span(data, at)
        if end - at > max_bytes:
            raise Unfit(Reason.LIMIT, f"{end - at:,} bytes, want at most {max_bytes:,}")
        return data[at:end], end

    return read


def text_reader(max_chars: int) -> Read:
    """Read the first `max_chars` characters of a text, or some more: of up to four bytes each."""
    max_bytes = 4 * max_chars  # validation counts the characters

    def read(data: bytes, at: int, _left: list[int]) -> tuple[str, int]:
        byte = data[at]
        if byte & 0x81:  # a length of more than one byte, or below 0
            at, end = _span(data, at)
            if end - at > max_bytes:
                return _beginning(data, at, at + max_bytes), end
        else:
            at += 1
            end = at + (byte >> 1)
            if end > len(data):
                raise Unfit(Reason.AVRO, f"a length of {byte >> 1} bytes where {len(data) - at} are left")
        try:
            return data[at:end].decode(), end
        except UnicodeDecodeError as error:
            raise Unfit(Reason.UTF8, "a text that is not UTF-8") from error

    return read


def _beginning(data: bytes, at: int, end: int) -> str:
    """Return the text of some bytes, without a last character that is cut."""
    while data[end] & 0xC0 == 0x80 and end > at:  # noqa: PLR2004 - the second byte of a character or a later one
        end -= 1
    try:
        return data[at:end].decode()
    except UnicodeDecodeError as error:
        raise Unfit(Reason.UTF8, "a text that is not UTF-8") from error


def fixed_reader(size: int) -> Read:
    """Read exactly `size` bytes."""

    def read(data: bytes, at: int, _left: list[int]) -> tuple[bytes, int]:
        end = at + size
        if end > len(data):
            raise Unfit(Reason.AVRO, f"{size:,} bytes where {len(data) - at:,} are left")
        return data[at:end], end

    return read


def enum_reader(symbols: tuple[str, ...]) -> Read:
    """Read the index of a symbol, and return the symbol."""

    def read(data: bytes, at: int, _left: list[int]) -> tuple[str, int]:
        index, at = _number(data, at)
        if not 0 <= index < len(symbols):
            raise Unfit(Reason.AVRO, f"symbol {index:,} of {len(symbols):,}")
        return symbols[index], at

    return read


def converted(read: Read, convert: Convert) -> Read:
    """Read a value and convert it."""

    def read_converted(data: bytes, at: int, left: list[int]) -> tuple[Any, int]:
        value, at = read(data, at, left)
        return convert(value), at

    return read_converted


def _spend(left: list[int], num_values: int) -> None:
    left[0] -= num_values
    if left[0] < 0:
        raise Unfit(Reason.LIMIT, f"more than {MAX_VALUES:,} values in one record, skipped ones included")


def union_reader(branches: list[tuple[Read, int]]) -> Read:
    """Read a union; each branch comes with the number of values that it counts."""

    def read(data: bytes, at: int, left: list[int]) -> tuple[Any, int]:
        index, at = _number(data, at)
        if not 0 <= index < len(branches):
            raise Unfit(Reason.AVRO, f"branch {index:,} of a union of {len(branches):,}")
        read_branch, num_values = branches[index]
        if num_values > 1:
            _spend(left, num_values)
        return read_branch(data, at, left)

    return read


def optional_reader(read_value: Read) -> Read:
    """Read a union of null and one type, which most fields are."""

    def read(data: bytes, at: int, left: list[int]) -> tuple[Any, int]:
        index = data[at]
        if index == 0:
            return None, at + 1
        if index == BRANCH_1:
            return read_value(data, at + 1, left)
        raise Unfit(Reason.AVRO, "a branch of a union of 2 that is neither")

    return read


def record_reader(template: dict[str, Any], steps: tuple[Step, ...]) -> Read:
    """Read a record's fields in the writer's order into a copy of the template."""

    def read(data: bytes, at: int, left: list[int]) -> tuple[dict[str, Any], int]:
        found = template.copy()
        name = ""
        try:
            for name, how, step in steps:
                if how == OPTIONAL and not data[at]:  # half of all fields, so not worth a call
                    found[name] = None
                    at += 1
                elif how == SKIP:
                    at = step(data, at, left)
                else:
                    found[name], at = step(data, at, left)
        except Unfit as error:
            error.place.insert(0, name)
            raise
        return found, at

    return read


def _block(data: bytes, at: int, entry: Type, left: list[int], *, is_map: bool = False) -> tuple[int, int, int]:
    """Read the head of a block of entries: how many (0 ends them all), where they start, their end or 0 if not told."""
    count, at = _number(data, at)
    if not count:
        return 0, at, 0
    _spend(left, BLOCK_VALUES)
    end, room = 0, len(data) - at
    if count < 0:  # then its bytes are told, for those who skip it
        length, at = _number(data, at)
        count, room, end = -count, length, at + length
        if not 0 <= length <= len(data) - at:
            raise Unfit(Reason.AVRO, f"a block of {length:,} bytes where {len(data) - at:,} are left")
    min_bytes = entry.min_bytes + is_map  # a key takes a byte
    if count * min_bytes > room:
        raise Unfit(Reason.AVRO, f"{count:,} entries where {room:,} bytes are left")
    return count, at, end


def _end_of_block(at: int, end: int) -> None:
    if end and at != end:
        raise Unfit(Reason.AVRO, f"a block of entries that ends {abs(end - at):,} bytes from where it says")


def array_reader(entry: Type, read_entry: Read, max_entries: int) -> Read:
    """Read a list of at most `max_entries`."""

    def read(data: bytes, at: int, left: list[int]) -> tuple[list[Any], int]:
        found: list[Any] = []
        while True:
            count, at, end = _block(data, at, entry, left)
            if not count:
                return found, at
            if len(found) + count > max_entries:
                raise Unfit(Reason.LIMIT, f"{len(found) + count:,} entries or more, want at most {max_entries:,}")
            _spend(left, count * entry.num_values)
            try:
                for _ in range(count):
                    value, at = read_entry(data, at, left)
                    found.append(value)
            except Unfit as error:
                error.place.insert(0, str(len(found)))
                raise
            _end_of_block(at, end)

    return read


def map_reader(entry: Type, read_entry: Read, read_key: Read, max_entries: int) -> Read:
    """Read a map of at most `max_entries`; of a key that comes twice the last value counts."""

    def read(data: bytes, at: int, left: list[int]) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        num_read = 0  # a key may come twice
        while True:
            count, at, end = _block(data, at, entry, left, is_map=True)
            if not count:
                return found, at
            num_read += count
            if num_read > max_entries:
                raise Unfit(Reason.LIMIT, f"{num_read:,} entries or more, want at most {max_entries:,}")
            _spend(left, count * (1 + entry.num_values))
            try:
                for _ in range(count):
                    key, at = read_key(data, at, left)
                    found[key], at = read_entry(data, at, left)
            except Unfit as error:
                error.place.insert(0, "KEY")  # which one is foreign text
                raise
            _end_of_block(at, end)

    return read


# -- skipping


def skip_number(data: bytes, at: int, _left: list[int]) -> int:
    """Skip an int, long or enum."""
    last = at + MAX_NUMBER_BYTES
    while data[at] >= MORE:
        at += 1
        if at == last:
            raise Unfit(Reason.AVRO, "a number of more than 64 bits")
    return at + 1


def skip_bytes(data: bytes, at: int, _left: list[int]) -> int:
    """Skip a text or bytes."""
    return _span(data, at)[1]


def fixed_skipper(num_bytes: int) -> Skip:
    """Skip exactly `num_bytes` bytes."""

    def skip(data: bytes, at: int, _left: list[int]) -> int:
        if num_bytes > len(data) - at:
            raise Unfit(Reason.AVRO, f"{num_bytes:,} bytes where {len(data) - at:,} are left")
        return at + num_bytes

    return skip


def union_skipper(branches: list[tuple[Skip, int]]) -> Skip:
    """Skip the value of any branch."""

    def skip(data: bytes, at: int, left: list[int]) -> int:
        index, at = _number(data, at)
        if not 0 <= index < len(branches):
            raise Unfit(Reason.AVRO, f"branch {index:,} of a union of {len(branches):,}")
        skip_branch, num_values = branches[index]
        if num_values > 1:
            _spend(left, num_values)
        return skip_branch(data, at, left)

    return skip


def record_skipper(skippers: list[Skip]) -> Skip:
    """Skip all fields."""

    def skip(data: bytes, at: int, left: list[int]) -> int:
        for skip_field in skippers:
            at = skip_field(data, at, left)
        return at

    return skip


def blocks_skipper(entry: Type, skip_entry: Skip, *, is_map: bool) -> Skip:
    """Skip a list or map; a block that tells its bytes, and entries of one size, at once."""
    size = 0 if is_map else fixed_bytes(entry)  # a vector of floats is skipped at once

    def skip(data: bytes, at: int, left: list[int]) -> int:
        while True:
            count, at, end = _block(data, at, entry, left, is_map=is_map)
            if not count:
                return at
            if size or end:
                at = end or at + count * size
                continue
            _spend(left, count * (entry.num_values + is_map))
            for _ in range(count):
                if is_map:
                    at = skip_bytes(data, at, left)
                at = skip_entry(data, at, left)

    return skip


def fixed_bytes(kind: Type) -> int:
    """Return the bytes that every value of a type takes; 0 if they differ, or there are none."""
    return kind.size if kind.kind == "fixed" else _FIXED_BYTES.get(kind.kind, 0)
