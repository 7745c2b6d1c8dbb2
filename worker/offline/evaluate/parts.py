"""What can be taken out of a question, to see what it is worth: `evaluate --ablate history,profile.age,...`.

    history          all entries of the history        history:5        all but the last five
    profile          the user's profile                profile.NAME     one attribute of it
    ratings, reviews, actions, times                   of the entries of the history
    attributes.NAME                                    one attribute of items, shown and past

A ready scene is text, so only its profile and its history can be taken out.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from worker.core.errors import BadSettings
from worker.core.records import HistoryEntry, Impression, User
from worker.core.suggestions import did_you_mean

PARTS = ("history", "profile", "ratings", "reviews", "actions", "times")
NAMED = ("profile", "attributes")
_OF_TEXTS = ("history", "profile")
_WANT = f"want some of {', '.join(PARTS)}, history:N, profile.NAME, attributes.NAME"
Without = Callable[[Impression], Impression]


def without(part: str) -> Without:
    """Return what takes a part out of an impression.  Raises `BadSettings` for a part that is none."""
    name, _, rest = part.partition(".")
    if rest and name in NAMED:
        return _named(name, rest)
    kind, colon, number = part.partition(":")
    if colon and kind == "history" and number.isdecimal():
        return _shorter(int(number))
    if part not in PARTS:
        raise BadSettings(f"--ablate {part}: {_WANT}{did_you_mean(part, PARTS)}")
    return _PARTS[part]


def refuse_texts(part: str, impression: Impression, place: str) -> None:
    """Refuse to take something out of a ready text.  Raises `BadSettings`."""
    if impression.texts_as_is and part.partition(":")[0] not in _OF_TEXTS:
        raise BadSettings(f"{place}: is a ready scene, of which only history and profile can be ablated, not {part}")


def _of_user(change: Callable[[User], User]) -> Without:
    return lambda impression: replace(impression, user=change(impression.user))


def _of_entries(change: Callable[[HistoryEntry], HistoryEntry]) -> Without:
    return _of_user(lambda user: replace(user, history=tuple(map(change, user.history))))


def _shorter(number: int) -> Without:
    return _of_user(lambda user: replace(user, history=user.history[-number:] if number else ()))


def _named(of: str, name: str) -> Without:
    def less(texts: Mapping[str, str]) -> dict[str, str]:
        return {one: text for one, text in texts.items() if one != name}

    if of == "profile":
        return _of_user(lambda user: replace(user, profile=less(user.profile)))

    def change(impression: Impression) -> Impression:
        slates = tuple(
            replace(slate, items=tuple(replace(item, attributes=less(item.attributes)) for item in slate.items))
            for slate in impression.slates
        )
        history = tuple(
            replace(entry, item=replace(entry.item, attributes=less(entry.item.attributes)))
            for entry in impression.user.history
        )
        return replace(impression, slates=slates, user=replace(impression.user, history=history))

    return change


_PARTS: dict[str, Without] = {
    "history": _shorter(0),
    "profile": _of_user(lambda user: replace(user, profile={}, profile_text="" if user.profile_text else None)),
    "ratings": _of_entries(lambda entry: replace(entry, rating=None)),
    "reviews": _of_entries(lambda entry: replace(entry, review=None)),
    "actions": _of_entries(lambda entry: replace(entry, action=None)),
    "times": _of_entries(lambda entry: replace(entry, occurred_at=None)),
}
