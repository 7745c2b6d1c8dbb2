"""Avro bytes to records and back, checked against `schemas/*.avsc`.

Framings on input, told apart by the first bytes or a header:

    0x00 + 4-byte schema id            Confluent's prefix; the id, 31 bits of it, is looked up in a registry
    header __value_schema_id           0x01 + 16-byte GUID, the payload bare; looked up in a registry
    0xC3 0x01 + 8-byte fingerprint     Avro's single-object encoding, CRC-64-AVRO, little-endian

Schemas and bytes are untrusted.  A writer's schema is checked first (`codec.schema_limits`), then each record is read
within bounds (`codec.avro`), with the writer's logical types honoured (`codec.logical_types`); last, every bound of
`records` must hold.  fastavro only writes: it ends the process on a recursive schema with a 5 KB message, waits
for ever on a `fixed` of negative size, and makes 100 M elements of a 5-byte `array<null>`; no `try` can catch these.
It is no slower to read without it: an impression of 2.3 KB takes 0.2 ms, as with fastavro where the writer's schema is
ours, and half of fastavro's time where it is not (one busy core, 2026-11).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from worker.core.codec import schema_limits
from worker.core.codec.avro import Bounds, compile_reader
from worker.core.codec.logical_types import Unfit
from worker.core.errors import Poison
from worker.core.records import (
    MAX_ENTRIES,
    MAX_HISTORY,
    MAX_ITEMS,
    MAX_MAP,
    MAX_SLATES,
    MAX_TEXT,
    MAX_YEAR,
    MIN_YEAR,
    Assignment,
    Experiment,
    Headers,
    HistoryEntry,
    HistoryItem,
    Impression,
    Item,
    Slate,
    User,
)

Reader: TypeAlias = Callable[[bytes], Mapping[str, object]]

CONFLUENT_MAGIC = 0
OWN = ("RecommendationImpression", "SimulatedResponse", "Outcome", "ExperimentDefinition", "ExperimentReadout")
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
GUID_HEADER = "__value_schema_id"
# What a record may hold while it is read; any other of our records is bounded by `schema_limits.MAX_VALUES` alone.
BOUNDS = {
    "RecommendationImpression": Bounds(
        {"slates": MAX_SLATES, "items": MAX_ITEMS, "history": MAX_HISTORY}, map_entries=MAX_MAP, text_chars=MAX_TEXT
    )
}
_TIMES = frozenset({"occurred_at", "assigned_at"})
_WANTED_TIME = f"want microseconds since 1970 of a time from {MIN_YEAR} to {MAX_YEAR}"
MAX_SHOWN_US = 2**80  # of a time in a message; any that Avro can hold is below
_YEAR_US = 31_556_952_000_000  # of 365.2425 days
_FIELDS = frozenset(
    field.name
    for kind in (Impression, User, HistoryEntry, HistoryItem, Experiment, Assignment, Slate, Item)
    for field in fields(kind)
)
_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
_IMPRESSION: TypeAdapter[Impression] = TypeAdapter(Impression)


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """Which schema wrote a payload: the registry's id, its GUID in hex, or a CRC-64-AVRO fingerprint in hex."""

    kind: str  # id, guid, fingerprint
    value: str


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """A writer's schema, parsed and checked.

    `num_bytes` is the most that it holds of memory, for caches.  `readers` are made when a record needs them, one for
    each record of ours.
    """

    root: schema_limits.Type
    num_bytes: int
    readers: dict[str, Reader] = field(default_factory=dict)


@cache
def schema_text(name: str) -> str:
    """Return one of our own schemas as written, by its record name."""
    packaged = files("worker") / "_schemas" / f"{name}.avsc"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    beside = Path(str(files("worker"))).parent / "schemas"  # in a checkout
    return (beside / f"{name}.avsc").read_text(encoding="utf-8")


