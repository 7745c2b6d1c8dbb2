r"""Impression to chat messages: what the simulated user is shown.

    system      the profile's wording; the same for every question, so its prefix is cached once for all
    user        # User Profile, ## History, # Exposure List; options last, so the questions of one
                impression share everything before them
    assistant   "Thought:\nStimulus:"   the model goes on from here

The layouts are the reference model's interface (UserMirrorer, arXiv 2508.18142, generator/template.py) and
must match it to the byte; the words come from a prompt profile (`worker.profiles`).  Every item text ends in a
newline and items are joined by one, so a blank line stands between them.

History is cut to entries strictly before the impression: an entry at its time may be the click itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from worker.questions import Option
from worker.records import Domain, HistoryEntry, HistoryItem, Impression, Item, User
from worker.sanitise import altered, clean, suspicious
from worker.template import fill, names
from worker.words import Words

MAX_OPTION_CHARS = 600  # characters of one option or history item: 150 tokens, a long item of the reference data
MAX_PROFILE_CHARS = 1_500
MAX_REVIEW_CHARS = 300
MAX_NAME_CHARS = 60  # of an attribute's name, an action, or an id that stands for its item
_NEW_RELEASE_DAYS = 365  # since 1 January of the title's year, as in the reference
# Places that are filled from elsewhere than attributes.
_OURS = frozenset({"lines", "new_release", "item", "time_diff", "rating", "action", "summary", "review"})
_YEAR = re.compile(r"\((\d{4})\)\s*$")


@dataclass(frozen=True, slots=True)
class Layout:
    """The layouts of one domain; `needs` is the attribute without which an item falls back to plain lines."""

    profile: str
    item: str
    exposure: str
    history: str
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Writing:
    """How a rationale is sampled."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Profile:
    """A prompt profile: all wording that the model sees."""

    name: str
    sha256: str
    system: Mapping[str, str]  # by mode: default, direct
    user: str
    prefix: Mapping[str, str]  # by mode
    stop: str
    domains: Mapping[str, Layout]
    words: Words
    writing: Writing
    imported_from: str | None = None  # SHA-256 of the reference's file that the wording was taken from

    def layout(self, domain: Domain) -> Layout:
        """Return the layout of a domain; a domain without its own has the generic one."""
        return self.domains.get(domain, self.domains["generic"])


@dataclass(frozen=True, slots=True)
class Prompt:
    """Two messages and the start of the third, to be continued by the model."""

    system: str
    user: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Scene:
    """What all questions of one impression share: profile and history, rendered once."""

    profile_text: str
    history: tuple[str, ...]  # oldest first
    flags: frozenset[str]


def letter(slot: int) -> str:
    """Return the letter of a 0-based slot: A for 0."""
    return chr(ord("A") + slot)


