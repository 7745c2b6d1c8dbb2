"""What validation finds wrong, in the words of this program: pydantic's own speak of tuples and dictionaries.

    tuple_type                             want a list, such as [a, b]
    greater_than_equal, {"ge": 1}          want at least 1
    missing                                is missing

An error comes as pydantic's details: `type`, `msg`, `ctx`, `loc`, `input`.  The value itself is told by nobody here: it
may be foreign text or a password.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_TOLD = 20  # problems of one record or file
MAX_PLACE_CHARS = 200  # of one problem: the keys of a map come from outside

_BY_TYPE = {
    "missing": "is missing",
    "missing_argument": "is missing",
    "extra_forbidden": "is no field here",
    "unexpected_keyword_argument": "is no field here",
    "tuple_type": "want a list, such as [a, b]",
    "list_type": "want a list, such as [a, b]",
    "set_type": "want a list, such as [a, b]",
    "dict_type": "want a mapping of names to values",
    "mapping_type": "want a mapping of names to values",
    "model_type": "want a mapping of names to values",
    "dataclass_type": "want a mapping of names to values",
    "string_type": "want text",
    "path_type": "want a path",
    "int_type": "want a whole number",
    "int_parsing": "want a whole number",
    "int_parsing_size": "want a whole number of 64 bits",
    "int_from_float": "want a whole number",
    "float_type": "want a number",
    "float_parsing": "want a number",
    "finite_number": "want a finite number",
    "bool_type": "want true or false",
    "bool_parsing": "want true or false",
    "timezone_aware": "want a time with its zone, such as 2026-11-01T00:00Z",
    "datetime_type": "want a time with its zone, such as 2026-11-01T00:00Z",
    "datetime_parsing": "want a time with its zone, such as 2026-11-01T00:00Z",
    "datetime_from_date_parsing": "want a time with its zone, such as 2026-11-01T00:00Z",
    "greater_than": "want more than {gt}",
    "greater_than_equal": "want at least {ge}",
    "less_than": "want less than {lt}",
    "less_than_equal": "want at most {le}",
    "too_short": "want at least {min_length:,} entries",
    "too_long": "want at most {max_length:,} entries",
    "string_too_short": "want at least {min_length:,} characters",
    "string_too_long": "want at most {max_length:,} characters",
    "string_pattern_mismatch": "want text of the form {pattern}",
    "literal_error": "want {expected}",
    "enum": "want {expected}",
}
_OWN = re.compile(r"^Input should (?:be )?(?:an? (?:valid )?)?")
_ONE = {"1 characters": "1 character", "1 entries": "1 entry"}


def wanted(error: Mapping[str, Any]) -> str:
    """Return what a value should have been; the text of our own validators as it is.

    >>> wanted({"type": "literal_error", "msg": "...", "ctx": {"expected": "'a' or 'b'"}})
    "want 'a' or 'b'"
    >>> wanted({"type": "value_error", "msg": "Value error, want JSON"})
    'want JSON'
    >>> wanted({"type": "string_type", "msg": "...", "input": ["a", "b"]})
    'want text, seen a list'
    """
    template = _BY_TYPE.get(str(error["type"]))
    if template is None:
        return _OWN.sub("want ", str(error["msg"]).removeprefix("Value error, "))
    context = {name: _number(value) for name, value in dict(error.get("ctx") or {}).items()}
    words = template.format_map(context)
    if template == "want text" and isinstance(error.get("input"), list | tuple):
        return "want text, seen a list"
    words = next((words.removesuffix(many) + one for many, one in _ONE.items() if words.endswith(f" {many}")), words)
    return f"{words}, seen {context['actual_length']:,}" if context.get("actual_length") is not None else words


def place_of(loc: Iterable[object]) -> str:
    r"""Return where a problem is, on one line that moves no terminal; keys of maps are foreign text.

    >>> print(place_of(("eligible", "k\x1b[2J", 0)))
    eligible.k\x1b[2J.0
    """
    place = ".".join(map(str, loc))
    return place if place.isprintable() and len(place) <= MAX_PLACE_CHARS else _shown(place[:MAX_PLACE_CHARS])


def _shown(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def of_their_own(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the errors that are no consequence: a list that lost its bad entry is said to be too short as well.

    >>> [one["loc"] for one in of_their_own([{"loc": ("a", 0)}, {"loc": ("a",)}, {"loc": ("b",)}])]
    [('a', 0), ('b',)]
    """
    within: set[tuple[object, ...]] = set()  # places that have a problem further in
    found = []
    for error in errors:
        place = tuple(error["loc"])
        if place not in within:
            found.append(error)
        within.update(place[:level] for level in range(1, len(place)))
    return found


def told(problems: Sequence[str]) -> str:
    """Return problems as one sentence; what is left out is counted.

    >>> told(["a: is missing", "b: is missing"])
    'a: is missing; b: is missing'
    """
    more = [f"and {len(problems) - MAX_TOLD:,} more"] if len(problems) > MAX_TOLD else []
    return "; ".join([*problems[:MAX_TOLD], *more])


def all_told(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return errors as one sentence, each with its place.

    >>> all_told([{"loc": ("options", 0), "type": "missing", "msg": "..."}])
    'options.0: is missing'
    """
    return told([f"{place_of(one['loc'])}: {wanted(one)}" for one in of_their_own(errors)])


def kind(value: object) -> str:
    """Return what a value of a YAML or JSON file is, for people.

    >>> [kind(value) for value in (None, True, 1, "a", [], {})]
    ['nothing', 'true or false', 'a number', 'text', 'a list', 'a mapping']
    """
    kinds: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (type(None), "nothing"), (bool, "true or false"), ((int, float), "a number"), (str, "text"),
        ((list, tuple, set), "a list"), (Mapping, "a mapping"),
    )  # fmt: skip
    return next((told for types, told in kinds if isinstance(value, types)), type(value).__name__)


def _number(value: object) -> object:
    """Write 1.0 as 1, which is how it stands in the definitions."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
