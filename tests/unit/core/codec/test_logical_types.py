"""What other writers' types and logical types become: exact times, numbers and texts, or a refusal that says why."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings, strategies as st

from tests.support.examples import AT_US, DAY_US, payload
from tests.support.foreign import bare, plain_with, read, schema_with
from worker.core.codec import avro_encoder, avro_schemas, impression as codec
from worker.core.errors import Poison
from worker.core.records import MAX_TIME_US, MIN_TIME_US, Domain, Role

AT_MS = AT_US // 1_000
DAY = AT_US // DAY_US
TIMES = ("occurred_at", "user.history.occurred_at", "experiment.assignment.assigned_at")
ID = UUID("1d0c1a54-5d5e-4bb5-8f0a-3f0d8a3b8c11")


def logical(kind: str, name: str, **more: object) -> dict[str, object]:
    """Make a type with a logical type."""
    return {"type": kind, "logicalType": name, **more}


def connect(kind: str, name: str, **more: object) -> dict[str, object]:
    """Make a type as Kafka Connect's converter writes it without a logical type."""
    return {"type": kind, "connect.version": 1, "connect.name": name, **more}


def decimal(kind: str = "bytes", **more: object) -> dict[str, object]:
    """Make a decimal of two places."""
    return logical(kind, "decimal", **{"precision": 9, "scale": 2, **more})


def refusal(path: str, kind: object, value: object) -> tuple[str, str]:
    """Return the reason and the message of the refusal."""
    with pytest.raises(Poison) as caught:
        read(path, kind, value)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("path", TIMES)
@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        ("long", AT_US + 1, AT_US + 1),
        (logical("long", "timestamp-micros"), AT_US + 1, AT_US + 1),
        (logical("long", "timestamp-millis"), AT_MS + 1, AT_US + 1_000),
        (logical("long", "timestamp-nanos"), AT_US * 1_000 + 1_999, AT_US + 1),
        (logical("long", "local-timestamp-micros"), AT_US + 1, AT_US + 1),
        (logical("long", "local-timestamp-millis"), AT_MS, AT_US),
        (logical("long", "local-timestamp-nanos"), AT_US * 1_000, AT_US),
        (logical("int", "date"), DAY, DAY * DAY_US),
        (connect("long", "org.apache.kafka.connect.data.Timestamp"), AT_MS, AT_US),
        (connect("long", "org.apache.kafka.connect.data.Timestamp", logicalType="timestamp-millis"), AT_MS, AT_US),
        (connect("int", "org.apache.kafka.connect.data.Date"), DAY, DAY * DAY_US),
        (connect("long", "io.debezium.time.Timestamp"), AT_MS, AT_US),
        (connect("long", "io.debezium.time.MicroTimestamp"), AT_US, AT_US),
        (connect("long", "io.debezium.time.NanoTimestamp"), AT_US * 1_000, AT_US),
        (connect("int", "io.debezium.time.Date"), DAY, DAY * DAY_US),
        (connect("long", "com.acme.Moment"), AT_US, AT_US),  # no unit that we know of: ours, and in range
        ({"type": logical("long", "timestamp-millis")}, AT_MS, AT_US),
        ([logical("long", "timestamp-millis"), "null"], AT_MS, AT_US),
        (["null", "string", logical("long", "timestamp-millis")], AT_MS, AT_US),
    ],
    ids=str,
)
def test_a_time_is_exact_whatever_its_unit(path: str, kind: object, value: int, want: int) -> None:
    assert read(path, kind, value) == want


