"""What a mapping is made of once it is compiled, and what each part makes of an event.

    Path       an expression                    Each      a list: an entry of ours for each one that is found
    Constant   always the same                  Fields    a record or map
    Hash       an id made of values             Several   a list of so many entries
    Time       microseconds of a time

What is not found is None, and a record of which nothing is found is None too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE, datetime
from functools import reduce
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from worker.core.codec.logical_types import Unfit
from worker.core.codec.mapping_paths import Path
from worker.core.records import Reason

MAX_EACH = 300  # entries of a list: more than a slate or history keeps
MAX_TIME_CHARS = 64  # of a time in a format of its own
UTC = "utc"  # of a time that is written as text without a zone
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0, UTC: 1}  # microseconds
_HASHED = uuid5(NAMESPACE_URL, "mirrorstream:mapping")


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is in no event."""

    value: object


@dataclass(frozen=True, slots=True)
class Hash:
    """An id made of the values of expressions; missing if one of them is."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Time:
    """A time in a unit, or in a format of `strptime`, which is in UTC if it has no zone; "" is none."""

    path: Path
    unit: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Each:
    """A list, read from a list or from a text between separators; `only` says which entries are meant.

    `split` has the separator of the entries, and perhaps that of the parts of one, which is a list then.
    """

    path: Path
    entry: "Node"
    newest: bool  # of a longer list the last entries are kept
    split: tuple[str, ...] = ()
    only: Path | None = None


@dataclass(frozen=True, slots=True)
class Fields:
    """A record or a map."""

    fields: Mapping[str, "Node"]


@dataclass(frozen=True, slots=True)
class Several:
    """A list whose entries are read from the event one by one."""

    entries: tuple["Node", ...]


Node = Path | Constant | Hash | Time | Each | Fields | Several


def apply(node: Node, event: object, missing: frozenset[str]) -> Any:  # noqa: PLR0911 - one for each
    """Return what a part makes of an event, None for nothing; `missing` are texts that stand for nothing.

    Raises `Unfit` (`INVALID`) with the place where an expression fails, or finds no list where one is wanted.
    """
    match node:
        case Path():
            return _found(node, event, missing)
        case Constant():
            return node.value
        case Fields():
            return _record(node, event, missing)
        case Each():
            return _list(node, event, missing)
        case Time():
            return _time(_found(node.path, event, missing), node)
        case Hash():
            values = [_found(path, event, missing) for path in node.paths]
            return None if None in values else str(uuid5(_HASHED, "\x1f".join(map(str, values))))
        case Several():
            return _entries([(one, event) for one in node.entries], missing)


def _record(node: Fields, event: object, missing: frozenset[str]) -> dict[str, Any] | None:
    kept, told, num_constants = {}, False, 0
    for name, one in node.fields.items():
        try:
            value = _found(one, event, missing) if type(one) is Path else apply(one, event, missing)
        except Unfit as error:
            error.place.insert(0, name)
            raise
        is_constant = type(one) is Constant
        num_constants += is_constant
        if value is not None:
            kept[name] = value
            told = told or not is_constant
    # A record of constants alone, such as the kind of an id that is not there, says nothing.
    return kept if told or num_constants == len(node.fields) else None


def _list(node: Each, event: object, missing: frozenset[str]) -> list[object] | None:
    entries = node.path.search(event)
    if isinstance(entries, str) and node.split:
        entries = _parts(entries, node)
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise Unfit(Reason.INVALID, f"want a list (from {node.path.expression})")
    if node.only is not None:
        entries = [entry for entry in entries if node.only.search(entry)]
    entries = entries[-MAX_EACH:] if node.newest else entries[:MAX_EACH]
    return _entries([(node.entry, entry) for entry in entries], missing)


def _entries(parts: Sequence[tuple["Node", object]], missing: frozenset[str]) -> list[object]:
    found = []
    for number, (node, event) in enumerate(parts):
        try:
            value = apply(node, event, missing)
        except Unfit as error:
            error.place.insert(0, str(number))
            raise
        if value is not None:
            found.append(value)
    return found


def _parts(text: str, node: Each) -> list[Any]:
    """Return the entries of a text; of a long one those that are kept, and as many again, which may be no entries."""
    sign, *inner = node.split
    most = 2 * MAX_EACH
    parts = text.rsplit(sign, most)[-most:] if node.newest else text.split(sign, most)[:most]
    entries = [part for part in map(str.strip, parts) if part]
    return [entry.split(inner[0]) for entry in entries] if inner else entries


def _found(path: Path, event: object, missing: frozenset[str]) -> Any:
    value = path.search(event)
    if isinstance(value, str):
        return None if value in missing else value
    if isinstance(value, list):
        return [one for one in value if not _is_missing(one, missing)] or None
    return value


def _is_missing(value: object, missing: frozenset[str]) -> bool:
    return value is None or (isinstance(value, str) and value in missing)


def _time(value: Any, node: Time) -> Any:
    """Return microseconds of a number in its unit, also one that is written as text; validation reads other texts."""
    if node.format and isinstance(value, str):
        return _formatted(value, node.format)
    if isinstance(value, str):
        try:
            # Only plain digits: a float with a point is a number of seconds that has its fraction.
            value = float(value) if "." in value[:40] and _is_number(value) else int(value[:40])
        except ValueError:
            return _with_zone(value) if node.unit == UTC else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:  # noqa: PLR2004 - NaN, too
        return value
    return int(value // 1_000 if node.unit == "ns" else value * UNITS.get(node.unit, 1))


def _is_number(text: str) -> bool:
    return text.strip().removeprefix("-").replace(".", "", 1).isdecimal()


def _formatted(text: str, form: str) -> str:
    """Return a time in ISO 8601; in UTC, if its format has no zone.  A text of another form is left to validation."""
    try:
        time = datetime.strptime(text.strip()[:MAX_TIME_CHARS], form)  # noqa: DTZ007 - the next line
    except ValueError:
        return text
    return (time.replace(tzinfo=UTC_ZONE) if time.tzinfo is None else time).isoformat()


def _with_zone(text: str) -> str:
    """Return a time in UTC with its zone, if it has none."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return time.replace(tzinfo=UTC_ZONE).isoformat() if time.tzinfo is None else text


def source(root: Node, place: Sequence[str]) -> str:
    """Return where in the event a place of the result is read from; "" if nothing is."""

    def step(at: tuple[Node | None, str], part: str) -> tuple[Node | None, str]:
        node, before = at
        if isinstance(node, Fields):
            return node.fields.get(part), before
        if isinstance(node, Each) and part.isdecimal():
            return node.entry, f"{before}{node.path.expression}[{part}]."
        if isinstance(node, Several) and part.isdecimal() and int(part) < len(node.entries):
            return node.entries[int(part)], before
        return node, before

    start: tuple[Node | None, str] = (root, "")
    node, before = reduce(step, place, start)
    if isinstance(node, Path | Each | Time):
        path = node if isinstance(node, Path) else node.path
        return before + path.expression
    return ""
