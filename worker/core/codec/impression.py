"""Bytes to impressions, checked: Avro, or JSON (`codec.json_reader`); plain data of either, validated.

Schemas and bytes are untrusted.  A writer's schema is checked first (`codec.schema_limits`), then each record
is read within bounds (`codec.avro`), with the writer's logical types honoured (`codec.logical_types`); last,
every bound of `records` must hold.  fastavro only writes: it ends the process on a recursive schema with a 5
KB message, waits for ever on a `fixed` of negative size, and makes 100 M elements of a 5-byte `array<null>`;
no `try` can catch these.  It is no slower to read without it: an impression of 2.3 KB takes 0.2 ms, as with
fastavro where the writer's schema is ours, and half of fastavro's time where it is not (one busy core,
2026-11).
"""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from worker.core.codec import json_reader, schema_limits
from worker.core.codec.avro import Bounds, compile_reader
from worker.core.codec.avro_schemas import Reader, Schema, schema_text
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.logical_types import Unfit
from worker.core.errors import Poison
from worker.core.outcomes import Action, Outcome
from worker.core.records import (
    MAX_ENTRIES,
    MAX_HISTORY,
    MAX_ITEMS,
    MAX_MAP,
    MAX_SLATES,
    MAX_TEXT,
    MAX_YEAR,
    MIN_YEAR,
    Assignment,
    Experiment,
    HistoryEntry,
    HistoryItem,
    Impression,
    Item,
    Reason,
    Slate,
    User,
)
from worker.core.validation_text import wanted

# What a record may hold while it is read; slates and histories, which are cut, and any other of our records are
# bounded by `schema_limits.MAX_VALUES` alone.
BOUNDS = {
    "RecommendationImpression": Bounds({"slates": MAX_SLATES}, map_entries=MAX_MAP, text_chars=MAX_TEXT + 1),
}
_TIMES = frozenset({"occurred_at", "assigned_at", "observed_at"})
_WANTED_TIME = f"want microseconds since 1970 of a time from {MIN_YEAR} to {MAX_YEAR}"
MAX_SHOWN_CHARS = 60  # of an attribute's name in a message
MAX_SHOWN_US = 2**80  # of a time in a message; any that Avro can hold is below
_YEAR_US = 31_556_952_000_000  # of 365.2425 days
_FIELDS = frozenset(
    field.name
    for kind in (Impression, User, HistoryEntry, HistoryItem, Experiment, Assignment, Slate, Item, Outcome, Action)
    for field in fields(kind)
)
_IMPRESSION: TypeAdapter[Impression] = TypeAdapter(Impression)
_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
_Valid = TypeVar("_Valid")


class IdsOnly(Poison):
    """An impression that lacks nothing but texts of items: `found` can be joined with a catalogue."""

    def __init__(self, found: Impression, message: str) -> None:
        super().__init__(Reason.INVALID, message)
        self.found = found


def ids_only(poison: Poison) -> Impression | None:
    """Return the impression of a problem that is nothing but options without texts; None for any other problem."""
    found = poison if isinstance(poison, IdsOnly) else poison.__cause__  # a mapping adds where a value comes from
    return found.found if isinstance(found, IdsOnly) else None


def decode(payload: bytes, writer: Schema) -> Impression:
    """Decode and validate one impression; `payload` is without its framing.

    Raises `Poison` with the place of the problem: `AVRO`, `UTF8`, `LIMIT` or `INVALID`; `SCHEMA` if the
    schema does not fit ours.
    """
    return impression(decode_plain(payload, writer, "RecommendationImpression"))


def decode_json(text: bytes, rules: JsonRules) -> Impression:
    """Decode and validate one impression from JSON, as `decode` does from Avro.

    Raises `Poison`: `JSON`, `UTF8`, `LIMIT` or `INVALID`.
    """
    return impression(json_reader.decode(text, "RecommendationImpression", rules), show_names=rules.show_names)


def decode_plain(payload: bytes, writer: Schema, name: str) -> Mapping[str, object]:
    """Decode one of our records, by its name, as a dict of its fields, not validated further.

    Times are microseconds since 1970 UTC, whatever unit the writer has; fields that the writer lacks have our
    defaults.  Raises `Poison` with the place of the problem.
    """
    if name not in writer.readers:
        writer.readers[name] = _reader(writer, name)
    try:
        return writer.readers[name](payload)
    except Unfit as error:
        raise Poison(error.reason, str(error)) from error


def _reader(writer: Schema, name: str) -> Reader:
    """Return what reads one of our records as this writer writes it; it may refuse every one."""
    try:
        return compile_reader(writer.root, _ours(name), BOUNDS.get(name, Bounds()))
    except Unfit as error:
        refusal = error

        def refuse(_payload: bytes) -> Mapping[str, object]:
            raise refusal.again()

        return refuse


@cache
def _ours(name: str) -> schema_limits.Type:
    return schema_limits.parse(schema_text(name), keep_defaults=True).root


