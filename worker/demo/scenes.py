"""Generated impressions whose right answer is known: traffic for the demo, lessons for mirror-tiny.

    hidden taste  ->  ratings in the history  ->  liked features  ->  the option that has them

Users and items are those of `demo.generated_users`.  Which option a user takes is not decided here but by the choice
model (`worker.engines.choice_model`), from the history alone, as any reader of the prompt could.  Everything follows
from the seed.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from uuid import UUID

from worker.core.prompts.prompt import Profile, render_option
from worker.core.records import Assignment, Domain, Experiment, Impression, Item, Layout, Role, Slate, User
from worker.core.simulation.questions import TRAINED_OPTIONS, Depths, Option, plan, presented_order
from worker.demo.generated_users import (
    DAY_US,
    MAX_HISTORY,
    START_US,
    Attributes,
    Taste,
    attributes,
    hidden_taste,
    invent_user,
    item_features,
    mean_liking,
    named_features,
    optional,
)
from worker.engines.choice_model import NO_CHOICE, TASTE, choice_probabilities, features, taste
from worker.experiment.definition import Definition

CATALOGUE = 400  # items of one domain that the demo's rankers choose from
_SHARES = {  # of the lessons; long layouts are rare, for they take long
    Domain.MOVIES: 0.36, Domain.GENERIC: 0.16, Domain.NEWS: 0.1, Domain.MUSIC: 0.1, Domain.PRODUCTS: 0.07,
    Domain.APPS: 0.07, Domain.VIDEOS: 0.07, Domain.GAMES: 0.04, Domain.BOOKS: 0.03,
}  # fmt: skip
_MIN_LEAD = 0.06  # of appeal, about 0.1 of the choice model's overlap
_CLEAR_SHARE = 0.95  # of the lessons whose best option leads by less are left out
_ALL = Depths(slate=TRAINED_OPTIONS, duel=TRAINED_OPTIONS)


@dataclass(frozen=True, slots=True)
class Lesson:
    """One question whose answer is known; `options` in presented order."""

    impression: Impression
    options: tuple[Option, ...]
    likes: Taste  # by lower-case feature, what the choice model reads from the history
    appeal: tuple[float, ...]  # by slot: P(chosen | offered alone), free of the choice model's liking for first places
    best: int  # the slot with most appeal, drawn among equals

    @property
    def overlap(self) -> tuple[float, ...]:
        """The mean liking of each option's features by slot, -1 to 1; what `appeal` was made from."""
        return tuple((math.log(one / (1 - one)) + NO_CHOICE) / TASTE for one in self.appeal)

    @property
    def margin(self) -> float:
        """How far the best option leads; 0 if another one equals it."""
        return _lead(self.appeal)

    @property
    def decoy(self) -> int | None:
        """The slot of the worst option if the history dislikes all that is named of it."""
        worst = min(range(len(self.appeal)), key=self.appeal.__getitem__)
        named = named_features(self.options[worst].item.attributes)
        return worst if all(self.likes.get(name.lower(), 0.0) < 0 for name in named) else None


@dataclass(frozen=True, slots=True)
class _Ware:
    """An item of the catalogue; popularity in [0, 1)."""

    item_id: str
    attributes: Attributes
    popularity: float


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
            liking = hidden_taste(rng, domain)
            user = invent_user(rng, domain, liking, MAX_HISTORY)
            rng = random.Random(f"{seed}/event/{number}/{event}")
            slates = _ranked(rng, catalogues[domain], liking, lift=lift, size=slate_size)
            at_us = start_us + event * DAY_US + rng.randrange(DAY_US)
            yield _impression(rng, user, domain, slates, at_us)


def lessons(
    profile: Profile, seed: str, *, options: tuple[int, int] = (2, 12), max_history: int = MAX_HISTORY
) -> Iterator[Lesson]:
    """Yield questions for ever, SLATE and DUEL by chance, with this many `options`, from and to."""
    for number in count():
        rng = random.Random(f"{seed}/lesson/{number}")
        lesson = _lesson(rng, profile, rng.randint(*options), max_history)
        if lesson:
            yield lesson


def score(impression: Impression, options: Sequence[Option], *, seed: str = "") -> Lesson:
    """Answer with the choice model; ties are drawn by the seed."""
    likes = taste(impression.user.history)
    appeal = tuple(_appeal(option.item.attributes, likes) for option in options)
    top = [slot for slot, value in enumerate(appeal) if value == max(appeal)]
    return Lesson(impression, tuple(options), likes, appeal, random.Random(f"{seed}/best").choice(top))


