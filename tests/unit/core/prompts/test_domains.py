"""Every domain's layout to the byte, as the data sets of the reference model render it.

The texts here are written by hand from the reference's layouts, not taken from the profile.
"""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings

from tests.support.examples import AT_US, DAY_US, HOUR_US, impression, impressions
from worker.core.attribute_maps import known
from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Profile, attributes, build, render_option, scene
from worker.core.prompts.template import Value, check, fill
from worker.core.records import Domain, HistoryEntry, HistoryItem, Impression, Item, ItemKind, User
from worker.core.simulation.questions import Depths, Option, plan
from worker.settings import prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
WORDS = " ".join(f"w{n}-long" for n in range(60))  # 60 words in 480 characters
WORDS_50 = f"{' '.join(WORDS.split()[:50])}..."


@dataclass(frozen=True)
class Case:
    """One item of a domain, how it is offered, and how it stands in a history."""

    item: dict[str, str]
    offered: str
    past: str
    more: dict[str, str] = field(default_factory=dict)  # attributes of the history's item alone
    action: str | None = None
    rating: float | None = None
    review: str | None = None


CASES: dict[tuple[Domain, str], Case] = {
    (Domain.MOVIES, "full"): Case(
        {"title": "Amélie (1999)", "genres": "Comedy|Romance"},
        "Amélie (1999) - Comedy|Romance \n",
        "A movie viewed 3 days ago\nAmélie (1999) Comedy|Romance \nMy Behavior:\nRating: 4.5/5.0\n",
        rating=4.5,
    ),
    (Domain.MOVIES, "missing"): Case(
        {"title": "Heat"}, "Heat - None \n",
        "A movie viewed 3 days ago\nHeat None \nMy Behavior:\nRating: Not Rated/5.0\n"
    ),
    (Domain.NEWS, "full"): Case(
        {"title": "Überschwemmung am Rhein", "category": "weather"},
        "Überschwemmung am Rhein (Category: weather)\n",
        "Überschwemmung am Rhein (Category: weather) { Viewed 3 days ago }\n",
    ),
    (Domain.NEWS, "missing"): Case(
        {"title": "Rain"}, "Rain (Category: None)\n", "Rain (Category: None) { Viewed 3 days ago }\n"
    ),
    (Domain.BOOKS, "full"): Case(
        {
            "title": "Der Prozeß", "genres": '["fiction", "comics, graphic"]', "authors": "Franz Kafka", "year": "1925",
            "publisher": "Die Schmiede", "num_pages": "411", "average_rating": "3.96", "ratings_count": "340122",
            "description": WORDS,
        },
        "Title:Der Prozeß (['fiction', 'comics, graphic']) \nAuthor: Franz Kafka\n"
        "Published at 1925 - Die Schmiede - 411 pages\nRating: 3.96 - 340122 ratings\n",
        "A book viewed 3 days ago\nTitle:Der Prozeß (['fiction', 'comics, graphic']) \n"
        f"Description: {WORDS_50}\nAuthor: Franz Kafka\n"
        "Published at 1925 - Die Schmiede - 411 pages\nRating: 3.96 - 340122 ratings\n"
        f"My Behavior: Read\nRating: 2.0\nReview: {WORDS_50}\n",
        action="read",
        rating=2.0,
        review=WORDS,
    ),
    (Domain.BOOKS, "not read"): Case(
        {"title": "Emma", "genres": "fiction", "authors": '["Jane Austen", "Ann (Illustrator)"]'},
        "Title:Emma (['fiction']) \nAuthor: Jane Austen/Ann (Illustrator)\nPublished at  - NA - NA pages\n"
        "Rating: NA - NA ratings\n",
        "A book viewed 3 days ago\nTitle:Emma (['fiction']) \nDescription: Two\nlines.\n\n"
        "Author: Jane Austen/Ann (Illustrator)\nPublished at  - NA - NA pages\nRating: NA - NA ratings\n"
        "My Behavior: Not Read\n",
        more={"description": "Two\nlines.\n"},
        action="not read",
        rating=2.0,
        review="Too long",
    ),
    (Domain.BOOKS, "missing"): Case(
        {"title": "Emma"},
        "Title:Emma ([]) \nAuthor: \nPublished at  - NA - NA pages\nRating: NA - NA ratings\n",
        "A book viewed 3 days ago\nTitle:Emma ([]) \nDescription: \nAuthor: \nPublished at  - NA - NA pages\n"
        "Rating: NA - NA ratings\nMy Behavior: Read\nRating: Not Rated\n",
    ),
    (Domain.MUSIC, "full"): Case(
        {"name": "Sigur Rós", "friends": "1",
            "tags": '["post-rock", "60s/70s", "sex, drugs", "indie", "slow", "sad"]'},
        "Artist name: Sigur Rós (1 friend(s) listened)\nTags: post-rock/60s/70s/sex, drugs/indie/slow\n",
        "An artist listened 3 days ago\nArtist name: Sigur Rós \n"
        "Tags: post-rock/60s/70s/sex, drugs/indie/slow\n"
        "My Behavior: Tagging with calm, winter\n",
        review='["calm", "winter"]',
    ),
    (Domain.MUSIC, "missing"): Case(
        {"name": "Can"},
        "Artist name: Can ()\nTags: \n",
        "An artist listened 3 days ago\nArtist name: Can \nTags: \nMy Behavior: Tagging with No tags\n",
    ),
    (Domain.PRODUCTS, "full"): Case(
        {
            "name": "Crème with a name of well more than ten words in it", "category": "Beauty|Skin Care|Face",
            "price": "12.5", "average_rating": "4.1", "ratings_count": "33",
        },
        "Product name: Crème with a name of well more than ten words...\nCategory: Beauty-Skin Care-Face\n"
        "Price: $12.5\nRatings: 4.1 (33)\n",
        "A product bought 3 days ago\nProduct name: Crème with a name of well more than ten words...\n"
        "Category: Beauty-Skin Care-Face\nPrice: $12.5\nRatings: 4.1 (33)\nMy Behavior:\nRating: 5/5 \n"
        f"Review: Lovely\n{' '.join(WORDS.split()[:30])}...\n",
        rating=5.0,
        review=f"Lovely\n{WORDS}",
    ),
    (Domain.PRODUCTS, "missing"): Case(
        {"name": "Soap"},
        "Product name: Soap\nCategory: None\nPrice: NA\nRatings: None (None)\n",
        "A product bought 3 days ago\nProduct name: Soap\nCategory: None\nPrice: NA\nRatings: None (None)\n"
        "My Behavior:\nRating: None/5 \nReview: \n\n",
    ),
    (Domain.PRODUCTS, "empty"): Case(
        {"name": "Soap", "category": "Beauty-Soap", "price": "NA", "average_rating": "4.5", "ratings_count": "12"},
        "Product name: Soap\nCategory: Beauty-Soap\nPrice: $NA\nRatings: 4.5 (12)\n",
        "A product bought 3 days ago\nProduct name: Soap\nCategory: Beauty-Soap\nPrice: $NA\nRatings: 4.5 (12)\n"
        "My Behavior:\nRating: 4/5 \nReview: \nNo  headline\n",
        rating=4.0,
        review="\nNo  headline",
    ),
    (Domain.GAMES, "full"): Case(
        {
            "title": "ÖRÖK", "genres": "Puzzle/Animation & Modeling", "developer": "Á", "publisher": "B",
            "release_date": "2007-10-10", "tags": "Puzzle|FPS",
            "specifications": "Single-player|Captions", "sentiment": "Mixed", "price": "9.99",
        },
        "Title: ÖRÖK [Puzzle/Animation & Modeling]\nDeveloped by Á | Published by B\nReleased: 2007-10-10 \n"
        "Tags: Puzzle/FPS\nSpecifications: Single-player/Captions\nPlayer Reviews: Mixed\nPrice: $9.99\n",
        "A game purchased 3 days ago\nTitle: ÖRÖK [Puzzle/Animation & Modeling]\nDeveloped by Á | Published by B\n"
        "Released: 2007-10-10 \nTags: Puzzle/FPS\nSpecifications: Single-player/Captions\nPlayer Reviews: Mixed\n"
        "Price: $9.99\nMy Behavior: Played 12.5 hours | Review: Fun\nand long \n",
        more={"hours": "12.5"},
        review="Fun\nand long ",
    ),
    (Domain.GAMES, "missing"): Case(
        {"title": "Portal"},
        "Title: Portal []\nDeveloped by Unknown | Published by Unknown\nReleased:  \nTags: \nSpecifications: NA\n"
        "Player Reviews: NA\nPrice: NA\n",
        "A game purchased 3 days ago\nTitle: Portal []\nDeveloped by Unknown | Published by Unknown\nReleased:  \n"
        "Tags: \nSpecifications: NA\nPlayer Reviews: NA\nPrice: NA\nMy Behavior: Played 0.0 hours | Review: \n",
    ),
    (Domain.VIDEOS, "full"): Case(
        {
            "title": "猫", "category": "Pets|Cats", "cover_text": "meow", "duration_s": "1200", "plays": "12500",
            "likes": "2500000", "comments": "999", "shares": "0",
        },
        "Title:猫 Pets/Cats meow\nDuration: 1k  sec\n12k plays | 2M likes | 999 comments | 0 shares\n\n",
        "A video watched 3 days ago\nTitle:猫 Pets/Cats meow\nDuration: 1k  sec\n"
        "12k plays | 2M likes | 999 comments | 0 shares\nMy Behavior: Complete (watched 12s)\n\n",
        more={"watched_s": "12"},
        action="complete",
    ),
    (Domain.VIDEOS, "missing"): Case(
        {"title": "Cat"},
        "Title:Cat UNKNOWN \nDuration: Not Available\n"
        "Not Available plays | Not Available likes | Not Available comments | Not Available shares\n\n",
        "A video watched 3 days ago\nTitle:Cat UNKNOWN \nDuration: Not Available\n"
        "Not Available plays | Not Available likes | Not Available comments | Not Available shares\n"
        "My Behavior: Skip (watched 0s)\n\n",
    ),
    (Domain.APPS, "full"): Case(
        {
            "name": "Tidé", "average_rating": "4.2", "ratings_count": "1,234,900", "category": "Tools",
            "developer": "X", "price": "$2.99", "description": WORDS,
        },
        "Tidé (4.2/5.0 - 1,234,900 reviews)\nCategory: Tools\nDeveloper: X\nPrice: $2.99\n\n",
        "Tidé (4.2/5.0 - 1,234,900 reviews)\nCategory: Tools\nDeveloper: X\nPrice: $2.99\n"
        f"Description: {' '.join(WORDS.split()[:20])}...\nMy Rating: 4\nMy Reviews: {WORDS}\n\n",
        rating=4.0,
        review=WORDS,
    ),
    (Domain.APPS, "missing"): Case(
        {"name": "Tide"},
        "Tide (None/5.0 - None reviews)\nCategory: None\nDeveloper: Unknown\nPrice: Free\n\n",
        "Tide (None/5.0 - None reviews)\nCategory: None\nDeveloper: Unknown\nPrice: Free\nDescription: \n"
        "My Rating: None\nMy Reviews: \n\n",
    ),
    (Domain.GENERIC, "full"): Case(
        {"name": "Käse", "kind": "Bergkäse"},
        "name: Käse\nkind: Bergkäse\n",
        "An item met 3 days ago\nname: Käse\nkind: Bergkäse\nMy Behavior: bought\nRating: 4.0\nReview: Good\n",
        action="bought",
        rating=4.0,
        review="Good",
    ),
    (Domain.GENERIC, "missing"): Case({}, "i-1\n", "An item met 3 days ago\ni-1\n"),
}  # fmt: skip

