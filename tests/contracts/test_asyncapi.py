"""The published contract holds: the AsyncAPI document, the Avro schemas beside it, and the code agree."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.core.delivery.dead_letter import to_message
from worker.core.records import DeadLetter, Headers, Partition, Reason, Record
from worker.settings import Settings

SCHEMAS = Path(__file__).parents[2] / "schemas"
DOCUMENT: dict[str, Any] = yaml.safe_load((SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8"))
AVRO: dict[str, dict[str, Any]] = {
    path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(SCHEMAS.glob("*.avsc"))
}


def mappings(node: object) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a document, outermost first."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from mappings(child)


def avro_fields() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of every schema with its place."""
    for name, schema in AVRO.items():
        for record in (found for found in mappings(schema) if found.get("type") == "record"):
            yield from ((f"{name}: {record['name']}.{field['name']}", field) for field in record["fields"])


def resolve(reference: str) -> object:
    """Return what a reference points at.  Raises `KeyError` where it points at nothing."""
    if reference.startswith("./"):
        return AVRO[reference.removeprefix("./")]
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


REFERENCES = sorted({found["$ref"] for found in mappings(DOCUMENT) if "$ref" in found})


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_reference_points_at_something(reference: str) -> None:
    """No reader of the document meets a dead link."""
    assert resolve(reference)


def test_every_schema_is_published() -> None:
    """A schema without a message is one that nobody is told about."""
    assert {f"./{name}" for name in AVRO} == {ref for ref in REFERENCES if ref.startswith("./")}


def test_messages_name_the_schema_they_carry() -> None:
    """A message's name, its Avro record and the file's name are one; all are Avro 1.9 by the Kafka bindings."""
    for name, message in DOCUMENT["components"]["messages"].items():
        if name == "DeadLetter":
            continue
        assert message["payload"]["schemaFormat"] == "application/vnd.apache.avro;version=1.9.0"
        schema = AVRO[message["payload"]["schema"]["$ref"].removeprefix("./")]
        assert (schema["name"], schema["namespace"]) == (name, "mirrorstream.v1")
        assert {"key", "schemaIdLocation"} <= message["bindings"]["kafka"].keys()


def test_channels_are_the_topics_of_the_settings() -> None:
    """The document and the worker's defaults name the same topics; a channel's name is its address and topic."""
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    written = {defaults["output_topic"], defaults["dead_letter_topic"]}
    actions: dict[str, set[str]] = {"receive": set(), "send": set()}
    for operation in DOCUMENT["operations"].values():
        if {"name": "worker"} in operation["tags"]:
            actions[operation["action"]].add(operation["channel"]["$ref"].removeprefix("#/channels/"))
    assert actions == {"receive": set(defaults["input_topics"]), "send": written}
    for name, channel in DOCUMENT["channels"].items():
        binding = channel["bindings"]["kafka"]
        assert (channel["address"], binding["topic"], binding["bindingVersion"]) == (name, name, "0.5.0")
    assert DOCUMENT["servers"]["local"]["host"] == defaults["bootstrap_servers"]


@pytest.mark.parametrize("topic", ["experiments", "readouts"])
def test_state_is_compacted(topic: str) -> None:
    """Where the last record of a key holds, Kafka must keep it for ever."""
    assert DOCUMENT["channels"][topic]["bindings"]["kafka"]["topicConfiguration"] == {"cleanup.policy": ["compact"]}


@pytest.mark.parametrize(
    ("max_bytes", "headers", "more"),
    [(1_000_000, (), []), (10_000, (), ["ms-truncated"]), (1_000_000, (("ms-attempt", b"2"),), ["ms-attempt"])],
)
def test_dead_letter_headers_are_those_published(max_bytes: int, headers: Headers, more: list[str]) -> None:
    """The worker writes the headers of the document, `ms-truncated` only where it cut the value."""
    record = Record(Partition("impressions", 3), epoch=0, offset=1842, key=b"u", value=b"x" * 20_000, headers=headers)
    letter = to_message(DeadLetter(record, Reason.MAGIC, "no Avro"), "impressions.dlq", max_bytes=max_bytes)
    published = DOCUMENT["components"]["schemas"]["DeadLetterHeaders"]
    optional = {"ms-attempt", "ms-truncated", "ms-added-key", "ms-source-last-offset"}
    assert published["properties"].keys() - set(published["required"]) == optional
    assert {name for name, _ in letter.headers} == {*published["required"], *more}


def test_every_reason_of_a_dead_letter_is_published() -> None:
    text = DOCUMENT["components"]["schemas"]["DeadLetterHeaders"]["properties"]["ms-reason"]["description"]
    words = text.removeprefix("The reason, one word: ").removesuffix(".").replace(" or ", ", ").split(", ")
    assert sorted(words) == sorted(Reason)


def test_every_avro_type_and_field_says_what_it_is() -> None:
    """Schemas are read without this repository at hand, in registries and catalogues."""
    silent = [place for place, field in avro_fields() if not field.get("doc")]
    named = [t for s in AVRO.values() for t in mappings(s) if t.get("type") in ("record", "enum")]
    assert silent == []
    assert [found["name"] for found in named if not found.get("doc")] == []


def test_enums_survive_symbols_of_the_future() -> None:
    """An old reader takes a new symbol as UNKNOWN; without that default it could read nothing any more."""
    enums = [found for schema in AVRO.values() for found in mappings(schema) if found.get("type") == "enum"]
    assert enums
    assert [e["name"] for e in enums if "UNKNOWN" not in e["symbols"] or e.get("default") != "UNKNOWN"] == []


def test_optional_fields_are_null_by_default() -> None:
    """A union is null and one type, null first, with default null: any reader may add or drop it."""
    unions = [(place, field) for place, field in avro_fields() if isinstance(field["type"], list)]
    assert unions
    odd = [
        place
        for place, field in unions
        if (field["type"][0], len(field["type"]), field.get("default", "none")) != ("null", 2, None)
    ]
    assert odd == []
