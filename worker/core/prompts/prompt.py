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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.core.attribute_maps import nulls
from worker.core.flags import Flag
from worker.core.prompts.attribute_values import OURS, also_shown, shows_any, values
from worker.core.prompts.sanitise import Fence, visible
from worker.core.prompts.shop_text import Html
from worker.core.prompts.template import Value, fill, fixed_starts, names
from worker.core.prompts.text_flags import Cleaner
from worker.core.prompts.vocabulary import Words
from worker.core.records import MAX_TEXT, Domain, HistoryEntry, Impression, Item
from worker.core.simulation.questions import Option
from worker.core.steps import Steps, run

MAX_OPTION_CHARS = 600  # characters of one option or history item: 150 tokens, a long item of the reference data
MAX_PROFILE_CHARS = 1_500
MAX_REVIEW_CHARS = 300  # of a review in the domain `generic`; the others' layouts bound it by words, or not at all
MAX_NAME_CHARS = 60  # of an attribute's name, an action, or an id that stands for its item
_NEW_RELEASE_DAYS = 365  # since 1 January of the title's year, as in the reference
_YEAR, _TITLE_YEAR = re.compile(r"([0-9]{4})"), re.compile(r"\(([0-9]{4})\)")
_OWN_HEADING = "## User Profile\n"  # of the profile in a ready scene: the layouts of movies, games and videos have it
NOT_READ = "not read"  # the action of a book that was not read: neither its rating nor its review is shown
NOT_RATED = "Not Rated"
# What the data of products has for some prices that are missing.  As in the reference, an option shows it as missing.
_NO_PRICE = "None"
# Steam's catalogue has entities in its lists ("Animation &amp; Modeling"), and the reference was trained on them.
_HTML_KEPT = {Domain.GAMES: frozenset({"genres", "tags", "specifications"})}


@dataclass(frozen=True, slots=True)
class DomainLayout:
    """The layouts of one domain; `needs`, if any, is the attribute without which an item falls back to plain lines."""

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
    domains: Mapping[str, DomainLayout]
    words: Words
    writing: Writing
    imported_from: str | None = None  # SHA-256 of the reference's file that the wording was taken from
    # False: values stand as the data has them, as the reference's own code shows them: no HTML is read, no currency, no
    # list between "|", no text is cut at our lengths, and entries without a time stay.
    reads_html: bool = True

    def layout(self, domain: Domain) -> DomainLayout:
        """Return the layout of a domain; a domain without its own has the generic one."""
        return self.domains.get(domain, self.domains["generic"])

    def limit(self, max_chars: int) -> int:
        """Return how many characters are shown of a text that this project limits, and the reference does not."""
        return max_chars if self.reads_html else MAX_TEXT

    def html(self, domain: Domain) -> Html:
        """Return which texts of a domain's events are read as HTML."""
        return Html(self.reads_html, _HTML_KEPT.get(domain, frozenset()))


@dataclass(frozen=True, slots=True)
class Prompt:
    """Two messages and the start of the third, to be continued by the model."""

    system: str
    user: str
    prefix: str
    occurred_at: int | None = None  # of the impression, microseconds since 1970: the date that a chat template writes


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


def render_option(profile: Profile, impression: Impression, item: Item, fence: Fence | None = None) -> str:
    """Return an item as an option's text: its own text if it has one, else the domain's layout of its attributes."""
    return run(rendering(profile, impression, item, fence))


def rendering(profile: Profile, impression: Impression, item: Item, fence: Fence | None = None) -> Steps[str]:
    """Do the same in steps."""
    fence = fence or Fence(profile.words.labels)
    if impression.texts_as_is and item.text:
        ready = _ready(item.text, fence, profile.layout(impression.domain).exposure)
        if ready.strip():
            return ready
    html = profile.html(impression.domain)
    text = fence.clean(fence.read_html(html, item.text or "").strip(), profile.limit(MAX_OPTION_CHARS))
    if text.strip():
        return text + "\n"
    exposure = fitting(profile, impression.domain, item.attributes).exposure
    shown = yield from values(item.attributes, exposure, fence, profile.limit(MAX_OPTION_CHARS), html)
    if impression.domain is Domain.PRODUCTS and item.attributes.get("price") == _NO_PRICE:
        shown.pop("price", None)
    shown["new_release"] = _new_release(item.attributes, impression.occurred_at)
    return _settled(exposure, shown, fence) or fence.clean(item.item_id, MAX_NAME_CHARS) + "\n"


