r"""The templates of prompt profiles: lines of text with places for values.

    {title}                 the value
    {description:50w}       its first 50 words, "..." if there were more
    {tags:5/}               a list's first 5 parts, joined by "/"; {tags:/} takes all, {tags:, } joins by ", "
    {genres:list}           a list as Python writes it: ['fiction', 'poetry']
    {plays:count}           12345 as 12k
    {friends:friends}       3 as "3 friend(s) listened"
    {action:title}          "not read" as "Not Read"
    {stars:number}          4.0 as 4
    {price?NA}              NA where there is no value; with a form: {plays:count?Not Available}

A line whose places all lack a value is left out.  A list's parts stand between "|", ";", "/" or ",".

>>> fill("{name} ({tags:2/})\nBy {author}\nPrice: ${price?NA}", {"name": "Can", "tags": "krautrock, rock, 70s"})
'Can (krautrock/rock)\nPrice: $NA'
>>> fill("{plays:count} plays, {stars:number} stars: {text:2w}", {"plays": "1250", "stars": "4.0", "text": "a b c"})
'1k plays, 4 stars: a b...'
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from worker.core.errors import BadSettings

_PLACE = re.compile(r"\{(\w+)(?::([^{}?]*))?(?:\?([^{}]*))?\}")
_PARTS = re.compile(r"[|;/,]")
_WORDS = re.compile(r"(\d+)w")
_JOINED = re.compile(r"(\d*)([^\w\s]\s?)")
MAX_KEPT = 512  # templates and their lines that are taken apart once; a profile has some 150, and no event adds any
_THOUSAND, _MILLION = 1_000, 1_000_000


def fill(template: str, values: Mapping[str, str], settle: Callable[[str], str] | None = None) -> str:
    """Fill a template; a line whose places all lack a value is left out.

    `settle` has the last word on every line that values made.
    """
    lines = (_line(line, values, settle) for line in template.split("\n"))
    return "\n".join(line for line in lines if line is not None)


@lru_cache(maxsize=MAX_KEPT)
def names(template: str) -> frozenset[str]:
    """Return the names of a template's places."""
    return frozenset(place[1] for place in _PLACE.finditer(template))


def check(template: str, where: str) -> None:
    """Raise `BadSettings` if a place has a form that does not exist."""
    for place in _PLACE.finditer(template):
        form = place[2]
        if form is not None and not (form in _FORMS or _WORDS.fullmatch(form) or _JOINED.fullmatch(form)):
            message = f"{where}: {place[0]}: unknown form {form!r}; want one of {', '.join(_FORMS)}, 50w, 5/ or /"
            raise BadSettings(message)


def _line(line: str, values: Mapping[str, str], settle: Callable[[str], str] | None) -> str | None:
    places = _places(line)
    if places and not any(values.get(place[1]) or place[3] is not None for place in places):
        return None
    filled = _PLACE.sub(lambda place: _text(place, values.get(place[1]) or ""), line)
    return "\n".join(map(settle, filled.split("\n"))) if places and settle else filled


@lru_cache(maxsize=MAX_KEPT)
def _places(line: str) -> tuple[re.Match[str], ...]:
    return tuple(_PLACE.finditer(line))


def _text(place: re.Match[str], value: str) -> str:
    if not value:
        return place[3] or ""
    return _formed(value, place[2]) if place[2] else value


def _formed(value: str, form: str) -> str:
    if form in _FORMS:
        return _FORMS[form](value)
    if words := _WORDS.fullmatch(form):
        return _first_words(value, int(words[1]))
    joined = _JOINED.fullmatch(form)
    assert joined, "`check` lets no other form pass"
    return joined[2].join(_parts(value)[: int(joined[1]) if joined[1] else None])


def _parts(value: str) -> list[str]:
    return [part.strip() for part in _PARTS.split(value) if part.strip()]


def _first_words(value: str, limit: int) -> str:
    words = value.split()
    return " ".join(words[:limit]) + ("..." if len(words) > limit else "")


def _count(value: str) -> str:
    number = _number(value)
    if number is None:
        return value
    for size, unit in ((_MILLION, "M"), (_THOUSAND, "k")):
        if number >= size:
            return f"{round(number / size)}{unit}"  # half to even, and 999,500 is 1000k: as the reference has it
    return f"{number:g}"


def _friends(value: str) -> str:
    return f"{value} friend(s) listened"  # literally, as the reference writes it


def _plain(value: str) -> str:
    number = _number(value)
    return value if number is None else f"{number:g}"


def _number(value: str) -> float | None:
    """Return a number of sensible size, or None for what is not one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None  # noqa: PLR2004 - also False for NaN


_FORMS = {
    "list": lambda value: str(_parts(value)),
    "count": _count,
    "friends": _friends,
    "title": str.title,
    "number": _plain,
}
