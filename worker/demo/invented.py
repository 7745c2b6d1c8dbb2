"""Invented users and items: words, hidden tastes, and the ratings that show them.

A user likes a few features and dislikes a few; all others leave them cold.  Films have a made-up title and MovieLens'
genres, generic items a category, and at times tags and a price.
"""

import math
import random
from collections.abc import Mapping, Sequence

from worker.records import Domain, HistoryEntry, HistoryItem, IdKind, User

START_US = 1_767_225_600_000_000  # 1 January 2026, UTC: no history is later
DAY_US = 86_400_000_000
MAX_HISTORY = 10  # entries, what the reference model was trained with

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
CATEGORIES = (
    "Baking", "Camping", "Coffee", "Cycling", "Fishing", "Garden", "Jazz", "Kitchen", "Knitting", "Lighting",
    "Painting", "Puzzles", "Running", "Sailing", "Tea", "Toys", "Travel", "Yoga",
)  # fmt: skip
TAGS = (
    "bright", "classic", "compact", "handmade", "light", "local", "modern", "organic", "quiet", "simple", "warm",
    "wooden",
)  # fmt: skip
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
_CARED_SHARE = 0.5  # of all features are drawn among those that the user likes or dislikes
_KNOWN_SHARE = 0.8  # of the users have a profile
_OPTIONAL_SHARE = 0.6  # of the generic scenes show an optional attribute

Taste = Mapping[str, float]  # by feature: 1 likes it, -1 dislikes it
Attributes = Mapping[str, str]


def hidden_taste(rng: random.Random, domain: Domain) -> Taste:
    """Draw what is liked and disliked, half of each."""
    drawn = rng.sample(GENRES if domain is Domain.MOVIES else CATEGORIES, rng.randint(4, 6))
    tags = rng.sample(TAGS, 4) if domain is Domain.GENERIC else []
    return {name: 1.0 - 2.0 * (rank % 2) for names in (drawn, tags) for rank, name in enumerate(names)}


def mean_liking(liking: Taste, names: Sequence[str]) -> float:
    """Return how much an item with these features is liked, -1 to 1."""
    return math.fsum(liking.get(name, 0.0) for name in names) / (len(names) or 1)


def item_features(rng: random.Random, domain: Domain, liking: Taste, extra: frozenset[str]) -> tuple[str, ...]:
    """Draw an item's features: 1 to 3 genres, or a category and, where items have them, 1 or 2 tags."""
    if domain is Domain.GENERIC:
        tags = rng.sample(TAGS, rng.choice((1, 1, 2))) if "tags" in extra else []
        return (_feature(rng, CATEGORIES, liking), *tags)
    wanted = rng.choice((1, 1, 2, 2, 3))
    return tuple(sorted({_feature(rng, GENRES, liking) for _ in range(wanted)}))


def _feature(rng: random.Random, names: Sequence[str], liking: Taste) -> str:
    cared = [name for name in names if name in liking]
    return rng.choice(cared if cared and rng.random() < _CARED_SHARE else names)


def optional(rng: random.Random) -> frozenset[str]:
    """Draw which attributes the generic items of one scene have beside name and category."""
    return frozenset(name for name in ("tags", "price") if rng.random() < _OPTIONAL_SHARE)


def attributes(rng: random.Random, domain: Domain, names: Sequence[str], extra: frozenset[str]) -> Attributes:
    """Make an item with these features."""
    title = f"{rng.choice(('', '', 'The '))}{rng.choice(_FIRST)} {rng.choice(_SECOND)}"
    if domain is Domain.MOVIES:
        return {"title": f"{title} ({rng.randint(1950, 2025)})", "genres": "|".join(names)}
    values = {"name": title, "category": names[0]}
    if "tags" in extra:
        values["tags"] = ", ".join(names[1:])
    if "price" in extra:
        values["price"] = f"${rng.randint(3, 90)}.{rng.randrange(100):02d}"
    return values


def named_features(item: Attributes) -> tuple[str, ...]:
    """Return an item's genres, or its category and tags, as written.

    >>> named_features({"title": "Heat (1995)", "genres": "Action|Crime"})
    ('Action', 'Crime')
    """
    if "genres" in item:
        return tuple(item["genres"].split("|"))
    found = [item.get("category", ""), *item.get("tags", "").split(", ")]
    return tuple(word for word in found if word)


def invent_user(rng: random.Random, domain: Domain, liking: Taste, max_history: int) -> User:
    """Make a user with 0 to `max_history` rated items, oldest first."""
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
    """Make a rated interaction: 3 stars, and up to 2 more or less by how the item's features are liked."""
    names = item_features(rng, domain, liking, extra)
    return HistoryEntry(
        item=HistoryItem(f"item-{rng.randrange(10**6)}", attributes=attributes(rng, domain, names, extra)),
        action=rng.choice(_ACTIONS) if domain is Domain.GENERIC else "viewed",
        rating=float(round(3 + 2 * mean_liking(liking, names))),
        occurred_at=START_US - int(DAY_US * 10 ** rng.uniform(-2, 3)),  # 15 minutes to 3 years ago
    )
