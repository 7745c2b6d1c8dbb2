"""Invented users and items: words, hidden tastes, and the ratings that show them.

A user likes a few features and dislikes a few; all others leave them cold.  What an item's features
are depends on its domain: genres, a category, or tags.
"""

import math
import random
import re
from collections.abc import Mapping, Sequence

from worker.core.records import Domain, HistoryEntry, HistoryItem, IdKind, User

START_US = 1_767_225_600_000_000  # 1 January 2026, UTC: no history is later
DAY_US = 86_400_000_000
MAX_HISTORY = 10  # entries, what the reference model was trained with

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
CATEGORIES = (
    "Baking", "Camping", "Coffee", "Cycling", "Fishing", "Gardening", "Jazz", "Kitchen", "Knitting", "Lighting",
    "Painting", "Puzzles", "Running", "Sailing", "Tea", "Toys", "Travel", "Yoga",
)  # fmt: skip
TAGS = (
    "bright", "classic", "compact", "handmade", "light", "local", "modern", "organic", "quiet", "simple", "warm",
    "wooden",
)  # fmt: skip
FEATURES = (*GENRES, *CATEGORIES, *TAGS)
_FIRST = (
    "Amber", "Autumn", "Blue", "Broken", "Crimson", "Distant", "Empty", "Endless", "Frozen", "Golden", "Hidden",
    "Hollow", "Iron", "Last", "Little", "Lonely", "Lost", "Midnight", "Northern", "Paper", "Quiet", "Second", "Silent",
    "Silver", "Summer", "Velvet", "Wild", "Winter",
)  # fmt: skip
_SECOND = (
    "Bridge", "Carnival", "Castle", "Garden", "Harbour", "Highway", "Island", "Letter", "Lighthouse", "Machine",
    "Mirror", "Mountain", "Orchard", "Parade", "Promise", "River", "Road", "Season", "Shadow", "Signal", "Sky",
    "Station", "Stranger", "Summit", "Tower", "Train", "Valley", "Window",
)  # fmt: skip
_OCCUPATIONS = (
    "artist", "clerk", "doctor", "engineer", "farmer", "lawyer", "librarian", "programmer", "retired", "student",
    "teacher", "writer",
)  # fmt: skip
_PLACES = (
    "Austin, TX", "Boise, ID", "Chicago, IL", "Denver, CO", "Miami, FL", "Portland, OR", "Salem, MA", "Tucson, AZ",
)  # fmt: skip
_AGES = ("Under 18", "18-24", "25-34", "35-44", "45+")
_ACTIONS = ("bought", "clicked", "saved", "viewed")
_REVIEWS = ("As described", "It arrived late", "I use it often", "Not what I had in mind", "My sister has one too")
_VOCABULARIES: Mapping[Domain, tuple[tuple[str, ...], ...]] = {
    Domain.MOVIES: (GENRES,),
    Domain.BOOKS: (GENRES,),
    Domain.GAMES: (GENRES,),
    Domain.NEWS: (CATEGORIES,),
    Domain.PRODUCTS: (CATEGORIES,),
    Domain.VIDEOS: (CATEGORIES,),
    Domain.APPS: (CATEGORIES,),
    Domain.MUSIC: (TAGS,),
    Domain.GENERIC: (CATEGORIES, TAGS),
}
_LIKED_ONLY = frozenset({Domain.NEWS, Domain.MUSIC, Domain.GAMES})  # a history without ratings shows what one went for
_CARED_SHARE = 0.5  # of all features are drawn among those that the user likes or dislikes
_KNOWN_SHARE = 0.8  # of the users have a profile
_OPTIONAL_SHARE = 0.6  # of the generic scenes show an optional attribute

Taste = Mapping[str, float]  # by feature: 1 likes it, -1 dislikes it
Attributes = Mapping[str, str]


def hidden_taste(rng: random.Random, domain: Domain) -> Taste:
    """Draw what is liked and disliked, half of each."""
    taste: dict[str, float] = {}
    for names in _VOCABULARIES[domain]:
        drawn = rng.sample(names, rng.randint(4, 6))
        taste |= {name: 1.0 - 2.0 * (rank % 2) for rank, name in enumerate(drawn)}
    return taste


def mean_liking(liking: Taste, names: Sequence[str]) -> float:
    """Return how much an item with these features is liked, -1 to 1."""
    return math.fsum(liking.get(name, 0.0) for name in names) / (len(names) or 1)


def item_features(rng: random.Random, domain: Domain, liking: Taste, extra: frozenset[str]) -> tuple[str, ...]:
    """Draw an item's features: 1 to 3 genres, a category, 1 or 2 tags, or a category and, in some scenes, tags."""
    if domain is Domain.GENERIC:
        tags = rng.sample(TAGS, rng.choice((1, 1, 2))) if "tags" in extra else []
        return (_feature(rng, CATEGORIES, liking), *tags)
    (names,) = _VOCABULARIES[domain]
    wanted = 1 if names is CATEGORIES else rng.choice((1, 1, 2, 2, 3))
    return tuple(sorted({_feature(rng, names, liking) for _ in range(wanted)}))


def _feature(rng: random.Random, names: Sequence[str], liking: Taste) -> str:
    cared = [name for name in names if name in liking]
    return rng.choice(cared if cared and rng.random() < _CARED_SHARE else names)


def optional(rng: random.Random) -> frozenset[str]:
    """Draw which attributes the items of one scene have beside the needed ones."""
    return frozenset(name for name in ("tags", "price", "facts") if rng.random() < _OPTIONAL_SHARE)