def _lesson(rng: random.Random, profile: Profile, num_options: int, max_history: int) -> Lesson | None:
    """Make one question; None for most of those whose best option hardly leads."""
    (domain,) = rng.choices(list(_SHARES), list(_SHARES.values()))
    liking = hidden_taste(rng, domain)
    user = invent_user(rng, domain, liking, max_history)
    extra = optional(rng)
    pool = [attributes(rng, domain, item_features(rng, domain, liking, extra), extra) for _ in range(num_options)]
    likes = taste(user.history)
    lead = _lead([_appeal(item, likes) for item in pool])
    if user.history and lead < _MIN_LEAD and rng.random() < _CLEAR_SHARE:
        return None
    impression = _impression(rng, user, domain, _split(rng, pool), START_US + rng.randrange(DAY_US))
    question = plan(impression, partial(render_option, profile, impression), _ALL)[-1]
    order = presented_order(impression.event_id, rng.randrange(2), question.options)
    return score(impression, [question.options[i] for i in order], seed=impression.event_id)


def _appeal(item: Attributes, likes: Taste) -> float:
    """Return P(chosen | offered alone): what the choice model thinks of an item wherever it stands."""
    return round(choice_probabilities([features(None, item)], likes)[1], 6)


def _lead(appeal: Sequence[float]) -> float:
    first, second = sorted(appeal, reverse=True)[:2]
    return first - second


def _split(rng: random.Random, pool: Sequence[Attributes]) -> tuple[Slate, ...]:
    """Offer a pool as one slate, or as two that may share some items and together hold all of it."""
    wares = [_Ware(f"item-{number}", item, 0.0) for number, item in enumerate(pool)]
    size = rng.randint(math.ceil(len(wares) / 2), len(wares))
    if size == len(wares) or rng.random() < 0.5:  # noqa: PLR2004 - one half SLATE, one half DUEL
        return (_slate("control", Role.CONTROL, wares),)
    return _slate("control", Role.CONTROL, wares[:size]), _slate("candidate", Role.CANDIDATE, wares[-size:])


def _catalogue(domain: Domain, seed: int) -> list[_Ware]:
    rng = random.Random(f"{seed}/catalogue/{domain}")
    extra = frozenset({"tags", "price"})
    return [
        _Ware(
            f"{domain}-{number:04d}",
            attributes(rng, domain, item_features(rng, domain, {}, extra), extra),
            rng.random(),
        )
        for number in range(CATALOGUE)
    ]


def _ranked(
    rng: random.Random, catalogue: Sequence[_Ware], liking: Taste, *, lift: float, size: int
) -> tuple[Slate, Slate]:
    """Rank a random half of the catalogue, what the user has not seen, once by each policy."""
    fresh = rng.sample(catalogue, len(catalogue) // 2)
    popular = sorted(fresh, key=lambda ware: -ware.popularity)
    wanted = sorted(
        fresh, key=lambda ware: -ware.popularity - lift * mean_liking(liking, named_features(ware.attributes))
    )
    return _slate("control", Role.CONTROL, popular[:size]), _slate("candidate", Role.CANDIDATE, wanted[:size])


def _slate(variant: str, role: Role, wares: Sequence[_Ware]) -> Slate:
    return Slate(
        variant=variant,
        items=tuple(Item(ware.item_id, place, attributes=ware.attributes) for place, ware in enumerate(wares)),
        role=role,
        shown=role is Role.CONTROL,
        policy_id="popularity" if role is Role.CONTROL else "popularity+taste",
        surface="home",
        layout=Layout.LIST,
    )


def name(item: Item) -> str:
    """Return what a person calls an item of the demo's catalogue.

    >>> name(Item("movies-0001", 0, attributes={"title": "Heat (1995)", "genres": "Action|Crime"}))
    'Heat (1995)'
    """
    return item.attributes.get("title") or item.attributes.get("name") or item.item_id


def definition(num_users: int) -> Definition:
    """Return what is to be found out of `num_users` users, as one would state it before."""
    return Definition("demo", 0, "control", ("candidate",), margin=0.02, planned_users=num_users)


def _impression(rng: random.Random, user: User, domain: Domain, slates: tuple[Slate, ...], at_us: int) -> Impression:
    return Impression(
        event_id=str(UUID(int=rng.getrandbits(128), version=4)),
        occurred_at=at_us,
        user=user,
        slates=slates,
        domain=domain,
        experiment=Experiment("demo", assignment=Assignment(unit=user.user_id, arm="control")),
    )