@cache
def own_schema(name: str) -> Schema:
    """Return one of our own schemas, by its record name."""
    return writer_schema(schema_text(name))


def as_own(text: str) -> Schema | None:
    """Return our own schema if this text is one of ours, however it is laid out; None if it is not, or no JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return next((own_schema(name) for name in OWN if _own_json(name) == found), None)


@cache
def _own_json(name: str) -> object:
    return json.loads(schema_text(name))


def schema_fingerprint(schema: str) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema's parsing canonical form, 8 bytes, little-endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(json.loads(schema)), "CRC-64-AVRO"))


def split(value: bytes, headers: Headers) -> tuple[SchemaRef, bytes]:
    """Tell which schema wrote a message and where its payload starts.  Raises `Poison`."""
    guid = next((data for name, data in headers if name == GUID_HEADER and data), None)
    if guid and guid[0] == 1 and len(guid) == 17:  # noqa: PLR2004 - a byte of magic and a GUID
        return SchemaRef("guid", guid[1:].hex()), value
    if value[:2] == SINGLE_OBJECT_MAGIC and len(value) > 10:  # noqa: PLR2004 - magic and fingerprint
        return SchemaRef("fingerprint", value[2:10].hex()), value[10:]
    if value[:1] == bytes([CONFLUENT_MAGIC]) and len(value) > 5 and value[1] < 0x80:  # noqa: PLR2004 - magic and id
        return SchemaRef("id", str(int.from_bytes(value[1:5], "big"))), value[5:]
    message = f"{len(value)} bytes that start with 0x{value[:2].hex()}, want 0x00 and a schema id or 0xc301"
    raise Poison("magic", message)


def writer_schema(text: str, references: Sequence[str] = ()) -> Schema:
    """Parse and check a writer's schema.

    `references` are the texts of all schemas that it references, dependencies first: each may name the types of those
    before it.  Raises `Poison` with the reason `schema`.
    """
    parsed = schema_limits.parse(text, references)
    return Schema(parsed.root, parsed.num_bytes)


def decode(payload: bytes, writer: Schema) -> Impression:
    """Decode and validate one impression.  Raises `Poison`."""
    return impression(decode_plain(payload, writer, "RecommendationImpression"))


def decode_plain(payload: bytes, writer: Schema, name: str) -> Mapping[str, object]:
    """Decode one record of ours as plain data, not validated further.

    Times are microseconds since 1970 UTC, whatever unit the writer has.  Raises `Poison` with the place of the problem.
    """
    if name not in writer.readers:
        writer.readers[name] = _reader(writer, name)
    try:
        return writer.readers[name](payload)
    except Unfit as error:
        raise Poison(error.reason, str(error)) from error


def _reader(writer: Schema, name: str) -> Reader:
    """Return what reads one of our records as this writer writes it; it may refuse every one."""
    try:
        return compile_reader(writer.root, _ours(name), BOUNDS.get(name, Bounds()))
    except Unfit as error:
        refusal = error

        def refuse(_payload: bytes) -> Mapping[str, object]:
            raise refusal.again()

        return refuse


@cache
def _ours(name: str) -> schema_limits.Type:
    return schema_limits.parse(schema_text(name), keep_defaults=True).root


def impression(plain: Mapping[str, object]) -> Impression:
    """Validate an impression from plain data, Avro's or JSON's.  Raises `Poison` with every problem's place.

    What is accepted can be encoded, and comes back from `decode` as it is.
    """
    try:
        found = _IMPRESSION.validate_python(plain)
    except ValidationError as error:
        errors = error.errors()[:5]
        reason = "limit" if all(e["type"].startswith(("string_too", "too_")) for e in errors) else "invalid"
        # A list that lost its bad entry is told as too short as well; that is no second problem.
        told = [e for n, e in enumerate(errors) if not any(o["loc"][: len(e["loc"])] == e["loc"] for o in errors[:n])]
        problems = "; ".join(f"{_place(e['loc'])}: {_problem(e)}" for e in told)
        raise Poison(reason, problems) from error
    _check_entries(found)
    _check_variants(found)
    for slate in found.slates:
        _check_slate(slate)
    return found


def _problem(error: ErrorDetails) -> str:
    """Tell what is wrong with a value, without the value where it may be text."""
    value = error["input"]
    if error["loc"][-1] not in _TIMES or not error["type"].endswith("_equal") or not isinstance(value, (int, float)):
        return error["msg"]
    if not abs(value) < MAX_SHOWN_US:
        return f"a number of more than 80 bits, {_WANTED_TIME}"
    return f"{int(value)}, {_WANTED_TIME}; this would be the year {_year(int(value))}: is its unit another?"


def _year(time_us: int) -> int:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).year
    except OverflowError:  # before year 1 or after 9999, where a few years less or more are one
        return 1970 + time_us // _YEAR_US


def _place(loc: tuple[int | str, ...]) -> str:
    """Name the place of a problem; the key of a map is foreign text, which no log shall hold."""
    return ".".join(str(part) if isinstance(part, int) or part in _FIELDS else "KEY" for part in loc)


def plain(value: object) -> object:
    """Turn our records into the dicts and lists that fastavro and JSON take."""
    kind: Any = type(value)
    if kind in _PLAIN_TYPES:  # most values by far, so asked first
        return value
    if names := _names(kind):
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


class Encoder:
    """Encodes one of our own record types, framed by a registry's id or as a single object."""

    def __init__(self, name: str, *, schema_id: int | None = None) -> None:
        """Take the record's name and, with a registry, the id of its schema there."""
        self._schema = _parsed(name)
        if schema_id is None:
            self._frame = SINGLE_OBJECT_MAGIC + schema_fingerprint(schema_text(name))
        else:
            self._frame = bytes([CONFLUENT_MAGIC]) + schema_id.to_bytes(4, "big")

    def encode(self, record: object) -> bytes:
        """Return the framed bytes of a record (a dataclass or plain data)."""
        stream = BytesIO()
        stream.write(self._frame)
        fastavro.schemaless_writer(stream, self._schema, plain(record))
        return stream.getvalue()


