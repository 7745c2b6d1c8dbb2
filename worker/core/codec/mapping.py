r"""Foreign events to impressions, by a mapping: a tree of JMESPath expressions with the shape of an impression.

    when: event_name == 'view_item_list'              other events are passed over
    missing: ["(not set)"]                            texts that stand for nothing
    impression:
      event_id: {hash: [user_pseudo_id, event_timestamp]}
      occurred_at: {from: event_timestamp, unit: us}
      user: {user_id: "user_id || user_pseudo_id"}
      slates:
        - variant: {value: control}
          items: {each: items, item_id: item_id, attributes: {name: item_name}}

A text is an expression.  A map is a record of the same fields, unless it has one of four words: `value` is a constant,
`hash` an id made of the values of expressions, `from` and `unit` a time, and `each` a list: the fields beside it are
read from each of the entries.  A list is a list.  What an expression does not find is missing, and a record of which
nothing is found is missing too.

The expressions come from whoever runs the worker, the events from anybody.  JMESPath has no loops, no variables and no
functions of one's own, and an expression sees no more than the entry that it is given, so its work grows with the
event; the event is bounded before (`codec.json_reader`), and so are the entries of `each`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE, datetime
from functools import reduce
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import jmespath
from jmespath.exceptions import JMESPathError

from worker.core.codec import impression as codec, json_reader
from worker.core.codec.json_reader import JsonRules
from worker.core.errors import BadSettings, Poison
from worker.core.records import Impression, Reason

MAX_EACH = 300  # entries of a list: more than a slate or history keeps
MAX_EXPRESSIONS, MAX_EXPRESSION_CHARS = 400, 1_000
UTC = "utc"  # of a time that is written as text without a zone
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0, UTC: 1}  # microseconds
NAME = "RecommendationImpression"
_FAILS = (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError)
_PLACE = re.compile(r"[\w.]+")
_HASHED = uuid5(NAMESPACE_URL, "mirrorstream:mapping")


@dataclass(frozen=True, slots=True)
class _Path:
    expression: str
    compiled: Any


@dataclass(frozen=True, slots=True)
class _Constant:
    value: object


@dataclass(frozen=True, slots=True)
class _Hash:
    paths: tuple[_Path, ...]


@dataclass(frozen=True, slots=True)
class _Time:
    path: _Path
    unit: str


@dataclass(frozen=True, slots=True)
class _Each:
    path: _Path
    entry: "_Node"
    newest: bool  # of a longer list the last entries are kept


@dataclass(frozen=True, slots=True)
class _Fields:
    fields: Mapping[str, "_Node"]


@dataclass(frozen=True, slots=True)
class _Several:
    entries: tuple["_Node", ...]


_Node = _Path | _Constant | _Hash | _Time | _Each | _Fields | _Several


@dataclass(frozen=True, slots=True)
class EventMapping:
    """A mapping, compiled; `lacks` says in words what its events cannot tell."""

    name: str
    when: _Path | None
    missing: frozenset[str]
    root: _Fields
    lacks: tuple[str, ...] = ()

    def plain(self, event: Mapping[str, object]) -> Mapping[str, object] | None:
        """Return the plain fields of an event's impression; None for an event that is passed over.

        Raises `Poison` (`INVALID`) where an expression fails.
        """
        if self.when is not None and not _search(self.when, event, "when"):
            return None
        found = _apply(self.root, event, self.missing, "")
        return found if isinstance(found, dict) else {}

    def decode(self, text: bytes, *, show_names: bool = False) -> Impression | None:
        """Return the impression of an event in JSON; None for one that is passed over.

        Raises `Poison` as `codec.decode_json` does, and says where in the event a value comes from.
        """
        return self.impression(json_reader.parse_bytes(text), show_names=show_names)

    def impression(self, event: Mapping[str, object], *, show_names: bool = False) -> Impression | None:
        """Do the same with a parsed event."""
        plain = self.plain(event)
        if plain is None:
            return None
        try:
            return codec.impression(
                json_reader.fields(plain, NAME, JsonRules(show_names=show_names)), show_names=show_names
            )
        except Poison as poison:
            raise Poison(poison.reason, self._with_source(str(poison))) from poison

    def _with_source(self, problem: str) -> str:
        """Put what the first place of a problem was read from behind it."""
        place = _PLACE.match(problem)
        source = _source(self.root, place[0].split(".")) if place else ""
        return f"{problem} (from {source})" if source else problem


def compile_mapping(name: str, content: object) -> EventMapping:
    """Return a mapping from the plain data of its file.  Raises `BadSettings` with the place of what is wrong."""
    if not isinstance(content, dict) or not isinstance(content.get("impression"), dict):
        raise BadSettings(f"mapping {name}: want a map with `impression`, and perhaps `when`, `missing` and `lacks`")
    if unknown := sorted(map(str, content.keys() - {"impression", "when", "missing", "lacks"})):
        raise BadSettings(f"mapping {name}: {', '.join(unknown)}: is no part of a mapping")
    compiler = _MappingCompiler(f"mapping {name}")
    root = compiler.node(content["impression"], "impression")
    if not isinstance(root, _Fields):
        raise BadSettings(f"mapping {name}: impression: want a record of its fields")
    when = compiler.path(content["when"], "when") if "when" in content else None
    texts = compiler.texts(content.get("missing", []), "missing")
    return EventMapping(name, when, frozenset(texts), root, tuple(compiler.texts(content.get("lacks", []), "lacks")))


def compile_item_ids(expression: str) -> Callable[[Mapping[str, object]], frozenset[str]]:
    """Return what reads item ids from an event: texts or numbers, one or a list.

    Raises `BadSettings` if the expression is none; what it returns raises `Poison` where it fails.

    >>> compile_item_ids("items[?clicked].id")({"items": [{"id": 7, "clicked": True}, {"id": 8}]})
    frozenset({'7'})
    """
    path = _MappingCompiler("chosen").path(expression, "expression")

    def read(event: Mapping[str, object]) -> frozenset[str]:
        found = _search(path, event, "chosen")
        listed = found if isinstance(found, list) else [found]
        return frozenset(str(one) for one in listed if isinstance(one, str | int) and not isinstance(one, bool))

    return read


class _MappingCompiler:
    """Makes nodes of what a file has, and counts them."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._num_paths = 0

    def node(self, content: object, place: str) -> _Node:  # noqa: PLR0911 - one for each kind
        if isinstance(content, str):
            return self.path(content, place)
        if isinstance(content, list):
            return _Several(tuple(self.node(one, f"{place}.{number}") for number, one in enumerate(content)))
        if not isinstance(content, dict) or not content:
            raise self._bad(place, "want an expression, a map or a list; a constant is {value: ...}")
        if "value" in content:
            self._only(content, {"value"}, place)
            return _Constant(content["value"])
        if "hash" in content:
            self._only(content, {"hash"}, place)
            return _Hash(tuple(self.path(one, place) for one in self.texts(content["hash"], place)))
        if "from" in content:
            self._only(content, {"from", "unit"}, place)
            if content.get("unit", "us") not in UNITS:
                raise self._bad(place, f"unit {content['unit']}: want one of {', '.join(UNITS)}")
            return _Time(self.path(content["from"], place), content.get("unit", "us"))
        fields = {str(name): self.node(one, f"{place}.{name}") for name, one in content.items() if name != "each"}
        if "each" in content:
            return _Each(self.path(content["each"], place), _Fields(fields), newest=place.endswith(".history"))
        return _Fields(fields)

    def path(self, expression: object, place: str) -> _Path:
        self._num_paths += 1
        if self._num_paths > MAX_EXPRESSIONS:
            raise self._bad(place, f"more than {MAX_EXPRESSIONS} expressions")
        if not isinstance(expression, str) or not 0 < len(expression) <= MAX_EXPRESSION_CHARS:
            raise self._bad(place, f"want an expression of at most {MAX_EXPRESSION_CHARS:,} characters")
        try:
            return _Path(expression, jmespath.compile(expression))
        except JMESPathError as error:
            raise self._bad(place, f"{expression}: is no JMESPath: {str(error).splitlines()[0]}") from error

    def texts(self, content: object, place: str) -> list[str]:
        if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
            raise self._bad(place, "want a list of texts")
        return content

    def _only(self, content: Mapping[object, object], words: set[str], place: str) -> None:
        if other := sorted(map(str, content.keys() - words)):
            raise self._bad(place, f"{', '.join(other)}: cannot stand beside {' and '.join(sorted(words))}")

    def _bad(self, place: str, problem: str) -> BadSettings:
        return BadSettings(f"{self._where}: {place}: {problem}")