def option_flags(profile: Profile, impression: Impression, item: Item) -> set[str]:
    """Return the flags of what an option shows."""
    return run(flagging(profile, impression, item))


def flagging(profile: Profile, impression: Impression, item: Item) -> Steps[set[str]]:
    """Do the same in steps."""
    cleaner = Cleaner(profile.words.labels)
    yield from rendering(profile, impression, item, cleaner)
    return cleaner.flags


def scene(profile: Profile, impression: Impression, history_limit: int) -> Scene:
    """Render what the questions share: profile, and the last `history_limit` entries before the impression."""
    return run(setting(profile, impression, history_limit))


def setting(profile: Profile, impression: Impression, history_limit: int) -> Steps[Scene]:
    """Do the same in steps."""
    before = impression.past(offered_too=not profile.reads_html)
    kept = before[-history_limit:] if history_limit else ()
    cleaner = Cleaner(profile.words.labels)
    profile_text = yield from _user_profile(profile, impression, cleaner)
    history = []
    for number, entry in enumerate(kept, start=1):
        yield None
        after = (kept[number].item.text or "") if number < len(kept) else ""
        history.append((yield from _history_entry(profile, impression, entry, cleaner, after)))
    flags = frozenset(cleaner.flags | ({Flag.HISTORY_CUT} if len(kept) < len(before) else set()))
    return Scene(profile_text, tuple(history), flags)


def build(profile: Profile, shared: Scene, options: Sequence[Option], *, mode: str = "default") -> Prompt:
    """Return the prompt for options in presented order; the first is [A]."""
    exposure = "\n".join(f"[{letter(slot)}] {option.text}" for slot, option in enumerate(options))
    parts = {"profile": shared.profile_text, "history": "\n".join(shared.history), "exposure": exposure}
    return Prompt(profile.system[mode], fill(profile.user, parts), profile.prefix[mode])


def fitting(profile: Profile, domain: Domain, attributes: Mapping[str, str]) -> DomainLayout:
    """Return a domain's layout, or the generic one for an item with none of the layout's attributes.

    A profile may name one attribute that decides instead.
    """
    layout = profile.layout(domain)
    if layout.needs:
        fits = bool(visible(attributes.get(layout.needs, "")).strip())
    else:
        fits = shows_any(layout.exposure, attributes) or shows_any(layout.item, attributes)
    return layout if fits else profile.domains["generic"]


def _ready(text: str, fence: Fence, template: str, after: str = "") -> str:
    """Return a text of a ready scene as it is, but for the fence.

    One without a line break at its end has the layout's end, or one line break if the text `after` it begins with
    another: then a scene's history was split at its blank lines.
    """
    shown = fence.clean_text(text, MAX_TEXT, fence.of_structure(fixed_starts(template)))
    if shown.endswith("\n"):
        return shown
    return shown + ("\n" if after.startswith("\n") else template[len(template.rstrip("\n")) :])


def _ready_profile(text: str, fence: Fence) -> str:
    """Return the profile of a ready scene, which may begin with a heading of its own."""
    heading = _OWN_HEADING if text.startswith(_OWN_HEADING) else ""
    return heading + fence.clean_text(text[len(heading) :], MAX_TEXT)


