"""Which schema wrote a message, and where its payload starts.

Framings on input, told apart by the first bytes or a header:

    0x00 + 4-byte schema id            Confluent's prefix; the id, 31 bits of it, is looked up in a registry
    header __value_schema_id           0x01 + 16-byte GUID, the payload bare; looked up in a registry
    0xC3 0x01 + 8-byte fingerprint     Avro's single-object encoding, CRC-64-AVRO, little-endian
    {                                  plain JSON, without a schema; read where the input's format is JSON, with the
                                       first two framings, which the registry's JSON Schema serializers write
    0x00 + id + 00 or 02 00 ...        Protobuf: the first two framings, and after the id or the GUID which message of
                                       the schema's file it is, by indexes: their number and they, zigzag; 00 is [0]
    anything else                      plain Protobuf, which never starts with 0x00, by the types of the settings
"""

from dataclasses import dataclass
from enum import StrEnum

from worker.core.errors import Poison
from worker.core.records import Headers, Reason

CONFLUENT_MAGIC = 0
SINGLE_OBJECT_MAGIC = b"\xc3\x01"
GUID_HEADER = "__value_schema_id"
GUID_BYTES = 17  # a magic byte and a GUID
MAX_INDEXES = 16  # messages within messages
UTF8_MARK = b"\xef\xbb\xbf"
MAX_VALUE_BYTES = 16 << 20  # Kafka takes 1 MB by default, and of a packed batch only as it is packed


class SchemaRefKind(StrEnum):
    """How a message names its writer's schema."""

    ID = "id"  # the registry's number
    GUID = "guid"  # the registry's GUID
    FINGERPRINT = "fingerprint"  # CRC-64-AVRO of the schema


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """Which schema wrote a payload; `value` is decimal for an id, else hex."""

    kind: SchemaRefKind
    value: str


def split_json(value: bytes, headers: Headers) -> tuple[SchemaRef | None, bytes]:
    """Return which schema a JSON message names, None for plain JSON, and its text.

    Raises `Poison`: `LIMIT` for one that is too large, `MAGIC` if the value starts as none of them.
    """
    _check_size(value)
    if value[:1] == b"{" or value.removeprefix(UTF8_MARK).lstrip()[:1] == b"{":
        guid = _guid(headers)
        return (SchemaRef(SchemaRefKind.GUID, guid) if guid else None), value
    if _has_id(value):
        return _id_of(value), value[5:]
    message = f"{len(value)} bytes that start with 0x{value[:2].hex()}, want a JSON object, or 0x00 and a schema id"
    raise Poison(Reason.MAGIC, message)


def split_protobuf(value: bytes, headers: Headers) -> tuple[SchemaRef | None, tuple[int, ...], bytes]:
    """Return which schema a Protobuf message names, None for a plain one, which type of it, and its bytes.

    Raises `Poison`: `LIMIT` for one that is too large, `MAGIC` if the value starts as neither of them.
    """
    _check_size(value)
    guid = next((data for name, data in headers if name == GUID_HEADER and data), b"")
    if guid[:1] == b"\x01" and len(guid) > GUID_BYTES:
        indexes, rest = _indexes(guid[GUID_BYTES:])
        if not rest:
            return SchemaRef(SchemaRefKind.GUID, guid[1:GUID_BYTES].hex()), indexes, value
    if guid[:1] == b"\x01" and len(guid) >= GUID_BYTES:  # not plain: read as another type it could be taken for one
        message = f"{len(guid) - GUID_BYTES} bytes after the GUID in header {GUID_HEADER}, want message indexes alone"
        raise Poison(Reason.MAGIC, message)
    if value[:1] != bytes([CONFLUENT_MAGIC]) and value:
        return None, (), value
    if _has_id(value):
        indexes, payload = _indexes(value[5:])
        return _id_of(value), indexes, payload
    message = f"{len(value)} bytes that start with 0x{value[:2].hex()}, want a message, or 0x00 and a schema id"
    raise Poison(Reason.MAGIC, message)


def _indexes(data: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the indexes that `data` starts with, and the rest.  Raises `Poison` (`Reason.MAGIC`)."""
    number, at = _zigzag(data, 0)
    if not 0 <= number <= MAX_INDEXES:
        raise Poison(Reason.MAGIC, f"{number} message indexes after the schema id, want at most {MAX_INDEXES}")
    found = []
    for _ in range(number):
        index, at = _zigzag(data, at)
        found.append(index)
    return tuple(found) or (0,), data[at:]


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    found = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            return (found >> 1) ^ -(found & 1), at
    raise Poison(Reason.MAGIC, "no message indexes after the schema id, want them as a registry's serializer has them")


def split(value: bytes, headers: Headers) -> tuple[SchemaRef, bytes]:
    """Return which schema wrote a message, and its payload: the rest of `value`, not copied out of a header.

    Raises `Poison`: `LIMIT` for one that is too large, `MAGIC` if the value starts as no framing that is read here.
    """
    _check_size(value)
    if guid := _guid(headers):
        return SchemaRef(SchemaRefKind.GUID, guid), value
    if value[:2] == SINGLE_OBJECT_MAGIC and len(value) > 10:  # noqa: PLR2004 - magic and fingerprint
        return SchemaRef(SchemaRefKind.FINGERPRINT, value[2:10].hex()), value[10:]
    if _has_id(value):
        return _id_of(value), value[5:]
    message = f"{len(value)} bytes that start with 0x{value[:2].hex()}, want 0x00 and a schema id or 0xc301"
    raise Poison(Reason.MAGIC, message)


def _check_size(value: bytes) -> None:
    """Raise `Poison` (`Reason.LIMIT`) before anything is copied of a value beyond all measure."""
    if len(value) > MAX_VALUE_BYTES:
        raise Poison(Reason.LIMIT, f"{len(value):,} bytes, want at most {MAX_VALUE_BYTES:,}")


def _guid(headers: Headers) -> str:
    """Return the GUID of a message's schema, hex; "" if no header names one."""
    guid = next((data for name, data in headers if name == GUID_HEADER and data), None)
    return guid[1:].hex() if guid and guid[0] == 1 and len(guid) == GUID_BYTES else ""


def _has_id(value: bytes) -> bool:
    return value[:1] == bytes([CONFLUENT_MAGIC]) and len(value) > 5 and value[1] < 0x80  # noqa: PLR2004 - magic and id


def _id_of(value: bytes) -> SchemaRef:
    return SchemaRef(SchemaRefKind.ID, str(int.from_bytes(value[1:5], "big")))
