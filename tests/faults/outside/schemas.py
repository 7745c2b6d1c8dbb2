"""Records as other people's tools write them: their schemas, their units, and schemas that nobody means well with.

Each variant takes our own schema, changes it as a tool does, and writes an impression with it.
"""

import json
import re
import uuid
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro

from tests.support.events import impression, payload, schema_text
from tests.support.schema_registry import Registry

from .ledger import Fate
from .play import Play
from .registries import Liar
from .topics import draw_group, workers

Schema = dict[str, Any]
Event = dict[str, Any]
NAMESPACE = "mirrorstream.v1"
JAVA_STRING = {"type": "string", "avro.java.string": "String"}
NESTED = {"type", "items", "values", "fields"}  # of a schema: where there are further ones
PER_VARIANT = 3  # records of each: a bad one beside good ones
US = 1_000_000


@dataclass(frozen=True, slots=True)
class Variant:
    """A schema as a tool writes it, and an event as it is written with it."""

    name: str
    change: Callable[[Schema], None]
    write: Callable[[Event], None] = lambda event: None
    fate: Fate = Fate.ANSWERED
    detail: str = ""  # of the dead letter


def field(schema: Schema, *path: str) -> Schema:
    """Find a field by its path through records, arrays and unions."""
    found: Any = schema
    for name in path:
        record = _record(found)
        found = next(one for one in record["fields"] if one["name"] == name)
    return dict_of(found)


def dict_of(found: Any) -> Schema:
    assert isinstance(found, dict)
    return found


def _record(found: Any) -> Schema:
    """Return the record inside a field, an array or a union."""
    if isinstance(found, list):
        return next(_record(one) for one in found if one != "null")
    if found.get("type") == "record":
        return dict_of(found)
    return _record(found["items"] if found.get("type") == "array" else found["type"])


def typed(path: tuple[str, ...], kind: Any) -> Callable[[Schema], None]:
    """Return what gives a field another type."""

    def change(schema: Schema) -> None:
        field(schema, *path)["type"] = deepcopy(kind)

    return change


def both(*changes: Callable[[Schema], None]) -> Callable[[Schema], None]:
    """Return what makes all of these changes."""

    def change(schema: Schema) -> None:
        for one in changes:
            one(schema)

    return change


def _java(schema: Any) -> Any:
    """Return a schema as Java's tools write it: every string has an attribute."""
    if isinstance(schema, list):
        return [_java(one) for one in schema]
    if isinstance(schema, dict):
        found = {name: _java(value) if name in NESTED else value for name, value in schema.items()}
        if schema.get("type") == "string" and "name" not in schema:  # not a field, whose type was seen to
            found |= JAVA_STRING
        return found
    return dict(JAVA_STRING) if schema == "string" else schema


def _connect(schema: Schema) -> None:
    """Write as Kafka Connect does: names, versions and parameters as properties."""
    schema |= {"connect.name": f"{NAMESPACE}.RecommendationImpression", "connect.version": 1}
    field(schema, "occurred_at")["type"] |= {
        "connect.version": 1, "connect.name": "io.debezium.time.MicroTimestamp", "connect.parameters": {"a": "b"},
    }  # fmt: skip
    field(schema, "request_id")["type"] = ["null", {"type": "string", "connect.default": "x", "connect.doc": "y"}]


def _history(key: str, value: Any) -> Callable[[Event], None]:
    def write(event: Event) -> None:
        for entry in event["user"]["history"]:
            entry[key] = value

    return write


def _millis(event: Event) -> None:
    event["occurred_at"] //= 1_000


def _times(kind: str) -> Callable[[Schema], None]:
    return typed(("occurred_at",), {"type": "long", "logicalType": kind})


def _wrong(path: str, value: int) -> Callable[[Event], None]:
    def write(event: Event) -> None:
        if path == "history":
            event["user"]["history"][0]["occurred_at"] = value
        else:
            event["occurred_at"] = value

    return write


def _same(schema: Schema) -> None:
    pass


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}
FIXED_DECIMAL = {"type": "fixed", "name": "Amount", "size": 8, "logicalType": "decimal", "precision": 10, "scale": 2}
FIXED_UUID = {"type": "fixed", "name": "Uuid", "size": 16, "logicalType": "uuid"}
HISTORY = ("user", "history")
UNIT = "19[67]\\d|1970|year|unit|occurred_at"

