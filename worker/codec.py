"""Avro bytes to records and back, checked against `schemas/*.avsc`.

Framings on input, told apart by the first bytes or a header:

    0x00 + 4-byte schema id            Confluent's prefix; the id, 31 bits of it, is looked up in a registry
    header __value_schema_id           0x01 + 16-byte GUID, the payload bare; looked up in a registry
    0xC3 0x01 + 8-byte fingerprint     Avro's single-object encoding, CRC-64-AVRO, little-endian

Bytes are untrusted.  A writer schema is decoded only if it passes `lint`: fastavro 1.13 ends the process on a
recursive schema with a 5 KB message, and gives 100 M elements for a 5-byte `array<null>`; no `try` can
catch either.  Logical types are taken off, so that times stay integers, and so is what fastavro leaves in a schema
it has parsed: it would be believed.  After decoding, every byte must
be used up and every bound of `worker.records` must hold.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, cast

import fastavro
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form
from pydantic import TypeAdapter, ValidationError

from worker.errors import Poison
from worker.records import (
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

Schema: TypeAlias = dict[str, Any] | list[Any] | str

READ = ("RecommendationImpression", "SimulatedResponse", "Outcome", "ExperimentDefinition")
CONFLUENT_MAGIC = 0
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
GUID_HEADER = "__value_schema_id"
MAX_SCHEMA_DEPTH = 16  # nested types; the widest of our own schemas has 7
MAX_SCHEMA_FIELDS = 400  # our own impression has 71
_PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
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


@cache
def schema_text(name: str) -> str:
    """Return one of our own schemas as written, by its record name."""
    packaged = files("worker") / "_schemas" / f"{name}.avsc"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / "schemas" / f"{name}.avsc").read_text(encoding="utf-8")


@cache
def own_schema(name: str) -> Schema:
    """Return one of our own schemas, ready for fastavro, logical types taken off."""
    return cast("Schema", parse_schema(_bare(json.loads(schema_text(name)))))


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
    """Parse and lint a foreign schema; `references` are what it refers to, dependencies first.  Raises `Poison`."""
    try:
        lint, named = _Lint(), dict[str, dict[str, Any]]()
        for raw in map(json.loads, references):
            lint.visit(raw, depth=0)
            parse_schema(_bare(raw), named_schemas=named)
        raw = json.loads(text)
        lint.visit(raw, depth=0)
        return _known(cast("Schema", parse_schema(_bare(raw), named_schemas=named)))
    except Poison:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, fastavro.schema.SchemaParseException) as error:
        message = f"writer schema is not Avro: {type(error).__name__}"
        raise Poison("schema", message) from error


def lint(schema: Schema) -> None:
    """Refuse what a decoder cannot bound: recursion, deep or wide types, and items of no size.  Raises `Poison`."""
    _Lint().visit(schema, depth=0)


def decode(payload: bytes, writer: Schema) -> Impression:
    """Decode and validate one impression.  Raises `Poison`."""
    return impression(decode_plain(payload, writer, "RecommendationImpression"))


def decode_plain(payload: bytes, writer: Schema, name: str) -> Mapping[str, object]:
    """Decode one record of ours as plain data, not validated further.  Raises `Poison`."""
    stream = BytesIO(payload)
    try:
        found = fastavro.schemaless_reader(stream, writer, own_schema(name))
    except UnicodeDecodeError as error:
        reason = "utf8"
        raise Poison(reason, "a string is not UTF-8") from error
    except Exception as error:  # the decoder raises whatever it runs into; the text may hold payload
        reason = "avro"
        raise Poison(reason, f"not decodable: {type(error).__name__}") from error
    if stream.tell() != len(payload):
        message = f"{len(payload) - stream.tell()} bytes left after the record"
        raise Poison("avro", message)
    return cast("Mapping[str, object]", found)


def impression(plain: Mapping[str, object]) -> Impression:
    """Validate an impression from plain data, Avro's or JSON's.  Raises `Poison` with every problem's place."""
    try:
        found = _IMPRESSION.validate_python(plain)
    except ValidationError as error:
        errors = error.errors()[:5]
        reason = "limit" if all(e["type"].startswith(("string_too", "too_")) for e in errors) else "invalid"
        # A list that lost its bad entry is told as too short as well; that is no second problem.
        told = [e for n, e in enumerate(errors) if not any(o["loc"][: len(e["loc"])] == e["loc"] for o in errors[:n])]
        problems = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in told)
        raise Poison(reason, problems) from error
    _check_variants(found)
    for slate in found.slates:
        _check_slate(slate)
    return found


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
        self._schema = own_schema(name)
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