def impression(plain: Mapping[str, object], *, show_names: bool = False) -> Impression:
    """Validate an impression from plain data, Avro's or JSON's.

    A slate or history that is too long is cut to what is shown first.  What is accepted can be encoded, and `decode`
    gives it back unchanged.  `show_names` tells the names of attributes in problems.  Raises `Poison` (`LIMIT` or
    `INVALID`) with the places of the first five problems; `IdsOnly` if all is well but for options without a text.
    """
    found = _validated(_IMPRESSION, _cut(plain), show_names=show_names)
    _check_entries(found)
    _check_variants(found)
    for slate in found.slates:
        _check_positions(slate)
    _check_texts(found)
    return found


def outcome(plain: Mapping[str, object]) -> Outcome:
    """Validate an outcome from plain data, as `impression` does."""
    return _validated(_OUTCOME, plain)


def _cut(plain: Mapping[str, object]) -> Mapping[str, object]:
    """Return an impression with the newest entries of its history, and the first items of each slate.

    What is of another form is left to validation.
    """
    user, slates = plain.get("user"), plain.get("slates")
    if isinstance(user, Mapping):
        history = user.get("history")
        if isinstance(history, list) and len(history) > MAX_HISTORY:
            plain = {**plain, "user": {**user, "history": history[-MAX_HISTORY:]}}
    if isinstance(slates, list) and any(_is_long(slate) for slate in slates):
        plain = {**plain, "slates": [_cut_slate(slate) if _is_long(slate) else slate for slate in slates]}
    return plain


def _is_long(slate: object) -> bool:
    items = slate.get("items") if isinstance(slate, Mapping) else None
    return isinstance(items, list) and len(items) > MAX_ITEMS


def _cut_slate(slate: Mapping[str, list[object]]) -> Mapping[str, object]:
    """Return a slate with the items that have the lowest positions; as they stand, if one has none."""
    items = slate["items"]
    positions = [item.get("position") if isinstance(item, Mapping) else None for item in items]
    numbers = [position for position in positions if isinstance(position, int)]
    if len(numbers) == len(items):
        items = [item for _, item in sorted(zip(numbers, items, strict=True), key=lambda pair: pair[0])]
    return {**slate, "items": items[:MAX_ITEMS]}


def _validated(kind: TypeAdapter[_Valid], plain: Mapping[str, object], *, show_names: bool = False) -> _Valid:
    try:
        return kind.validate_python(plain)
    except ValidationError as error:
        errors = error.errors()[:5]
        reason = Reason.LIMIT if all(e["type"].startswith(("string_too", "too_")) for e in errors) else Reason.INVALID
        # A list that lost its bad entry is told as too short as well; that is no second problem.
        told = [e for n, e in enumerate(errors) if not any(o["loc"][: len(e["loc"])] == e["loc"] for o in errors[:n])]
        problems = "; ".join(f"{_place(e['loc'], show_names=show_names)}: {_problem(e)}" for e in told)
        raise Poison(reason, problems) from error


def _problem(error: ErrorDetails) -> str:
    """Return what is wrong with a value, without the value if it may be text."""
    value = error["input"]
    if error["loc"][-1] not in _TIMES or not error["type"].endswith("_equal") or not isinstance(value, (int, float)):
        return wanted(error)
    if not abs(value) < MAX_SHOWN_US:
        return f"a number of more than 80 bits, {_WANTED_TIME}"
    return f"{int(value)}, {_WANTED_TIME}; this would be the year {_year(int(value))}: is its unit another?"


def _year(time_us: int) -> int:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us)).year
    except OverflowError:  # before year 1 or after 9999, where a few years less or more are one
        return 1970 + time_us // _YEAR_US


def _place(loc: tuple[int | str, ...], *, show_names: bool) -> str:
    """Name the place of a problem; the key of a map is foreign text, which no log shall hold."""
    known = (isinstance(part, int) or part in _FIELDS for part in loc)
    foreign = (ascii(part)[1:-1][:MAX_SHOWN_CHARS] if show_names else "KEY" for part in loc)
    return ".".join(str(part) if ours else other for part, ours, other in zip(loc, known, foreign, strict=True))


def _check_entries(found: Impression) -> None:
    """Refuse what has too many attributes in all: each map within its bound, they could be 215,000."""
    of_items = sum(len(item.attributes) for slate in found.slates for item in slate.items)
    of_history = sum(len(entry.item.attributes) for entry in found.user.history)
    seen = of_items + of_history + len(found.user.profile) + len(found.user.segments) + len(found.context)
    if seen > MAX_ENTRIES:
        raise Poison(Reason.LIMIT, f"slates.items.attributes and others: {seen:,} in all, want at most {MAX_ENTRIES:,}")


def _check_variants(found: Impression) -> None:
    variants = [slate.variant for slate in found.slates]
    if len(set(variants)) < len(variants):
        raise Poison(Reason.INVALID, f"slates: {len(variants)} slates of {len(set(variants))} variants, want one each")
    controls = sum(slate.role == "CONTROL" for slate in found.slates)
    if controls > 1:
        raise Poison(Reason.INVALID, f"slates: {controls} slates are CONTROL, want at most one")


def _check_positions(slate: Slate) -> None:
    positions = [item.position for item in slate.items]
    if len(set(positions)) < len(positions):
        raise Poison(Reason.INVALID, f"slate {slate.variant}: two items have one position")


def _check_texts(found: Impression) -> None:
    for slate in found.slates:
        if not all(item.text or item.attributes for item in slate.items):
            raise IdsOnly(found, f"slate {slate.variant}: an item has neither text nor attributes")
