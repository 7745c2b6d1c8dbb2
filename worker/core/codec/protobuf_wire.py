"""Counts what a Protobuf message holds before anything is made of it, and finds what is wrong with one.

08 96 01            field 1, a number
12 02 4f 4b         field 2, two bytes: a text, or a message if field 2 is one
"""

from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from worker.core.codec.schema_limits import MAX_VALUES
from worker.core.records import Reason

MAX_DEPTH = 64  # messages within messages; our own have 5, and Google's library stops at 100
_VARINT, _FIXED64, _BYTES, _GROUP, _END, _FIXED32 = range(6)
_F = FieldDescriptor
_PACKED_SIZES = {
    _F.TYPE_DOUBLE: 8, _F.TYPE_FIXED64: 8, _F.TYPE_SFIXED64: 8,
    _F.TYPE_FLOAT: 4, _F.TYPE_FIXED32: 4, _F.TYPE_SFIXED32: 4,
}  # fmt: skip
_PACKED_VARINTS = frozenset(
    {
        _F.TYPE_BOOL, _F.TYPE_ENUM, _F.TYPE_INT32, _F.TYPE_INT64, _F.TYPE_SINT32, _F.TYPE_SINT64, _F.TYPE_UINT32,
        _F.TYPE_UINT64,
    }
)  # fmt: skip
MAX_VARINT_BYTES = 10
MESSAGE_WEIGHT = 5  # values that take as long to read as one message; an entry of a map is as much as four
FIELDS_PER_VALUE = 16  # of a type, whose empty message takes 8 or 16 bytes for each of its fields
_CONTINUES = bytes(range(0x80, 0x100))  # bytes after which a number goes on


class WireError(Exception):
    """What is wrong with a message, in a sentence, and the reason of its dead letter."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def examine(data: bytes, descriptor: Any, *, check_texts: bool) -> None:
    """Go through a message of a type, and count its values.  Raises `WireError`: `PROTOBUF`, `LIMIT` or `UTF8`.

    `check_texts` also reads texts, to say which one is not UTF-8.
    """
    _Scan(data, check_texts=check_texts).message(0, len(data), descriptor, depth=1)


@dataclass(frozen=True, slots=True)
class _Field:
    """What is looked up of a field for each of its values; `weight` is counted beside its tag."""

    name: str
    kind: int
    inner: Any  # the type of a message
    weight: int


def message_weight(descriptor: Any) -> int:
    """Return how many values one message of a type is counted as, in time or memory."""
    return MESSAGE_WEIGHT + len(descriptor.fields) // FIELDS_PER_VALUE


def _field(each: Any) -> _Field:
    inner = each.message_type
    if inner is None:
        return _Field(each.name, each.type, None, 0)
    is_entry = inner.GetOptions().map_entry
    return _Field(each.name, each.type, inner, 1 if is_entry else message_weight(inner) - 1)


class _Scan:
    def __init__(self, data: bytes, *, check_texts: bool) -> None:
        self._data, self._check_texts, self._num_values = data, check_texts, 0
        self._known: dict[str, dict[int, _Field]] = {}

    def message(self, at: int, end: int, descriptor: Any, *, depth: int, group: int = 0) -> int:
        """Go through the fields from `at` on; return where they end: at `end`, or after the end of group `group`."""
        if depth > MAX_DEPTH:
            raise WireError(Reason.LIMIT, f"is nested deeper than {MAX_DEPTH}")
        known, data = self._fields(descriptor), self._data
        while at < end:
            tag, at = (data[at], at + 1) if data[at] < 0x80 else self._varint(at, end)  # noqa: PLR2004 - one byte
            number, wire = tag >> 3, tag & 7
            if wire == _END and group and number == group:
                return at
            if not number:
                raise self._bad(at, "has a field without a number")
            self._count(1)
            at = self._value(at, end, wire, known.get(number), number=number, depth=depth)
        if group:
            raise self._bad(at, "ends within a group")
        return at

    def _value(self, at: int, end: int, wire: int, each: "_Field | None", *, number: int, depth: int) -> int:
        """Go past one value; return where it ends."""
        data = self._data
        if wire == _VARINT:
            return self._varint(at, end)[1]
        if wire in {_FIXED64, _FIXED32}:
            return self._within(at, 8 if wire == _FIXED64 else 4, end)
        if wire == _GROUP:
            inner = each.inner if each is not None and each.kind == _F.TYPE_GROUP else None
            self._count(each.weight if each is not None and inner is not None else 0)
            return self.message(at, end, inner, depth=depth + 1, group=number)
        if wire != _BYTES:
            raise self._bad(at, "has a field of an unknown wire type")
        length, at = (data[at], at + 1) if at < end and data[at] < 0x80 else self._varint(at, end)  # noqa: PLR2004 - one byte
        after = self._within(at, length, end)
        if each is None or each.kind == _F.TYPE_GROUP:  # which has no length: an unknown field, as the library has it
            return after
        if each.inner is not None:
            self._count(each.weight)
            self.message(at, after, each.inner, depth=depth + 1)
        elif each.kind in _PACKED_SIZES:
            self._count(length // _PACKED_SIZES[each.kind])
        elif each.kind in _PACKED_VARINTS:
            self._count(len(data[at:after].translate(None, _CONTINUES)))
        elif self._check_texts and each.kind == _F.TYPE_STRING:
            self._text(at, after, each.name)
        return after

    def _fields(self, descriptor: Any) -> dict[int, "_Field"]:
        if descriptor is None:
            return {}
        name = descriptor.full_name
        if name not in self._known:
            self._known[name] = {each.number: _field(each) for each in descriptor.fields}
        return self._known[name]

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        data, found, shift = self._data, 0, 0
        while at < end and shift < 7 * MAX_VARINT_BYTES:
            byte = data[at]
            at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
                return found, at
            shift += 7
        raise self._bad(at, "ends within a number" if at >= end else "has a number of more than 10 bytes")

    def _within(self, at: int, length: int, end: int) -> int:
        if length > end - at:
            raise self._bad(at, f"has a value of {length:,} bytes where {end - at:,} are left")
        return at + length

    def _text(self, at: int, after: int, name: str) -> None:
        try:
            self._data[at:after].decode()
        except UnicodeDecodeError as error:
            raise WireError(Reason.UTF8, f"{ascii(name)[1:-1][:60]}: a text that is not UTF-8") from error

    def _count(self, number: int) -> None:
        self._num_values += number
        if self._num_values > MAX_VALUES:
            raise WireError(Reason.LIMIT, f"more than {MAX_VALUES:,} values in one record")

    @staticmethod
    def _bad(at: int, problem: str) -> WireError:
        return WireError(Reason.PROTOBUF, f"byte {at:,}: {problem}")
