"""Protobuf is read as JSON and Avro are, within bounds, whatever the bytes and the descriptors say."""

import re
import time
from base64 import b64encode
from random import Random
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as FieldProto
from hypothesis import given, settings, strategies as st

from tests.support.events import impression
from tests.support.examples import wild_impression
from tests.support.protobuf import CLASS, SCHEMAS, descriptor_set, encode_protobuf
from worker.core.codec import framing, impression as codec, protobuf_reader, protobuf_schemas
from worker.core.codec.avro_schemas import own_schema
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.codec.input_forms import ProtobufInput
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.mapping_compiler import compile_mapping
from worker.core.codec.protobuf_encoder import ProtobufEncoder
from worker.core.errors import Poison
from worker.core.records import Impression

EVENT = encode_protobuf(impression(0))
OWN = ProtobufInput(protobuf_schemas.own(), always=True)


def read(value: bytes, form: ProtobufInput = OWN) -> Impression:
    found = form.read(value, (), None)[1]
    assert found is not None
    return found


def reason_of(value: bytes, form: ProtobufInput = OWN) -> tuple[str, str]:
    with pytest.raises(Poison) as caught:
        form.read(value, (), None)
    return caught.value.reason, str(caught.value)


def nested(tag: int, data: bytes) -> bytes:
    number, length = len(data), b""
    while number > 0x7F:
        length, number = length + bytes([number & 0x7F | 0x80]), number >> 7
    return bytes([tag]) + length + bytes([number]) + data


def test_an_impression_that_google_writes_is_read_and_ours_comes_back() -> None:
    given = codec.impression(impression(3))
    assert read(encode_protobuf(impression(3))) == given
    chance = Random(1)
    for _ in range(100):
        wild = wild_impression(["Heat", "中文", ""], chance)
        assert read(ProtobufEncoder().encode(wild)) == wild