@pytest.mark.parametrize("path", TIMES)
@pytest.mark.parametrize(
    ("kind", "value", "year"),
    [
        ("long", AT_MS, 1970),
        ("long", AT_MS // 1_000, 1970),
        ("int", AT_MS // 1_000, 1970),
        ("long", 0, 1970),
        ("long", AT_US * 1_000, 32_805),
        ("long", -AT_US, 1939),
        ("long", MIN_TIME_US - 1, 1970),
        ("long", MAX_TIME_US + 1, 2100),
        (logical("long", "timestamp-millis"), AT_US, 32_805),
        (logical("long", "timestamp-millis"), AT_MS // 1_000, 1970),
        (logical("long", "timestamp-micros"), AT_MS, 1970),
        (logical("long", "timestamp-nanos"), AT_US, 1970),
        (logical("int", "date"), 2**31 - 1, 5_881_580),
        (logical("long", "timestamp-millis"), 2**53, 287_396),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_its_year(path: str, kind: object, value: int, year: int) -> None:
    reason, message = refusal(path, kind, value)
    assert reason == "invalid"
    names = path.split(".")
    where = path if "history" not in names else "user.history.0.occurred_at"
    assert message.startswith(f"{where}: ")
    assert "want microseconds since 1970 of a time from 1971 to 2099" in message
    assert f"the year {year}" in message


@pytest.mark.parametrize("value", [2**80, -(10**1000)])
def test_a_time_of_too_many_digits_is_refused_without_them(value: int) -> None:
    with pytest.raises(Poison, match="occurred_at: a number of more than 80 bits, want microseconds"):
        codec.impression(plain_with("occurred_at", value))


@pytest.mark.parametrize("path", ["occurred_at", "user.history.occurred_at"])
@pytest.mark.parametrize(
    ("kind", "value", "word"),
    [
        (logical("int", "time-millis"), 1, "time-millis"),
        (logical("long", "time-micros"), 1, "time-micros"),
        (connect("long", "io.debezium.time.NanoTime"), 1, "time-nanos"),
        (logical("long", "epoch-seconds"), AT_US, "epoch-seconds"),
        (logical("int", "timestamp-millis"), 1, "timestamp-millis"),
        (logical("string", "iso-datetime"), "2000", "iso-datetime"),
        (logical("long", "a\u202eb"), AT_US, "(an odd name)"),
        ({"type": "long", "logicalType": ["date"]}, AT_US, "(an odd name)"),
        (decimal(), b"\x01", "decimal"),
    ],
)
def test_a_logical_type_that_is_no_time_is_refused_by_its_name(
    path: str, kind: object, value: object, word: str
) -> None:
    reason, message = refusal(path, kind, value)
    assert (reason, f"logical type is {word}" in message, "want a timestamp or a date" in message) == (
        "schema", True, True,
    )  # fmt: skip
    assert message.startswith(path + ": ")


@pytest.mark.parametrize("kind", [logical("long", "epoch-seconds"), logical("string", "x"), decimal(scale="many")])
def test_a_logical_type_of_a_field_that_only_the_writer_has_is_passed_over(kind: object) -> None:
    schema = json.loads(avro_schemas.schema_text("RecommendationImpression"))
    schema["fields"].insert(0, {"name": "theirs", "type": kind})
    written = payload(plain_with("theirs", "" if "string" in str(kind) else b"" if "bytes" in str(kind) else 0),
                      json.dumps(bare(schema)))  # fmt: skip
    assert codec.decode(written, avro_schemas.writer_schema(json.dumps(schema))).occurred_at == AT_US


def test_a_logical_type_in_a_branch_that_does_not_come_is_passed_over() -> None:
    kind = ["null", logical("long", "epoch-seconds")]
    assert read("user.history.occurred_at", kind, None) is None
    reason, message = refusal("user.history.occurred_at", kind, 5)
    assert (reason, message.partition(":")[0]) == ("schema", "user.history.0.occurred_at")


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        (decimal(), b"\x01\xc2", 4.5),
        (decimal(), b"\xff", -0.01),
        (decimal(), b"", 0.0),
        (decimal(scale=0), b"\x05", 5.0),
        (logical("bytes", "decimal", precision=4), b"\x05", 5.0),  # no scale is 0
        (decimal(scale=-2), b"\x05", 500.0),  # Oracle's NUMBER(5, -2)
        (decimal(scale=127, precision=64), (45 * 10**126).to_bytes(60, "big"), 4.5),  # its NUMBER, in Connect
        ({"type": "fixed", "name": "D", "size": 3, "logicalType": "decimal", "precision": 5, "scale": 2},
         b"\x00\x01\xc2", 4.5),
        (connect("bytes", "org.apache.kafka.connect.data.Decimal", **{"connect.parameters": {"scale": "2"}}),
         b"\x01\xc2", 4.5),
        ("int", 4, 4.0),
        ("long", 2**40, None),
        ("float", 4.5, 4.5),
        (["null", decimal()], b"\x01\xc2", 4.5),
    ],
)  # fmt: skip
def test_a_number_is_one_whatever_wrote_it(kind: object, value: object, want: float | None) -> None:
    path = "user.history.rating" if want is not None else "slates.items.score"  # which has no bounds
    found = read(path, kind, value)
    assert (found, type(found)) == (2.0**40 if want is None else want, float)


@given(st.decimals(-100_000, 100_000, places=2))
@settings(max_examples=30, deadline=None)
def test_a_decimal_is_the_nearest_number(number: Decimal) -> None:
    unscaled = int(number.scaleb(2))
    assert read("slates.items.value", decimal(), unscaled.to_bytes(8, "big", signed=True)) == float(number)


def test_a_whole_decimal_is_a_whole_number_and_any_other_is_refused() -> None:
    assert read("slates.page", decimal(), (300).to_bytes(2, "big")) == 3
    assert refusal("slates.page", decimal(), (350).to_bytes(2, "big")) == (
        "invalid", "slates.0.page: a decimal with a fraction, want a whole number",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (decimal(scale="2"), b"\x01", "schema"),
        (decimal(scale=2.0), b"\x01", "schema"),
        (decimal(scale=True), b"\x01", "schema"),
        (decimal(scale=10**9), b"\x01", "schema"),
        (decimal(scale=-(10**9)), b"\x01", "schema"),
        (decimal(), bytes(129), "limit"),
        (decimal(scale=-256), b"\x7f" * 128, "invalid"),
        (logical("bytes", "big-decimal"), b"\x01", "schema"),
        (logical("double", "decimal", precision=4), 1.0, "schema"),
        (logical("long", "timestamp-millis"), 1, "schema"),
        (logical("long", "time-micros"), 1, "schema"),
        ("bytes", b"\x01", "avro"),
        ("string", "4.5", "avro"),
        ("boolean", True, "avro"),
    ],
)
def test_what_is_no_number_is_refused(kind: object, value: object, reason: str) -> None:
    assert refusal("user.history.rating", kind, value)[0] == reason


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        (logical("string", "uuid"), str(ID), str(ID)),
        ({"type": "fixed", "name": "U", "size": 16, "logicalType": "uuid"}, ID.bytes, str(ID)),
        ({"type": "string", "avro.java.string": "String"}, "é", "é"),
        (connect("string", "io.debezium.data.Uuid"), str(ID), str(ID)),
        (logical("string", "varchar", maxLength=50), "v", "v"),
        ("bytes", "é".encode(), "é"),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, "b", "b"),
        (["null", {"type": "enum", "name": "E", "symbols": ["a", "b"]}], "b", "b"),
    ],
)
def test_a_text_is_one_whatever_wrote_it(kind: object, value: object, want: str) -> None:
    for path in ("event_id", "user.history.item.text", "slates.items.text"):
        assert read(path, kind, value) == want
    assert read("context", {"type": "map", "values": kind}, {"k": value}) == {"k": want}


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("bytes", b"\xff", "utf8"),
        ("int", 5, "avro"),
        ("long", 5, "avro"),
        ("double", 5.0, "avro"),
        ({"type": "fixed", "name": "U", "size": 16}, ID.bytes, "avro"),
        ({"type": "fixed", "name": "U", "size": 15, "logicalType": "uuid"}, ID.bytes[1:], "schema"),
        (decimal(), b"\x01", "schema"),
        (logical("int", "date"), 1, "schema"),
        (logical("string", "json"), "{}", "schema"),
    ],
)
def test_what_is_no_text_is_refused(kind: object, value: object, reason: str) -> None:
    for path in ("event_id", "slates.items.text"):
        assert refusal(path, kind, value)[0] == reason


