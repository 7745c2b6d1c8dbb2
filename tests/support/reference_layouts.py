"""The reference's user message of a scene, written a second time: from the description of its layouts alone.

It shares no code with `worker.core.prompts`: no template, no cleaning, no profile.  A scene has the reference's facts
in this project's names: a text, a list of texts, or None for a value that its data does not have.

Rules of the layouts: UserMirrorer (arXiv 2508.18142), the strategies, mapping and data preparation of its public
repository (commit d258eb9).  On 2026-11-30 its code was run on 250 scenes of each domain and tier of `random_scenes`,
and gave these messages.  What differs by choice, since other parts of the reference differ among themselves:

    None of               here           the reference
    a game's title        None           nothing: its preparation fills it with an empty text
    an app's description  nothing        None
    a review              nothing        None in products and apps
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

Fact = str | list[str] | None
Facts = Mapping[str, Fact]


@dataclass(frozen=True)
class Past:
    """One entry of a history: the item, what the user did, and when, in seconds before the scene (None: not known)."""

    item: Facts
    behavior: Facts
    ago_s: int | None


@dataclass(frozen=True)
class ReferenceScene:
    """What one user is asked at one time; the history is oldest first."""

    domain: str
    now: datetime
    profile: Facts
    history: Sequence[Past]
    offered: Sequence[Facts] = field(default_factory=tuple)


def user_message(scene: ReferenceScene) -> str:
    """Return the user message, to the byte."""
    history = "\n".join(history_texts(scene))
    options = [f"[{chr(65 + slot)}] {option}" for slot, option in enumerate(option_texts(scene))]
    shown = "\n".join(options)
    return f"# User Profile\n{profile_text(scene)}\n\n## History\n{history}\n\n# Exposure List\n{shown}\n"


def profile_text(scene: ReferenceScene) -> str:
    """Return the user's profile, as a ready scene has it."""
    return _PROFILES[scene.domain](scene.profile) if scene.domain in _PROFILES else ""


def history_texts(scene: ReferenceScene) -> list[str]:
    """Return the entries of the history, as a ready scene has them."""
    past, _ = _LAYOUTS[scene.domain]
    return [past(entry.item, entry.behavior, _ago(entry.ago_s)) for entry in scene.history]


def option_texts(scene: ReferenceScene) -> list[str]:
    """Return the options without their letters, as a ready scene has them."""
    _, option = _LAYOUTS[scene.domain]
    return [option(item, scene.now) for item in scene.offered]


def _ago(seconds: int | None) -> str:
    if seconds is None:
        return "earlier"
    for unit, size in (
        ("year", 365 * 86_400),
        ("month", 30 * 86_400),
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
    ):
        if seconds >= size:
            return f"{seconds // size} {unit} ago" if seconds // size == 1 else f"{seconds // size} {unit}s ago"
    return "just now"


def _or(value: Fact, missing: str) -> str:
    """Return a text, or what the reference's data says where it has none."""
    if isinstance(value, list):
        return "/".join(value)
    return missing if value is None else value


def _cut(value: Fact, limit: int, separator: str | None = None) -> str:
    assert not isinstance(value, list)
    if not value:
        return ""
    words = value.split(separator)
    return value if len(words) <= limit else (separator or " ").join(words[:limit]) + "..."


def _price(value: Fact) -> str:
    return "NA" if value is None else f"${value}"


def _some(value: Fact) -> Fact:
    """Return a value, but for a list without parts, which the reference's data never has here: nothing is known."""
    return value or None if isinstance(value, list) else value


def _short(value: Fact) -> str:
    """Return a count in thousands or millions: a half goes to the even neighbour."""
    if value is None:
        return "Not Available"
    assert isinstance(value, str)
    number = _half_to_even(Decimal(value), 1)
    if number >= 1_000_000:
        return f"{_half_to_even(number, 1_000_000)}M"
    return f"{_half_to_even(number, 1_000)}k" if number >= 1_000 else str(number)


def _half_to_even(number: Decimal | int, size: int) -> int:
    whole, rest = divmod(number, size)
    if 2 * rest == size:
        return int(whole + whole % 2)
    return int(whole) + (2 * rest > size)


# -- movies, news


