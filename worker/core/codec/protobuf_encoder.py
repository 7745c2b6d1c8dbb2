"""Our impressions to plain Protobuf, by our own types; what a replay writes where the input's format is Protobuf."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from worker.core.codec import protobuf_schemas
from worker.core.codec.avro_encoder import plain

_MICROS = 1_000_000


class ProtobufEncoder:
    """Encodes impressions."""

    def encode(self, record: object) -> bytes:
        """Return the bytes of an impression, a dataclass or plain data; it must be valid."""
        message = protobuf_schemas.own().type_of(protobuf_schemas.OWN_MESSAGE)()
        _fill(message, plain(record))
        return bytes(message.SerializeToString(deterministic=True))


def _fill(message: Any, fields: Any) -> None:
    known = message.DESCRIPTOR.fields_by_name
    for name, value in fields.items():
        if value is not None:
            _set(message, known[name], value)


def _set(message: Any, each: FieldDescriptor, value: Any) -> None:
    if each.enum_type is not None:
        numbers = {one.name: one.number for one in each.enum_type.values}
        setattr(message, each.name, next((n for symbol, n in numbers.items() if symbol.endswith(f"_{value}")), 0))
    elif each.message_type is None:
        setattr(message, each.name, value)
    elif isinstance(value, Mapping) and each.message_type.GetOptions().map_entry:
        getattr(message, each.name).update(value)
    elif isinstance(value, list):
        for one in value:
            _fill(getattr(message, each.name).add(), one)
    elif isinstance(value, Mapping):
        getattr(message, each.name).SetInParent()
        _fill(getattr(message, each.name), value)
    else:  # a time
        seconds, micros = divmod(value, _MICROS)
        inner = getattr(message, each.name)
        inner.seconds, inner.nanos = seconds, micros * 1_000
