r"""Impression to chat messages: what the simulated user is shown.

    system      the profile's wording; the same for every question, so its prefix is cached once for all
    user        # User Profile, ## History, # Exposure List; options last, so the questions of one
                impression share everything before them
    assistant   "Thought:\nStimulus:"   the model goes on from here

The layouts are the reference model's interface (UserMirrorer, arXiv 2508.18142, generator/template.py) and
must match it to the byte; the words come from a prompt profile (`settings.prompt_profiles`).  Every item text ends in a
newline and items are joined by one, so a blank line stands between them.

History is cut to entries strictly before the impression: an entry at its time may be the click itself.

`rendering` and `setting` do their work in steps (`worker.core.steps`): a long text, an item or an entry each.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from worker.core.flags import Flag
from worker.core.prompts.sanitise import clean, settle
from worker.core.prompts.template import fill, names
from worker.core.prompts.text_flags import Cleaner
from worker.core.prompts.vocabulary import Words
from worker.core.records import Domain, HistoryEntry, Impression, Item, User
from worker.core.simulation.questions import Option
from worker.core.steps import Steps, is_long, run

Clean = Callable[[str, int], str]  # a text and how much of it may be shown, to what is shown

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


def render_option(profile: Profile, impression: Impression, item: Item, cleaned: Clean | None = None) -> str:
    """Return an item as an option's text: its own text if it has one, else the domain's layout of its attributes."""
    return run(rendering(profile, impression, item, cleaned))


def rendering(profile: Profile, impression: Impression, item: Item, cleaned: Clean | None = None) -> Steps[str]:
    """Do the same in steps."""
    labels = profile.words.labels
    cleaned = cleaned or partial(clean, labels=labels)
    text = cleaned(item.text or "", MAX_OPTION_CHARS)
    if text:
        return text + "\n"
    exposure = _fitting(profile, impression.domain, item.attributes).exposure
    values = yield from _values(item.attributes, exposure, cleaned)
    values["new_release"] = _new_release(values.get("title", ""), impression.occurred_at)
    return fill(exposure, values, partial(settle, labels=labels)) or cleaned(item.item_id, MAX_NAME_CHARS) + "\n"


def option_flags(profile: Profile, impression: Impression, item: Item) -> set[str]:
    """Return the flags of what an option shows."""
    return run(flagging(profile, impression, item))


def flagging(profile: Profile, impression: Impression, item: Item) -> Steps[set[str]]:
    """Do the same in steps."""
    cleaner = Cleaner(profile.words.labels)
    yield from rendering(profile, impression, item, cleaner.clean)
    return cleaner.flags


def scene(profile: Profile, impression: Impression, history_limit: int) -> Scene:
    """Render what the questions share: profile, and the last `history_limit` entries before the impression."""
    return run(setting(profile, impression, history_limit))


def setting(profile: Profile, impression: Impression, history_limit: int) -> Steps[Scene]:
    """Do the same in steps."""
    layout = profile.layout(impression.domain)
    before = impression.past()
    kept = before[-history_limit:] if history_limit else ()
    cleaner = Cleaner(profile.words.labels)
    profile_text = yield from _user_profile(impression.user, layout, cleaner)
    history = []
    for entry in kept:
        yield None
        history.append((yield from _history_entry(profile, impression, entry, cleaner)))
    flags = frozenset(cleaner.flags | ({Flag.HISTORY_CUT} if len(kept) < len(before) else set()))
    return Scene(profile_text, tuple(history), flags)


def build(profile: Profile, shared: Scene, options: Sequence[Option], *, mode: str = "default") -> Prompt:
    """Return the prompt for options in presented order; the first is [A]."""
    exposure = "\n".join(f"[{letter(slot)}] {option.text}" for slot, option in enumerate(options))
    values = {"profile": shared.profile_text, "history": "\n".join(shared.history), "exposure": exposure}
    return Prompt(profile.system[mode], fill(profile.user, values), profile.prefix[mode])


def _fitting(profile: Profile, domain: Domain, attributes: Mapping[str, str]) -> Layout:
    """Return a domain's layout, or the generic one for an item without the attribute that names it."""
    layout = profile.layout(domain)
    named = not layout.needs or clean(attributes.get(layout.needs, ""), MAX_OPTION_CHARS, profile.words.labels)
    return layout if named else profile.domains["generic"]