def test_the_proto_file_says_what_the_descriptors_say_and_what_avro_has() -> None:
    """Who changes one and forgets another is told here; protoc is not needed to test."""
    text = (SCHEMAS / "RecommendationImpression.proto").read_text(encoding="utf-8")
    wanted: dict[str, list[tuple[str, int]]] = {}
    for name, body in re.findall(r"^(?:message|enum) (\w+) \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE):
        wanted[name] = [(field, int(number)) for field, number in re.findall(r"(\w+) = (\d+);", body)]
    file = descriptor_set().file[-1]
    found = {one.name: [(field.name, field.number) for field in one.field] for one in file.message_type}
    found |= {one.name: [(value.name, value.number) for value in one.value] for one in file.enum_type}
    assert found == wanted

    def fields(record: Any) -> dict[str, set[str]]:
        inner = [one for each in record.fields for one in _records(each.type)]
        return {record.name.rpartition(".")[2]: {each.name for each in record.fields}} | {
            name: names for one in inner for name, names in fields(one).items()
        }

    avro = fields(own_schema("RecommendationImpression").root)
    assert {name: {field for field, _ in listed} for name, listed in found.items() if name in avro} == avro


def _records(kind: Any) -> list[Any]:
    return [kind] if kind.kind == "record" else [one for inner in kind.types for one in _records(inner)]


@pytest.mark.parametrize(
    ("value", "reason", "problem"),
    [
        (b"", "magic", "0 bytes that start with 0x"),
        (b"\0\0\0\0\7", "magic", "5 bytes that start with 0x0000"),
        (b"\0\0\0\0\7\xff\xff\xff\xff\xff\xff", "magic", "no message indexes after the schema id"),
        (b"\0\0\0\0\7\x60", "magic", "48 message indexes after the schema id"),
        (EVENT[:-3], "protobuf", "byte "),
        (EVENT + b"\0", "protobuf", "has a field without a number"),
        (b"\x0a\x7fabc", "protobuf", "byte 2: has a value of 127 bytes where 3 are left"),
        (b"\x0f", "protobuf", "has a field of an unknown wire type"),
        (b"\x08" + b"\xff" * 11, "protobuf", "has a number of more than 10 bytes"),
        (nested(0x0A, b"\xff\xfe"), "utf8", "event_id: a text that is not UTF-8"),
        (b"\xfb\x01" * 5_000, "limit", "is nested deeper than 64"),
        (b"\x3a\x00" * 70_000, "limit", "more than 70,000 values in one record"),
        (b"\x3a\x00" * 17_000, "limit", "more than 70,000 values in one record"),
        (b"\x78\x01" * 70_001, "limit", "more than 70,000 values in one record"),
        (bytes(1) * (3 << 20), "limit", ""),
        (EVENT + nested(0x3A, b"\x41" + b"\0" * 6 + b"\xf8\x7f"), "invalid", "slates.2.slate_p"),
    ],
)  # fmt: skip
def test_what_is_no_message_is_told_with_its_place(value: bytes, reason: str, problem: str) -> None:
    if value[:1] == b"\0" and len(value) > 100:
        value = b"\x0a" + value  # a plain message never starts with 0
    found = reason_of(value)
    assert (found[0], problem in found[1]) == (reason, True), found


def test_a_newer_writers_fields_and_symbols_are_passed_over() -> None:
    message = CLASS.FromString(encode_protobuf(impression(1)) + b"\xf8\x06\x01")
    message.slates[0].role = 77
    found = read(message.SerializeToString())
    assert (found.event_id, found.slates[0].role) == (impression(1)["event_id"], "UNKNOWN")


def test_a_zero_that_is_set_is_a_zero_and_what_is_not_set_is_missing() -> None:
    message = CLASS.FromString(encode_protobuf(impression(1)))
    assert [item.position for item in read(message.SerializeToString()).slates[0].items] == [0, 1, 2]
    message.slates[0].items[0].ClearField("position")
    assert reason_of(message.SerializeToString())[1].startswith("slates.0.items.0.position: is missing")


def foreign() -> bytes:
    """Return the descriptors of a shop's event, which no protoc wrote: with what proto has and we have not."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    for one in (struct_pb2, timestamp_pb2, wrappers_pb2):
        file.dependency.append(one.DESCRIPTOR.name)
    event = file.message_type.add(name="Outer").nested_type.add(name="Shown")
    kinds = [
        ("id", FieldProto.TYPE_INT64, "", False), ("at", FieldProto.TYPE_MESSAGE, ".google.protobuf.Timestamp", False),
        ("user", FieldProto.TYPE_MESSAGE, ".google.protobuf.StringValue", False),
        ("titles", FieldProto.TYPE_STRING, "", True), ("price", FieldProto.TYPE_FLOAT, "", False),
        ("more", FieldProto.TYPE_MESSAGE, ".google.protobuf.Struct", False), ("raw", FieldProto.TYPE_BYTES, "", False),
        ("self", FieldProto.TYPE_MESSAGE, ".shop.Outer.Shown", False), ("numbers", FieldProto.TYPE_INT32, "", True),
    ]  # fmt: skip
    for number, (name, kind, named, many) in enumerate(kinds, 1):
        label = FieldProto.LABEL_REPEATED if many else FieldProto.LABEL_OPTIONAL
        event.field.add(name=name, number=number, type=kind, type_name=named or None, label=label)
    return bytes(file.SerializeToString())


MAPPING = {
    "impression": {
        "event_id": "id", "occurred_at": {"from": "at", "unit": "us"}, "user": {"user_id": "user"},
        "slates": [{"variant": {"value": "control"}, "items": {"each": "titles", "item_id": "@", "text": "@"}}],
        "context": {"price": "price", "shelf": "more.shelf", "raw": "raw"},
    }
}  # fmt: skip


def test_a_foreign_message_is_mapped_by_the_writers_descriptors() -> None:
    schema = protobuf_schemas.from_registry(b64encode(foreign()).decode())
    name = schema.name_at((0, 0))
    assert name == "shop.Outer.Shown"
    message = schema.type_of(name)(id=7, titles=["a", "b"], price=49.9, raw=b"\xff", numbers=[1, 2])
    message.at.seconds, message.user.value = 1_793_491_200, "u"
    message.more.update({"shelf": 3, "deep": {"a": [None, True, 1.5]}})
    form = ProtobufInput(protobuf_schemas.own(), mapping=compile_mapping("m", MAPPING))
    value = b"\0\0\0\0\7\x04\0\0" + message.SerializeToString()
    assert form.schema_of(value, ()) == SchemaRef(SchemaRefKind.ID, "7")
    ref, found = form.read(value, (), schema)
    assert found is not None
    assert (ref, found.event_id, found.occurred_at) == (form.schema_of(value, ()), "7", 1_793_491_200_000_000)
    assert found.context == {"price": "49.9", "shelf": "3", "raw": "/w=="}
    assert [item.text for item in found.slates[0].items] == ["a", "b"]
    assert form.plain(value, (), schema)[2]["more"] == {"shelf": 3, "deep": {"a": [None, True, 1.5]}}
    bare = ProtobufInput(protobuf_schemas.own())
    with pytest.raises(Poison, match="is a Shown, want a RecommendationImpression, or a mapping"):
        bare.read(value, (), schema)
    with pytest.raises(Poison, match=r"writer schema has no message 3"):
        bare.read(b"\0\0\0\0\7\x02\x06" + message.SerializeToString(), (), schema)


def test_a_message_within_itself_is_bounded() -> None:
    schema = protobuf_schemas.from_registry(b64encode(foreign()).decode())
    deep = b""
    for _ in range(90):
        deep = nested(0x42, deep)
    with pytest.raises(Poison, match="is nested deeper than 64"):
        protobuf_reader.decode(deep, schema, "shop.Outer.Shown")
    numbers = nested(0x4A, b"\x01" * 70_001)
    with pytest.raises(Poison, match="more than 70,000 values"):
        protobuf_reader.decode(numbers, schema, "shop.Outer.Shown")


def test_a_guid_in_a_header_has_the_indexes_behind_it() -> None:
    guid = bytes(range(16))
    found = framing.split_protobuf(b"\x0a\x01a", (("__value_schema_id", b"\x01" + guid + b"\x04\x02\x00"),))
    assert found == (SchemaRef(SchemaRefKind.GUID, guid.hex()), (1, 0), b"\x0a\x01a")


@pytest.mark.parametrize("behind", [b"", b"\x00\x07", b"\x02"])
def test_a_guid_without_its_indexes_is_not_taken_for_a_plain_message(behind: bytes) -> None:
    with pytest.raises(Poison, match="message indexes") as caught:
        framing.split_protobuf(EVENT, (("__value_schema_id", b"\x01" + bytes(16) + behind),))
    assert caught.value.reason == "magic"


def test_bytes_where_a_group_is_wanted_are_passed_over_as_the_library_does() -> None:
    """Also in a large message, whose values are counted before."""
    file = descriptor_pb2.FileDescriptorProto(name="f.proto", package="p", syntax="proto2")
    kind = file.message_type.add(name="M")
    kind.nested_type.add(name="G")
    one = FieldProto.LABEL_OPTIONAL
    kind.field.add(name="g", number=1, type=FieldProto.TYPE_GROUP, label=one, type_name=".p.M.G")
    kind.field.add(name="text", number=2, type=FieldProto.TYPE_STRING, label=one)
    schema = protobuf_schemas.from_registry(b64encode(file.SerializeToString()).decode())
    value = nested(0x0A, b"\xff" * 3) + nested(0x12, b"a" * 20_000)
    assert protobuf_reader.decode(value, schema, "p.M") == {"text": "a" * 20_000}


def test_the_first_name_of_a_number_counts_as_in_json() -> None:
    file = _file()
    enum = file.enum_type.add(name="Role")
    enum.options.allow_alias = True
    for name, number in (("ROLE_NONE", 0), ("ROLE_CONTROL", 1), ("ROLE_BASELINE", 1)):
        enum.value.add(name=name, number=number)
    file.message_type.add(name="M").field.add(
        name="role", number=1, type=FieldProto.TYPE_ENUM, label=FieldProto.LABEL_OPTIONAL, type_name=".p.Role"
    )
    schema = protobuf_schemas.from_registry(b64encode(file.SerializeToString()).decode())
    assert protobuf_reader.decode(b"\x08\x01", schema, "p.M") == {"role": "CONTROL"}


def _file(**more: Any) -> Any:
    return descriptor_pb2.FileDescriptorProto(name="f.proto", package="p", syntax="proto3", **more)


def hostile() -> dict[str, Any]:
    deep = _file()
    level = deep.message_type.add(name="M")
    for _ in range(20):
        level = level.nested_type.add(name="M")
    wide = _file()
    many = wide.message_type.add(name="M")
    for number in range(1, 5_000):
        many.field.add(name=f"f{number}", number=number, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_OPTIONAL)
    twice = _file()
    twice.message_type.add(name="M")
    twice.message_type.add(name="M")
    unknown = _file()
    unknown.message_type.add(name="M").field.add(
        name="f", number=1, type=FieldProto.TYPE_MESSAGE, type_name=".p.N", label=FieldProto.LABEL_OPTIONAL
    )
    words = _file()
    enum = words.enum_type.add(name="E")
    for number in range(10_001):
        enum.value.add(name=f"S{number}", number=number)
    extensions = _file()
    declaring = extensions.message_type.add(name="M")
    declaring.extension_range.add(start=1, end=10_000)
    for number in range(1, 4_100):
        declaring.extension.add(
            name=f"x{number}",
            number=number,
            extendee=".p.M",
            type=FieldProto.TYPE_INT32,
            label=FieldProto.LABEL_OPTIONAL,
        )
    extensions.syntax = "proto2"
    methods = _file()
    methods.message_type.add(name="M")
    service = methods.service.add(name="S")
    for number in range(4_100):
        service.method.add(name=f"m{number}", input_type=".p.M", output_type=".p.M")
    return {
        "extensions": extensions, "methods": methods, "deep": deep, "wide": wide, "twice": twice,
        "unknown": unknown, "words": words,
        "missing": _file(dependency=["other.proto"]), "itself": _file(dependency=["mirrorstream-root.proto"]),
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(hostile()))
def test_descriptors_beyond_a_bound_are_refused(name: str) -> None:
    with pytest.raises(Poison) as caught:
        protobuf_schemas.from_registry(b64encode(hostile()[name].SerializeToString()).decode())
    assert caught.value.reason == "schema"


@pytest.mark.parametrize("of", ["message_type", "nested_type", "enum_type", "inner_enums", "service"])
def test_descriptors_beyond_a_bound_are_refused_before_all_are_looked_at(of: str) -> None:
    """The thread that reads a registry's schema shares the interpreter with the event loop."""
    file = descriptor_pb2.FileDescriptorProto(name="a.proto")
    outer = file.message_type.add(name="M")
    many = {"message_type": file.message_type, "enum_type": file.enum_type, "service": file.service,
            "nested_type": outer.nested_type, "inner_enums": outer.enum_type}[of]  # fmt: skip
    for _ in range(300_000):
        many.add()
    text = b64encode(file.SerializeToString()).decode()
    del file, outer, many
    start_s = time.process_time()
    with pytest.raises(Poison, match=r"more than 4,000 messages and fields|symbols, want at most 10,000"):
        protobuf_schemas.from_registry(text)
    assert time.process_time() - start_s < 0.3


def test_symbols_are_bounded_over_all_files() -> None:
    found = descriptor_pb2.FileDescriptorSet()
    for file in range(3):
        enum = found.file.add(name=f"f{file}.proto", package=f"p{file}", syntax="proto3").enum_type.add(name="E")
        for number in range(4_000):
            enum.value.add(name=f"S{number}", number=number)
    with pytest.raises(Poison, match="has 12,003 symbols, want at most 10,000"):
        protobuf_schemas.from_descriptor_set(found.SerializeToString())


KNOWN = {"raw": "Bytes", "price": "Double", "text": "String", "number": "Int64", "yes": "Bool"}


def test_values_are_what_json_would_be_at_their_edges() -> None:
    """A wrapper around a default, a key that is a bool, a number beyond whole doubles, a time that is none."""
    file = _file(dependency=[one.DESCRIPTOR.name for one in (wrappers_pb2, struct_pb2, timestamp_pb2)])
    kind = file.message_type.add(name="M")
    entry = kind.nested_type.add(name="FlagsEntry")
    entry.options.map_entry = True
    one, many = FieldProto.LABEL_OPTIONAL, FieldProto.LABEL_REPEATED
    entry.field.add(name="key", number=1, type=FieldProto.TYPE_BOOL, label=one)
    entry.field.add(name="value", number=2, type=FieldProto.TYPE_STRING, label=one)
    named = {name: (f".google.protobuf.{kind}Value", one) for name, kind in KNOWN.items()}
    named |= {"more": (".google.protobuf.Struct", one), "at": (".google.protobuf.Timestamp", one)}
    for number, (name, (type_name, label)) in enumerate((named | {"flags": (".p.M.FlagsEntry", many)}).items(), 1):
        kind.field.add(name=name, number=number, type=FieldProto.TYPE_MESSAGE, label=label, type_name=type_name)
    schema = protobuf_schemas.from_registry(b64encode(file.SerializeToString()).decode())
    message = schema.type_of("p.M")()
    for name in KNOWN:
        getattr(message, name).SetInParent()
    message.flags[True] = "a"
    message.more.update({"large": 1e300, "whole": 3.0})
    found = protobuf_reader.decode(message.SerializeToString(), schema, "p.M")
    assert found["flags"] == {"true": "a"}
    assert found["more"]["large"].text == "1e+300"  # type: ignore[index]
    assert repr(found["more"]["whole"]) == "3"  # type: ignore[index]
    assert found["price"].text == "0.0"  # type: ignore[attr-defined]
    assert [found[name] for name in ("raw", "text", "number", "yes")] == ["", "", 0, False]
    for nanos in (-1, 1_000_000_000):
        message.at.nanos = nanos
        with pytest.raises(Poison, match=r"at: is a Timestamp with -?[\d,]+ nanos, want 0 to 999,999,999"):
            protobuf_reader.decode(message.SerializeToString(), schema, "p.M")


def test_a_writers_own_type_by_the_name_of_a_well_known_one_is_read_by_its_fields() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="f.proto", package="google.protobuf", syntax="proto3")
    one = FieldProto.LABEL_OPTIONAL
    file.message_type.add(name="Timestamp").field.add(name="zone", number=1, type=FieldProto.TYPE_STRING, label=one)
    file.message_type.add(name="M").field.add(
        name="at", number=1, type=FieldProto.TYPE_MESSAGE, label=one, type_name=".google.protobuf.Timestamp"
    )
    schema = protobuf_schemas.from_registry(b64encode(file.SerializeToString()).decode())
    value = nested(0x0A, nested(0x0A, b"UTC"))
    assert protobuf_reader.decode(value, schema, "google.protobuf.M") == {"at": {"zone": "UTC"}}
    given = descriptor_pb2.FileDescriptorSet(file=[file])
    given.file[0].name = timestamp_pb2.DESCRIPTOR.name  # by its name, too: Google's is taken, which has no M
    with pytest.raises(Poison, match="the descriptors have no message"):
        protobuf_schemas.from_descriptor_set(given.SerializeToString()).type_of("google.protobuf.M")


