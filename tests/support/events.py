"""Impressions as a user of ours writes them: plain dicts, fastavro and the schema file, nothing of the worker's."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

SCHEMAS = Path(__file__).parents[2] / "schemas"
GENRES = ("Comedy", "Drama", "Horror", "War", "Romance")
START_US = 1_767_225_600_000_000  # 1 January 2026, UTC


def schema_text(name: str) -> str:
    return (SCHEMAS / f"{name}.avsc").read_text(encoding="utf-8")


def prefix(name: str) -> bytes:
    """Return the head of Avro's single-object encoding: magic and the schema's CRC-64-AVRO."""
    canonical = to_parsing_canonical_form(json.loads(schema_text(name)))
    return b"\xc3\x01" + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


_IMPRESSION = fastavro.parse_schema(json.loads(schema_text("RecommendationImpression")))
PREFIX = prefix("RecommendationImpression")


def event_id(number: int) -> str:
    return str(uuid5(NAMESPACE_OID, f"event {number}"))


def impression(number: int, *, num_items: int = 3, num_users: int = 100, **fields: Any) -> dict[str, Any]:
    """Return an event with a control and a candidate slate, so with three questions."""
    return {
        "event_id": event_id(number),
        "request_id": f"request-{number}",
        "occurred_at": START_US + number * 1_000_000,
        "domain": "movies",
        "user": {
            "user_id": f"user-{number % num_users}",
            "history": [
                {"item": {"item_id": f"h{i}", "attributes": film(number + i)}, "rating": 1.0 + (number + i) % 5}
                for i in range(3)
            ],
        },
        "experiment": {"experiment_id": "shelf"},
        "slates": [slate("control", "CONTROL", number, num_items), slate("shadow", "CANDIDATE", number + 2, num_items)],
    } | fields


def slate(variant: str, role: str, first: int, num_items: int) -> dict[str, Any]:
    items = [{"item_id": f"film-{first + i}", "position": i, "attributes": film(first + i)} for i in range(num_items)]
    return {"variant": variant, "role": role, "shown": role == "CONTROL", "items": items}


def film(number: int) -> dict[str, str]:
    return {"title": f"Film {number}", "genres": f"{GENRES[number % 5]}|{GENRES[number * 3 % 5]}"}


def payload(event: dict[str, Any]) -> bytes:
    """Return the Avro bytes alone."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, _IMPRESSION, event)
    return stream.getvalue()


def encode(event: Any) -> bytes:
    """Return the message: prefix and Avro bytes."""
    return PREFIX + payload(event)
