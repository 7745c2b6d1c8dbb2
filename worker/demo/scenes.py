"""Generated users, items and impressions whose right answer is known: traffic for the demo, lessons for mirror-tiny.

    hidden taste  ->  ratings in the history  ->  liked features  ->  the option that has them

A user likes a few features and dislikes a few; both show in the ratings of the history.  Which option such a user
takes is not decided here but by the choice model (`worker.engines.choice_model`), from the history alone, as any
reader of the prompt could.  Films have made-up titles and MovieLens' genres; generic items have a category, tags
and a price.  Everything follows from the seed.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from uuid import UUID

from worker.engines.choice_model import choice_probabilities, features, taste
from worker.prompt import Profile, render_option
from worker.questions import Depths, Option, Question, plan, presented_order
from worker.records import (
    Assignment,
    Domain,
    Experiment,
    HistoryEntry,
    HistoryItem,
    IdKind,
    Impression,
    Item,
    Layout,
    Role,
    Slate,
    User,
)

START_US = 1_767_225_600_000_000  # 1 January 2026, UTC
_DAY_US = 86_400_000_000
MAX_HISTORY = 10  # entries, what the reference model was trained with
CATALOGUE = 400  # items of one domain that the demo's rankers choose from

GENRES = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
CATEGORIES = (
    "Baking", "Camping", "Coffee", "Cycling", "Fishing", "Garden", "Jazz", "Kitchen", "Knitting", "Lighting",
    "Painting", "Puzzles", "Running", "Sailing", "Tea", "Toys", "Travel", "Yoga",
)  # fmt: skip
TAGS = (
    "bright",
    "classic",
    "compact",
    "handmade",
    "light",
    "local",
    "modern",
    "organic",
    "quiet",
    "simple",
    "warm",
    "wooden",
)
_FIRST = (
    "Amber", "Autumn", "Blue", "Broken", "Crimson", "Distant", "Empty", "Endless", "Frozen", "Golden", "Hidden", "Hollow",
    "Iron", "Last", "Little", "Lonely", "Lost", "Midnight", "Northern", "Paper", "Quiet", "Second", "Silent", "Silver",
    "Summer", "Velvet", "Wild", "Winter",
)  # fmt: skip
_SECOND = (
    "Bridge", "Carnival", "Castle", "Garden", "Harbour", "Highway", "Island", "Letter", "Lighthouse", "Machine", "Mirror",
    "Mountain", "Orchard", "Parade", "Promise", "River", "Road", "Season", "Shadow", "Signal", "Sky", "Station", "Stranger",
    "Summit", "Tower", "Train", "Valley", "Window",
)  # fmt: skip
_OCCUPATIONS = (
    "artist",
    "clerk",
    "doctor",
    "engineer",
    "farmer",
    "lawyer",
    "librarian",
    "programmer",
    "retired",
    "student",
    "teacher",
    "writer",
)
_PLACES = (
    "Austin, TX",
    "Boise, ID",
    "Chicago, IL",
    "Denver, CO",
    "Miami, FL",
    "Portland, OR",
    "Salem, MA",
    "Tucson, AZ",
)
_AGES = ("Under 18", "18-24", "25-34", "35-44", "45+")
_ACTIONS = ("bought", "clicked", "saved", "viewed")

_MOVIES_SHARE = 0.6
_MIN_LEAD = 0.03  # of appeal, about 0.06 of the choice model's overlap
_CLEAR_SHARE = 0.95  # of the scenes whose best option leads by less are left out

Taste = Mapping[str, float]  # by feature, -1 hates it, 1 loves it


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question whose answer is known; `options` in presented order, `appeal` by slot."""

    impression: Impression
    options: tuple[Option, ...]
    likes: Taste  # by lower-case feature, what the choice model reads from the history
    appeal: tuple[float, ...]  # by slot, free of the position that the choice model prefers
    best: int  # the slot with most appeal, drawn among equals

    @property
    def margin(self) -> float:
        """How far the best option leads; 0 if another one equals it."""
        return _lead(self.appeal)


def impressions(
    seed: int,
    *,
    num_users: int,
    events_per_user: int = 2,
    slate_size: int = 10,
    lift: float = 0.6,
    generic_share: float = 0.0,
    start_us: int = START_US,
) -> Iterator[Impression]:
    """Yield the demo's traffic, all users' first events before any second one.

    Control ranks by popularity.  The candidate adds `lift` times the user's true taste: 0 makes an A/A test.
    """
    catalogues = {domain: _catalogue(domain, seed) for domain in (Domain.MOVIES, Domain.GENERIC)}
    for event in range(events_per_user):
        for number in range(num_users):
            rng = random.Random(f"{seed}/user/{number}")
            domain = Domain.GENERIC if rng.random() < generic_share else Domain.MOVIES
            liking = _taste(rng, domain)
            user = _user(rng, domain, liking, MAX_HISTORY)
            rng = random.Random(f"{seed}/event/{number}/{event}")
            slates = _ranked(rng, catalogues[domain], liking, lift=lift, size=slate_size)
            at = start_us + event * _DAY_US + rng.randrange(_DAY_US)
            yield _impression(rng, user, domain, slates, at)