def _user_profile(profile: Profile, impression: Impression, cleaner: Cleaner) -> Steps[str]:
    user, layout, html = impression.user, profile.layout(impression.domain), profile.html(impression.domain)
    if user.profile_text is not None:
        if impression.texts_as_is:
            return _ready_profile(user.profile_text, cleaner)
        return cleaner.clean_text(cleaner.read_html(html, user.profile_text), profile.limit(MAX_PROFILE_CHARS))
    if not (user.profile or nulls(user.profile)):
        return ""
    template = layout.profile if shows_any(layout.profile, user.profile) else profile.domains["generic"].profile
    shown = yield from values(user.profile, template, cleaner, profile.limit(MAX_PROFILE_CHARS), html)
    yield None
    return _settled(template, shown, cleaner)


def _history_entry(
    profile: Profile, impression: Impression, entry: HistoryEntry, cleaner: Cleaner, after: str
) -> Steps[str]:
    """Render a past interaction; `after` is the text of the next one."""
    layout, html = profile.layout(impression.domain), profile.html(impression.domain)
    if impression.texts_as_is and entry.item.text:
        return _ready(entry.item.text, cleaner, layout.history, after)
    template = fitting(profile, impression.domain, entry.item.attributes).item
    limit = profile.limit(MAX_OPTION_CHARS)
    text = cleaner.clean(cleaner.read_html(html, entry.item.text or "").strip(), limit)
    if not text.strip():
        shown = yield from values(entry.item.attributes, template, cleaner, limit, html)
        text = _settled(template, shown, cleaner)
    own = yield from values(entry.item.attributes, layout.history, cleaner, limit, html)
    said = yield from values(
        _behavior(entry, cleaner), layout.history, cleaner, profile.limit(MAX_REVIEW_CHARS), html, of_entry=True
    )
    frame: dict[str, Value] = {
        "item": text or cleaner.clean(entry.item.item_id, MAX_NAME_CHARS),
        "time_diff": time_diff(entry.occurred_at, impression.occurred_at),
    }
    return _settled(layout.history, own | said | frame, cleaner)


def _settled(template: str, shown: Mapping[str, Value], fence: Fence) -> str:
    """Fill a template, and break what its values make together."""
    return fence.settle(fill(template, shown), fence.of_structure(fixed_starts(template)))


def _behavior(entry: HistoryEntry, fence: Fence) -> dict[str, str]:
    """Return what the user did with an item, by the names that layouts have for it; what is missing is left out.

    The first line of a review sums it up, for layouts that tell the two apart.
    """
    found = {"action": fence.first(entry.action, MAX_NAME_CHARS)} if entry.action else {}
    if entry.rating is not None:
        found["rating"] = str(entry.rating)
    if entry.review is not None:
        found["review_whole"] = entry.review
        found["summary"], _, found["review_rest"] = entry.review.partition("\n")
    if (entry.action or "").strip().lower() != NOT_READ:
        found["rating_if_read"] = found.get("rating", NOT_RATED)
        if entry.review:
            found["review_if_read"] = entry.review
    return found


def _new_release(attributes: Mapping[str, str], now_us: int) -> str:
    """Return the mark of a new release: by the attribute `year`, or the first year in brackets in the title."""
    year = _YEAR.fullmatch(attributes.get("year", "").strip()) or _TITLE_YEAR.search(attributes.get("title", ""))
    if not year or not int(year[1]) >= 1:
        return ""
    age_days = (datetime.fromtimestamp(now_us / 1e6, UTC) - datetime(int(year[1]), 1, 1, tzinfo=UTC)).days
    return "[New Release]" if age_days <= _NEW_RELEASE_DAYS else ""


def attributes(layout: DomainLayout) -> dict[str, list[str]]:
    """List the attribute names that a domain's layout uses, of the user's profile, items, and items of the history.

    Where every attribute is shown as a line there are none to list.
    """
    item = (names(layout.exposure) - OURS) | also_shown(layout.exposure)
    return {
        "profile": sorted(names(layout.profile) - OURS),
        "item": sorted(item),
        "history": sorted((names(layout.item) | names(layout.history)) - OURS - item),
    }
