"""A line of the reference's scene files as a real choice.

    {"text": {"profile": "...", "history": "...", "action_list": ["...", ...]}, "user_id": ..., "item_id": ...,
     "timestamp": "2019-11-15 08:00:00", "item_pos": 2, "choice_cnt": 5, "dataset": "MIND", "impression_list": [...]}

The texts are used as they are (`texts_as_is`), so the prompt is the reference's to the byte with an imported profile.
Item ids of the options are those of `impression_list` if there is one per option, else hashes of their texts: the
same text is the same item.  The order is the worker's, or the given one with `protocol=reference`.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from worker.core.records import (
    MAX_ID,
    MAX_TIME_US,
    MIN_TIME_US,
    Domain,
    HistoryEntry,
    HistoryItem,
    IdKind,
    Impression,
    Item,
    Role,
    Slate,
    User,
)
from worker.core.seeding import digest
from worker.core.simulation.questions import MAX_OPTIONS
from worker.offline.evaluate.scene import LeftOut, RealChoice, Why

FIELDS = frozenset({"text", "item_pos"})  # by which a line is known as a scene
WANT = "want text.profile, text.history and text.action_list, and item_pos, as the reference writes them"
DOMAINS = {
    "ml-1m": Domain.MOVIES, "mind": Domain.NEWS, "goodreads": Domain.BOOKS, "lastfm": Domain.MUSIC,
    "steam": Domain.GAMES, "kuairec2": Domain.VIDEOS, "mobilerec": Domain.APPS,
}  # fmt: skip
_AMAZON = "amazon"  # Amazon-Beauty and others
_NO_TIME_US = MIN_TIME_US  # of a scene without a timestamp: its texts say when things were


def read(place: str, line: int, content: Mapping[str, object], line_digest: str) -> RealChoice | LeftOut:
    """Return the real choice of a scene, or why it is none."""
    text = content.get("text")
    options = text.get("action_list") if isinstance(text, Mapping) else None
    if not isinstance(text, Mapping) or not isinstance(options, list) or not options:
        return LeftOut(place, Why.NOT_READ, f"text.action_list: has no options; {WANT}")
    if bad := _unreadable(options, content):
        return LeftOut(place, Why.NOT_READ, bad)
    position = content.get("item_pos")
    if position is None:
        return LeftOut(place, Why.NO_CHOICE, "item_pos: is missing, so it is not known what was chosen")
    if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < len(options):
        words = f"item_pos: {position!r} is not offered, want 0 to {len(options) - 1}, a place in text.action_list"
        return LeftOut(place, Why.NOT_OFFERED, words)
    dataset = str(content.get("dataset") or "scenes")
    impression = Impression(
        event_id=line_digest,
        occurred_at=_time_us(content.get("timestamp")) or _NO_TIME_US,
        user=_user(text, f"{dataset}/{content.get('user_id', line_digest)}"),
        slates=(Slate("scene", _items(options, content), Role.CONTROL, shown=True),),
        domain=_domain(dataset),
        texts_as_is=True,
    )
    item = impression.slates[0].items[position]
    return RealChoice(place, line, impression, frozenset({(item.item_id, item.position)}), dataset, line_digest)


def _unreadable(options: list[object], content: Mapping[str, object]) -> str:
    """Return what is wrong with a scene's texts, options, their number or its time, "" for nothing."""
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "has half of a character (a surrogate escape without its other half), want text that is UTF-8"
    if not all(isinstance(one, str) and one for one in options):
        return f"text.action_list: want a list of texts; {WANT}"
    if len(options) > MAX_OPTIONS:
        return f"text.action_list: {len(options)} options, want at most {MAX_OPTIONS}"
    if (count := content.get("choice_cnt", len(options))) != len(options):
        return f"choice_cnt: {count!r}, but text.action_list has {len(options)} options"
    if _time_us(content.get("timestamp")) is None:
        return f"timestamp: {content.get('timestamp')!r}, want YYYY-MM-DD HH:MM:SS"
    return ""


def _user(text: Mapping[str, object], name: str) -> User:
    history = text.get("history") or ""
    entries = history if isinstance(history, list) else str(history).split("\n\n") if history else []
    return User(
        user_id=name[:MAX_ID],
        id_kind=IdKind.USER,
        profile_text=str(text.get("profile") or ""),
        history=tuple(
            HistoryEntry(HistoryItem(f"history-{number}", text=str(one)))
            for number, one in enumerate(entries)
            if str(one).strip()
        ),
    )


def _items(options: list[str], content: Mapping[str, object]) -> tuple[Item, ...]:
    listed = content.get("impression_list")
    ids = [str(one)[:MAX_ID] for one in listed] if isinstance(listed, list) and len(listed) == len(options) else []
    ids = ids or [digest("scene", one).hex() for one in options]
    return tuple(
        Item(item_id or f"option-{place}", place, text=text)
        for place, (item_id, text) in enumerate(zip(ids, options, strict=True))
    )


def _domain(dataset: str) -> Domain:
    """Return the domain whose layout the texts of a data set have.

    >>> str(_domain("Amazon-Beauty")), str(_domain("MIND")), str(_domain("ours"))
    ('products', 'news', 'generic')
    """
    name = dataset.lower()
    return Domain.PRODUCTS if name.startswith(_AMAZON) else DOMAINS.get(name, Domain.GENERIC)


def _time_us(value: object) -> int | None:
    """Return a time in microseconds since 1970; None for one that is none."""
    if value is None or value == "":
        return _NO_TIME_US
    try:
        at = datetime.fromisoformat(str(value))
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        found = round(at.timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None
    return min(MAX_TIME_US, max(MIN_TIME_US, found))
