"""Schemas: our own, as `schemas/*.avsc` has them, and writers', parsed and checked (`codec.schema_limits`)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

from fastavro.schema import fingerprint, to_parsing_canonical_form

from worker.core.codec import schema_limits

Reader: TypeAlias = Callable[[bytes], Mapping[str, object]]
OWN = (
    "RecommendationImpression", "SimulatedResponse", "Outcome", "ExperimentDefinition", "ExperimentReadout",
    "ItemFacts", "UserFacts",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """A writer's schema, parsed and checked.

    `num_bytes` is the most memory that it takes, for caches.  `readers` are made when a record needs them,
    one per name of a record of ours.
    """

    root: schema_limits.Type
    num_bytes: int
    readers: dict[str, Reader] = field(default_factory=dict)


@cache
def schema_text(name: str) -> str:
    """Return the JSON text of one of our own schemas (`OWN`), by its record name."""
    packaged = files("worker") / "_schemas" / f"{name}.avsc"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    beside = Path(str(files("worker"))).parent / "schemas"  # in a checkout
    return (beside / f"{name}.avsc").read_text(encoding="utf-8")


@cache
def own_schema(name: str) -> Schema:
    """Return one of our own schemas (`OWN`), parsed, by its record name."""
    return writer_schema(schema_text(name))


def as_own(text: str) -> Schema | None:
    """Return our own schema if this text is the same JSON; None if it is another schema, or no JSON."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return next((own_schema(name) for name in OWN if _own_json(name) == found), None)


@cache
def _own_json(name: str) -> object:
    return json.loads(schema_text(name))


def schema_fingerprint(schema: str) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema's parsing canonical form, 8 bytes, little-endian."""
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(json.loads(schema)), "CRC-64-AVRO"))


def writer_schema(text: str, references: Sequence[str] = ()) -> Schema:
    """Parse and check a writer's schema.

    `references` are the JSON texts of all schemas that it refers to, dependencies first: each may name the
    types of those before it.  Raises `Poison` (`Reason.SCHEMA`) if it is no Avro schema, or larger than
    `schema_limits` allow.
    """
    parsed = schema_limits.parse(text, references)
    return Schema(parsed.root, parsed.num_bytes)
