"""The OpenAPI document as rows for a template; the usual viewers of it load scripts from servers of others.

paths -> Operation(path, what it does, Answer(status, schema) ...)
components -> DocumentedObject(name, Property(name, type, required) ...)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a shape, or one parameter."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One path."""

    method: str
    path: str
    words: str
    parameters: tuple[Property, ...]
    answers: tuple[tuple[str, str], ...]  # status, type


@dataclass(frozen=True, slots=True)
class DocumentedObject:
    """One object of the document."""

    name: str
    words: str
    fields: tuple[Property, ...]
    values: tuple[str, ...]  # of an enumeration


def tidy(document: dict[str, Any]) -> dict[str, Any]:
    """Remove the 422 response that FastAPI adds to each parameter: any text is a valid key, if an unknown one."""
    for methods in document["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """List the operations."""
    return [
        Operation(
            method.upper(),
            path,
            found.get("description", ""),
            tuple(
                Property(one["name"], type_of(one["schema"]), one["required"]) for one in found.get("parameters", ())
            ),
            tuple(_answers(found["responses"])),
        )
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]


def shapes(document: Mapping[str, Any]) -> list[DocumentedObject]:
    """List the response objects by name."""
    found = document.get("components", {}).get("schemas", {})
    return [
        DocumentedObject(
            name,
            shape.get("description", ""),
            tuple(
                Property(each, type_of(schema), each in shape.get("required", ()))
                for each, schema in shape.get("properties", {}).items()
            ),
            tuple(shape.get("enum", ())),
        )
        for name, shape in sorted(found.items())
    ]


def type_of(schema: Mapping[str, Any]) -> str:
    """Describe the type of a schema.

    >>> type_of({"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Point"}}, {"type": "null"}]})
    'list of Point or null'
    """
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(type_of(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {type_of(schema['additionalProperties'])}"
    return str(schema.get("const", schema.get("type", "any")))


def _answers(responses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for status, response in responses.items():
        content = response.get("content", {}).get("application/json", {})
        yield status, type_of(content["schema"]) if "schema" in content else response.get("description", "")
