"""Avro schemas field by field, from their `doc` texts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRIMITIVE = frozenset({"string", "int", "long", "float", "double", "boolean", "bytes"})
SCHEMAS = Path(__file__).parents[2] / "schemas"


def fields(name: str) -> str:
    """Return a schema's records and enumerations, each as a section with its fields."""
    schema = json.loads((SCHEMAS / f"{name}.avsc").read_text(encoding="utf-8"))
    return "\n\n".join("\n".join(_section(one)) for one in _named(schema))


def docs(name: str) -> dict[str, str]:
    """Return the `doc` of each field of a schema's outermost record."""
    schema = json.loads((SCHEMAS / f"{name}.avsc").read_text(encoding="utf-8"))
    return {field["name"]: field["doc"] for field in schema["fields"]}


def _named(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the named types of a schema in the order in which they are read."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _named(branch)
    elif isinstance(schema, dict):
        if schema["type"] in {"record", "enum", "fixed"}:
            yield schema
        for part in (field["type"] for field in schema.get("fields", ())):
            yield from _named(part)
        for part in ("items", "values", "type"):
            if isinstance(schema.get(part), dict | list):
                yield from _named(schema[part])


def _section(schema: dict[str, Any]) -> Iterator[str]:
    yield f"## {schema['name']}"
    yield ""
    if doc := schema.get("doc"):
        yield f"{doc}\n"
    if schema["type"] == "enum":
        yield f"One of {', '.join(f'`{symbol}`' for symbol in schema['symbols'])}."
        return
    for field in schema["fields"]:
        default = f", default `{json.dumps(field['default'])}`" if "default" in field else ", required"
        yield f"- **`{field['name']}`** ({_type(field['type'])}{default}):"
        yield f"  {field['doc']}"


def _type(schema: Any) -> str:
    """Return a type in words.

    >>> _type(["null", {"type": "array", "items": "string"}])
    'optional array of string'
    >>> _type({"type": "long", "logicalType": "timestamp-micros"})
    'timestamp-micros'
    """
    match schema:
        case list():
            named = [_type(branch) for branch in schema if branch != "null"]
            words = ("optional " if "null" in schema else "") + " or ".join(named)
        case {"logicalType": str(words)}:
            pass
        case {"type": "array" | "map" as kind, **inner}:
            words = f"{kind} of {_type(inner['items' if kind == 'array' else 'values'])}"
        case {"name": str(name)} | str(name):
            short = name.rpartition(".")[2]
            words = short if short in PRIMITIVE else f"[{short}](#{short.lower()})"
        case _:
            words = _type(schema["type"])
    return words
