"""The formats of the input: which schema a message needs, and the impression in it.

    avro       framed; its writer's schema is fetched
    json       plain or framed; names its own fields, so no schema is fetched
    tsv        one row per message, of the columns that a mapping names
    protobuf   framed: by its writer's schema, or plain: by the types of a descriptor set, which is ours by default

Among foreign events, which a mapping reads, may be impressions of our own, such as placebos (`WithOwn`).

Each is one small class, so that whoever reads impressions asks none of them which it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from worker.core.codec import framing, impression as codec, json_reader, protobuf_reader, protobuf_schemas
from worker.core.codec.avro_schemas import Schema, own_schema, schema_fingerprint, schema_text
from worker.core.codec.framing import SINGLE_OBJECT_MAGIC, SchemaRef, SchemaRefKind
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.mapping import IMPRESSION, EventMapping
from worker.core.codec.protobuf_schemas import ProtobufSchema
from worker.core.errors import Poison
from worker.core.records import Headers, Impression, Reason

WriterSchema: TypeAlias = Schema | ProtobufSchema
_OWN = schema_fingerprint(schema_text(IMPRESSION))
_OWN_START = SINGLE_OBJECT_MAGIC + _OWN
_OWN_REF = SchemaRef(SchemaRefKind.FINGERPRINT, _OWN.hex())
PROTOBUF_RULES = JsonRules(refuse_unknown=False)  # a newer writer's fields and symbols, as in Avro


class InputForm(Protocol):
    """A format of the input."""

    def schema_of(self, value: bytes, headers: Headers) -> SchemaRef | None:
        """Return the schema that a message cannot be read without; None if it needs none, or cannot be read."""

    def read(
        self, value: bytes, headers: Headers, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Return which schema a message names, and its impression; None for an event that no mapping is for.

        `schema` is what `schema_of` asked for.  Raises `Poison` with the place of the problem.
        """


class AvroInput:
    """Avro, framed."""

    def schema_of(self, value: bytes, headers: Headers) -> SchemaRef | None:
        """Return the writer's schema."""
        try:
            return framing.split(value, headers)[0]
        except Poison:
            return None

    def read(
        self, value: bytes, headers: Headers, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Decode and validate."""
        ref, payload = framing.split(value, headers)
        assert isinstance(schema, Schema)
        return ref, codec.decode(payload, schema)


@dataclass(frozen=True, slots=True)
class JsonInput:
    """JSON, of our own fields or by a mapping."""

    rules: JsonRules | EventMapping

    def schema_of(self, value: bytes, headers: Headers) -> SchemaRef | None:  # noqa: ARG002 - it never needs one
        """Return None: JSON names its fields."""
        return None

    def read(
        self,
        value: bytes,
        headers: Headers,
        schema: WriterSchema | None,  # noqa: ARG002 - there is none
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Decode and validate."""
        ref, text = framing.split_json(value, headers)
        if isinstance(self.rules, EventMapping):
            return ref, self.rules.decode(text)
        return ref, codec.decode_json(text, self.rules)


@dataclass(frozen=True, slots=True)
class TsvInput:
    """One row per message, by a mapping that names its columns."""

    mapping: EventMapping

    def schema_of(self, value: bytes, headers: Headers) -> SchemaRef | None:  # noqa: ARG002 - it never needs one
        """Return None: the mapping names the columns."""
        return None

    def read(
        self,
        value: bytes,
        headers: Headers,  # noqa: ARG002 - they say nothing about a row
        schema: WriterSchema | None,  # noqa: ARG002 - there is none
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Split, map and validate."""
        return None, self.mapping.impression(self.mapping.row(value))


@dataclass(frozen=True, slots=True)
class ProtobufInput:
    """Protobuf, of our own fields or by a mapping.

    `types` and `message` say what a plain message is; with `always`, what a framed one is, too.
    """

    types: ProtobufSchema
    message: str = protobuf_schemas.OWN_MESSAGE
    always: bool = False
    mapping: EventMapping | None = None

    def schema_of(self, value: bytes, headers: Headers) -> SchemaRef | None:
        """Return the writer's schema, if the message names one that counts."""
        if self.always:
            return None
        try:
            return framing.split_protobuf(value, headers)[0]
        except Poison:
            return None

    def read(
        self, value: bytes, headers: Headers, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Decode and validate."""
        ref, message, plain = self.plain(value, headers, schema)
        if self.mapping is not None:
            return ref, self.mapping.impression(plain)
        simple = message.rpartition(".")[2]  # in any package
        if simple != IMPRESSION:
            raise Poison(Reason.INVALID, f"is a {ascii(simple)[1:-1][:128]}, want a {IMPRESSION}, or a mapping")
        return ref, codec.impression(json_reader.fields(plain, IMPRESSION, PROTOBUF_RULES))

    def plain(
        self, value: bytes, headers: Headers, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, str, Mapping[str, object]]:
        """Return which schema a message names, its type's full name, and its fields, whatever they are."""
        ref, indexes, payload = framing.split_protobuf(value, headers)
        types, message = self.types, self.message
        if ref is not None and not self.always:
            assert isinstance(schema, ProtobufSchema)
            types, message = schema, schema.name_at(indexes)
        return ref, message, protobuf_reader.decode(payload, types, message)


@dataclass(frozen=True, slots=True)
class WithOwn:
    """Foreign events, and impressions of our own, such as placebos, on whichever topic.

    Ours are in Avro's single-object encoding by our present schema: no JSON and no row starts with its ten bytes, since
    they are no UTF-8, and no message of Protobuf that means something does: they begin a group of field 24.
    """

    form: InputForm

    def schema_of(self, value: bytes, headers: Headers) -> SchemaRef | None:
        """Return the schema that a foreign event needs; ours is known."""
        return None if value.startswith(_OWN_START) else self.form.schema_of(value, headers)

    def read(
        self, value: bytes, headers: Headers, schema: WriterSchema | None
    ) -> tuple[SchemaRef | None, Impression | None]:
        """Decode and validate, by whose it is."""
        if value.startswith(_OWN_START):
            return _OWN_REF, codec.decode(value[len(_OWN_START) :], own_schema(IMPRESSION))
        return self.form.read(value, headers, schema)
