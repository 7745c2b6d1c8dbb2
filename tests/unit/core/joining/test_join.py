"""What an event takes from what is known of its items and its user, and when that is flagged."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from worker.core.attribute_maps import known, nulls
from worker.core.errors import Poison
from worker.core.flags import Flag
from worker.core.joining import join
from worker.core.joining.facts import (
    MAX_BODY_CHARS,
    UNKNOWN_SINCE,
    FactKind,
    FactVersion,
    ItemFacts,
    UserFacts,
    items_facts,
    statement,
    user_facts,
)
from worker.core.joining.progress import StoreProgress, distrust
from worker.core.records import HistoryEntry, HistoryItem, Impression, Item, Slate, User
from worker.core.simulation.questions import Kind, Option, Question

AT_US = 1_767_225_600_000_000
OLD, NEW = FactVersion(AT_US - 10, ItemFacts(attributes={"title": "old"})), FactVersion(AT_US + 10, ItemFacts("new"))


def event(*items: Item, user: User | None = None) -> Impression:
    return Impression("e", AT_US, user or User("u"), (Slate("control", items),))


def bare(*names: str) -> tuple[Item, ...]:
    return tuple(Item(name, position) for position, name in enumerate(names))


def test_an_id_takes_text_and_attributes_of_the_version_that_held_then() -> None:
    joined = join.with_items(event(*bare("i")), {"i": [OLD, NEW]})
    assert joined.impression.slates[0].items[0] == Item("i", 0, attributes={"title": "old"})
    assert (joined.missing, joined.num_found, joined.later) == ((), 1, join.NOTHING_LATER)


@pytest.mark.parametrize(
    "versions", [[NEW], [FactVersion(UNKNOWN_SINCE, NEW.facts)]], ids=["after", "nobody says when"]
)
def test_a_version_that_is_only_known_from_later_is_flagged_in_its_own_questions(
    versions: list[FactVersion[ItemFacts]],
) -> None:
    shown = event(*bare("i", "j"))
    joined = join.with_items(shown, {"i": versions, "j": [OLD]})
    assert joined.impression.slates[0].items[0].text == "new"
    slate = joined.impression.slates[0]
    first, second = (
        Question(Kind.SLATE, slate, None, (Option(one.item_id, "", one.position, ("control",), one.kind, one),), 1)
        for one in slate.items
    )
    assert joined.later.flags(first) == {Flag.ENRICHED_LATER}
    assert joined.later.flags(second) == frozenset()


def test_the_events_own_fields_win() -> None:
    own = (
        Item("i", 0, attributes={"title": "own"}),
        Item("j", 1, text="own text"),
        Item("k", 2, attributes={"price": "5"}),
    )
    known = {
        "i": [FactVersion(1, ItemFacts("text", {"title": "theirs", "year": "1999"}))],
        "j": [FactVersion(1, ItemFacts("text", {"title": "theirs"}))],
        "k": [FactVersion(1, ItemFacts("text"))],
    }
    first, second, third = join.with_items(event(*own), known).impression.slates[0].items
    assert (first.text, first.attributes) == (None, {"title": "own", "year": "1999"})  # a text would hide its title
    assert (second.text, second.attributes) == ("own text", {})
    assert (third.text, third.attributes) == ("text", {"price": "5"})


def test_an_option_that_nobody_knows_is_missing_and_one_with_a_text_of_its_own_is_not() -> None:
    joined = join.with_items(event(*bare("i", "i2"), Item("j", 2, text="own")), {"i": [OLD]})
    assert joined.missing == ("i2",)
    assert join.with_items(event(*bare("i")), {}).missing == ("i",)
    assert str(join.unknown(("i2",), 10.0)) == "no text is known after 10 s for items that have only an id: i2"
    many = tuple(f"i{number}" for number in range(join.MAX_NAMED + 2))
    assert str(join.unknown(many, 2.5)).endswith(f"i{join.MAX_NAMED - 1} and 2 more")


def test_a_user_takes_profile_and_history_and_its_items_are_joined_too() -> None:
    past = (HistoryEntry(HistoryItem("h"), rating=4.0, occurred_at=AT_US - 5),)
    facts = UserFacts({"age": "30", "city": "Rome"}, "a text", past)
    shown, is_late = join.with_user(
        event(*bare("i"), user=User("u", profile={"age": "31"})), [FactVersion(AT_US - 1, facts)]
    )
    assert (shown.user.profile, shown.user.profile_text) == ({"age": "31", "city": "Rome"}, None)
    assert not is_late
    assert join.asked_items(shown) == ("i", "h")
    joined = join.with_items(shown, {"i": [OLD], "h": [NEW]})
    assert joined.impression.user.history[0].item.text == "new"
    assert joined.impression.user.history[0].rating == 4.0
    assert joined.later == join.Later(frozenset({"h"}), user=True)


def test_a_history_of_the_event_is_kept_whole_and_what_was_not_taken_is_not_flagged() -> None:
    own = (HistoryEntry(HistoryItem("own", text="x")),)
    user = User("u", profile_text="mine", history=own)
    versions = [FactVersion(AT_US + 1, UserFacts(history=(HistoryEntry(HistoryItem("h")),)))]
    assert join.with_user(event(*bare("i"), user=user), versions) == (event(*bare("i"), user=user), False)


def test_a_user_of_whom_the_catalogue_has_nulls_alone_is_known_and_nothing_else() -> None:
    """The profile equals an empty one, and its layout's lines were left out."""
    facts = UserFacts(known({"age": None}))
    for valid_from, is_late in ((AT_US - 1, False), (AT_US + 1, True)):
        joined, late = join.with_user(event(user=User("u")), [FactVersion(valid_from, facts)])
        assert (sorted(nulls(joined.user.profile)), late) == (["age"], is_late)
    shown = event(user=User("u", profile=known({"age": None})))
    assert join.with_user(shown, [FactVersion(AT_US + 1, facts)]) == (shown, False)