PROFILES: dict[Domain, tuple[dict[str, str], str]] = {
    Domain.MOVIES: (
        {"gender": "female", "age": "18-24", "occupation": "writer", "location": "Zürich"},
        "## User Profile\nGender: female\nAge: 18-24\nOccupation: writer\nLocation: Zürich\n",
    ),
    Domain.GAMES: ({"num_games": "7"}, "## User Profile\nA user who has purchased 7 games\n"),
    Domain.VIDEOS: (
        {
            "country": "China", "registered_days": "120", "friends": "1", "followers": "2", "fans": "3",
            "active_degree": "full", "role": "Video Author",
        },
        (
            "## User Profile\nCountry: China\nRegistered 120 days ago\n1 Friends | 2 Followers | 3 Fans\n"
            "Active Degree: full\nRole: Video Author\n"
        ),
    ),
}  # fmt: skip


def past_entry(case: Case, ago_us: int = 3 * DAY_US) -> HistoryEntry:
    item = HistoryItem("i-1", attributes=case.item | case.more)
    return HistoryEntry(item, case.action, case.rating, case.review, AT_US - ago_us)


def message(shown: Impression, *items: Item, profile: Profile = PROFILE) -> str:
    options = [
        Option(item.item_id, render_option(profile, shown, item), 0, ("a",), ItemKind.ORGANIC, item) for item in items
    ]
    return build(profile, scene(profile, shown, 10), options).user


