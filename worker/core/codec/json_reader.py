r"""JSON text to the plain fields of one of our records, bounded whatever the text says.

    {"event_id": 7, "occurred_at": "2026-11-01T00:00:00Z", "request_id": null, "user": {...}, ...}
        ->  {"event_id": "7", "occurred_at": 1793491200000000, "user": {...}, ...}

JSON has fewer types than our schemas, so what stands for what is said here; `codec.impression` validates the result as
it does Avro's:

    a number where text is wanted        its text as it is written: 49.90 stays "49.90"
    null                                 missing: the field has its default, a map has no such value
    a list as an attribute               a JSON array in the attribute's text, as layouts read lists
    a time                               microseconds since 1970, or ISO 8601 with a zone
    no position in a whole slate         the place in the list
    one field twice                      refused: the two may differ, and parsers choose differently
    a field that is not ours             refused or passed over (`JsonRules`)

Nothing is believed.  Size, nesting and the number of values are counted in the text, before anything is made of it.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self

from worker.core.attribute_maps import known
from worker.core.codec import schema_limits
from worker.core.codec.avro_schemas import schema_text
from worker.core.codec.logical_types import Unfit
from worker.core.codec.schema_limits import MAX_VALUES, Type
from worker.core.errors import Poison
from worker.core.records import Reason
from worker.core.suggestions import did_you_mean
from worker.core.validation_text import kind

MAX_CHARS = 2 << 20  # of one record: twice what Kafka takes by default
MAX_CHAR_BYTES = 4  # of one character in UTF-8
OBJECT_WEIGHT = 3  # values that take as long to validate as one object: 34,000 objects took 72 ms (2026-11)
MAX_DEPTH = 64  # nested objects and lists; our own records have 7
# Of one number: a double has at most 309 before its point.  Python needs time that grows with their square: 2 MB of
# whole numbers of 4,000 digits took 66 ms, of 400 digits it takes 21 ms (2026-11).
MAX_DIGITS = 400
MAX_SHOWN = 40  # characters of a name or time that are told
MAX_TOLD = 5  # unknown fields
WANT_TIME = "want an ISO 8601 time with its zone, such as 2026-11-01T00:00:00Z, or microseconds since 1970"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = frozenset(b"[{")
_DIGITS = bytes(ord("9" if chr(code).isascii() and chr(code).isdecimal() else " ") for code in range(256))
_MANY_DIGITS = b"9" * (MAX_DIGITS + 1)
_WORDS = {
    "RecommendationImpression": "an impression",
    "User": "a user",
    "HistoryEntry": "an entry of the history",
    "HistoryItem": "an item of the history",
    "Experiment": "an experiment",
    "Assignment": "an assignment",
    "Slate": "a slate",
    "Item": "an item",
    "Outcome": "an outcome",
    "Action": "an action",
}
_Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class JsonRules:
    """How strictly JSON is read.

    `refuse_unknown`: a field that is not ours, or a word that an enum has not, is a mistake; else it is passed over,
    and the enum is UNKNOWN, as in Avro.  `show_names`: problems tell names of attributes, which are foreign text: for
    who has the file, not for logs.  `number_positions`: items have their places in the list as positions.
    """

    refuse_unknown: bool = True
    show_names: bool = False
    number_positions: bool = False


FILE_RULES = JsonRules(show_names=True)  # of a file, who reads the message has the text


def decode(text: bytes, name: str, rules: JsonRules) -> Mapping[str, object]:
    """Return one of our records, by its name, as a dict of its fields, from UTF-8 text; not validated further.

    Raises `Poison`: `JSON` if it is no JSON object or beyond a bound, `UTF8`, or `INVALID` with the place.
    """
    return fields(parse_bytes(text), name, rules)


def parse_bytes(text: bytes) -> dict[str, object]:
    """Return the JSON object of UTF-8 text.  Raises `Poison` (`JSON`, `LIMIT`, `UTF8`) otherwise, or beyond a bound."""
    if len(text) > MAX_CHAR_BYTES * MAX_CHARS:
        raise Poison(Reason.LIMIT, f"{len(text):,} bytes of JSON, want at most {MAX_CHARS:,} characters")
    try:
        chars = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Poison(Reason.UTF8, f"byte {error.start:,}: is not UTF-8") from error
    return _parse(chars, text)


def parse(text: str) -> dict[str, object]:
    """Do the same with text that is decoded."""
    return _parse(text, text.encode("utf-8", "surrogatepass"))


def parse_value(text: str) -> object:
    """Return the JSON value of a text, an object or not, within the same bounds.  Raises `Poison` (`JSON`, `LIMIT`)."""
    return _parse_value(text, text.encode("utf-8", "surrogatepass"))


def _parse(text: str, encoded: bytes) -> dict[str, object]:
    found = _parse_value(text, encoded)
    if not isinstance(found, dict):
        raise Poison(Reason.JSON, f"holds {kind(found)}, want an object")
    return found


def _parse_value(text: str, encoded: bytes) -> object:
    _check_bounds(len(text), encoded)
    try:
        found: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise Poison(Reason.JSON, f"is not JSON: {error.msg} at character {error.pos:,}") from error
    except Unfit as error:
        raise Poison(error.reason, str(error)) from error
    return found


def fields(content: Mapping[str, object], name: str, rules: JsonRules) -> Mapping[str, object]:
    """Return the fields of one of our records, or of a record within one (`User`), from an object of `parse`.

    Raises `Poison` (`INVALID`) with the place.
    """
    try:
        found = _reader(name, rules)(content)
    except Unfit as error:
        raise Poison(error.reason, str(error)) from error
    assert isinstance(found, Mapping)
    return found


class WrittenNumber(float):
    """A number with a point or exponent, and how it is written."""

    __slots__ = ("text",)

    def __new__(cls, text: str) -> Self:
        """Keep the text beside the number.  Raises `ValueError` if it is none."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