class _Lint:
    def __init__(self) -> None:
        self._named: dict[str, bool] = {}  # name to: may be empty on the wire; absent while it is still open
        self._open: set[str] = set()
        self._num_fields = 0

    def visit(self, schema: Schema, *, depth: int, namespace: str = "") -> bool:
        """Return whether a value of this type may take no bytes."""
        if depth > MAX_SCHEMA_DEPTH:
            raise Poison("schema", f"writer schema is nested deeper than {MAX_SCHEMA_DEPTH}")
        if isinstance(schema, list):
            for branch in schema:
                self.visit(branch, depth=depth + 1, namespace=namespace)
            return False  # the branch's index takes a byte
        if isinstance(schema, str):
            return self._name(schema, namespace)
        kind = schema["type"]
        if kind in ("array", "map"):
            return self._collection(schema, depth, namespace)
        if kind in ("record", "error", "enum", "fixed"):
            return self._declaration(schema, depth, namespace)
        return self.visit(kind, depth=depth + 1, namespace=namespace)

    def _name(self, name: str, namespace: str) -> bool:
        if name in _PRIMITIVES:
            return name == "null"
        full = _full_name(name, namespace)
        if full in self._open:
            raise Poison("schema", "writer schema is recursive, which no decoder can bound")
        if full not in self._named:
            raise Poison("schema", "writer schema names a type that it does not declare")
        if self._named[full]:  # two of these in a record, two of those in the next: 2**n values in no bytes
            raise Poison("schema", "writer schema uses a type of no bytes more than once")
        return False

    def _collection(self, schema: dict[str, Any], depth: int, namespace: str) -> bool:
        items = schema["items"] if schema["type"] == "array" else schema["values"]
        empty = self.visit(items, depth=depth + 1, namespace=namespace)
        if empty and schema["type"] == "array":
            raise Poison("schema", "writer schema has an array of items that take no bytes")
        return False

    def _declaration(self, schema: dict[str, Any], depth: int, namespace: str) -> bool:
        full = _full_name(schema["name"], schema.get("namespace", namespace))
        if schema["type"] == "enum":
            self._named[full] = False
        elif schema["type"] == "fixed":
            self._named[full] = schema["size"] == 0
        else:
            self._open.add(full)
            self._num_fields += len(schema["fields"])
            if self._num_fields > MAX_SCHEMA_FIELDS:
                raise Poison("schema", f"writer schema has more than {MAX_SCHEMA_FIELDS} fields")
            inner = full.rpartition(".")[0]
            sizes = [self.visit(field["type"], depth=depth + 1, namespace=inner) for field in schema["fields"]]
            self._open.discard(full)
            self._named[full] = all(sizes)
        return self._named[full]


def _full_name(name: str, namespace: str) -> str:
    """Resolve a name as fastavro does: another rule here would let a schema show us one type and decode another."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _known(schema: Schema) -> Schema:
    """Return our own schema where this one equals it: fastavro compares the two for every record, the same one at once.

    A response of 2.6 KB takes 48 us instead of 95 (two cores, 2026-11).
    """
    return next((ours for ours in map(own_schema, READ) if schema == ours), schema)


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Return the fields of a dataclass; any other type has none."""
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


def _bare(schema: Schema) -> Schema:
    """Take off logical types and fastavro's marks of a parsed schema, whose named types would be believed unseen."""
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key != "logicalType" and not key.startswith("__")}
    if isinstance(schema, list):
        return [_bare(value) for value in schema]
    return schema


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