@cache
def _parsed(name: str) -> Any:
    """Return one of our own schemas for fastavro to write by; without logical types, so that times stay integers."""
    return parse_schema(_bare(json.loads(schema_text(name))))


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Return the fields of a dataclass; any other type has none."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "logicalType"}
    if isinstance(schema, list):
        return [_bare(value) for value in schema]
    return schema


def _check_entries(found: Impression) -> None:
    """Refuse what has too many attributes in all: each map within its bound, they could be 215,000."""
    of_items = sum(len(item.attributes) for slate in found.slates for item in slate.items)
    of_history = sum(len(entry.item.attributes) for entry in found.user.history)
    seen = of_items + of_history + len(found.user.profile) + len(found.user.segments) + len(found.context)
    if seen > MAX_ENTRIES:
        raise Poison("limit", f"slates.items.attributes and others: {seen:,} in all, want at most {MAX_ENTRIES:,}")


def _check_variants(found: Impression) -> None:
    variants = [slate.variant for slate in found.slates]
    if len(set(variants)) < len(variants):
        raise Poison("invalid", f"slates: {len(variants)} slates of {len(set(variants))} variants, want one each")
    controls = sum(slate.role == "CONTROL" for slate in found.slates)
    if controls > 1:
        raise Poison("invalid", f"slates: {controls} slates are CONTROL, want at most one")


def _check_slate(slate: Slate) -> None:
    positions = [item.position for item in slate.items]
    if len(set(positions)) < len(positions):
        raise Poison("invalid", f"slate {slate.variant}: two items have one position")
    if not all(item.text or item.attributes for item in slate.items):
        raise Poison("invalid", f"slate {slate.variant}: an item has neither text nor attributes")