def _movie_profile(of: Facts) -> str:
    told = [f"{name.title()}: {_or(of.get(name), 'Unknown')}\n" for name in ("gender", "age", "occupation", "location")]
    return "## User Profile\n" + "".join(told)


def _movie_past(item: Facts, did: Facts, ago: str) -> str:
    head = f"A movie viewed {ago}\n{_or(item.get('title'), 'None')} {_movie_genres(item)} \n"
    return f"{head}My Behavior:\nRating: {_or(did.get('rating'), 'Not Rated')}/5.0\n"


def _movie(item: Facts, now: datetime) -> str:
    year = item.get("year")
    assert not isinstance(year, list)
    new = year is not None and (now - datetime(int(year), 1, 1, tzinfo=now.tzinfo)).days <= 365
    return f"{'[New Release]' if new else ''}{_or(item.get('title'), 'None')} - {_movie_genres(item)} \n"


def _movie_genres(item: Facts) -> str:
    genres = item.get("genres")
    return "|".join(genres) if isinstance(genres, list) else _or(genres, "None")


def _news_past(item: Facts, did: Facts, ago: str) -> str:
    return f"{_headline(item)} {{ Viewed {ago} }}\n"


def _news(item: Facts, now: datetime) -> str:
    return f"{_headline(item)}\n"


def _headline(item: Facts) -> str:
    return f"{_or(item.get('title'), 'None')} (Category: {_or(item.get('category'), 'None')})"


# -- books, music


def _book_lines(item: Facts, between: str) -> str:
    genres = item.get("genres") or []
    return (
        f"Title:{_or(item.get('title'), 'None')} ({genres!r}) \n{between}Author: {_or(item.get('authors'), '')}\n"
        f"Published at {_or(item.get('year'), '')} - {_or(item.get('publisher'), 'NA')} - "
        f"{_or(item.get('num_pages'), 'NA')} pages\n"
        f"Rating: {_or(item.get('average_rating'), 'NA')} - {_or(item.get('ratings_count'), 'NA')} ratings\n"
    )


def _book_past(item: Facts, did: Facts, ago: str) -> str:
    description = f"Description: {_cut(item.get('description'), 50)}\n"
    text = f"A book viewed {ago}\n{_book_lines(item, description)}"
    if did["action"] == "not read":
        return f"{text}My Behavior: Not Read\n"
    text += f"My Behavior: Read\nRating: {_or(did['rating'], 'Not Rated')}\n"
    return text + (f"Review: {_cut(did['review'], 50)}\n" if did.get("review") else "")


def _book(item: Facts, now: datetime) -> str:
    return _book_lines(item, "")


def _tags(item: Facts) -> str:
    tags = item.get("tags")
    return "/".join(tags[:5]) if isinstance(tags, list) else _or(tags, "")


def _artist_past(item: Facts, did: Facts, ago: str) -> str:
    own = did.get("review")
    told = own if isinstance(own, str) else ", ".join(own or []) or "No tags"
    head = f"An artist listened {ago}\nArtist name: {_or(item.get('name'), 'None')} \nTags: {_tags(item)}\n"
    return f"{head}My Behavior: Tagging with {told}\n"


def _artist(item: Facts, now: datetime) -> str:
    friends = item.get("friends")
    assert not isinstance(friends, list)
    told = f"{friends} friend(s) listened" if int(friends or 0) > 0 else ""
    return f"Artist name: {_or(item.get('name'), 'None')} ({told})\nTags: {_tags(item)}\n"


# -- products, games


def _product(item: Facts, now: datetime | None = None) -> str:
    """Return an item's lines; the price "None" is known to be missing in an option alone (there is a time)."""
    price = None if now and item.get("price") == "None" else item.get("price")
    category, name = _some(item.get("category")), item.get("name")
    told = "-".join(category) if isinstance(category, list) else _or(category, "None")
    return (
        f"Product name: {'None' if name is None else _cut(name, 10, ' ')}\nCategory: {told}\n"
        f"Price: {_price(price)}\n"
        f"Ratings: {_or(item.get('average_rating'), 'None')} ({_or(item.get('ratings_count'), 'None')})\n"
    )


