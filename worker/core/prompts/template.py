r"""The templates of prompt profiles: lines of text with places for values.

    {title}                 the value
    {review:text}           the value, which may have several lines
    {description:50w}       its first 50 words, "..." if there were more; line breaks stay where nothing is cut
    {name:10b}              the same, with words between single blanks: "a  b" is three of them
    {tags:5/}               a list's first 5 parts, joined by "/"; {tags:/} takes all, {tags:, } joins by ", "
    {genres:list}           a list as Python writes it: ['fiction', 'poetry']
    {plays:count}           12345 as 12k, half to even
    {duration_s:seconds}    12 as "12  sec", 1200 as "1k  sec"
    {watched_s:whole}       12.7 as 13
    {price:dollars}         9.99 as $9.99; a text as it is: Free to Play
    {friends:friends}       3 as "3 friend(s) listened", 0 as nothing
    {action:title}          "not read" as "Not Read"
    {stars:number}          4.0 as 4
    {price?NA}              NA where there is no value; with a form: {plays:count?Not Available}

A value that is missing differs from one that is empty: only the missing one has what stands after the "?".  A list
without parts, and an empty text where a number is wanted, are missing.  A line whose places all lack a value is left
out, unless one of them says what stands there instead; {tags?} keeps the line and leaves the place empty.

>>> fill("{name} ({tags:2/})\nBy {author}\nPrice: {price:dollars?NA}", {"name": "Can", "tags": ("krautrock", "a/b")})
'Can (krautrock/a/b)\nPrice: NA'
>>> fill("{plays:count} plays, {stars:number} stars: {text:2w}", {"plays": "1250", "stars": "4.0", "text": "a b c"})
'1k plays, 4 stars: a b...'
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from worker.core.errors import BadSettings

_PLACE = re.compile(r"\{(\w+)(?::([^{}?]*))?(?:\?([^{}]*))?\}")
_WORDS = re.compile(r"(\d+)([wb])")
_JOINED = re.compile(r"(\d*)([^\w\s]\s?)")
MAX_KEPT = 512  # templates and their lines that are taken apart once; a profile has some 150, and no event adds any
_THOUSAND, _MILLION = 1_000, 1_000_000

Value = str | tuple[str, ...]  # a text, or a list's parts


def fill(template: str, values: Mapping[str, Value]) -> str:
    """Fill a template; a line whose places all lack a value is left out, unless one says what stands there instead."""
    lines = (_line(line, values) for line in template.split("\n"))
    return "\n".join(line for line in lines if line is not None)


@lru_cache(maxsize=MAX_KEPT)
def names(template: str) -> frozenset[str]:
    """Return the names of a template's places."""
    return frozenset(place[1] for place in _PLACE.finditer(template))


@lru_cache(maxsize=MAX_KEPT)
def forms(template: str) -> Mapping[str, str]:
    """Return the form of each place by its name, "" where it has none."""
    return {place[1]: place[2] or "" for place in _PLACE.finditer(template)}


def is_list(form: str) -> bool:
    """Return True if a form shows a list's parts."""
    return form == "list" or bool(_JOINED.fullmatch(form))


def is_number(value: str) -> bool:
    """Return True for a bare number, which may have commas between its thousands."""
    return _number(value.replace(",", "")) is not None


def is_long(form: str) -> bool:
    """Return True if a form shows a text of several lines, bounded by its words if at all."""
    return form == "text" or bool(_WORDS.fullmatch(form))


@lru_cache(maxsize=MAX_KEPT)
def fixed_starts(template: str) -> tuple[str, ...]:
    r"""Return what the template's lines start with before their first place, longest first; no blank ones.

    >>> fixed_starts("{item}\nMy Behavior: {action}\nRating: {rating}/5")
    ('My Behavior:', 'Rating:')
    """
    starts = {line.split("{")[0].rstrip() for line in template.split("\n")}
    return tuple(sorted(starts - {""}, key=lambda start: (-len(start), start)))


def check(template: str, where: str) -> None:
    """Raise `BadSettings` if a place has a form that does not exist."""
    for place in _PLACE.finditer(template):
        form = place[2]
        if form is not None and not (form in _FORMS or is_list(form) or is_long(form)):
            known = ", ".join((*_FORMS, "list", "text"))
            message = f"{where}: {place[0]}: unknown form {form!r}; want one of {known}, 50w, 10b, 5/ or /"
            raise BadSettings(message)


def _line(line: str, values: Mapping[str, Value]) -> str | None:
    places = _places(line)
    if places and not any(values.get(place[1]) or place[3] is not None for place in places):
        return None
    return _PLACE.sub(lambda place: _text(place, values.get(place[1])), line)


@lru_cache(maxsize=MAX_KEPT)
def _places(line: str) -> tuple[re.Match[str], ...]:
    return tuple(_PLACE.finditer(line))


def _text(place: re.Match[str], value: Value | None) -> str:
    missing: str = place[3] or ""
    if value is None or value == ():
        return missing
    formed = _formed(value, place[2] or "")
    return missing if formed is None else formed


def _formed(value: Value, form: str) -> str | None:
    """Return a value in its form; None for an empty text where a number is wanted."""
    if isinstance(value, tuple):
        if form == "list":
            return str(list(value))
        joined = _JOINED.fullmatch(form)
        return joined[2].join(value[: int(joined[1]) if joined[1] else None]) if joined else ", ".join(value)
    if form == "list":
        return str([value] if value else [])
    if form in _FORMS:
        return _FORMS[form](value)
    words = _WORDS.fullmatch(form)
    return _first_words(value, int(words[1]), None if words[2] == "w" else " ") if words else value


def _first_words(value: str, limit: int, separator: str | None) -> str:
    words = value.split(separator)
    return value if len(words) <= limit else (separator or " ").join(words[:limit]) + "..."


def _count(value: str, unit: str = "") -> str | None:
    number = _number(value)
    if number is None:
        return None if value.strip().lower() in {"", "nan"} else value
    number = round(number)
    for size, sign in ((_MILLION, "M"), (_THOUSAND, "k")):
        if number >= size:
            return f"{number / size:.0f}{sign}{unit}"  # half to even, and 999,500 is 1000k: as the reference has it
    return f"{number}{unit}"


def _seconds(value: str) -> str | None:
    return _count(value, "  sec")  # two blanks, as the reference writes it


def _whole(value: str) -> str | None:
    number = _number(value)
    return (value or None) if number is None else f"{number:.0f}"


def _friends(value: str) -> str:
    number = int(_number(value) or 0)
    return f"{number} friend(s) listened" if number > 0 else ""  # literally, as the reference writes it, also for one


def _dollars(value: str) -> str:
    """Return a number with its sign, and a price that is a text as given: "$1,299.00", "4990 JPY", "Free to Play".

    An empty text and NA have the sign, as the reference shows them.
    """
    return f"${value}" if is_number(value) or value.strip() in {"", "NA"} else value


def _plain(value: str) -> str:
    number = _number(value)
    if number is None:
        return value
    return str(int(number)) if number.is_integer() else str(number)


def _number(value: str) -> float | None:
    """Return a number of sensible size, or None for what is not one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None  # noqa: PLR2004 - also False for NaN


_FORMS: Mapping[str, Callable[[str], str | None]] = {
    "count": _count,
    "seconds": _seconds,
    "whole": _whole,
    "dollars": _dollars,
    "friends": _friends,
    "title": str.title,
    "number": _plain,
}