def lessons(
    profile: Profile, seed: str, *, options: tuple[int, int] = (2, 12), max_history: int = MAX_HISTORY
) -> Iterator[Lesson]:
    """Yield questions for ever, SLATE and DUEL by chance, with this many `options`, from and to."""
    for number in count():
        rng = random.Random(f"{seed}/lesson/{number}")
        lesson = _lesson(rng, profile, rng.randint(*options), max_history)
        if lesson:
            yield lesson


def named_features(attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Return an item's genres, or its category and tags, as written.

    >>> named_features({"title": "Heat (1995)", "genres": "Action|Crime"})
    ('Action', 'Crime')
    """
    if "genres" in attributes:
        return tuple(attributes["genres"].split("|"))
    found = [attributes.get("category", ""), *attributes.get("tags", "").split(", ")]
    return tuple(word for word in found if word)


def _lesson(rng: random.Random, profile: Profile, num_options: int, max_history: int) -> Lesson | None:
    """Make one question; None for most of those whose best option hardly leads."""
    domain = Domain.MOVIES if rng.random() < _MOVIES_SHARE else Domain.GENERIC
    liking = _taste(rng, domain)
    user = _user(rng, domain, liking, max_history)
    shape = _shape(rng)
    pool = [_attributes(rng, domain, _some_features(rng, domain, liking), shape) for _ in range(num_options)]
    likes = taste(user.history)
    if (
        user.history
        and _lead([_appeal(attributes, likes) for attributes in pool]) < _MIN_LEAD
        and rng.random() < _CLEAR_SHARE
    ):
        return None
    impression = _impression(rng, user, domain, _split(rng, pool), START_US + rng.randrange(_DAY_US))
    question = _question(rng, profile, impression)
    order = presented_order(impression.event_id, rng.randrange(2), question.options)
    options = tuple(question.options[i] for i in order)
    appeal = tuple(_appeal(option.item.attributes, likes) for option in options)
    best = rng.choice([slot for slot, value in enumerate(appeal) if value == max(appeal)])
    return Lesson(impression, options, likes, appeal, best)


def _appeal(attributes: Mapping[str, str], likes: Taste) -> float:
    """Return P(chosen | offered alone): what the choice model thinks of an item wherever it stands."""
    return round(choice_probabilities([features(None, attributes)], likes)[1], 6)


def _lead(appeal: Sequence[float]) -> float:
    first, second = sorted(appeal, reverse=True)[:2]
    return first - second


def _question(rng: random.Random, profile: Profile, impression: Impression) -> Question:
    questions = plan(impression, partial(render_option, profile, impression), Depths(slate=12, duel=12))
    return questions[-1] if len(impression.slates) > 1 else rng.choice(questions)


def _split(rng: random.Random, pool: Sequence[Mapping[str, str]]) -> tuple[Slate, ...]:
    """Offer a pool as one slate, or as two that share some items and together hold all of it."""
    items = [(f"item-{rng.randrange(10**6)}", attributes) for attributes in pool]
    size = rng.randint(math.ceil(len(items) / 2), len(items))
    if rng.random() < 0.5 or size == len(items):  # noqa: PLR2004
        return (_slate("control", Role.CONTROL, items, shown=True),)
    return (
        _slate("control", Role.CONTROL, items[:size], shown=True),
        _slate("candidate", Role.CANDIDATE, items[-size:], shown=False),
    )


def _taste(rng: random.Random, domain: Domain) -> Taste:
    """Draw which features are liked and disliked; all others leave the user cold."""
    names = GENRES if domain is Domain.MOVIES else CATEGORIES
    chosen = rng.sample(names, rng.randint(4, 6))
    liking = {name: (1.0 if rank % 2 == 0 else -1.0) for rank, name in enumerate(chosen)}
    if domain is Domain.GENERIC:
        tags = rng.sample(TAGS, 4)
        liking |= {name: (1.0 if rank % 2 == 0 else -1.0) for rank, name in enumerate(tags)}
    return liking


def _some_features(rng: random.Random, domain: Domain, liking: Taste) -> tuple[str, ...]:
    """Draw an item's features, those that the user cares for more often than chance."""
    if domain is Domain.GENERIC:
        return (_feature(rng, CATEGORIES, liking), *rng.sample(TAGS, rng.choice((1, 1, 2))))
    wanted = rng.choice((1, 1, 2, 2, 3))
    return tuple(sorted({_feature(rng, GENRES, liking) for _ in range(wanted)}))


def _feature(rng: random.Random, names: Sequence[str], liking: Taste) -> str:
    cared = [name for name in names if name in liking]
    return rng.choice(cared if cared and rng.random() < 0.5 else names)  # noqa: PLR2004


def _shape(rng: random.Random) -> frozenset[str]:
    """Draw which attributes the generic items of one scene have."""
    return frozenset({"name", "category"} | {name for name in ("tags", "price") if rng.random() < 0.6})  # noqa: PLR2004


def _attributes(rng: random.Random, domain: Domain, names: Sequence[str], shape: frozenset[str]) -> dict[str, str]:
    title = f"{rng.choice(('', '', 'The '))}{rng.choice(_FIRST)} {rng.choice(_SECOND)}"
    if domain is Domain.MOVIES:
        return {"title": f"{title} ({rng.randint(1950, 2025)})", "genres": "|".join(names)}
    values = {
        "name": title,
        "category": names[0],
        "tags": ", ".join(names[1:]),
        "price": f"${rng.randint(3, 90)}.{rng.randrange(100):02d}",
    }
    return {name: value for name, value in values.items() if name in shape}


def _user(rng: random.Random, domain: Domain, liking: Taste, max_history: int) -> User:
    profile = {
        "gender": rng.choice(("male", "female")),
        "age": rng.choice(_AGES),
        "occupation": rng.choice(_OCCUPATIONS),
        "location": rng.choice(_PLACES),
    }
    shape = _shape(rng)
    entries = [_entry(rng, domain, liking, shape) for _ in range(rng.randint(0, max_history))]
    return User(
        user_id=f"user-{rng.randrange(10**8):08d}",
        id_kind=IdKind.USER,
        profile=profile if rng.random() < 0.8 else {},  # noqa: PLR2004
        history=tuple(sorted(entries, key=lambda entry: entry.occurred_at or 0)),
    )


def _entry(rng: random.Random, domain: Domain, liking: Taste, shape: frozenset[str]) -> HistoryEntry:
    """Make a rated interaction: 3 stars, and up to 2 more or less by the mean liking of the item's features."""
    names = _some_features(rng, domain, liking)
    return HistoryEntry(
        item=HistoryItem(f"item-{rng.randrange(10**6)}", attributes=_attributes(rng, domain, names, shape)),
        action=rng.choice(_ACTIONS) if domain is Domain.GENERIC else "viewed",
        rating=float(round(3 + 2 * _mean(liking, names))),
        occurred_at=START_US - int(_DAY_US * 10 ** rng.uniform(-2, 3)),
    )


def _mean(liking: Taste, names: Sequence[str]) -> float:
    return math.fsum(liking.get(name, 0.0) for name in names) / (len(names) or 1)


def _catalogue(domain: Domain, seed: int) -> list[tuple[str, Mapping[str, str], float]]:
    """Make items with ids and popularities in (0, 1]."""
    rng = random.Random(f"{seed}/catalogue/{domain}")
    shape = frozenset({"name", "category", "tags", "price"})
    made = [_attributes(rng, domain, _some_features(rng, domain, {}), shape) for _ in range(CATALOGUE)]
    return [(f"{domain}-{number:04d}", attributes, rng.random() ** 2) for number, attributes in enumerate(made)]


def _ranked(
    rng: random.Random,
    catalogue: Sequence[tuple[str, Mapping[str, str], float]],
    liking: Taste,
    *,
    lift: float,
    size: int,
) -> tuple[Slate, Slate]:
    """Rank a random half of the catalogue, what the user has not seen, twice."""
    fresh = rng.sample(catalogue, len(catalogue) // 2)
    popular = sorted(fresh, key=lambda entry: -entry[2])[:size]
    wanted = sorted(fresh, key=lambda entry: -entry[2] - lift * _mean(liking, named_features(entry[1])))[:size]
    return (
        _slate("control", Role.CONTROL, [entry[:2] for entry in popular], shown=True),
        _slate("candidate", Role.CANDIDATE, [entry[:2] for entry in wanted], shown=False),
    )


def _slate(variant: str, role: Role, items: Sequence[tuple[str, Mapping[str, str]]], *, shown: bool) -> Slate:
    return Slate(
        variant=variant,
        items=tuple(
            Item(item_id, position, attributes=attributes) for position, (item_id, attributes) in enumerate(items)
        ),
        role=role,
        shown=shown,
        policy_id="popularity" if role is Role.CONTROL else "popularity+taste",
        surface="home",
        layout=Layout.LIST,
    )


def _impression(rng: random.Random, user: User, domain: Domain, slates: tuple[Slate, ...], at_us: int) -> Impression:
    return Impression(
        event_id=str(UUID(int=rng.getrandbits(128), version=4)),
        occurred_at=at_us,
        user=user,
        slates=slates,
        domain=domain,
        experiment=Experiment("demo", assignment=Assignment(unit=user.user_id, arm="control")),
    )