VARIANTS = [
    Variant("our own", _same),
    Variant("timestamp-millis", _times("timestamp-millis"), _millis),
    Variant("local-timestamp-millis", _times("local-timestamp-millis"), _millis),
    Variant("local-timestamp-micros", _times("local-timestamp-micros")),
    Variant("a long without a unit", typed(("occurred_at",), "long")),
    Variant(
        "timestamp-millis in the history",
        typed((*HISTORY, "occurred_at"), ["null", {"type": "long", "logicalType": "timestamp-millis"}]),
        _history("occurred_at", 1_760_000_000_000),
    ),
    Variant("a decimal rating", typed((*HISTORY, "rating"), ["null", DECIMAL]), _history("rating", Decimal("4.50"))),
    Variant(
        "a decimal of fixed size", typed((*HISTORY, "rating"), ["null", FIXED_DECIMAL]), _history("rating", Decimal(3))
    ),
    Variant("a float rating", typed((*HISTORY, "rating"), ["null", "float"])),
    Variant("an int rating", typed((*HISTORY, "rating"), ["null", "int"]), _history("rating", 4)),
    Variant("a uuid of fixed size", typed(("event_id",), FIXED_UUID)),
    Variant("a uuid that is a plain string", typed(("event_id",), "string")),
    Variant("Java's strings", lambda schema: schema.update(_java(schema))),
    Variant("Connect's properties", _connect),
    Variant("a doc, an alias and an order", lambda schema: schema.update(doc="theirs", aliases=["Impression"])),
    Variant(
        "a field that we do not have",
        lambda schema: schema["fields"].append({"name": "theirs", "type": {"type": "map", "values": "bytes"}}),
        lambda event: event.update(theirs={"a": b"\x00"}),
    ),
    Variant("an unknown logical type", _times("timestamp-fortnights"), fate=Fate.DEAD, detail="timestamp-fortnights"),
    Variant("milliseconds under timestamp-micros", _same, _wrong("event", 1_790_000_000_000), Fate.DEAD, UNIT),
    Variant("seconds under timestamp-micros", _same, _wrong("event", 1_790_000_000), Fate.DEAD, UNIT),
    Variant("nanoseconds under timestamp-micros", _same, _wrong("event", 1_790_000_000 * 10**9), Fate.DEAD, UNIT),
    Variant(
        "microseconds under timestamp-millis",
        _times("timestamp-millis"),
        _wrong("event", 1_790_000_000 * US),
        Fate.DEAD,
        UNIT,
    ),
    Variant("milliseconds in the history", _same, _wrong("history", 1_760_000_000_000), Fate.DEAD, UNIT),
]

# Schemas that cost more than they may, and a payload for each; whoever reads them must be done with them at once.
HOSTILE: dict[str, tuple[Any, bytes]] = {
    "a fixed of negative size": ({"type": "fixed", "name": "F", "size": -1}, bytes(11)),
    "a fixed without a size": ({"type": "fixed", "name": "F", "size": None}, bytes(11)),
    "a fixed of a negative size, many times": (
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": -9}}, b"\xfe\xff\xff\xff\x0f" + bytes(9),
    ),
    "a fixed of two billion bytes": ({"type": "fixed", "name": "F", "size": 2**31}, bytes(11)),
    "a fixed whose size is a text": ({"type": "fixed", "name": "F", "size": "16"}, bytes(11)),
    "an array of nulls": ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\x0f\x00"),
    "an array of empty records": (
        {"type": "array", "items": {"type": "record", "name": "E", "fields": []}}, b"\xfe\xff\xff\xff\x0f\x00",
    ),
    "a record that holds itself": (
        {"type": "record", "name": "R", "fields": [{"name": "r", "type": ["null", "R"]}]}, b"\x02" * 5_000 + b"\x00",
    ),
    "a text that says it is two billion bytes long": ("string", b"\xfe\xff\xff\xff\x0f" + bytes(11)),
    "an array that says it has a billion entries": (
        {"type": "array", "items": "long"}, b"\xfe\xff\xff\xff\x07" + bytes(11),
    ),
    "an enum without symbols": ({"type": "enum", "name": "N", "symbols": []}, bytes(3)),
    "a union of a hundred thousand": (["null"] * 100_000, bytes(3)),
    "a schema of forty arrays in one another": (None, bytes(50)),
}  # fmt: skip