@pytest.mark.parametrize("text", ["syntax = 'proto3';", "####", b64encode(b"\xff" * 50).decode(), "A" * (3 << 20)])
def test_what_is_no_descriptor_is_refused(text: str) -> None:
    with pytest.raises(Poison, match="Protobuf schema"):
        protobuf_schemas.from_registry(text)


def test_a_type_that_a_newer_registry_imports_is_found_by_its_name() -> None:
    item = _file()
    item.message_type.add(name="Item").field.add(
        name="title", number=1, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_OPTIONAL
    )
    main = descriptor_pb2.FileDescriptorProto(name="x", package="q", syntax="proto3", dependency=["shared/item.proto"])
    main.message_type.add(name="M").field.add(
        name="item", number=1, type=FieldProto.TYPE_MESSAGE, type_name=".p.Item", label=FieldProto.LABEL_OPTIONAL
    )
    texts = [b64encode(one.SerializeToString()).decode() for one in (item, main)]
    schema = protobuf_schemas.from_registry(texts[1], [("shared/item.proto", texts[0])])
    assert protobuf_reader.decode(nested(0x0A, nested(0x0A, b"Heat")), schema, "q.M") == {"item": {"title": "Heat"}}


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    try:
        OWN.read(value, (), None)
    except Poison as poison:
        assert str(poison)  # noqa: PT017 - either end is right


