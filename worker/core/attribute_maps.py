"""Attributes by name, and the names of a map that was sent with nulls alone.

A value that is null is not available, exactly as one whose name is left out.  But a map of nulls alone says that its
sender knows the item or the user, and nothing of it: the layout of the prompt stays, and says so line by line.

>>> sent = known({"age": None, "gender": None})
>>> sent, sorted(nulls(sent)), nulls(known({"age": None, "city": "Rome"}))
({}, ['age', 'gender'], frozenset())
"""

from collections.abc import Mapping

MAX_NULLS = 32  # names that are kept of one map; the longest layout of the reference has ten
MAX_NAME_CHARS = 60  # of such a name; those of layouts are words


class NullAttributes(dict[str, str]):
    """An empty map, and the names that were null in it; it equals any empty map."""

    __slots__ = ("names",)

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names


def known(entries: Mapping[str, str | None]) -> Mapping[str, str]:
    """Return a map without its nulls; where nothing is left, `nulls` tells their names.

    >>> known({"price": None, "tags": ""})
    {'tags': ''}
    """
    there = {name: value for name, value in entries.items() if value is not None}
    names = () if there else tuple(filter(_is_word, entries))[:MAX_NULLS]
    return NullAttributes(names) if names else there


def nulls(of: Mapping[str, str]) -> frozenset[str]:
    """Return the names that were null in a map of nulls alone; none for any other map."""
    return frozenset(of.names) if isinstance(of, NullAttributes) else frozenset()


def with_nulls(of: Mapping[str, str]) -> Mapping[str, str | None]:
    """Return a map as it was sent: `known` takes the nulls out again."""
    return dict.fromkeys(of.names) if isinstance(of, NullAttributes) else of


def merged(base: Mapping[str, str], over: Mapping[str, str]) -> Mapping[str, str]:
    """Return both maps' entries, those of `over` where both have one; a null says nothing against a value.

    >>> merged({"age": "25-34"}, known({"age": None}))
    {'age': '25-34'}
    """
    if not base:
        return over or known({**with_nulls(base), **with_nulls(over)})
    return {**base, **over}


def _is_word(name: object) -> bool:
    return isinstance(name, str) and len(name) <= MAX_NAME_CHARS and name.isidentifier()