def _apply(node: _Node, event: object, missing: frozenset[str], place: str) -> Any:  # noqa: PLR0911 - one for each kind
    match node:
        case _Path():
            return _found(node, event, missing, place)
        case _Constant():
            return node.value
        case _Hash():
            values = [_found(path, event, missing, place) for path in node.paths]
            return None if None in values else str(uuid5(_HASHED, "\x1f".join(map(str, values))))
        case _Time():
            return _time(_found(node.path, event, missing, place), node.unit)
        case _Each():
            return _list(node, event, missing, place)
        case _Fields():
            found = {name: _apply(one, event, missing, f"{place}.{name}") for name, one in node.fields.items()}
            kept = {name: value for name, value in found.items() if value is not None}
            # A record of constants alone, such as the kind of an id that is not there, says nothing.
            told = any(not isinstance(node.fields[name], _Constant) for name in kept)
            return kept if told or all(isinstance(one, _Constant) for one in node.fields.values()) else None
        case _Several():
            entries = (_apply(one, event, missing, f"{place}.{number}") for number, one in enumerate(node.entries))
            return [one for one in entries if one is not None]


def _list(node: _Each, event: object, missing: frozenset[str], place: str) -> list[object] | None:
    entries = _search(node.path, event, place)
    if entries is None:
        return None
    if not isinstance(entries, list):
        raise Poison(Reason.INVALID, f"{place[1:]}: want a list (from {node.path.expression})")
    entries = entries[-MAX_EACH:] if node.newest else entries[:MAX_EACH]
    found = (_apply(node.entry, entry, missing, f"{place}.{number}") for number, entry in enumerate(entries))
    return [one for one in found if one is not None]


