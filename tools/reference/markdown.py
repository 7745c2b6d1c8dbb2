"""Markdown from values: tables, and texts that stand in a cell."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from enum import Enum

from annotated_types import Ge, Gt, Le, Lt


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table; a cell's `|` and line breaks are escaped."""
    lines = [head, tuple("---" for _ in head), *(tuple(cell(text) for text in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def entries(rows: Iterable[tuple[str, str, str]]) -> str:
    """Return a list for texts that are too long for a table: (name, what is in brackets, text)."""
    return "\n".join(
        f"- **{name}**{f' ({note})' if note else ''}:\n  {' '.join(text.split())}" for name, note, text in rows
    )


def cell(text: str) -> str:
    """Return a text as it may stand in a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def code(value: object) -> str:
    """Return a value as code; nothing for no value.

    >>> code(["a", "b"]), code(False), code(None), code("")
    ('`a,b`', '`false`', '', '')
    """
    if value is None or value in ("", [], {}, ()):
        return ""
    plain = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"`{plain.lower() if isinstance(value, bool) else plain}`"


def bounds(metadata: Iterable[object]) -> str:
    """Return the bounds of a number as mathematics writes them.

    >>> bounds([Gt(0), Le(1)]), bounds([Ge(1)]), bounds([])
    ('(0, 1]', '[1, )', '')
    """
    low = high = ""
    for bound in metadata:
        match bound:
            case Ge(ge=ge):
                low = f"[{ge}"
            case Gt(gt=gt):
                low = f"({gt}"
            case Le(le=le):
                high = f"{le}]"
            case Lt(lt=lt):
                high = f"{lt})"
    return f"{low or '('}, {high or ')'}" if low or high else ""


def meanings(kind: type[Enum]) -> Mapping[str, str]:
    """Return what each member of an enumeration means: the string that follows it in the source.

    Raises AssertionError for a member without one.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for member, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        match member, after:
            case ast.Assign(targets=[ast.Name(id=name)]), ast.Expr(value=ast.Constant(value=str(text))):
                found[str(kind[name].value)] = " ".join(text.split())
    missing = [member.name for member in kind if str(member.value) not in found]
    assert not missing, f"{kind.__name__}: {missing} have no docstring"
    return found