WrittenNumber.__name__ = "float"  # by which JMESPath's functions know a number


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Unfit(Reason.JSON, "has an object with one field twice")
    return found


def _no_number(_word: str) -> object:
    raise Unfit(Reason.JSON, "has NaN or Infinity, which JSON has not; want null where there is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=WrittenNumber, parse_constant=_no_number)


def _check_bounds(num_chars: int, text: bytes) -> None:
    """Refuse what would cost much to decode."""
    if num_chars > MAX_CHARS:
        raise Poison(Reason.LIMIT, f"{num_chars:,} characters of JSON, want at most {MAX_CHARS:,}")
    bare = _without_texts(text)
    num_values = 1 + bare.count(b",") + bare.count(b"[") + OBJECT_WEIGHT * bare.count(b"{")
    if num_values > MAX_VALUES:
        raise Poison(Reason.LIMIT, f"{num_values:,} values in one record, want at most {MAX_VALUES:,}")
    depth = 0
    for bracket in bare.translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > MAX_DEPTH:
            raise Poison(Reason.LIMIT, f"is nested deeper than {MAX_DEPTH}")
    if _MANY_DIGITS in bare.translate(_DIGITS):
        raise Poison(Reason.JSON, f"has a number of too many digits, want at most {MAX_DIGITS}")


def _without_texts(text: bytes) -> bytes:
    r"""Return what stands outside of the texts of JSON, a third of the time that a regular expression takes.

    Where this takes another part for a text than the parser does, the parser has stopped before: at a backslash outside
    of a text, or at a text without an end.

    >>> _without_texts(rb'{"a": "[\\\", [", "b": ["\\\\"]}')
    b'{: , : []}'
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(text.split(b'"')[::2])


@cache
def _reader(name: str, rules: JsonRules) -> _Read:
    """Return what reads one of our records, or a record within an impression."""
    within = name in {"User", "HistoryItem"}
    root = schema_limits.parse(schema_text("RecommendationImpression" if within else name)).root
    return _record_reader(next(one for one in _records(root) if one.name.endswith(f".{name}")), rules)


def _records(ours: Type) -> Iterator[Type]:
    if ours.kind == "record":
        yield ours
    for inner in (*ours.types, *(each.type for each in ours.fields)):
        yield from _records(inner)


def _reader_of(ours: Type, rules: JsonRules) -> _Read | None:  # noqa: PLR0911 - one for each kind
    """Return what reads a value of a type, None if it is left to validation as it is; null was read before."""
    match ours.kind:
        case "union":
            [branch] = (one for one in ours.types if one.kind != "null")
            return _reader_of(branch, rules)
        case "record":
            return _record_reader(ours, rules)
        case "array":
            return _list_reader(_reader_of(ours.types[0], rules))
        case "map":
            return _map_reader(rules)
        case "enum" if not rules.refuse_unknown:
            symbols = frozenset(ours.symbols)
            return lambda word: word if not isinstance(word, str) or word in symbols else ours.default
        case "string":
            return _text
    if ours.logical == "timestamp-micros":
        return _time
    return _number


def _record_reader(ours: Type, rules: JsonRules) -> _Read:
    readers = {each.name: _reader_of(each.type, rules) for each in ours.fields}
    simple = ours.name.rpartition(".")[2]

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        found, unknown, name = {}, [], ""
        try:
            for name, inner in value.items():
                if name not in readers:
                    unknown.append(name)
                elif inner is not None:
                    reader = readers[name]
                    found[name] = inner if reader is None else reader(inner)
        except Unfit as error:
            error.place.insert(0, name)
            raise
        if unknown and rules.refuse_unknown:
            raise Unfit(Reason.INVALID, _told(unknown, simple, readers.keys(), show_names=rules.show_names))
        return _with_positions(found, rules) if simple == "Slate" else found

    return read


def _told(unknown: Sequence[str], record: str, known: Collection[str], *, show_names: bool) -> str:
    """Say which fields are not ours; without their names, what they may have been meant to be."""
    of = _WORDS.get(record, record)
    names = [name[:MAX_SHOWN] for name in unknown[:MAX_TOLD]]
    if show_names:
        return ", ".join(f"{ascii(name)[1:-1]}: is no field of {of}{did_you_mean(name, known)}" for name in names)
    many = "a field" if len(unknown) == 1 else f"{len(unknown):,} fields"
    meant = next(filter(None, (did_you_mean(name, known) for name in names)), "")
    return f"has {many} that {of} has not{meant}"


def _with_positions(slate: dict[str, Any], rules: JsonRules) -> dict[str, Any]:
    """Return a slate whose items are numbered by their order, if none of them has a position."""
    items = slate.get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return slate
    if rules.number_positions or not any("position" in item for item in items):
        return {**slate, "items": [{**item, "position": place} for place, item in enumerate(items)]}
    return slate


def _list_reader(read: _Read | None) -> _Read:
    def read_all(value: Any) -> Any:
        if not isinstance(value, list) or read is None:
            return value
        found: list[Any] = []
        try:
            found.extend(map(read, value))
        except Unfit as error:
            error.place.insert(0, str(len(found)))
            raise
        return found

    return read_all


def _map_reader(rules: JsonRules) -> _Read:
    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        found: dict[str, str | None] = {}
        name = ""
        try:
            for name, inner in value.items():
                found[name] = inner if inner is None or isinstance(inner, str) else _attribute(inner)
        except Unfit as error:
            error.place.insert(0, ascii(name)[1:-1][:MAX_SHOWN] if rules.show_names else "KEY")
            raise
        return known(found) if None in found.values() else found

    return read


def _attribute(value: Any) -> str:
    """Return an attribute's text.  Raises `Unfit` for what has none."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(one is None or isinstance(one, str | int | float) for one in value):
        return json.dumps([_text(one) for one in value if one is not None], ensure_ascii=False)
    found = ("false", "true")[value] if isinstance(value, bool) else _text(value)
    if not isinstance(found, str):
        raise Unfit(Reason.INVALID, f"is {_json_kind(value)}, want text, a number or a list of them")
    return found


def _json_kind(value: object) -> str:
    return "an object" if isinstance(value, Mapping) else "a list of lists or objects"


def _text(value: Any) -> Any:
    """Return a number as it is written; anything else is left to validation."""
    if isinstance(value, WrittenNumber):
        return value.text
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, WrittenNumber) else value


def _time(value: Any) -> Any:
    if not isinstance(value, str) or value.strip().isdecimal():
        return _number(value)  # also a number that was written as text
    try:
        time = datetime.fromisoformat(value.strip())
    except ValueError:
        raise Unfit(Reason.INVALID, WANT_TIME) from None
    if time.tzinfo is None:
        raise Unfit(Reason.INVALID, f"{value[:MAX_SHOWN]} has no zone; {WANT_TIME}")
    return (time - _EPOCH) // timedelta(microseconds=1)