def test_a_catalogue_cannot_make_an_event_larger_than_one_may_be() -> None:
    many = {f"i{n}": [FactVersion(1, ItemFacts(attributes={f"a{k}": "x" for k in range(64)}))] for n in range(200)}
    with pytest.raises(Poison, match="12,800 attributes with those joined, want at most 10,000"):
        join.with_items(event(*bare(*many)), many)
    long = {
        f"i{n}": [FactVersion(1, ItemFacts(attributes={f"a{k}": "x" * 4000 for k in range(10)}))] for n in range(150)
    }
    with pytest.raises(Poison, match="characters with those joined"):
        join.with_items(event(*bare(*long)), long)


def test_what_an_event_has_as_null_is_taken_from_the_catalogue_or_stays_null() -> None:
    user = User(
        "u", profile=known({"age": None}), history=(HistoryEntry(HistoryItem("h", attributes=known({"a": None}))),)
    )
    shown = event(Item("i", 0, attributes=known({"title": None, "genres": None})), user=user)
    for known_of_user, profile, left in (({"age": "30"}, {"age": "30"}, set()), ({}, {}, {"age"})):
        joined, _ = join.with_user(shown, [FactVersion(AT_US - 1, UserFacts(known_of_user))])
        assert joined.user.profile == profile
        assert nulls(joined.user.profile) == left
    facts = [FactVersion(AT_US - 1, ItemFacts(attributes={"title": "Heat"}))]
    found = join.with_items(shown, {"i": facts, "h": [FactVersion(AT_US - 1, ItemFacts())]})
    assert found.impression.slates[0].items[0].attributes == {"title": "Heat"}
    assert nulls(found.impression.user.history[0].item.attributes) == {"a"}


# -- what the topics say


def test_a_record_of_an_item_is_stored_and_read_back() -> None:
    plain = {"item_id": None, "valid_from": None, "text": None, "attributes": {"title": "Heat"}}
    found = statement(FactKind.ITEMS, plain, key=b"i7", since_us=AT_US)
    assert (found.id, found.valid_from) == ("i7", AT_US)
    assert items_facts([found.body, found.body]) == 2 * [ItemFacts(None, {"title": "Heat"})]


def test_nulls_of_a_record_are_stored_and_read_back() -> None:
    entry = {"item": {"item_id": "h", "attributes": {"title": None}}}
    found = statement(FactKind.USERS, {"user_id": "u", "profile": {"age": None}, "history": [entry]})
    of_user = user_facts(found.body)
    assert nulls(of_user.profile) == {"age"}
    assert nulls(of_user.history[0].item.attributes) == {"title"}


def test_a_record_of_a_user_is_stored_and_read_back() -> None:
    entry = {"item": {"item_id": "h", "text": None, "attributes": {}}, "rating": 4.0, "occurred_at": AT_US}
    found = statement(FactKind.USERS, {"user_id": "u", "profile": {"age": "30"}, "history": [entry]})
    assert found.valid_from == UNKNOWN_SINCE
    past = (HistoryEntry(HistoryItem("h"), rating=4.0, occurred_at=AT_US),)
    assert user_facts(found.body) == UserFacts({"age": "30"}, None, past)


@pytest.mark.parametrize(
    ("plain", "key", "told"),
    [
        ({"item_id": "j", "text": "x"}, b"i", "item_id is not the record's key"),
        ({"text": "x"}, b"", "the key is empty or not UTF-8"),
        ({"text": "x"}, b"\xff", "the key is empty or not UTF-8"),
        ({"text": ""}, b"i", "has neither text nor attributes"),
        ({"text": "x", "valid_from": 5}, b"i", "valid_from: want at least 31536000000000"),
        ({"attributes": {"secret" * 50: "x"}}, b"i", "attributes.KEY: want at most 256 characters"),
        ({"attributes": {f"a{n}": "x" * 4000 for n in range(60)}}, b"i", f"want at most {MAX_BODY_CHARS:,}"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_place(plain: Mapping[str, Any], key: bytes, told: str) -> None:
    with pytest.raises(Poison) as caught:
        statement(FactKind.ITEMS, plain, key=key)
    assert told in str(caught.value)


def test_a_body_has_no_field_that_says_nothing() -> None:
    found = statement(FactKind.USERS, {"user_id": "u", "profile": {}, "profile_text": None, "history": []})
    assert json.loads(found.body) == {}


# -- when a store is not to be trusted


@pytest.mark.parametrize(
    ("away_s", "config", "trusted"),
    [
        (86_000, None, True),  # Kafka's default is a day
        (87_000, None, False),
        (3_000, {"delete.retention.ms": "3600000"}, True),
        (4_000, {"delete.retention.ms": "3600000"}, False),
        (87_000, {"delete.retention.ms": "604800000"}, True),
    ],
)
def test_a_store_is_trusted_while_its_topic_keeps_tombstones(
    away_s: int, config: Mapping[str, str] | None, *, trusted: bool
) -> None:
    progress = StoreProgress("items", "id", {0: 7}, whole_until_s=1_000_000.0)
    assert (distrust(progress, config, now_s=1_000_000.0 + away_s) == "") is trusted


def test_a_store_that_never_saw_the_end_goes_on_with_the_beginning_that_it_has() -> None:
    assert distrust(StoreProgress("items", "id", {0: 7}), {"delete.retention.ms": "1"}, now_s=1e9) == ""
