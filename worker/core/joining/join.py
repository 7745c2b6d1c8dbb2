"""How an event takes what it lacks from the facts about its items and its user.

    the event's own            always wins, field by field
    a version of before        the newest whose `valid_from` is not after the event's `occurred_at`
    only versions of after     the oldest of them; what was joined so is flagged `enriched_later`
    nothing is known           an option with neither text nor attributes is missing: the event waits; a user who is
                               not known, or an item of the history, is left as it came

>>> from worker.core.joining.facts import FactVersion
>>> versions = (FactVersion(10, ItemFacts("old")), FactVersion(20, ItemFacts("new")))
>>> [(found[0].text, found[1]) for at in (5, 10, 19, 20) if (found := as_of(versions, at))]
[('old', True), ('old', False), ('old', False), ('new', False)]
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from worker.core.attribute_maps import merged, nulls
from worker.core.errors import Poison
from worker.core.flags import Flag
from worker.core.joining.facts import UNKNOWN_SINCE, ItemFacts, UserFacts, Versions
from worker.core.records import MAX_ENTRIES, HistoryEntry, HistoryItem, Impression, Item, Reason, Slate, Text, User
from worker.core.simulation.questions import Question

F = TypeVar("F")

MAX_JOINED_CHARS = 4_000_000  # of all texts that one event takes: four times what Kafka lets it carry itself
MAX_NAMED = 5  # items in one message


@dataclass(frozen=True, slots=True)
class Later:
    """What of an event was joined from versions that are newer than it."""

    items: frozenset[str] = frozenset()
    user: bool = False  # of the profile, the history, or an item of the history

    def flags(self, question: Question) -> frozenset[str]:
        """Return the flags of a question: of its options alone, and of the user, who stands in each."""
        late = self.user or (self.items and any(option.item.item_id in self.items for option in question.options))
        return frozenset({Flag.ENRICHED_LATER}) if late else frozenset()


NOTHING_LATER = Later()


@dataclass(frozen=True, slots=True)
class Joined:
    """An event with what is known; `missing` are its options that still have neither text nor attributes."""

    impression: Impression
    later: Later
    missing: tuple[str, ...]
    num_found: int = 0  # items that were asked for and are known
    user_known: bool | None = None  # None: nobody asked


def as_of(versions: Versions[F], at_us: int) -> tuple[F, bool] | None:
    """Return the facts that held at a time, and whether they are newer than that; None if nothing is known."""
    if not versions:
        return None
    if len(versions) == 1:  # by far the most
        [only] = versions
        return only.facts, not UNKNOWN_SINCE < only.valid_from <= at_us
    before = [one for one in versions if UNKNOWN_SINCE < one.valid_from <= at_us]
    if before:
        return before[-1].facts, False
    return versions[0].facts, True


def with_user(impression: Impression, versions: Versions[UserFacts]) -> tuple[Impression, bool]:
    """Return an event with what is known of its user, and whether that is newer than the event."""
    found = as_of(versions, impression.occurred_at)
    if found is None:
        return impression, False
    (facts, late), user = found, impression.user
    text = user.profile_text
    if not text and not (user.profile and facts.profile):  # the text would hide the event's own profile
        text = facts.profile_text
    joined = replace(
        user, profile=merged(facts.profile, user.profile), profile_text=text, history=user.history or facts.history
    )
    # Profiles without a value are equal, whatever they have as null.
    took = joined != user or nulls(joined.profile) != nulls(user.profile)
    return (replace(impression, user=joined), late) if took else (impression, False)


def asked_items(impression: Impression) -> tuple[str, ...]:
    """Return the ids of the items that lack a text: those whose facts an event may take, each once."""
    shown = (item for slate in impression.slates for item in slate.items)
    past = (entry.item for entry in impression.user.history)
    return tuple(dict.fromkeys(item.item_id for part in (shown, past) for item in part if not item.text))


def with_items(
    impression: Impression, known: Mapping[str, Versions[ItemFacts]], *, user_is_late: bool = False
) -> Joined:
    """Return an event with what is known of its items.

    Raises `Poison` (`LIMIT`) if it would have more text or attributes than one event may have.
    """
    found = {
        item_id: held
        for item_id, versions in known.items()
        if (held := as_of(versions, impression.occurred_at)) is not None
    }
    if not found:
        return Joined(impression, Later(user=user_is_late), _missing(impression))
    late = {item_id for item_id, (_, is_late) in found.items() if is_late}
    slates = tuple(_slate(slate, found) for slate in impression.slates)
    user, taken = _past(impression.user, found)
    joined = replace(impression, slates=slates, user=user)
    _check(joined)
    later = (
        Later(frozenset(late), user_is_late or not late.isdisjoint(taken)) if late or user_is_late else NOTHING_LATER
    )
    return Joined(joined, later, _missing(joined), len(found))


def unknown(missing: tuple[str, ...], wait_s: float) -> Poison:
    """Return why an event with options that nobody knows is dead-lettered; ids are no text of the event."""
    more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
    named = ", ".join(ascii(one)[1:-1] for one in missing[:MAX_NAMED])
    return Poison(
        Reason.ITEM_UNKNOWN,
        f"no text is known after {wait_s:g} s for items that have only an id: {named}{more}",
    )


def _slate(slate: Slate, found: Mapping[str, tuple[ItemFacts, bool]]) -> Slate:
    return replace(slate, items=tuple(_item(item, found) for item in slate.items))


def _item(item: Item, found: Mapping[str, tuple[ItemFacts, bool]]) -> Item:
    held = found.get(item.item_id)
    if held is None or item.text:
        return item
    text, attributes = _merged(item.attributes, held[0])
    return Item(  # `replace` takes seven times as long, and an event has 20 to 3,200 of them
        item.item_id, item.position, item.row, item.column, item.kind, item.viewed, text, attributes,
        item.score, item.value, item.propensity,
    )  # fmt: skip


def _merged(own: Mapping[str, str], facts: ItemFacts) -> tuple[Text | None, Mapping[str, str]]:
    """Return text and attributes; a text would hide the event's own attributes, so it only comes where none is there.

    It comes beside them, too, where the facts have nothing but a text: an option must have one to be judged by.
    """
    text = None if own and facts.attributes else facts.text
    return text, merged(facts.attributes, own)


def _past(user: User, found: Mapping[str, tuple[ItemFacts, bool]]) -> tuple[User, frozenset[str]]:
    """Return the user with what is known of the history's items, and the ids of those that took something."""
    entries, taken = [], set()
    for entry in user.history:
        held = found.get(entry.item.item_id)
        if held is None or entry.item.text:
            entries.append(entry)
            continue
        text, attributes = _merged(entry.item.attributes, held[0])
        taken.add(entry.item.item_id)
        entries.append(_entry(entry, HistoryItem(entry.item.item_id, text, attributes)))
    return (replace(user, history=tuple(entries)) if taken else user), frozenset(taken)