def test_an_enum_may_come_as_a_text_as_connect_writes_it() -> None:
    assert read("slates.role", "string", "CANDIDATE") == Role.CANDIDATE
    assert read("domain", connect("string", "io.debezium.data.Enum"), "books") == Domain.BOOKS
    assert read("domain", "string", "podcasts") == Domain.UNKNOWN
    assert read("domain", {"type": "enum", "name": "Other", "symbols": ["x", "news"]}, "news") == Domain.NEWS


@pytest.mark.parametrize(
    ("path", "kind", "value", "words"),
    [
        ("user.is_bot", ["null", "boolean"], None, "user.is_bot: the writer's type is null, want a boolean"),
        ("user.user_id", "long", 5, "user.user_id: the writer's type is long, want a string"),
        ("slates.items.position", "string", "1", "slates.items.position: the writer's type is string, want a whole"),
        ("user", "string", "u", "user: the writer's type is string, want a record"),
        ("context", {"type": "map", "values": "int"}, {"k": 5}, "context: the writer's type is int, want a string"),
    ],
)
def test_types_that_do_not_fit_are_told_with_their_place(path: str, kind: object, value: object, words: str) -> None:
    reason, message = refusal(path, kind, value)
    assert (reason, message[: len(words)]) == ("avro", words)


def test_a_long_is_read_as_our_int_and_its_range_is_checked() -> None:
    assert read("slates.items.row", ["null", "long"], 7) == 7
    assert refusal("experiment.assignment.bucket", "long", 2**31)[0] == "invalid"


def test_what_we_write_is_read_back_by_a_reader_with_logical_types() -> None:
    """A map's, list's and union's times too; and a writer in other units ends at the same moment."""
    text = schema_with("occurred_at", logical("long", "timestamp-millis"))
    found = codec.decode(payload(plain_with("occurred_at", AT_MS), text), avro_schemas.writer_schema(text))
    written = avro_encoder.Encoder("RecommendationImpression").encode(found)[10:]
    own = fastavro.parse_schema(json.loads(avro_schemas.schema_text("RecommendationImpression")))
    again: Any = fastavro.schemaless_reader(BytesIO(written), own, None)
    assert again["occurred_at"] == datetime(2000, 11, 1, 12, tzinfo=UTC)
