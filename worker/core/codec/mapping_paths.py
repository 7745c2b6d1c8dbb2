"""Expressions of a mapping, compiled once: JMESPath, of which the plain ones are closures.

    price                      a field
    context.device.type        a field of a field
    user_id || anonymous_id    the first that says something
    '@', 'text', `7`           the entry itself, a constant

Most expressions of a mapping are of these forms, and JMESPath's interpreter takes ten times as long for them: it walks
a tree of dicts for each value.  Every other expression is JMESPath's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from worker.core.codec.logical_types import Unfit
from worker.core.records import Reason

_FAILS = (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError)
_Search = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """An expression, and what finds its value in an event or an entry of one: None where nothing is found."""

    expression: str
    find: _Search

    def search(self, event: object) -> Any:
        """Return what the expression finds.  Raises `Unfit` (`INVALID`), without a place, if it fails."""
        try:
            return self.find(event)
        except _FAILS as error:
            raise Unfit(Reason.INVALID, f"{type(error).__name__} (from {self.expression})") from error


def compiled(expression: str) -> Path:
    """Compile an expression.  Raises `JMESPathError`."""
    parsed = jmespath.compile(expression)
    return Path(expression, _plain(parsed.parsed) or parsed.search)


def _plain(node: Any) -> _Search | None:
    """Return a closure for a node of JMESPath's tree; None for one of another kind."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        return _field(node["value"])
    if kind == "current":
        return lambda value: value
    if kind == "literal":
        constant = node["value"]
        return lambda _value: constant
    parts = [_plain(child) for child in children] if kind in {"subexpression", "or_expression"} else [None]
    steps = [part for part in parts if part is not None]
    if len(steps) < len(parts):
        return None
    return _chain(steps) if kind == "subexpression" else _first(steps)


def _field(name: str) -> _Search:
    return lambda value: value.get(name) if isinstance(value, dict) else None


def _chain(steps: list[_Search]) -> _Search:
    def find(value: Any) -> Any:
        for step in steps:
            value = step(value)
        return value

    return find


def _first(steps: list[_Search]) -> _Search:
    *before, last = steps

    def find(value: Any) -> Any:
        for step in before:
            found = step(value)
            if not _is_false(found):
                return found
        return last(value)

    return find


def _is_false(value: Any) -> bool:
    """Say whether JMESPath takes a value for false: an empty text, list or object, null and false; 0 is true."""
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)