def _values(
    attributes: Mapping[str, str], template: str, cleaned: Clean, max_chars: int = MAX_OPTION_CHARS
) -> Steps[dict[str, str]]:
    """Clean the attributes that a template shows."""
    shown = names(template)
    values = {}
    for name in sorted(shown - _OURS):
        if name in attributes:
            if is_long(attributes[name]):
                yield None
            values[name] = cleaned(attributes[name], max_chars)
    if "lines" in shown:
        values["lines"] = yield from _lines(attributes, max_chars, cleaned)
    return values


def _lines(attributes: Mapping[str, str], max_chars: int, cleaned: Clean) -> Steps[str]:
    """Write a line an attribute; name and value are cleaned as one, or a name could make a label of its line."""
    lines = []
    for name, value in attributes.items():
        if value:
            if is_long(name) or is_long(value):
                yield None
            lines.append(cleaned(f"{name[:MAX_NAME_CHARS]}: {value}", max_chars))
    return "\n".join(line for line in lines if line)


def _user_profile(user: User, layout: Layout, cleaner: Cleaner) -> Steps[str]:
    if user.profile_text is not None:
        lines = user.profile_text[:MAX_PROFILE_CHARS].split("\n")
        return "\n".join(cleaner.clean(line, MAX_PROFILE_CHARS) for line in lines)
    if not user.profile:
        return ""
    values = yield from _values(user.profile, layout.profile, cleaner.clean, MAX_PROFILE_CHARS)
    yield None
    return fill(layout.profile, values, cleaner.settle)


def _history_entry(profile: Profile, impression: Impression, entry: HistoryEntry, cleaner: Cleaner) -> Steps[str]:
    layout = profile.layout(impression.domain)
    template = _fitting(profile, impression.domain, entry.item.attributes).item
    text = cleaner.clean(entry.item.text or "", MAX_OPTION_CHARS)
    if not text:
        values = yield from _values(entry.item.attributes, template, cleaner.clean)
        text = fill(template, values, cleaner.settle)
    own = yield from _values(entry.item.attributes, layout.history, cleaner.clean)
    values = own | {
        "item": text or cleaner.clean(entry.item.item_id, MAX_NAME_CHARS),
        "time_diff": time_diff(entry.occurred_at, impression.occurred_at),
        "rating": "" if entry.rating is None else f"{entry.rating:.1f}",
    }
    shown = names(layout.history)
    if "action" in shown:
        values["action"] = cleaner.clean(entry.action or "", MAX_NAME_CHARS)
    if "review" in shown:
        values |= _review(entry.review or "", cleaner, split="summary" in shown)
    return fill(layout.history, values)


def _review(text: str, cleaner: Cleaner, *, split: bool) -> dict[str, str]:
    """Return a review as one text, or as summary and text: its first line sums it up."""
    if not split:
        return {"review": cleaner.clean(text, MAX_REVIEW_CHARS)}
    summary, _, rest = text.strip().partition("\n")
    return {"summary": cleaner.clean(summary, MAX_REVIEW_CHARS), "review": cleaner.clean(rest, MAX_REVIEW_CHARS)}


def _new_release(title: str, now_us: int) -> str:
    year = _YEAR.search(title)
    if not year or not int(year[1]) >= 1:
        return ""
    age_days = (datetime.fromtimestamp(now_us / 1e6, UTC) - datetime(int(year[1]), 1, 1, tzinfo=UTC)).days
    return "[New Release]" if age_days <= _NEW_RELEASE_DAYS else ""


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