def test_json_has_the_same_fields_as_protobuf() -> None:
    plain = OWN.plain(encode_protobuf(impression(2)), (), None)[2]
    assert plain["occurred_at"] == impression(2)["occurred_at"]
    assert plain["slates"][0]["role"] == "CONTROL"  # type: ignore[index]
    assert JsonRules().refuse_unknown


@pytest.mark.parametrize("in_header", [False, True])
def test_what_confluents_serializer_writes_is_read_by_what_its_registry_says(in_header: bool) -> None:
    """Framing, indexes and descriptor are the client's own; its registry is in memory."""
    client = SchemaRegistryClient.new_client({"url": "mock://"})
    options: dict[str, Any] = {"use.deprecated.format": False}
    if in_header:
        options["schema.id.serializer"] = header_schema_id_serializer
    headers: list[tuple[str, bytes]] = []
    context = SerializationContext("impressions", MessageField.VALUE, headers)
    message = CLASS.FromString(encode_protobuf(impression(3)))
    value = ProtobufSerializer(CLASS, client, options)(message, context)
    form = ProtobufInput(protobuf_schemas.own())
    ref = form.schema_of(value, tuple(headers))
    assert ref is not None
    assert ref.kind == ("guid" if in_header else "id")
    registered = client.get_latest_version("impressions-value")
    imports = [
        (one.name, client.get_version(one.subject, one.version).schema.schema_str)
        for one in registered.schema.references or ()
    ]
    schema = protobuf_schemas.from_registry(registered.schema.schema_str, imports)
    assert form.read(value, tuple(headers), schema) == (ref, codec.impression(impression(3)))


