"""Our records to bytes: Avro, framed, or JSON."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from io import BytesIO
from typing import Any

import fastavro
from fastavro.schema import parse_schema

from worker.core.attribute_maps import with_nulls
from worker.core.codec import schema_limits
from worker.core.codec.avro_schemas import schema_fingerprint, schema_text
from worker.core.codec.avro_writers import Write, compile_writer
from worker.core.codec.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC

_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})


def plain(value: object, *, keep_nulls: bool = False) -> object:
    """Return our records, at any depth, as dicts, lists and plain values, as fastavro and JSON take them.

    `keep_nulls` writes a map that was sent with nulls alone as it was sent, which Avro's and Protobuf's maps cannot.
    """
    kind: Any = type(value)
    if kind in _PLAIN_TYPES:  # most values by far, so asked first
        return value
    if names := _names(kind):
        return {name: plain(getattr(value, name), keep_nulls=keep_nulls) for name in names}
    if isinstance(value, (tuple, list)):
        return [plain(item, keep_nulls=keep_nulls) for item in value]
    if isinstance(value, Mapping):
        entries = with_nulls(value) if keep_nulls else value
        return {str(key): plain(item, keep_nulls=keep_nulls) for key, item in entries.items()}
    return value.value if isinstance(value, Enum) else value


class Encoder:
    """Encodes one of our own record types, by its name (`avro_schemas.OWN`).

    With a `schema_id`, that of the registry, messages have Confluent's prefix; without one, they are single
    objects.
    """

    def __init__(self, name: str, *, schema_id: int | None = None) -> None:
        self._name = name
        if schema_id is None:
            self._frame = SINGLE_OBJECT_MAGIC + schema_fingerprint(schema_text(name))
        else:
            self._frame = bytes([CONFLUENT_MAGIC]) + schema_id.to_bytes(4, "big")

    def encode(self, record: object) -> bytes:
        """Return the framed bytes of a record, a dataclass or plain data; it must be valid."""
        kind: Any = type(record)
        if _names(kind):
            out = bytearray(self._frame)
            _writer(self._name)(out, record)
            return bytes(out)
        stream = BytesIO()
        stream.write(self._frame)
        fastavro.schemaless_writer(stream, _parsed(self._name), plain(record))
        return stream.getvalue()


class JsonEncoder:
    """Encodes records as plain JSON, without a schema; times are microseconds."""

    def encode(self, record: object) -> bytes:
        """Return the UTF-8 text of a record, a dataclass or plain data."""
        return json.dumps(plain(record, keep_nulls=True), ensure_ascii=False).encode()


@cache
def _writer(name: str) -> Write:
    """Return what writes dataclasses by one of our own schemas."""
    return compile_writer(schema_limits.parse(schema_text(name), keep_defaults=True).root)


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