def _found(path: _Path, event: object, missing: frozenset[str], place: str) -> Any:
    value = _search(path, event, place)
    if isinstance(value, list):
        return [one for one in value if not _is_missing(one, missing)] or None
    return None if _is_missing(value, missing) else value


def _is_missing(value: object, missing: frozenset[str]) -> bool:
    return value is None or (isinstance(value, str) and value in missing)


def _search(path: _Path, event: object, place: str) -> Any:
    try:
        return path.compiled.search(event)
    except _FAILS as error:
        problem = f"{place.removeprefix('.')}: {type(error).__name__} (from {path.expression})"
        raise Poison(Reason.INVALID, problem) from error


def _time(value: Any, unit: str) -> Any:
    """Return microseconds of a number in its unit, also one that is written as text; validation reads other texts."""
    if isinstance(value, str):
        if not value.strip().isdecimal():
            return _with_zone(value) if unit == UTC else value
        value = int(value[:40])
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:  # noqa: PLR2004 - NaN, too
        return value
    return int(value // 1_000 if unit == "ns" else value * UNITS.get(unit, 1))


def _with_zone(text: str) -> str:
    """Return a time in UTC with its zone, if it has none."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return text
    return time.replace(tzinfo=UTC_ZONE).isoformat() if time.tzinfo is None else text


def _source(root: _Node, place: Sequence[str]) -> str:
    """Return where in the event a place of the impression is read from; "" if nothing is."""

    def step(at: tuple[_Node | None, str], part: str) -> tuple[_Node | None, str]:
        node, before = at
        if isinstance(node, _Fields):
            return node.fields.get(part), before
        if isinstance(node, _Each) and part.isdecimal():
            return node.entry, f"{before}{node.path.expression}[{part}]."
        if isinstance(node, _Several) and part.isdecimal() and int(part) < len(node.entries):
            return node.entries[int(part)], before
        return node, before

    start: tuple[_Node | None, str] = (root, "")
    node, before = reduce(step, place, start)
    if isinstance(node, _Path | _Each | _Time):
        path = node if isinstance(node, _Path) else node.path
        return before + path.expression
    return ""