@pytest.mark.parametrize(("domain", "kind"), CASES, ids=str)
def test_a_domains_prompt_is_the_references_to_the_byte(domain: Domain, kind: str) -> None:
    case = CASES[domain, kind]
    facts, profile_text = PROFILES.get(domain, ({}, ""))
    shown = impression(domain=domain, user=User("u", profile=facts, history=(past_entry(case), past_entry(case))))
    item = Item("i-1", 0, attributes=case.item)
    assert message(shown, item, item) == (
        f"# User Profile\n{profile_text}\n\n## History\n{case.past}\n{case.past}\n\n"
        f"# Exposure List\n[A] {case.offered}\n[B] {case.offered}\n"
    )


@pytest.mark.parametrize("domain", [domain for domain in Domain if domain is not Domain.UNKNOWN])
def test_an_empty_profile_and_history_leave_their_headings(domain: Domain) -> None:
    case = CASES[domain, "full"]
    shown = impression(domain=domain, user=User("u"))
    assert message(shown, Item("i-1", 0, attributes=case.item)) == (
        f"# User Profile\n\n\n## History\n\n\n# Exposure List\n[A] {case.offered}\n"
    )


# Attributes by domain that its layout names, how its profile is shown where they are all null, and how an item is.
NULLS: dict[Domain, tuple[tuple[str, ...], str, str, str]] = {
    Domain.MOVIES: (
        ("gender", "title", "genres"),
        "## User Profile\nGender: Unknown\nAge: Unknown\nOccupation: Unknown\nLocation: Unknown\n",
        "None - None \n",
        "A movie viewed 3 days ago\nNone None \nMy Behavior:\nRating: Not Rated/5.0\n",
    ),
    Domain.NEWS: (("city", "title"), "", "None (Category: None)\n", "None (Category: None) { Viewed 3 days ago }\n"),
    Domain.BOOKS: (
        ("city", "title"), "",
        "Title:None ([]) \nAuthor: \nPublished at  - NA - NA pages\nRating: NA - NA ratings\n",
        ("A book viewed 3 days ago\nTitle:None ([]) \nDescription: \nAuthor: \nPublished at  - NA - NA pages\n"
        "Rating: NA - NA ratings\nMy Behavior: Read\nRating: Not Rated\n"),
    ),
    Domain.MUSIC: (
        ("city", "name"), "", "Artist name: None ()\nTags: \n",
        "An artist listened 3 days ago\nArtist name: None \nTags: \nMy Behavior: Tagging with No tags\n",
    ),
    Domain.PRODUCTS: (
        ("city", "price"), "", "Product name: None\nCategory: None\nPrice: NA\nRatings: None (None)\n",
        ("A product bought 3 days ago\nProduct name: None\nCategory: None\nPrice: NA\nRatings: None (None)\n"
        "My Behavior:\nRating: None/5 \nReview: \n\n"),
    ),
    Domain.GAMES: (
        ("num_games", "tags"), "## User Profile\nA user who has purchased  games\n",
        ("Title: None []\nDeveloped by Unknown | Published by Unknown\nReleased:  \nTags: \nSpecifications: NA\n"
        "Player Reviews: NA\nPrice: NA\n"),
        ("A game purchased 3 days ago\nTitle: None []\nDeveloped by Unknown | Published by Unknown\nReleased:  \n"
        "Tags: \nSpecifications: NA\nPlayer Reviews: NA\nPrice: NA\nMy Behavior: Played 0.0 hours | Review: \n"),
    ),
    Domain.VIDEOS: (
        ("role", "plays"),
        ("## User Profile\nCountry: China\nRegistered None days ago\nNone Friends | None Followers | None Fans\n"
        "Active Degree: None\nRole: \n"),
        ("Title:None UNKNOWN \nDuration: Not Available\nNot Available plays | Not Available likes | "
        "Not Available comments | Not Available shares\n\n"),
        ("A video watched 3 days ago\nTitle:None UNKNOWN \nDuration: Not Available\nNot Available plays | "
        "Not Available likes | Not Available comments | Not Available shares\n"
        "My Behavior: Skip (watched 0s)\n\n"),
    ),
    Domain.APPS: (
        ("city", "developer"), "",
        "None (None/5.0 - None reviews)\nCategory: None\nDeveloper: Unknown\nPrice: Free\n\n",
        ("None (None/5.0 - None reviews)\nCategory: None\nDeveloper: Unknown\nPrice: Free\nDescription: \n"
        "My Rating: None\nMy Reviews: \n\n"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("domain", NULLS)
def test_what_is_sent_as_null_alone_keeps_the_layouts_lines(domain: Domain) -> None:
    """As the reference shows a user or an item of which its data has nothing."""
    names, profile_text, offered, past = NULLS[domain]
    unavailable = known(dict.fromkeys(names))
    entry = HistoryEntry(HistoryItem("i-1", attributes=unavailable), occurred_at=AT_US - 3 * DAY_US)
    shown = impression(domain=domain, user=User("u", profile=unavailable, history=(entry,)))
    assert message(shown, Item("i-1", 0, attributes=unavailable)) == (
        f"# User Profile\n{profile_text}\n\n## History\n{past}\n\n# Exposure List\n[A] {offered}\n"
    )


def test_nulls_keep_no_layout_where_something_else_is_known_or_the_layout_does_not_name_them() -> None:
    other = Item("i-1", 0, attributes=known({"title": None, "name": "Heat"}))
    assert render_option(PROFILE, impression(), other) == "name: Heat\n"
    assert render_option(PROFILE, impression(), Item("i-1", 0, attributes=known({"color": None}))) == "i-1\n"
    shown = impression(user=User("u", profile=known({"tier": None})))
    assert scene(PROFILE, shown, 10).profile_text == ""


@pytest.mark.parametrize("domain", [domain for domain, kind in CASES if kind == "full"])
def test_only_what_came_before_the_impression_is_history(domain: Domain) -> None:
    """An entry of the impression's own time may be the click itself."""
    case = CASES[domain, "full"]
    now, later = past_entry(case, 0), past_entry(case, -HOUR_US)
    before = past_entry(case, 1)
    assert scene(PROFILE, impression(domain=domain, user=User("u", history=(now, later))), 10).history == ()
    assert len(scene(PROFILE, impression(domain=domain, user=User("u", history=(before, now))), 10).history) == 1


def test_the_attributes_of_a_domain_are_those_that_its_layout_shows() -> None:
    for (domain, kind), case in CASES.items():
        if kind == "full" and domain is not Domain.GENERIC:
            listed = attributes(PROFILE.layout(domain))
            # Shown as the mark of a new release, and beside the price.
            beside = {Domain.MOVIES: {"year"}, Domain.PRODUCTS: {"currency"}, Domain.GAMES: {"currency"}}
            assert set(listed["item"]) | set(listed["history"]) == set(case.item) | set(case.more) | beside.get(
                domain, set()
            )
            assert listed["profile"] == sorted(PROFILES.get(domain, ({}, ""))[0])


@given(impressions)
@settings(max_examples=25, deadline=None)
def test_any_impression_renders(shown: Impression) -> None:
    for question in plan(shown, lambda item: render_option(PROFILE, shown, item), Depths()):
        text = build(PROFILE, scene(PROFILE, shown, 10), question.options).user
        letters = [line[:4] for line in text.split("\n# Exposure List\n")[1].split("\n") if line.startswith("[")]
        assert letters == [f"[{chr(65 + slot)}] " for slot in range(len(question.options))]


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        ("{a:count}", {"a": "999"}, "999"),
        ("{a:count}", {"a": "1500"}, "2k"),
        ("{a:count}", {"a": "2500"}, "2k"),
        ("{a:count}", {"a": "999499"}, "999k"),
        ("{a:count}", {"a": "999500"}, "1000k"),
        ("{a:count}", {"a": "many"}, "many"),
        ("{a:count?Not Available}", {"a": "nan"}, "Not Available"),
        ("{a:count?Not Available}", {"a": ""}, "Not Available"),
        ("{a:count}", {"a": "999.6"}, "1k"),
        ("{a:seconds?Not Available}", {"a": "12.5"}, "12  sec"),
        ("{a:seconds?Not Available}", {"a": "1200"}, "1k  sec"),
        ("{a:whole}", {"a": "13.5"}, "14"),
        ("{a:friends?}", {"a": "0"}, ""),
        ("{a:dollars?NA}", {"a": "NA"}, "$NA"),
        ("{a:dollars?NA}", {"a": ""}, "$"),
        ("{a:dollars?NA}", {}, "NA"),
        ("{a:dollars?NA}", {"a": "1,299.00"}, "$1,299.00"),
        ("{a:dollars?NA}", {"a": "$1,299.00"}, "$1,299.00"),
        ("{a:dollars?NA}", {"a": "Free to Play"}, "Free to Play"),
        ("{a?None}", {"a": ""}, ""),
        ("{a:2w}", {"a": "x\ny"}, "x\ny"),
        ("{a:2w}", {"a": "x\ny  z"}, "x y..."),
        ("{a:2b}", {"a": "x  z"}, "x ..."),
        ("{a:2b}", {"a": "x\ny z z"}, "x\ny z..."),
        ("{a:2/}", {"a": ("x", "y", "z")}, "x/y"),
        ("{a:/}", {"a": "x, y/z"}, "x, y/z"),
        ("{a:list?[]}", {"a": "x, y"}, "['x, y']"),
        ("{a:list?[]}", {"a": ""}, "[]"),
        ("{a:count}", {"a": "1e400"}, "1e400"),
        ("{a:number}", {"a": "4.0"}, "4"),
        ("{a:number}", {"a": "4.123456789"}, "4.123456789"),
        ("{a:number}", {"a": "1234567"}, "1234567"),
        ("{a:friends}", {"a": "1"}, "1 friend(s) listened"),
        ("{a:2w}", {"a": "x y"}, "x y"),
        ("{a:list}", {"a": ("Children's", "War")}, "[\"Children's\", 'War']"),
        ("{a} {b?none}", {}, " none"),
        ("{a}\nfixed", {}, "fixed"),
        ("{a}", {"a": "{b}", "b": "no"}, "{b}"),  # a value is never a template
    ],
)
def test_a_template_fills_as_written_down_here(template: str, values: dict[str, Value], text: str) -> None:
    assert fill(template, values) == text


@pytest.mark.parametrize(
    ("domain", "reads_html", "offered", "past"),
    [
        (Domain.PRODUCTS, False, "Price: NA", "Price: $None"),
        (Domain.PRODUCTS, True, "Price: NA", "Price: None"),
        (Domain.GAMES, False, "Price: $None", "Price: $None"),
    ],
)
def test_the_price_none_of_an_offered_product_is_missing_as_in_the_reference(
    domain: Domain, offered: str, past: str, *, reads_html: bool
) -> None:
    attributes = {"name": "Soap", "title": "Portal", "price": "None"}
    profile = replace(PROFILE, reads_html=reads_html)
    entry = HistoryEntry(HistoryItem("h", attributes=attributes), occurred_at=AT_US - DAY_US)
    shown = impression(domain=domain, user=User("u", history=(entry,)))
    assert offered in render_option(profile, shown, Item("i", 0, attributes=attributes)).split("\n")
    assert past in scene(profile, shown, 10).history[0].split("\n")


def test_a_form_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadSettings, match=r"here: \{a:shout\}: unknown form 'shout'"):
        check("{a:shout}", "here")
