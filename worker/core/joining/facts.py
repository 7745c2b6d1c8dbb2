"""What a catalogue says of items and users: one record of its topic, or one row of its file, checked.

    ItemFacts {"item_id": "i7", "valid_from": ..., "text": null, "attributes": {"title": "Heat"}}
    UserFacts {"user_id": "u1", "valid_from": ..., "profile": {"age": "34"}, "history": [...]}

Each is a version: it holds from `valid_from` on.  What is stored is its body, compact JSON without the id and the time,
which `items_facts` and `user_facts` read back; a body was validated before it was stored.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from annotated_types import MaxLen
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from worker.core.attribute_maps import known, with_nulls
from worker.core.errors import Poison
from worker.core.records import FIRST_BAD, MAX_HISTORY, HistoryEntry, HistoryItem, Id, Reason, Text, Texts, TimeUs
from worker.core.validation_text import wanted

F = TypeVar("F")

MAX_VERSIONS = 16  # of one item or user; the oldest go first
MAX_BODY_CHARS = 200_000  # of one version: 250 entries of a history with ids and titles are 30,000
UNKNOWN_SINCE = 0  # a version of which nobody says since when it holds


class FactKind(StrEnum):
    """What facts are about; the name of the topic by default, and a label of the metrics."""

    ITEMS = "items"
    """Texts and attributes of items."""

    USERS = "users"
    """Profiles and histories of users."""

    @property
    def schema(self) -> str:
        """The name of the records."""
        return "ItemFacts" if self is FactKind.ITEMS else "UserFacts"

    @property
    def id_field(self) -> str:
        """The field that has the id, in a record and in a file."""
        return "item_id" if self is FactKind.ITEMS else "user_id"


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What is known of an item."""

    text: Text | None = None
    attributes: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserFacts:
    """What is known of a user; `history` is oldest first."""

    profile: Texts = field(default_factory=dict)
    profile_text: Text | None = None
    history: Annotated[tuple[HistoryEntry, ...], MaxLen(MAX_HISTORY), FIRST_BAD] = ()


@dataclass(frozen=True, slots=True)
class FactVersion(Generic[F]):
    """Facts that hold from a time on, microseconds since 1970; `UNKNOWN_SINCE` if nobody says since when."""

    valid_from: int
    facts: F


Versions = Sequence[FactVersion[F]]  # of one item or user, oldest first


@dataclass(frozen=True, slots=True)
class Statement:
    """One version of one item or user, as it is stored."""

    id: str
    valid_from: int
    body: str


@dataclass(frozen=True, slots=True)
class _Frame:
    id: Id
    valid_from: TimeUs | None = None


_FRAME: TypeAdapter[_Frame] = TypeAdapter(_Frame)
_ITEM: TypeAdapter[ItemFacts] = TypeAdapter(ItemFacts)
_USER: TypeAdapter[UserFacts] = TypeAdapter(UserFacts)


def key_id(key: bytes | None) -> str:
    """Return the id that a record's key says.  Raises `Poison` if it is no UTF-8 text, or not there."""
    try:
        found = (key or b"").decode()
    except UnicodeDecodeError:
        found = ""
    if not found:
        raise Poison(Reason.INVALID, "the key is empty or not UTF-8; want the id as the record's key")
    return found


def statement(
    kind: FactKind, plain: Mapping[str, object], *, key: bytes | None = None, since_us: int | None = None
) -> Statement:
    """Check a record or a row.

    Where it says no `valid_from`, `since_us`, the time of the record, is taken.  A record's `key` is its id: a
    tombstone has nothing else.  Raises `Poison` with what was seen and wanted.
    """
    said = plain.get(kind.id_field)
    if key is not None and said not in (None, key_id(key)):
        raise Poison(
            Reason.INVALID,
            f"{kind.id_field} is not the record's key; want one id in both, so that a tombstone finds it",
        )
    frame = _validated(_FRAME, {"id": key_id(key) if key is not None else said, "valid_from": plain.get("valid_from")})
    since = since_us if frame.valid_from is None else frame.valid_from
    rest = {name: value for name, value in plain.items() if name not in (kind.id_field, "valid_from")}
    body = _item_body(rest) if kind is FactKind.ITEMS else _user_body(rest)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    if len(text) > MAX_BODY_CHARS:
        raise Poison(Reason.LIMIT, f"{len(text):,} characters in all, want at most {MAX_BODY_CHARS:,}")
    return Statement(frame.id, UNKNOWN_SINCE if since is None else since, text)


def items_facts(bodies: Sequence[str]) -> list[ItemFacts]:
    """Return the facts of stored bodies, in order; all at once, in half of the time that one after the other takes."""
    return [ItemFacts(one.get("text"), one.get("attributes", {})) for one in _read(f"[{','.join(bodies)}]")]


def user_facts(body: str) -> UserFacts:
    """Return the facts of a stored body."""
    found = _read(body)
    return UserFacts(
        _map(found, "profile"), found.get("profile_text"), tuple(_entry(one) for one in found.get("history", ()))
    )


def _map(of: Mapping[str, Any], name: str) -> Mapping[str, str]:
    found: Mapping[str, str] = of.get(name, {})
    return known(found) if None in found.values() else found


def _read(text: str) -> Any:
    """Read JSON of ours; in half of the time that `json.loads` takes, because names are made once."""
    return from_json(text, cache_strings="keys")


def _item_body(plain: Mapping[str, object]) -> Mapping[str, object]:
    facts = _validated(_ITEM, plain)
    if not facts.text and not facts.attributes:
        raise Poison(Reason.INVALID, "has neither text nor attributes; want one of them, or a tombstone")
    return _given(text=facts.text, attributes=dict(facts.attributes))


def _user_body(plain: Mapping[str, object]) -> Mapping[str, object]:
    history = plain.get("history")
    if isinstance(history, list | tuple) and len(history) > MAX_HISTORY:
        plain = {**plain, "history": history[-MAX_HISTORY:]}  # the newest, as of an event
    facts = _validated(_USER, plain)
    entries = [
        _given(
            item_id=entry.item.item_id, text=entry.item.text, attributes=with_nulls(entry.item.attributes),
            action=entry.action, rating=entry.rating, review=entry.review, occurred_at=entry.occurred_at,
        )
        for entry in facts.history
    ]  # fmt: skip
    return _given(profile=with_nulls(facts.profile), profile_text=facts.profile_text, history=entries)


def _entry(found: Mapping[str, Any]) -> HistoryEntry:
    return HistoryEntry(
        HistoryItem(found["item_id"], found.get("text"), _map(found, "attributes")),
        found.get("action"), found.get("rating"), found.get("review"), found.get("occurred_at"),
    )  # fmt: skip


def _given(**values: object) -> Mapping[str, object]:
    return {name: value for name, value in values.items() if value not in (None, {}, [])}


def _validated(adapter: TypeAdapter[F], plain: Mapping[str, object]) -> F:
    try:
        return adapter.validate_python(dict(plain))
    except ValidationError as error:
        told = (f"{_place(one['loc'])}: {wanted(dict(one))}" for one in error.errors()[:5])
        raise Poison(Reason.INVALID, "; ".join(told)) from error


def _place(loc: tuple[int | str, ...]) -> str:
    """Name a field; what stands within a map is foreign text, which no log shall hold."""
    return str(loc[0]) if len(loc) == 1 else f"{loc[0]}, entry {loc[1]}" if isinstance(loc[1], int) else f"{loc[0]}.KEY"