def _product_past(item: Facts, did: Facts, ago: str) -> str:
    return (
        f"A product bought {ago}\n{_product(item)}My Behavior:\nRating: {_or(did.get('stars'), 'None')}/5 \n"
        f"Review: {_or(did.get('headline'), '')}\n{_cut(did.get('review'), 30, ' ')}\n"
    )


def _game(item: Facts, now: datetime | None = None) -> str:
    return (
        f"Title: {_or(item.get('title'), 'None')} [{_or(item.get('genres'), '')}]\n"
        f"Developed by {_or(item.get('developer'), 'Unknown')} | Published by {_or(item.get('publisher'), 'Unknown')}\n"
        f"Released: {_or(item.get('release_date'), '')} \nTags: {_or(item.get('tags'), '')}\n"
        f"Specifications: {_or(_some(item.get('specifications')), 'NA')}\n"
        f"Player Reviews: {_or(item.get('sentiment'), 'NA')}\nPrice: {_price(item.get('price'))}\n"
    )


def _game_past(item: Facts, did: Facts, ago: str) -> str:
    return (
        f"A game purchased {ago}\n{_game(item)}My Behavior: Played {_or(item.get('hours'), '0.0')} hours"
        f" | Review: {_cut(did.get('review'), 50)}\n"
    )


def _game_profile(of: Facts) -> str:
    return f"## User Profile\nA user who has purchased {_or(of.get('num_games'), '')} games\n"


# -- videos, apps


def _video_lines(item: Facts) -> str:
    counts = [f"{_short(item.get(name))} {name}" for name in ("plays", "likes", "comments", "shares")]
    lasts = item.get("duration_s")
    return (
        f"Title:{_or(item.get('title'), 'None')} {_or(_some(item.get('category')), 'UNKNOWN')} "
        f"{_or(item.get('cover_text'), '')}\n"
        f"Duration: {_short(lasts)}{'' if lasts is None else '  sec'}\n{' | '.join(counts)}\n"
    )


def _video(item: Facts, now: datetime) -> str:
    return _video_lines(item) + "\n"


def _video_past(item: Facts, did: Facts, ago: str) -> str:
    action = did["action"]
    assert isinstance(action, str)
    seconds = _half_to_even(Decimal(_or(item.get("watched_s"), "0")), 1)
    watched = f"My Behavior: {action.capitalize()} (watched {seconds}s)\n\n"
    return f"A video watched {ago}\n{_video_lines(item)}{watched}"


def _video_profile(of: Facts) -> str:
    number = {name: _or(of.get(name), "None") for name in ("registered_days", "friends", "followers", "fans")}
    return (
        f"## User Profile\nCountry: China\nRegistered {number['registered_days']} days ago\n"
        f"{number['friends']} Friends | {number['followers']} Followers | {number['fans']} Fans\n"
        f"Active Degree: {_or(of.get('active_degree'), 'None')}\nRole: {_or(of.get('role'), '')}\n"
    )


def _app_lines(item: Facts) -> str:
    return (
        f"{_or(item.get('name'), 'None')} ({_or(item.get('average_rating'), 'None')}/5.0 - "
        f"{_or(item.get('ratings_count'), 'None')} reviews)\nCategory: {_or(item.get('category'), 'None')}\n"
        f"Developer: {_or(item.get('developer'), 'Unknown')}\nPrice: {_or(item.get('price'), 'Free')}\n"
    )


def _app(item: Facts, now: datetime) -> str:
    return _app_lines(item) + "\n"


def _app_past(item: Facts, did: Facts, ago: str) -> str:
    return (
        f"{_app_lines(item)}Description: {_cut(item.get('description'), 20)}\n"
        f"My Rating: {_or(did.get('stars'), 'None')}\nMy Reviews: {_or(did.get('review'), '')}\n\n"
    )


_LAYOUTS: Mapping[str, tuple[Callable[[Facts, Facts, str], str], Callable[[Facts, datetime], str]]] = {
    "movies": (_movie_past, _movie),
    "news": (_news_past, _news),
    "books": (_book_past, _book),
    "music": (_artist_past, _artist),
    "products": (_product_past, _product),
    "games": (_game_past, _game),
    "videos": (_video_past, _video),
    "apps": (_app_past, _app),
}
_PROFILES: Mapping[str, Callable[[Facts], str]] = {
    "movies": _movie_profile,
    "games": _game_profile,
    "videos": _video_profile,
}