def attributes(rng: random.Random, domain: Domain, names: Sequence[str], extra: frozenset[str]) -> Attributes:
    """Make an item with these features."""
    name = f"{rng.choice(('', '', 'The '))}{_two_words(rng)}"
    if domain is Domain.MOVIES:
        return {"title": f"{name} ({rng.randint(1950, 2025)})", "genres": "|".join(names)}
    if domain is Domain.NEWS:
        return {"title": name, "category": names[0]}
    if domain is Domain.MUSIC:
        return {"name": name, "tags": "|".join(names), **_given(extra, "facts", friends=f"{rng.randint(1, 9)}")}
    if domain is Domain.GENERIC:
        tags = _given(extra, "tags", tags=", ".join(names[1:]))
        return {"name": name, "category": names[0], **tags, **_price(rng, extra, "$")}
    if domain in {Domain.BOOKS, Domain.GAMES}:
        return {"title": name, "genres": "|".join(names), **_facts(rng, domain, extra), **_price(rng, extra)}
    key = "title" if domain is Domain.VIDEOS else "name"
    return {key: name, "category": names[0], **_facts(rng, domain, extra), **_price(rng, extra)}


def _two_words(rng: random.Random) -> str:
    return f"{rng.choice(_FIRST)} {rng.choice(_SECOND)}"


def _given(extra: frozenset[str], wanted: str, **values: str) -> Attributes:
    return values if wanted in extra else {}


def _price(rng: random.Random, extra: frozenset[str], sign: str = "") -> Attributes:
    return _given(extra, "price", price=f"{sign}{rng.randint(3, 90)}.{rng.randrange(100):02d}")


def _facts(rng: random.Random, domain: Domain, extra: frozenset[str]) -> Attributes:
    """Draw what a domain tells of its items that no user here cares for."""
    rated = {"average_rating": f"{rng.uniform(2, 5):.1f}", "ratings_count": f"{rng.randint(3, 3000)}"}
    if domain is Domain.BOOKS:
        about = {"authors": _two_words(rng), "year": f"{rng.randint(1950, 2025)}", "publisher": _two_words(rng)}
        return {**about, "num_pages": f"{rng.randint(80, 900)}", **rated}
    if domain is Domain.GAMES:
        about = {"developer": _two_words(rng), "publisher": _two_words(rng)}
        return _given(extra, "facts", **about, release_date=f"{rng.randint(2000, 2025)}-0{rng.randint(1, 9)}-17")
    if domain is Domain.VIDEOS:
        counts = {name: f"{10 ** rng.uniform(1, 7):.0f}" for name in ("plays", "likes", "comments", "shares")}
        return {"duration_s": f"{rng.randint(5, 300)}", **_given(extra, "facts", **counts)}
    return {**rated, **(_given(extra, "facts", developer=_two_words(rng)) if domain is Domain.APPS else {})}


def named_features(item: Attributes) -> tuple[str, ...]:
    """Return an item's genres, or its category and tags, as written.

    >>> named_features({"title": "Heat (1995)", "genres": "Action|Crime"})
    ('Action', 'Crime')
    """
    texts = (item.get("genres", ""), item.get("category", ""), item.get("tags", ""))
    return tuple(word.strip() for text in texts for word in re.split(r"[|,]", text) if word)


def invent_user(rng: random.Random, domain: Domain, liking: Taste, max_history: int) -> User:
    """Make a user with 0 to `max_history` past interactions, oldest first."""
    profile = {
        "gender": rng.choice(("male", "female")),
        "age": rng.choice(_AGES),
        "occupation": rng.choice(_OCCUPATIONS),
        "location": rng.choice(_PLACES),
    }
    extra = optional(rng)
    entries = [_entry(rng, domain, liking, extra) for _ in range(rng.randint(0, max_history))]
    return User(
        user_id=f"user-{rng.randrange(10**8):08d}",
        id_kind=IdKind.USER,
        profile=profile if rng.random() < _KNOWN_SHARE else {},
        history=tuple(sorted(entries, key=lambda entry: entry.occurred_at or 0)),
    )


def _entry(rng: random.Random, domain: Domain, liking: Taste, extra: frozenset[str]) -> HistoryEntry:
    """Make an interaction that shows, in its domain's way, how the item's features are liked."""
    if domain in _LIKED_ONLY:
        liking = {name: value for name, value in liking.items() if value > 0}
    names = item_features(rng, domain, liking, extra)
    felt = mean_liking(liking, names)
    shown = attributes(rng, domain, names, extra)
    stars: float | None = float(round(3 + 2 * felt))  # 3, and up to 2 more or less
    action, review = "viewed", None
    if domain is Domain.GENERIC:
        action = rng.choice(_ACTIONS)
    elif domain is Domain.GAMES:
        stars, shown = None, {**shown, "hours": f"{rng.randint(1, 400)}"}
    elif domain is Domain.MUSIC:
        stars, review = None, "|".join(names)
    elif domain is Domain.VIDEOS:
        stars, action = None, "complete" if felt + rng.uniform(-0.1, 0.1) > 0 else "skip"
        shown = {**shown, "watched_s": f"{rng.randint(1, 90)}"}
    elif domain is Domain.NEWS:
        stars = None
    elif domain in {Domain.PRODUCTS, Domain.APPS}:
        review = rng.choice(_REVIEWS)
    elif domain is Domain.BOOKS:
        action = "read"
    return HistoryEntry(
        item=HistoryItem(f"item-{rng.randrange(10**6)}", attributes=shown),
        action=action,
        rating=stars,
        review=review,
        occurred_at=START_US - int(DAY_US * 10 ** rng.uniform(-2, 3)),  # 15 minutes to 3 years ago
    )
