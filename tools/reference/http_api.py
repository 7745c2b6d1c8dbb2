"""The experiment page's JSON, from its OpenAPI document."""

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from tools.reference.markdown import code, table
from worker.experiment.page import reference
from worker.experiment.page.app import create_app
from worker.experiment.page.ports import FigureSource


def operations() -> str:
    """Return a section for each path."""
    return "\n\n".join("\n".join(_operation(one)) for one in reference.operations(_document()))


def objects() -> str:
    """Return a section for each object of an answer."""
    return "\n\n".join("\n".join(_shape(one)) for one in reference.shapes(_document()))


@cache
def _document() -> dict[str, Any]:
    """Return the document of the page with a token, which is all of it."""
    nothing = cast("FigureSource", None)  # the routes are described, never asked
    return reference.tidy(create_app(nothing, token="a token, for its answer 401").openapi())  # noqa: S106


def _operation(one: reference.Operation) -> Iterator[str]:
    yield f"### {one.method} {one.path}\n"
    yield f"{one.words}\n"
    if one.parameters:
        yield table(("parameter", "type"), ((code(each.name), each.type) for each in one.parameters)) + "\n"
    yield table(("status", "answer"), ((code(status), _linked(kind)) for status, kind in one.answers))


def _shape(one: reference.DocumentedObject) -> Iterator[str]:
    yield f"### {one.name}\n"
    yield f"{one.words}\n"
    if one.values:
        yield f"One of {', '.join(map(code, one.values))}."
    if one.fields:
        yield table(("field", "type"), ((code(each.name), each.type) for each in one.fields))


def _linked(kind: str) -> str:
    names = {one.name for one in reference.shapes(_document())}
    return f"[{kind}](#{kind.lower()})" if kind in names else kind