def _kind(syntax: str, *names: str, **more: Any) -> Any:
    """Return a file with a message of texts by these names, and the message."""
    file = descriptor_pb2.FileDescriptorProto(name="f.proto", package="p", syntax=syntax, **more)
    kind = file.message_type.add(name="M")
    for number, name in enumerate(names, 1):
        kind.field.add(name=name, number=number, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_OPTIONAL)
    return file, kind


def _schema(file: Any) -> protobuf_schemas.ProtobufSchema:
    return protobuf_schemas.from_registry(b64encode(file.SerializeToString()).decode())


@pytest.mark.parametrize("num_bytes", [16_000, 40_000])
def test_a_message_of_a_wide_type_counts_for_the_memory_that_it_takes(num_bytes: int) -> None:
    """13,900 empty messages of 3,900 fields are 28 KB on the wire, and were 826 MiB in memory."""
    file, kind = _kind("proto3", *(f"f{number}" for number in range(3_900)))
    kind.field.add(
        name="more", number=4_000, type=FieldProto.TYPE_MESSAGE, label=FieldProto.LABEL_REPEATED, type_name=".p.M"
    )
    schema = _schema(file)
    with pytest.raises(Poison, match="more than 70,000 values"):
        protobuf_reader.decode(b"\x82\xfa\x01\x00" * (num_bytes // 4), schema, "p.M")
    one = nested(0x0A, b"Heat") + b"\x82\xfa\x01\x00"
    assert protobuf_reader.decode(one, schema, "p.M") == {"f0": "Heat", "more": [{}]}


def test_an_extension_is_never_read() -> None:
    """Counting passes over what the message's own type does not have, and the library read it into messages."""
    file, kind = _kind("proto2", "title")
    kind.extension_range.add(start=2, end=10)
    for where, name, number in ((file, "x", 2), (kind, "y", 3)):
        where.extension.add(
            name=name, number=number, extendee=".p.M", type_name=".p.M",
            type=FieldProto.TYPE_MESSAGE, label=FieldProto.LABEL_REPEATED,
        )  # fmt: skip
    schema = _schema(file)
    value = nested(0x0A, b"Heat") + nested(0x12, b"\x12\x00" * 60_000)
    assert protobuf_reader.decode(value, schema, "p.M") == {"title": "Heat"}
    for name in ("p.x", "p.M.y"):
        with pytest.raises(KeyError):
            schema.pool.FindExtensionByName(name)


@pytest.mark.parametrize("where", ["package", "message", "nested", "field", "symbol", "oneof", "method"])
def test_a_long_name_is_refused_before_it_multiplies(where: str) -> None:
    """A package of 400,000 characters and 1,900 messages took 2.9 GB and 4 s: each full name has the package."""
    name = "a" * 513
    file, kind = _kind("proto3", name if where == "field" else "title")
    if where == "package":
        file.package = name
    elif where == "message":
        kind.name = name
    elif where == "nested":
        kind.nested_type.add(name=name)
    elif where == "symbol":
        file.enum_type.add(name="E").value.add(name=name, number=0)
    elif where == "oneof":
        kind.oneof_decl.add(name=name)
        kind.field[0].oneof_index = 0
    elif where == "method":
        file.service.add(name="S").method.add(name=name, input_type=".p.M", output_type=".p.M")
    with pytest.raises(Poison, match="has a name of 513 characters, want at most 512"):
        _schema(file)


def test_a_field_may_have_any_name() -> None:
    """The library's attributes of a message stand behind the fields of the same name."""
    names = ("DESCRIPTOR", "ListFields", "FromString", "__class__", "WhichOneof", "fields")
    file, _ = _kind("proto3", *names)
    value = b"".join(nested(number << 3 | 2, b"x") for number in range(1, len(names) + 1))
    assert protobuf_reader.decode(value, _schema(file), "p.M") == dict.fromkeys(names, "x")


def test_a_text_that_is_not_utf8_is_no_text_whatever_its_writers_syntax() -> None:
    """Where a schema does not demand UTF-8, the library gives bytes."""
    old, kind = _kind("proto2", "title")
    kind.field.add(name="more", number=2, type=FieldProto.TYPE_STRING, label=FieldProto.LABEL_REPEATED)
    new, _ = _kind("editions", "title", edition=descriptor_pb2.EDITION_2023)
    new.message_type[0].field[0].options.features.utf8_validation = descriptor_pb2.FeatureSet.NONE
    for file, value, place in (
        (old, b"\x0a\x01\xff", "title"),
        (old, b"\x12\x01\xff", "more.0"),
        (new, b"\x0a\x01\xff", "title"),
    ):
        with pytest.raises(Poison, match=f"^{place}: a text that is not UTF-8") as caught:
            protobuf_reader.decode(value, _schema(file), "p.M")
        assert caught.value.reason == "utf8"
