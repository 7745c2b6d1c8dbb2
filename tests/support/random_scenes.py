"""Random scenes of the reference's eight domains in four tiers, as its facts and as an impression.

plain      words and round numbers, every value there
realistic  long titles, double blanks, several lines, separators inside parts, counts of all sizes
missing    the same, with values that are null, empty or "NA", and profiles and items of which nothing is known
unicode    texts of fourteen languages and of emoji, as people type them

Lists come as lists of one or more parts, and as one text.  Each scene can be had as an impression of its facts, and as
a ready one, whose texts are the reference's.

A fifth tier, html, is realistic with the entities and tags of shops' pages: only the reference's protocol shows it so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

from tests.support.injections import HONEST, LANGUAGES
from tests.support.reference_layouts import (
    Fact,
    Facts,
    Past,
    ReferenceScene,
    history_texts,
    option_texts,
    profile_text,
)
from worker.core.attribute_maps import known
from worker.core.records import Domain, HistoryEntry, HistoryItem, Impression, Item, Role, Slate, User

TIERS = ("plain", "realistic", "missing", "unicode")
HTML = "html"
DOMAINS = ("movies", "news", "books", "music", "products", "games", "videos", "apps")
_WORDS = ("river", "stone", "light", "winter", "garden", "letter", "seven", "bridge", "paper", "thought", "behavior")
# Not "[A Cappella]": a layout's limit in words may cut it to "[A...", which the fence breaks.
_ODD = (
    "(1995)", "Children's", "rock & roll", "C++", "50%", "#1", "[Deluxe Edition]", "a/b", "x|y", "60s, 70s;",
    '"quoted"', "Vol. 2:", "&", "A&E", "History", "Thought:", "misbehavior:", "{curly}", "<3", "$5.99", "[1]",
    "(feat. B)", "---", "stimulus", "C:\\temp", "@home", "e-mail", "A", "B-side",
)  # fmt: skip
_HTML = ("Animation &amp; Modeling", "Bib&#39;s", "&quot;Best&quot;", "<i>Set</i>", "one<br/>two", "&lt;3", "K&ouml;ln")
_UNICODE = (*LANGUAGES.values(), *(text for text in HONEST if not text.isascii()))


@dataclass(frozen=True)
class Writer:
    """Writes the values of one tier."""

    chance: Random
    tier: str

    def text(self, low: int, high: int) -> str:
        """Return a text of some words on one line, which is no list."""
        words = [self._word(first=number == 0) for number in range(self.chance.randint(low, high))]
        for number, (word, after) in enumerate(pairwise(words)):
            if word == "letter" and not after[1:2].isalnum():  # "letter A" in brackets would be an option
                words[number] = "letters"
        blank = "  " if self.tier != "plain" and self.chance.random() < 0.1 else " "
        return blank.join(words) + self.chance.choice(("", "", "", " ") if self.tier != "plain" else ("",))

    def long(self, low: int, high: int) -> str:
        """Return a text that may have several lines."""
        text = self.text(low, high)
        if self.tier != "plain" and self.chance.random() < 0.5:
            text = text.replace("Thought:", "Thoughts")  # at the start of a line it would be a label
            text = text.replace(" ", self.chance.choice(("\n", "\n\n", "\r\n", " \n")), self.chance.randint(1, 3))
        return text

    def list(self, high: int) -> Fact:
        """Return a list of parts, or one text."""
        if self.chance.random() < 0.2:
            return self.text(1, 1).replace("|", "/")  # between "|" it would be a list
        return [self.text(1, 2) for _ in range(self.chance.randint(self.tier != "missing", high))]

    def fraction(self, high: int) -> str:
        """Return a number, perhaps with decimals."""
        if self.tier != "plain" and self.chance.random() < 0.2:
            return self.chance.choice(("0.4", "2.5", "12.5", "13.5", "999.5", "1500.5", "2500.0"))
        return self.number(high)

    def number(self, high: int) -> str:
        """Return a whole number; halves of a thousand and a million come often."""
        if self.tier != "plain" and self.chance.random() < 0.3:
            return str(
                self.chance.choice((0, 1, 500, 999, 1_500, 2_500, 12_500, 999_499, 999_500, 1_500_000, 2_500_000))
            )
        return str(self.chance.randint(0, high))

    def decimal(self) -> str:
        """Return a number of stars, as data has it."""
        return self.chance.choice(("1.0", "2.5", "3.0", "4.25", "5.0"))

    def maybe(self, value: Fact, *, empty: bool = True) -> Fact:
        """Return a value, or in the tier of missing ones perhaps none; an empty one or "NA" are other facts."""
        if self.tier != "missing" or self.chance.random() < 0.5:
            return value
        return self.chance.choice(("", "NA", None, None)) if empty else None

    def facts(self, of: Mapping[str, Fact]) -> dict[str, Fact]:
        """Return facts, or in the tier of missing ones now and then none of them."""
        if self.tier == "missing" and self.chance.random() < 0.15:
            return dict.fromkeys(of)
        return dict(of)

    def _word(self, *, first: bool) -> str:
        if self.tier == HTML and self.chance.random() < 0.4:
            return self.chance.choice(_HTML)
        if self.tier == "unicode" and self.chance.random() < 0.6:
            return self.chance.choice(_UNICODE)
        if self.tier != "plain" and not first and self.chance.random() < 0.3:
            odd = self.chance.choice(_ODD)
            return odd if self.tier != "unicode" else odd.replace("Thought:", "Thoughts")  # after emoji it is a label
        return self.chance.choice(_WORDS)


def scene(domain: str, tier: str, seed: int) -> ReferenceScene:
    """Return the scene of a seed."""
    write = Writer(Random(f"{domain}/{tier}/{seed}"), tier)
    chance = write.chance
    now = datetime(2020, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=chance.randrange(10**8))
    ages = sorted(
        (chance.choice((1, 59, 60, 86_399, 10**6, 10**8)) + chance.randrange(99) for _ in range(4)), reverse=True
    )
    history = [
        Past(write.facts(_ITEMS[domain](write) | _of_past(domain, write)), _behavior(domain, write), ago)
        for ago in ages[: chance.randrange(5)]
    ]
    offered = [write.facts(_ITEMS[domain](write)) for _ in range(chance.randint(2, 6))]
    return ReferenceScene(domain, now, write.facts(_profile(domain, write)), history, offered)


def impression(of: ReferenceScene) -> Impression:
    """Return the impression of the same facts."""
    now_us = round(of.now.timestamp()) * 1_000_000
    history = tuple(
        HistoryEntry(
            HistoryItem(f"h{number}", attributes=_attributes(past.item)),
            _text(past.behavior.get("action")),
            _stars(past.behavior),
            _review(of.domain, past.behavior),
            None if past.ago_s is None else now_us - past.ago_s * 1_000_000,
        )
        for number, past in enumerate(of.history)
    )
    items = tuple(Item(f"i{slot}", slot, attributes=_attributes(one)) for slot, one in enumerate(of.offered))
    user = User("u", profile=_attributes(of.profile), history=history)
    slates = (Slate("control", items, Role.CONTROL, shown=True),)
    return Impression(
        event_id="e", request_id="r", occurred_at=now_us, domain=Domain(of.domain), user=user, slates=slates
    )


def ready(of: ReferenceScene) -> Impression:
    """Return the scene as an impression whose texts are the reference's own, and stand as they are."""
    shown, (slate,) = impression(of), impression(of).slates
    history = tuple(
        replace(entry, item=HistoryItem(entry.item.item_id, text))
        for entry, text in zip(shown.user.history, history_texts(of), strict=True)
    )
    items = tuple(
        Item(one.item_id, one.position, text=text) for one, text in zip(slate.items, option_texts(of), strict=True)
    )
    user = User("u", profile_text=profile_text(of), history=history)
    return replace(shown, texts_as_is=True, user=user, slates=(replace(slate, items=items),))


