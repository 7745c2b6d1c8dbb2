"""The loop with facts: events with ids only are joined, wait, or become dead letters, and the breaker stays out."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.fakes import jumping, until
from tests.support.world import A, B, World, event, response, working
from worker.core.joining.facts import FactKind, FactVersion, ItemFacts, UserFacts, Versions
from worker.core.records import Item, Slate

BOTH = frozenset({FactKind.ITEMS, FactKind.USERS})


class FakeFacts:
    """Facts in two dictionaries."""

    def __init__(self, kinds: frozenset[FactKind] = BOTH) -> None:
        self.kinds, self.held_up, self.behind, self.num_changes = kinds, "", "", 0
        self.known: dict[str, Versions[ItemFacts]] = {}
        self.users: dict[str, Versions[UserFacts]] = {}

    def say(self, *names: str, since: int = 1) -> None:
        for name in names:
            self.known[name] = [FactVersion(since, ItemFacts(attributes={"title": name, "genres": f"Film {name}"}))]
        self.num_changes += 1

    def items(self, ids: Sequence[str]) -> Mapping[str, Versions[ItemFacts]]:
        return {name: self.known[name] for name in ids if name in self.known}

    def user(self, user_id: str) -> Versions[UserFacts]:
        return self.users.get(user_id, ())


def bare(name: str, *ids: str) -> bytes:
    """An event whose items are ids alone."""
    items = tuple(Item(one, position) for position, one in enumerate(ids))
    return event(name, slates=(Slate("control", items),))


def world(facts: FakeFacts, **changes: Any) -> World:
    return World(facts=facts, **{"join_wait_s": 5.0, **changes})


@jumping
async def test_ids_are_answered_with_the_texts_that_are_known() -> None:
    facts = FakeFacts()
    facts.say("a", "b")
    async with working(world(facts)) as w:
        await w.read(bare("e1", "a", "b"))
        await w.committed(A, 1)
        [message] = w.sink.log
        shown = {one["item_id"]: one["attributes"]["category"] for one in response(message)["options"]}
        assert shown == {"a": "Film a", "b": "Film b"}
        assert "enriched_later" not in response(message)["flags"]
        assert w.watch.counts["items found"] == 2
        assert w.watch.counts["users missing"] == 1


@jumping
async def test_values_of_after_the_event_are_flagged() -> None:
    facts = FakeFacts()
    facts.say("a", since=4_000_000_000_000_000)
    async with working(world(facts)) as w:
        await w.read(bare("e1", "a"))
        await w.committed(A, 1)
        assert "enriched_later" in response(w.sink.log[0])["flags"]


@jumping
async def test_an_item_that_comes_in_time_is_waited_for_and_holds_back_no_other_partition() -> None:
    facts = FakeFacts()
    facts.say("a")
    async with working(world(facts)) as w:
        await w.read(bare("e1", "a", "late"))
        await w.read(bare("e2", "a"), partition=B)
        await w.committed(B, 1)
        assert A not in w.sink.committed
        assert w.watch.joining_now == 1
        facts.say("late")
        await w.committed(A, 1)
        assert (w.watch.counts["items waited"], w.watch.joining_now) == (1, 0)
        assert w.watch.counts["answered"] == 2


@jumping
async def test_an_item_that_never_comes_is_a_dead_letter_after_the_wait_and_never_an_option_without_text() -> None:
    facts = FakeFacts()
    facts.say("a")
    async with working(world(facts)) as w:
        began_s = asyncio.get_running_loop().time()
        await w.read(bare("e1", "a", "never"), bare("e2", "a"))
        await w.committed(A, 2)
        assert 5.0 <= asyncio.get_running_loop().time() - began_s < 6.0
        assert w.watch.counts["dead letter item_unknown"] == 1
        assert w.watch.counts["items missing"] == 1
        letter = next(one for one in w.sink.log if one.topic == "impressions.dlq")
        assert dict(letter.headers)["ms-detail"] == (
            b"no text is known after 5 s for items that have only an id: never"
        )


@jumping
async def test_unknown_items_never_open_the_breaker() -> None:
    async with working(world(FakeFacts(), join_wait_s=0.1), max_records=300) as w:
        await w.read(*(bare(f"e{number}", "never") for number in range(70)))
        await w.committed(A, 70)
        assert w.watch.counts["dead letter item_unknown"] == 70
        assert w.pipeline.held_up == ""


@jumping
async def test_nothing_is_unknown_while_the_facts_are_read_anew() -> None:
    facts = FakeFacts()
    async with working(world(facts, join_wait_s=1.0)) as w:
        facts.held_up = "items are being read"
        w.source.assign(A)
        w.source.read(A, 0, bare("e1", "a"))
        await until(lambda: w.watch.joining_now == 1)
        await asyncio.sleep(30)
        assert w.watch.counts["dead letter item_unknown"] == 0
        assert w.pipeline.held_up == "items are being read"
        facts.say("a")
        facts.held_up = ""
        await w.committed(A, 1)
        assert w.watch.counts["answered"] == 1


@jumping
async def test_no_item_is_unknown_while_its_topic_cannot_be_read_and_events_with_known_ones_go_on() -> None:
    """It may be among what was written meanwhile: a dead letter would say that nobody had sent it."""
    facts = FakeFacts()
    facts.say("a")
    async with working(world(facts, join_wait_s=1.0)) as w:
        facts.behind = "topic items: the registry does not answer"
        await w.read(bare("e1", "a"))
        await w.committed(A, 1)
        assert w.pipeline.held_up == ""  # nobody waits
        await w.read(bare("e2", "a", "late"), first=1)
        await until(lambda: w.watch.joining_now == 1)
        await asyncio.sleep(30)
        assert w.watch.counts["dead letter item_unknown"] == 0
        assert w.pipeline.held_up == "topic items: the registry does not answer"
        facts.behind = ""
        await asyncio.sleep(0.9)  # what comes first after an outage may be older than what is missing
        assert w.watch.joining_now == 1
        facts.say("late")
        await w.committed(A, 2)
        assert (w.watch.counts["answered"], w.watch.counts["items waited"]) == (2, 1)


@jumping
async def test_a_lost_partition_and_a_stop_forget_what_waits() -> None:
    w = world(FakeFacts(), join_wait_s=600.0)
    running = asyncio.create_task(w.pipeline.run(w.stop))
    await until(lambda: w.pipeline.held_up == "")
    await w.read(bare("e1", "never"))
    await w.read(bare("e2", "never"), partition=B)
    await until(lambda: w.watch.joining_now == 2)
    w.source.lose(A)
    await until(lambda: w.watch.joining_now == 1)
    w.stop.set()
    await asyncio.wait_for(running, 1)  # it waits for no item
    assert w.sink.committed == {}  # their next owner reads them


@jumping
async def test_without_a_topic_of_items_an_id_alone_is_a_mistake_of_the_producer() -> None:
    async with working(world(FakeFacts(frozenset({FactKind.USERS})))) as w:
        await w.read(bare("e1", "a"))
        await w.committed(A, 1)
        assert w.watch.counts["dead letter invalid"] == 1
