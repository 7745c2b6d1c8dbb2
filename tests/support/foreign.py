"""Impressions as another writer writes them: our schema with one field's type changed, and a payload by it."""

import json
from copy import deepcopy
from typing import Any

from tests.support.examples import impression, payload, seen
from worker.core.codec import avro_encoder, avro_schemas, impression as codec

OWN_TEXT = avro_schemas.schema_text("RecommendationImpression")


def _inside(kind: Any) -> Any:
    """Return the record within a type: past null, lists and maps."""
    while not (isinstance(kind, dict) and kind["type"] == "record"):
        kind = kind[-1] if isinstance(kind, list) else kind.get("items") or kind.get("values")
    return kind


def schema_with(path: str, kind: object) -> str:
    """Return our schema with another type for the field at a path, such as `user.history.occurred_at`."""
    schema = json.loads(OWN_TEXT)
    *above, name = path.split(".")
    at = schema
    for part in above:
        at = _inside(next(field["type"] for field in at["fields"] if field["name"] == part))
    field = next(field for field in at["fields"] if field["name"] == name)
    field["type"] = kind
    field.pop("default", None)  # which is of the type that it had
    return json.dumps(schema)


def plain_with(path: str, value: object) -> dict[str, Any]:
    """Return an impression as plain data with another value at a path, in each entry of a list."""
    found: Any = deepcopy(avro_encoder.plain(impression(history=(seen("Heat (1995)", 1), seen("Heat (1995)", 2)))))
    *above, name = path.split(".")
    at = [found]
    for part in above:
        at = [entry for each in at for entry in (each[part] if isinstance(each[part], list) else [each[part]])]
    for each in at:
        each[name] = value
    return found  # type: ignore[no-any-return]


def bare(schema: Any) -> Any:
    """Take off logical types, so that a value is written as it is."""
    if isinstance(schema, dict):
        if schema.keys() == {"type"}:  # a type within a type, which fastavro does not write
            return bare(schema["type"])
        return {key: bare(value) for key, value in schema.items() if key != "logicalType"}
    return [bare(value) for value in schema] if isinstance(schema, list) else schema


def at_path(record: Any, path: str) -> Any:
    """Return the value at a path; of a list, the first entry's."""
    for part in path.split("."):
        record = record[0] if isinstance(record, (list, tuple)) else record
        record = record[part] if isinstance(record, dict) else getattr(record, part)
    return record


def read(path: str, kind: object, value: object) -> Any:
    """Write a value at a path by another type, read the impression, and return what is there.  Raises `Poison`."""
    text = schema_with(path, kind)
    written = payload(plain_with(path, value), json.dumps(bare(json.loads(text))))
    return at_path(codec.decode(written, avro_schemas.writer_schema(text)), path)
