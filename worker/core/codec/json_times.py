"""Times in JSON: ISO 8601 texts, where the schema has microseconds since 1970.

    "occurred_at": "2026-11-01T00:00:00Z"    ->    1793491200000000

Avro has no text for a time, JSON has no time: people write ISO 8601.  It is read wherever a schema of ours has a
timestamp-micros; a number stays what it is.  A time without a zone is refused: it would be some hours wrong in silence.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from worker.core.codec.avro_schemas import schema_text
from worker.core.errors import Poison
from worker.core.records import Reason

WANT = "want an ISO 8601 time with its zone, such as 2026-11-01T00:00:00Z, or microseconds since 1970"
MAX_SEEN = 40  # characters of a time that are told
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Fields = dict[str, Any]  # the fields below which there are times; a time itself is True


def with_times(plain: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return a record of ours, as JSON has it, with every time as microseconds.  Raises `Poison` with the place."""
    found = _read(plain, _times(name), name)
    return found if isinstance(found, Mapping) else plain


def _read(value: object, below: "_Fields | bool", place: str) -> object:
    if isinstance(value, list):
        return [_read(one, below, f"{place}.{number}") for number, one in enumerate(value)]
    if isinstance(below, dict):
        if not isinstance(value, Mapping):
            return value
        read = {field: _read(value[field], inside, f"{place}.{field}") for field, inside in below.items()
                if field in value}  # fmt: skip
        return {**value, **read}
    return _micros(value, place.partition(".")[2]) if isinstance(value, str) else value


def _micros(text: str, place: str) -> object:
    if text.strip().isdecimal():
        return text  # a number that was written as text
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Poison(Reason.INVALID, f"{place}: {WANT}") from None
    if time.tzinfo is None:
        raise Poison(Reason.INVALID, f"{place}: {text[:MAX_SEEN]} has no zone; {WANT}")
    return (time - _EPOCH) // timedelta(microseconds=1)


@cache
def _times(name: str) -> _Fields:
    """Return the fields of a schema that hold times, or records with times."""
    known: dict[str, _Fields] = {}
    found = _of_type(json.loads(schema_text(name)), known)
    assert isinstance(found, dict), f"{name} has no time"
    return found


def _of_type(schema: Any, known: dict[str, _Fields]) -> "_Fields | bool":
    """Return what of a type holds times; False if nothing does.  A named type that comes again is taken from before."""
    if isinstance(schema, list):
        return next((found for one in schema if (found := _of_type(one, known))), False)
    if isinstance(schema, str):
        return known.get(schema.rpartition(".")[2], False)
    if schema.get("logicalType") == "timestamp-micros":
        return True
    if schema["type"] == "array":
        return _of_type(schema["items"], known)
    if schema["type"] != "record":
        return False if isinstance(schema["type"], str) else _of_type(schema["type"], known)
    found = {field["name"]: _of_type(field["type"], known) for field in schema["fields"]}
    known[schema["name"]] = {field: inside for field, inside in found.items() if inside}
    return known[schema["name"]]