def _entry(entry: HistoryEntry, item: HistoryItem) -> HistoryEntry:
    return HistoryEntry(item, entry.action, entry.rating, entry.review, entry.occurred_at)


def _missing(impression: Impression) -> tuple[str, ...]:
    bare = (item for slate in impression.slates for item in slate.items if not (item.text or item.attributes))
    return tuple(dict.fromkeys(item.item_id for item in bare))


def _check(joined: Impression) -> None:
    """Refuse what the catalogue makes too large: an event of 200 KB can name 3,200 items of any size."""
    shown = [item for slate in joined.slates for item in slate.items]
    past = [entry.item for entry in joined.user.history]
    num_entries = sum(len(item.attributes) for part in (shown, past) for item in part)
    if num_entries > MAX_ENTRIES:
        raise Poison(Reason.LIMIT, f"{num_entries:,} attributes with those joined, want at most {MAX_ENTRIES:,}")
    if num_entries + len(shown) + len(past) < MAX_JOINED_CHARS // 4_000:
        return  # each text is short enough that no sum can be too large
    num_chars = sum(_chars(item) for part in (shown, past) for item in part)
    if num_chars > MAX_JOINED_CHARS:
        raise Poison(Reason.LIMIT, f"{num_chars:,} characters with those joined, want at most {MAX_JOINED_CHARS:,}")


def _chars(item: Item | HistoryItem) -> int:
    return len(item.text or "") + sum(len(name) + len(value) for name, value in item.attributes.items())
