"""Protobuf schemas of a registry: how they are asked for, and what is made of each shape that registries answer in."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from worker.core.codec.protobuf_schemas import ProtobufSchema
from worker.core.errors import Poison, Retryable
from worker.kafka.registry import Schemas
from worker.kafka.schema_kinds import ProtobufKind

from .test_registry import HTML, IMPRESSION, NO_SUCH, SEVEN, Say, http, said, scripted

PROTO = (Path(__file__).parents[3] / "schemas" / "RecommendationImpression.desc").read_bytes()


def descriptor() -> tuple[str, str]:
    """Return our file descriptor and the one that it imports, as a registry gives them for `format=serialized`."""
    files = descriptor_pb2.FileDescriptorSet.FromString(PROTO).file
    imported, own = (b64encode(one.SerializeToString()).decode() for one in files)
    return own, imported


async def test_protobuf_is_asked_for_as_descriptors_with_what_they_import() -> None:
    own, imported = descriptor()
    reference = {"name": "google/protobuf/timestamp.proto", "subject": "ts", "version": 1}

    def say(path: str) -> bytes:
        if path.startswith("/subjects/"):
            return said({"schema": imported, "schemaType": "PROTOBUF"})
        return said({"schema": own, "schemaType": "PROTOBUF", "references": [reference]})

    async with scripted(say) as server:
        schemas = Schemas(server.url, kind=ProtobufKind())
        found = await schemas.fetch(SEVEN)
        assert await schemas.fetch(SEVEN) is found
    assert dict(server.asked) == {
        "/schemas/ids/7?format=serialized": 1,
        "/subjects/ts/versions/1?deleted=true&format=serialized": 1,
    }
    assert isinstance(found, ProtobufSchema)
    assert found.names[0,].endswith("RecommendationImpression")


PROTO_TEXT = 'syntax = "proto3";\nmessage A { string b = 1; }\n'


def apicurio_3(schema: str) -> Callable[[str], bytes]:
    """Say what Apicurio 3.3.3 says of a `.proto` file or of a descriptor in base64."""
    given = {"schema": schema, "schemaType": "PROTOBUF"}
    raw = {"schema": b64decode(descriptor()[0]).decode(errors="replace"), "schemaType": "PROTOBUF"}
    error = {"message": "java.lang.IllegalStateException: Syntax error in A.proto:1:1: unexpected label: Ch5S"}

    def say(path: str) -> bytes:
        if "format=serialized" not in path:
            return said(given)
        return said(raw) if schema == PROTO_TEXT else said(error, "500 Internal Server Error")

    return say


OWN_BASE64 = descriptor()[0]
SHAPES: dict[str, tuple[Say, int, str]] = {  # what a registry says, how many questions that takes, what is told
    "base64, as it was asked for (Confluent)": (said({"schema": OWN_BASE64, "schemaType": "PROTOBUF"}), 1, ""),
    "500 for base64 (Apicurio 3)": (apicurio_3(OWN_BASE64), 2, ""),
    "raw bytes for a .proto (Apicurio 3)": (apicurio_3(PROTO_TEXT), 2, "gives id 7 as a `.proto` file"),
    "always a .proto (Apicurio 2)": (said({"schema": PROTO_TEXT, "schemaType": "PROTOBUF"}), 2, "as a `.proto` file"),
    "an empty text": (said({"schema": "", "schemaType": "PROTOBUF"}), 1, "no valid `schema`"),
    "400 and then base64": (
        lambda path: said({"message": "format"}, "400 No") if "?" in path else said(
            {"schema": OWN_BASE64, "schemaType": "PROTOBUF"}
        ), 2, "",
    ),
    "501 and then base64": (
        lambda path: said({"message": "format"}, "501 No") if "?" in path else said(
            {"schema": OWN_BASE64, "schemaType": "PROTOBUF"}
        ), 2, "",
    ),
    "500 for all": (said({"message": "store"}, "500 Error"), 2, "returned 500"),
    "a login page": (http(HTML, kind="text/html"), 1, "this is not a schema registry"),
    "rejected": (said({"message": "who?"}, "401 No"), 1, "rejects the credentials"),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_descriptor_is_asked_for_again_without_the_format_that_a_registry_has_not(shape: str) -> None:
    say, num_asked, problem = SHAPES[shape]
    async with scripted(say) as server:
        schemas = Schemas(server.url, kind=ProtobufKind())
        if problem:
            with pytest.raises(Retryable, match=problem) as caught:
                await schemas.fetch(SEVEN)
            told = str(caught.value)
            assert told.startswith(f"schema registry {server.url}")
            assert told.isprintable(), "one line"
            assert ("protobuf_descriptors" in told) == ("id 7 as a" in told), "what to do"
        else:
            found = await schemas.fetch(SEVEN)
            assert await schemas.fetch(SEVEN) is found
            assert isinstance(found, ProtobufSchema)
            assert found.names[0,].endswith("RecommendationImpression")
    assert list(server.asked) == ["/schemas/ids/7?format=serialized", "/schemas/ids/7"][:num_asked]
    assert set(server.asked.values()) == {1}


async def test_what_a_descriptor_imports_is_asked_for_again_too() -> None:
    own, imported = descriptor()
    reference = {"name": "google/protobuf/timestamp.proto", "subject": "ts", "version": 1}

    def say(path: str) -> bytes:
        if "format=serialized" in path:
            return said({"message": "unexpected label"}, "500 Internal Server Error")
        if path.startswith("/subjects/"):
            return said({"schema": imported, "schemaType": "PROTOBUF"})
        return said({"schema": own, "schemaType": "PROTOBUF", "references": [reference]})

    async with scripted(say) as server:
        assert await Schemas(server.url, kind=ProtobufKind()).fetch(SEVEN)
    assert list(server.asked)[-2:] == [
        "/subjects/ts/versions/1?deleted=true&format=serialized", "/subjects/ts/versions/1?deleted=true",
    ]  # fmt: skip


async def test_a_second_question_that_finds_nothing_is_a_dead_letter() -> None:
    def say(path: str) -> bytes:
        return said({"message": "no"}, "500 Error") if "format" in path else NO_SUCH

    async with scripted(say) as server:
        with pytest.raises(Poison, match="writer schema id 7 is not in the registry"):
            await Schemas(server.url, kind=ProtobufKind()).fetch(SEVEN)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"schema": IMPRESSION}, "writer schema id 7 is AVRO, want PROTOBUF"),
        ({"schema": descriptor()[0], "schemaType": "JSON"}, "is JSON, want PROTOBUF"),
    ],
)
async def test_a_schema_that_is_no_protobuf_is_a_dead_letter(answer: object, problem: str) -> None:
    async with scripted(said(answer)) as server:
        with pytest.raises(Poison, match=problem):
            await Schemas(server.url, kind=ProtobufKind()).fetch(SEVEN)
    assert server.asked.total() == 1