def _attributes(facts: Facts) -> Mapping[str, str]:
    """Return facts as the codec reads them: a null is known to be null, a list is a JSON array."""
    return known(
        {
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
            for name, value in facts.items()
        }
    )


def _text(value: Fact) -> str | None:
    assert not isinstance(value, list)
    return value


def _stars(behavior: Facts) -> float | None:
    found = _text(behavior.get("rating")) or _text(behavior.get("stars"))
    return float(found) if found else None


def _review(domain: str, behavior: Facts) -> str | None:
    review = behavior.get("review")
    if isinstance(review, list):
        return json.dumps(review, ensure_ascii=False)
    return f"{behavior.get('headline') or ''}\n{review or ''}" if domain == "products" else review


def _film(write: Writer) -> dict[str, Fact]:
    return {
        "title": write.maybe(write.text(1, 6)),
        "genres": write.maybe(_genres(write)),
        "year": write.chance.choice(("1999", "2019", "2020", "2022", "2023", "2024")),
    }


def _genres(write: Writer) -> Fact:
    found = write.chance.sample(("Drama", "Crime", "Sci-Fi", "Children's"), 2)
    return found if write.chance.random() < 0.3 else "|".join(found)


def _book(write: Writer) -> dict[str, Fact]:
    genres = [write.text(1, 2) for _ in range(write.chance.randrange(4))]
    return {
        "title": write.maybe(write.text(1, 8)),
        "genres": write.maybe(genres, empty=False),
        "authors": write.maybe(write.list(3)),
        "year": write.maybe(write.number(2_020)),
        "publisher": write.maybe(write.text(1, 3)),
        "num_pages": write.maybe(write.number(900)),
        "average_rating": write.maybe(write.decimal()),
        "ratings_count": write.maybe(write.number(10**6)),
    }