class Referring(Registry):
    """A registry whose schemas may name others."""

    def __init__(self) -> None:
        super().__init__()
        self._references: dict[int, list[dict[str, Any]]] = {}
        self._ids: dict[str, int] = {}  # by subject; each has one version

    def add_with(self, subject: str, schema: Schema, references: Mapping[str, str]) -> int:
        """Register a schema under a subject, with the subjects of those that it names."""
        number = self.add(subject, json.dumps(schema))
        self._ids[subject] = number
        self._references[number] = [
            {"name": name, "subject": other, "version": 1} for name, other in references.items()
        ]
        return number

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer as a registry does that has references."""
        if (found := re.fullmatch(r"/subjects/(.+)/versions/(1|latest)", path)) and found[1] in self._ids:
            number = self._ids[found[1]]
            return 200, {"subject": found[1], "version": 1, "id": number} | self._whole(number)
        if (found := re.fullmatch(r"/schemas/ids/(\d+)", path)) and int(found[1]) in self._references:
            return 200, self._whole(int(found[1]))
        return super().answer(method, path, body)

    def _whole(self, number: int) -> dict[str, Any]:
        return {"schema": self.schemas[number], "references": self._references[number]}


def foreign(play: Play) -> None:
    """Records of several tools come mixed; each is answered with the right time, or dead-lettered with the reason."""
    chance = play.chance
    draw_group(play, start_from="earliest")
    registry = Referring()
    liar = play.stack.enter_context(Liar(registry))
    play.stage.overrides["schema_registry_url"] = liar.url
    registry.add(f"{play.responses}-value", schema_text("SimulatedResponse"))
    play.make_outputs()
    play.make("in", chance.choice([1, 2]))
    chosen = chance.sample(VARIANTS, 5)
    if chance.random() < 0.5:
        _references(play, registry)
    for index, variant in enumerate(chosen):
        schema = json.loads(schema_text("RecommendationImpression"))
        variant.change(schema)
        number = registry.add(variant.name, json.dumps(schema))
        events = [impression(100 * index + one) for one in range(PER_VARIANT)]
        values = [_write(number, schema, event, variant) for event in events]
        play.send_raw("in", values, variant.fate, events=events, detail=variant.detail, why=variant.name)
    if chance.random() < 0.3:
        workers(play, 1)  # else with the hostile ones at its start
    for name in chance.sample(list(HOSTILE), 2):
        _hostile(play, registry, name)
    schema = json.loads(schema_text("RecommendationImpression"))
    number, event = registry.add("plain", json.dumps(schema)), impression(9000)
    values = [_write(number, schema, event, VARIANTS[0])]
    play.send_raw("in", values, Fate.ANSWERED, events=[event], why="after the hostile ones")
    if not play.watched:
        workers(play, 1)


def _write(number: int, schema: Schema, event: Event, variant: Variant) -> tuple[bytes, bytes]:
    """Return key and value of an event as the variant writes it."""
    theirs = deepcopy(event)
    variant.write(theirs)
    if variant.change is not _same and "uuid" in json.dumps(field(schema, "event_id")["type"]):
        theirs["event_id"] = _as_uuid(schema, theirs["event_id"])
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(_written(deepcopy(schema))), theirs)
    return event["user"]["user_id"].encode(), b"\x00" + number.to_bytes(4, "big") + stream.getvalue()


def _as_uuid(schema: Schema, event_id: str) -> Any:
    kind = field(schema, "event_id")["type"]
    return uuid.UUID(event_id).bytes if isinstance(kind, dict) and kind["type"] == "fixed" else event_id


def _written(schema: Any) -> Any:
    """Take off what fastavro would write otherwise: times are numbers here, and a uuid in bytes is bytes."""
    if isinstance(schema, dict):
        kept = {name: _written(value) for name, value in schema.items()}
        if kept.get("logicalType") != "decimal":
            kept.pop("logicalType", None)
        return kept
    return [_written(one) for one in schema] if isinstance(schema, list) else schema


def _references(play: Play, registry: Referring) -> None:
    """Send records whose schema names another one in the registry, two deep, and one that names itself in a circle."""
    whole = json.loads(schema_text("RecommendationImpression"))
    inner = dict(_record(field(whole, "user", "history")), namespace=NAMESPACE)
    field(whole, "user", "history")["type"]["items"] = f"{NAMESPACE}.{inner['name']}"
    user = dict(_record(field(whole, "user")), namespace=NAMESPACE)
    field(whole, "user")["type"] = f"{NAMESPACE}.User"
    names = {name: f"{NAMESPACE}.{name}" for name in ("User", "HistoryEntry")}
    registry.add_with("history", inner, {})
    registry.add_with("user", user, {names["HistoryEntry"]: "history"})
    number = registry.add_with("whole", whole, {names["User"]: "user"})
    events = [impression(number) for number in range(8000, 8003)]
    values = [(b"user", b"\x00" + number.to_bytes(4, "big") + payload(event)) for event in events]
    play.send_raw("in", values, Fate.ANSWERED, events=events, why="a schema with references")
    if play.chance.random() < 0.5:
        circle = whole | {"doc": "one that names itself in a circle"}
        number = registry.add_with("circle", circle, {names["User"]: "circle"})
        play.send_raw("in", [(b"user", b"\x00" + number.to_bytes(4, "big") + bytes(20))], Fate.DEAD, detail="schema",
                      why="references in a circle")  # fmt: skip


def _hostile(play: Play, registry: Registry, name: str) -> None:
    schema, data = HOSTILE[name]
    if schema is None:
        schema = "long"
        for _ in range(40):
            schema = {"type": "array", "items": schema}
    whole = {
        "type": "record", "name": "RecommendationImpression", "namespace": NAMESPACE,
        "fields": [{"name": "event_id", "type": schema}],
    }  # fmt: skip
    number = registry.add(f"hostile {name}", json.dumps(whole))
    play.send_raw("in", [(b"user", b"\x00" + number.to_bytes(4, "big") + data)] * 2, Fate.DEAD, why=name)
