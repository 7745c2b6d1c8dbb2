"""Attributes that are lists: a JSON array in the attribute's text, so that no separator is guessed.

    ["comics, graphic", "fiction"]    two parts, one with a comma
    Action|Crime                      two parts: MovieLens's form
    sex, drugs and rock/pop           no list, a text

>>> parts('["comics, graphic", "fiction"]'), parts("Action|Crime"), parts("rock/pop, 70s")
(('comics, graphic', 'fiction'), ('Action', 'Crime'), None)
"""

import json

SEPARATOR = "|"


def parts(text: str) -> tuple[str, ...] | None:
    """Return the parts of a list, in order and as given, or None for a text that is no list."""
    array = from_json(text)
    if array is not None or SEPARATOR not in text:
        return array
    return tuple(part.strip() for part in text.split(SEPARATOR) if part.strip())


def from_json(text: str) -> tuple[str, ...] | None:
    """Return the parts of a JSON array of texts or numbers, without its nulls; None if the text is none.

    >>> from_json("[]"), from_json(' ["a", null, 1]'), from_json("[A] Team"), from_json('[["a"]]')
    ((), ('a', '1'), None, None)
    """
    text = text.strip()
    if not (text[:1] == "[" and text[-1:] == "]"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not all(one is None or isinstance(one, str | int | float) for one in found):
        return None
    return tuple(one if isinstance(one, str) else json.dumps(one) for one in found if one is not None)


def joined(text: str, separator: str = SEPARATOR) -> str:
    """Return a JSON array's parts in one line, any other text as it is.

    >>> joined('["a", "b"]'), joined('["a", "b"]', ", "), joined("a/b")
    ('a|b', 'a, b', 'a/b')
    """
    array = from_json(text)
    return text if array is None else separator.join(array)