def _artist(write: Writer) -> dict[str, Fact]:
    tags: Fact = [write.text(1, 2) for _ in range(write.chance.randrange(8))]
    return {
        "name": write.maybe(write.text(1, 3)),
        "tags": write.maybe(tags),
        "friends": write.maybe(write.number(3), empty=False),
    }


def _product(write: Writer) -> dict[str, Fact]:
    prices = ("12.5", "NA", "1,299.00", "3", *(("None", "from $5") if write.tier == HTML else ()))
    return {
        "name": write.maybe(write.text(1, 15)),
        "category": write.maybe(write.list(3)),
        "price": write.maybe(write.chance.choice(prices)),
        "average_rating": write.maybe(write.decimal()),
        "ratings_count": write.maybe(write.number(10**5)),
    }


def _game(write: Writer) -> dict[str, Fact]:
    return {
        "title": write.maybe(write.text(1, 6)),
        "genres": write.maybe(write.list(3)),
        "developer": write.maybe(write.text(1, 3)),
        "publisher": write.maybe(write.text(1, 3)),
        "release_date": write.maybe("2007-10-10"),
        "tags": write.maybe(write.list(8)),
        "specifications": write.maybe(write.list(4)),
        "sentiment": write.maybe("Very Positive"),
        "price": write.maybe(write.chance.choice(("9.99", "0.0", "NA"))),
    }


def _video(write: Writer) -> dict[str, Fact]:
    counts = {
        name: write.maybe(write.fraction(3 * 10**6), empty=False) for name in ("plays", "likes", "comments", "shares")
    }
    return {
        "title": write.maybe(write.text(1, 8)),
        "category": write.maybe(write.list(3)),
        "cover_text": write.maybe(write.text(1, 3)),
        "duration_s": write.maybe(write.fraction(2_000), empty=False),
        **counts,
    }


def _app(write: Writer) -> dict[str, Fact]:
    return {
        "name": write.maybe(write.text(1, 4)),
        "average_rating": write.maybe(write.decimal()),
        "ratings_count": write.maybe(f"{int(write.number(10**7)):,}"),
        "category": write.maybe(write.text(1, 2)),
        "developer": write.maybe(write.text(1, 3)),
        "price": write.maybe(write.chance.choice(("Free", "$2.99"))),
    }


def _news(write: Writer) -> dict[str, Fact]:
    return {"title": write.maybe(write.text(2, 12)), "category": write.maybe(write.text(1, 1))}


_ITEMS = {
    "movies": _film, "news": _news, "books": _book, "music": _artist, "products": _product, "games": _game,
    "videos": _video, "apps": _app,
}  # fmt: skip


def _of_past(domain: str, write: Writer) -> dict[str, Fact]:
    """Return what only an item of the past shows."""
    match domain:
        case "books" | "apps":
            return {"description": write.maybe(write.long(5, 70))}
        case "games":
            return {"hours": write.maybe(write.decimal(), empty=False)}
        case "videos":
            return {"watched_s": write.maybe(write.fraction(500), empty=False)}
    return {}


def _behavior(domain: str, write: Writer) -> dict[str, Fact]:
    stars = write.chance.choice("12345")
    review = write.maybe(write.long(1, 70))
    rating = write.maybe(f"{stars}.0", empty=False)
    read: dict[str, Fact] = {"action": write.chance.choice(("read", "not read")), "rating": rating}
    tags: Fact = [write.text(1, 2) for _ in range(write.chance.randrange(4))]
    did: dict[str, dict[str, Fact]] = {
        "movies": {"rating": write.maybe(f"{stars}.0", empty=False)},
        "books": {**read, "review": review},
        "music": {"review": write.maybe(tags if write.chance.random() < 0.8 else write.text(1, 2).replace("|", "/"))},
        "products": {"stars": stars, "headline": write.maybe(write.text(1, 5)), "review": review},
        "games": {"review": review},
        "videos": {"action": write.chance.choice(("skip", "complete"))},
        "apps": {"stars": write.maybe(stars, empty=False), "review": review},
    }
    return did.get(domain, {})


def _profile(domain: str, write: Writer) -> Mapping[str, Fact]:
    match domain:
        case "movies":
            names = ("gender", "age", "occupation", "location")
            return {name: write.maybe(write.text(1, 3)) for name in names}
        case "games":
            return {"num_games": write.maybe(write.number(300), empty=False)}
        case "videos":
            names = ("registered_days", "friends", "followers", "fans")
            numbers = {name: write.maybe(write.number(900), empty=False) for name in names}
            degree = write.maybe("full_active", empty=False)
            return {**numbers, "active_degree": degree, "role": write.maybe(write.text(1, 2))}
    return {"city": None}  # their profile is empty