def time_diff(then_us: int | None, now_us: int) -> str:
    """Return the largest unit only, as the reference writes it; "earlier" if the time is not known.

    >>> [time_diff(t, 90_000_000_000) for t in (0, 29_000_000_000, 86_400_000_000, 90_000_000_001, None)]
    ['1 day ago', '16 hours ago', '1 hour ago', 'just now', 'earlier']
    """
    if then_us is None:
        return "earlier"
    seconds = (now_us - then_us) // 1_000_000
    for unit, length in (("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = seconds // length
        if count >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def render_option(profile: Profile, impression: Impression, item: Item) -> str:
    """Return an item as an option's text: its own text if it has one, else the domain's layout of its attributes."""
    text = clean(item.text or "", MAX_OPTION_CHARS)
    if text:
        return text + "\n"
    layout = profile.layout(impression.domain)
    values = _values(item.attributes, layout)
    values["new_release"] = _new_release(values.get("title", ""), impression.occurred_at)
    if layout.needs and not values.get(layout.needs):
        layout = profile.domains["generic"]
    return fill(layout.exposure, values) or clean(item.item_id, MAX_NAME_CHARS) + "\n"


def scene(profile: Profile, impression: Impression, history_limit: int) -> Scene:
    """Render what the questions share: profile, and the last `history_limit` entries before the impression."""
    layout = profile.layout(impression.domain)
    before = [
        entry
        for entry in impression.user.history
        if entry.occurred_at is None or entry.occurred_at < impression.occurred_at
    ]
    kept = before[-history_limit:] if history_limit else []
    flags = _text_flags(impression) | ({"history_cut"} if len(kept) < len(before) else set())
    return Scene(
        profile_text=_user_profile(impression.user, layout),
        history=tuple(_history_entry(profile, layout, entry, impression.occurred_at) for entry in kept),
        flags=frozenset(flags),
    )


def build(profile: Profile, shared: Scene, options: Sequence[Option], *, mode: str = "default") -> Prompt:
    """Return the prompt for options in presented order; the first is [A]."""
    exposure = "\n".join(f"[{letter(slot)}] {option.text}" for slot, option in enumerate(options))
    values = {"profile": shared.profile_text, "history": "\n".join(shared.history), "exposure": exposure}
    return Prompt(profile.system[mode], fill(profile.user, values), profile.prefix[mode])


def _values(attributes: Mapping[str, str], layout: Layout) -> dict[str, str]:
    values = {name: clean(value, MAX_OPTION_CHARS) for name, value in attributes.items()}
    if "{lines}" in layout.exposure or not values.get(layout.needs):
        values["lines"] = _lines(attributes, MAX_OPTION_CHARS)
    return values


def _lines(attributes: Mapping[str, str], max_chars: int) -> str:
    """Write a line an attribute; name and value are cleaned as one, or a name could make a label of its line."""
    lines = (clean(f"{name[:MAX_NAME_CHARS]}: {value}", max_chars) for name, value in attributes.items() if value)
    return "\n".join(line for line in lines if line)


def _user_profile(user: User, layout: Layout) -> str:
    if user.profile_text is not None:
        return "\n".join(clean(line, MAX_PROFILE_CHARS) for line in user.profile_text[:MAX_PROFILE_CHARS].split("\n"))
    if not user.profile:
        return ""
    values = {name: clean(value, MAX_PROFILE_CHARS) for name, value in user.profile.items()}
    values["lines"] = _lines(user.profile, MAX_PROFILE_CHARS)
    return fill(layout.profile, values)


def _history_entry(profile: Profile, layout: Layout, entry: HistoryEntry, now_us: int) -> str:
    values = _values(entry.item.attributes, layout)
    text = clean(entry.item.text or "", MAX_OPTION_CHARS)
    plain = layout if values.get(layout.needs) or not layout.needs else profile.domains["generic"]
    values |= {
        "item": text or fill(plain.item, values) or clean(entry.item.item_id, MAX_NAME_CHARS),
        "time_diff": time_diff(entry.occurred_at, now_us),
        "rating": "" if entry.rating is None else f"{entry.rating:.1f}",
        "action": clean(entry.action or "", MAX_NAME_CHARS),
        **_review(entry.review or "", layout),
    }
    return fill(layout.history, values)


def _review(text: str, layout: Layout) -> dict[str, str]:
    """Return a review as one text, or as summary and text where the layout has both: its first line sums it up."""
    if "summary" not in names(layout.history):
        return {"review": clean(text, MAX_REVIEW_CHARS)}
    summary, _, rest = text.strip().partition("\n")
    return {"summary": clean(summary, MAX_REVIEW_CHARS), "review": clean(rest, MAX_REVIEW_CHARS)}


def _new_release(title: str, now_us: int) -> str:
    year = _YEAR.search(title)
    if not year or not int(year[1]) >= 1:
        return ""
    age_days = (datetime.fromtimestamp(now_us / 1e6, UTC) - datetime(int(year[1]), 1, 1, tzinfo=UTC)).days
    return "[New Release]" if age_days <= _NEW_RELEASE_DAYS else ""


def _texts(impression: Impression) -> Iterator[tuple[str, int]]:
    """List every untrusted text that can reach the prompt, and how many characters of it may."""
    user = impression.user
    yield user.profile_text or "", MAX_PROFILE_CHARS
    yield from _named(user.profile, MAX_PROFILE_CHARS)
    for entry in user.history:
        yield entry.action or "", MAX_NAME_CHARS
        yield entry.review or "", MAX_REVIEW_CHARS
        yield from _item_texts(entry.item)
    for slate in impression.slates:
        for item in slate.items:
            yield from _item_texts(item)


def _item_texts(item: Item | HistoryItem) -> Iterator[tuple[str, int]]:
    yield item.text or "", MAX_OPTION_CHARS
    yield from _named(item.attributes, MAX_OPTION_CHARS)


def _named(attributes: Mapping[str, str], max_chars: int) -> Iterator[tuple[str, int]]:
    return ((f"{name}: {value}", max_chars) for name, value in attributes.items())


def _text_flags(impression: Impression) -> set[str]:
    """Tell what is done to the texts, and whether one of them reads like an instruction."""
    flags = set()
    for text, max_chars in _texts(impression):
        if len(text) > max_chars:
            flags.add("text_cut")
        flags |= _found(text) if len(text) <= MAX_OPTION_CHARS else _found.__wrapped__(text)
    return flags


@lru_cache(maxsize=20_000)  # titles and attributes come again in every slate; of at most MAX_OPTION_CHARS, so 20 MB
def _found(text: str) -> frozenset[str]:
    flags = {"sanitised": altered(text), "injection_suspected": suspicious(text)}
    return frozenset(flag for flag, found in flags.items() if found)


def attributes(layout: Layout) -> dict[str, list[str]]:
    """List the attribute names that a domain's layout uses, of the user's profile, items, and items of the history.

    Where every attribute is shown as a line there are none to list.
    """
    item = names(layout.exposure) - _OURS
    return {
        "profile": sorted(names(layout.profile) - _OURS),
        "item": sorted(item),
        "history": sorted((names(layout.item) | names(layout.history)) - _OURS - item),
    }
