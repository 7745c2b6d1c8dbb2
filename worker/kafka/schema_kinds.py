"""What differs between the schemas of a registry by their kind: how they are asked for, and what is made of them.

AVRO        JSON text                                             the default: a registry leaves the kind out
PROTOBUF    a file descriptor, base64, for `format=serialized`    as Confluent's own clients ask for it; else without

A `.proto` file is not read: it needs `protoc`, which who wrote it has.
"""

import json
from collections.abc import Sequence
from typing import Protocol

from worker.core.codec import avro_schemas, protobuf_schemas
from worker.core.codec.input_forms import WriterSchema

Named = tuple[str, str]  # the name by which a schema is imported, and its text


class SchemaKind(Protocol):
    """One kind of schemas."""

    words: frozenset[object]  # of `schemaType`
    wanted: str
    query: str  # of the first request for a schema; "" or name=value
    other_format: str  # what to say of a `schema` that is no text of this kind, with {what}

    def is_text(self, text: str) -> bool:
        """Say whether a text can be a schema of this kind."""

    def own(self, text: str) -> avro_schemas.Schema | None:
        """Return our own schema, if the text is it."""

    def parse(self, text: str, references: Sequence[Named]) -> WriterSchema:
        """Return a schema, parsed and checked; `references` are what it refers to, dependencies first.

        Raises `Poison` (`SCHEMA`).
        """


class AvroKind:
    """Avro."""

    words: frozenset[object] = frozenset({None, "AVRO"})
    wanted, query = "AVRO", ""
    other_format = "answered for {what} with JSON that has no valid `schema`"

    def is_text(self, text: str) -> bool:
        """Say whether it is JSON: a registry validates what it stores."""
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
        return True

    def own(self, text: str) -> avro_schemas.Schema | None:
        """Return ours."""
        return avro_schemas.as_own(text)

    def parse(self, text: str, references: Sequence[Named]) -> avro_schemas.Schema:
        """Parse; a reference needs no name, since its types have theirs."""
        return avro_schemas.writer_schema(text, [referred for _, referred in references])


class ProtobufKind:
    """Protobuf."""

    words: frozenset[object] = frozenset({"PROTOBUF"})
    wanted, query = "PROTOBUF", "format=serialized"
    other_format = (
        "gives {what} as a `.proto` file, want a descriptor: set protobuf_descriptors to a file of `protoc"
        " --include_imports --descriptor_set_out=FILE`, or register the descriptor itself, in base64"
    )

    def is_text(self, text: str) -> bool:
        """Say whether it is a descriptor; a registry that has no such format returns the `.proto` file."""
        return protobuf_schemas.is_descriptor(text)

    def own(self, _text: str) -> None:
        """Return nothing: a descriptor is read like any other."""
        return

    def parse(self, text: str, references: Sequence[Named]) -> protobuf_schemas.ProtobufSchema:
        """Parse."""
        return protobuf_schemas.from_registry(text, references)
