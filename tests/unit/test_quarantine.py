"""The loop with an open breaker: what is held, what may pass, what the next owner is told."""

import asyncio
from collections import Counter
from random import Random

import pytest
from examples import impression
from fakes import jumping, until
from world import IMPRESSIONS, POISON, QUESTIONS, A, B, World, event, events, response, working

from worker import codec, quarantine
from worker.breaker import MAX_ROW, PROBE_S
from worker.codec import SchemaRef
from worker.notes import Note
from worker.records import Partition, User
from worker.signals import Assigned

pytestmark = pytest.mark.usefixtures("coarse")

BAD = [POISON] * MAX_ROW
LETTERS = MAX_ROW - 1  # that leave before the breaker opens
UNKNOWN = b"\x00\x00\x00\x00\x07"  # Confluent's prefix with an id that the registry does not have


def topics(world: World) -> dict[str, int]:
    return dict(Counter(message.topic for message in world.sink.log))


def last_note(world: World, partition: Partition = A) -> str:
    """Why the next owner would open its breaker."""
    heads = [head for flush in world.sink.flushes for head in flush.heads if head.partition == partition]
    return Note.decode(heads[-1].note).breaker


async def opened(world: World, *more: bytes | None) -> None:
    """Read a row of bad records, and more behind it."""
    await world.read(*BAD, *more)
    await until(lambda: world.watch.counts["breaker opened"] == 1)


@jumping
async def test_a_broken_topic_stops_the_worker_before_it_is_drained_into_dead_letters() -> None:
    world = World()
    async with working(world):
        await opened(world, *BAD)
        await asyncio.sleep(PROBE_S - 1)
        assert topics(world) == {"impressions.dlq": LETTERS}
        assert world.sink.committed == {A: LETTERS}, "what is held is not passed"
        assert world.source.paused == {A}
        assert "breaker open: 50 of the last 50 records could not be decoded" in world.pipeline.held_up
        assert "most often: magic (such as impressions[0]@49: 8 bytes" in world.pipeline.held_up
        assert "`mirrorstream dlq accept`" in world.pipeline.held_up
        assert world.watch.counts["consumed"] == MAX_ROW
        world.pipeline.quarantine.accept(1_000)
        await world.committed(A, 2 * MAX_ROW)


@jumping
async def test_letters_that_wait_behind_a_slow_record_are_held_too() -> None:
    world = World()
    async with working(world):
        gate = world.engine.gates["slow"] = asyncio.Event()
        await world.read(event("slow"), *BAD)
        gate.set()
        await world.committed(A, 1)
        await asyncio.sleep(1.0)
        assert topics(world) == {"responses": QUESTIONS}
        assert f"{MAX_ROW} held" in world.pipeline.held_up
        world.pipeline.quarantine.accept(0)
        await world.committed(A, 1 + MAX_ROW)
    assert topics(world) == {"responses": QUESTIONS, "impressions.dlq": MAX_ROW}


@jumping
async def test_a_letter_that_waits_behind_a_slow_record_leaves_with_it() -> None:
    world = World()
    async with working(world):
        gate = world.engine.gates["slow"] = asyncio.Event()
        await world.read(event("slow"), POISON, event("event-1"), POISON)
        await asyncio.sleep(1.0)
        assert world.sink.flushes == []
        gate.set()
        world.stop.set()
        await until(lambda: world.source.calls["close"] == 1)
    assert world.sink.committed == {A: 4}


@jumping
async def test_a_mended_registry_heals_what_is_held() -> None:
    world = World()
    async with working(world):
        await world.read(*(UNKNOWN + value[10:] for value in events(60)))
        await asyncio.sleep(2 * PROBE_S)
        assert world.watch.counts["breaker closed"] == 0
        world.schemas._schemas = {SchemaRef("id", "7"): codec.own_schema("RecommendationImpression")}
        await world.committed(A, 60)
        assert world.pipeline.held_up == ""
        assert last_note(world) == ""
    assert topics(world) == {"impressions.dlq": LETTERS, "responses": (60 - LETTERS) * QUESTIONS}


@jumping
async def test_one_more_record_is_let_in_a_probe_until_one_decodes() -> None:
    world = World()
    async with working(world):
        started_s = asyncio.get_running_loop().time()
        await opened(world, POISON, POISON, event("good"), event("next"))
        await asyncio.sleep(0.5)
        for number in range(3):
            assert world.watch.counts["consumed"] == MAX_ROW + number
            await asyncio.sleep(PROBE_S)
        await world.committed(A, MAX_ROW + 4)
        assert 3 * PROBE_S < asyncio.get_running_loop().time() - started_s < 3 * PROBE_S + 1
        assert world.pipeline.held_up == ""
    assert topics(world) == {"impressions.dlq": MAX_ROW + 2, "responses": 2 * QUESTIONS}


@jumping
async def test_a_tombstone_does_not_use_a_probe_up() -> None:
    world = World()
    async with working(world):
        started_s = asyncio.get_running_loop().time()
        await opened(world, None, None, event("good"))
        await world.committed(A, MAX_ROW + 3)
        assert asyncio.get_running_loop().time() - started_s < PROBE_S + 1
        assert world.watch.counts["breaker closed"] == 1


async def full(world: World, *more: bytes | None) -> None:
    """Open the breaker behind a slow record, in a window that has no room for more than was read then."""
    gate = world.engine.gates["slow"] = asyncio.Event()
    await world.read(event("slow"), *BAD, *more)
    await until(lambda: world.watch.counts["breaker opened"] == 1)
    gate.set()
    await world.committed(A, 1)


@jumping
async def test_a_full_window_does_not_keep_the_probe_out() -> None:
    """What is held makes no room, so the breaker would stay open whatever comes."""
    world = World(max_records=1 + MAX_ROW)
    async with working(world):
        await full(world, POISON, None, POISON, event("good"), event("next"))
        await world.committed(A, 1 + MAX_ROW + 5)


@jumping
async def test_a_full_window_does_not_keep_the_probe_from_reading_on() -> None:
    world = World(max_records=1 + MAX_ROW)
    async with working(world):
        await full(world)
        for offset, value in enumerate((POISON, POISON, event("good"), event("next")), 1 + MAX_ROW):
            assert world.source.paused == {A}
            await until(lambda: world.source.paused == frozenset())
            world.source.read(A, offset, value)
            await asyncio.sleep(1.0)
        await world.committed(A, 1 + MAX_ROW + 4)


@jumping
async def test_past_a_full_window_probes_let_in_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_OVER", 2)
    world = World(max_records=1 + MAX_ROW)
    async with working(world):
        await full(world, *BAD)
        await asyncio.sleep(5 * PROBE_S)
        assert world.window.num_records == MAX_ROW + 2
        world.pipeline.quarantine.accept(1_000)
        await world.committed(A, 1 + 2 * MAX_ROW)


@jumping
async def test_a_probe_reads_on_where_nothing_is_at_hand() -> None:
    world = World()
    async with working(world):
        await opened(world)
        assert world.source.paused == {A}
        await until(lambda: world.source.paused == frozenset())
        world.source.read(A, MAX_ROW, event("good"))
        await world.committed(A, MAX_ROW + 1)


@jumping
async def test_accepting_lets_held_letters_go_and_counts_anew() -> None:
    world = World()
    async with working(world):
        await opened(world, *BAD, *BAD)
        assert world.pipeline.quarantine.accept(0).startswith("closed: 1 held records leave as dead letters")
        await until(lambda: world.watch.counts["breaker opened"] == 2)
        await world.committed(A, MAX_ROW + LETTERS)
        world.pipeline.quarantine.accept(10)
        await world.committed(A, 3 * MAX_ROW)
        assert world.watch.counts["breaker opened"] == 2, "the 10 that were allowed were not counted"
        assert world.pipeline.quarantine.accept(0) == "the breaker is not open"
    assert topics(world) == {"impressions.dlq": 3 * MAX_ROW}


@jumping
async def test_an_open_breaker_is_handed_on_with_the_offset_of_what_is_held() -> None:
    world = World()
    async with working(world):
        await opened(world)
        await until(lambda: world.sink.committed == {A: LETTERS} and world.handover.idle)
        assert last_note(world) == "50 of the last 50 records could not be decoded, most often: magic"
        world.pipeline.quarantine.accept(0)
        await world.committed(A, MAX_ROW)
        assert last_note(world) == ""


@jumping
async def test_who_is_given_such_a_partition_opens_its_breaker() -> None:
    world = World()
    async with working(world):
        world.source.assign(B)
        world.source.epochs[A] = 7
        world.source.deliver(Assigned(A, 7, None, Note(breaker="50 of the last 50").encode()))
        assert "breaker open: 50 of the last 50" in world.pipeline.held_up
        world.source.read(A, 49, POISON, event("good"))
        world.source.read(B, 0, event("another"))
        await asyncio.sleep(PROBE_S - 1)
        assert world.watch.counts["consumed"] == 0
        assert world.source.paused == {A, B}
        await until(lambda: world.watch.counts["consumed"] == 1)
        assert world.sink.flushes == [], "one bad record does not leave while it is open"
        await world.committed(A, 51)
        await world.committed(B, 1)
        assert last_note(world) == ""


@jumping
async def test_what_a_rebalance_takes_is_no_longer_held() -> None:
    world = World()
    async with working(world):
        await opened(world)
        await world.source.revoke(A)
        await until(lambda: "; 0 held" in world.pipeline.held_up)
        world.pipeline.quarantine.accept(0)
        await asyncio.sleep(1.0)
        assert topics(world) == {"impressions.dlq": LETTERS}
        world.source.assign(A)
        world.source.read(A, LETTERS, POISON)
        await world.committed(A, MAX_ROW)
    assert topics(world) == {"impressions.dlq": MAX_ROW}


@jumping
async def test_a_partition_that_comes_back_without_a_note_gets_one_when_it_is_held_again() -> None:
    world = World()
    async with working(world):
        await opened(world)
        await until(lambda: world.sink.committed == {A: LETTERS} and world.handover.idle)
        world.source.lose(A)
        world.source.assign(A)
        num_flushes = len(world.sink.flushes)
        world.source.read(A, LETTERS, POISON)
        await until(lambda: len(world.sink.flushes) > num_flushes)
        assert world.sink.flushes[-1].offsets == {A: LETTERS}
        assert last_note(world)
        world.pipeline.quarantine.accept(0)
        await world.committed(A, MAX_ROW)


@jumping
async def test_what_says_nothing_of_decoding_is_not_counted() -> None:
    """A response too large was decoded all the same; a tombstone between bad records makes none of them good."""
    wide = {"plan": "x" * 4_000, "city": "y" * 4_000}
    world = World(max_message_bytes=6_000)
    async with working(world):
        await world.read(*(IMPRESSIONS.encode(impression(user=User("user", segments=wide))) for _ in range(60)))
        await world.committed(A, 60)
        assert topics(world) == {"impressions.dlq": 60}
        assert world.watch.counts["breaker opened"] == 0
        await world.read(*BAD[1:], None, POISON, partition=B)
        await until(lambda: world.watch.counts["breaker opened"] == 1)
        world.pipeline.quarantine.accept(0)
        await world.committed(B, MAX_ROW + 1)


@pytest.mark.parametrize("outage", [False, True])
@jumping
async def test_a_stop_does_not_wait_for_what_is_not_even_decoded(*, outage: bool) -> None:
    """Neither for the registry nor for a mend; what another partition is being asked is waited for."""
    world = World(drain_timeout_s=500.0)
    running = asyncio.create_task(world.pipeline.run(world.stop))
    await until(lambda: world.pipeline.held_up == "")
    gate = world.engine.gates["event-0"] = asyncio.Event()
    await world.read(event("event-0"), partition=B)
    if outage:
        world.schemas.outages = 1_000
        await world.read(UNKNOWN + event("event-1"))
    else:
        await opened(world)
    world.stop.set()
    await asyncio.sleep(1.0)
    assert not running.done()
    gate.set()
    stopped_s = asyncio.get_running_loop().time()
    await running
    assert asyncio.get_running_loop().time() - stopped_s < 1.0
    assert world.sink.committed == {B: 1} | ({} if outage else {A: LETTERS})


@pytest.mark.parametrize("seed", range(2))
@jumping
async def test_whatever_comes_each_record_leaves_once_and_in_order(seed: int) -> None:
    """Runs of good and bad records on two partitions, rebalances, and a person who accepts now and then."""
    chance = Random(seed)
    world = World(max_records=40)
    values = {
        partition: [
            value if bad else event(f"{partition.number}-{place}-{number}")
            for place in range(4)
            for bad in [chance.random() < 0.5]
            for number, value in enumerate([POISON] * chance.randint(1, 80))
        ]
        for partition in (A, B)
    }
    async with working(world):
        for partition, all_of_it in values.items():
            world.source.assign(partition)
            world.source.read(partition, 0, *all_of_it)
        while any(world.sink.committed.get(one, 0) < len(values[one]) for one in values):
            await asyncio.sleep(chance.choice((0.05, 0.5, 4.0)))
            if chance.random() < 0.3:
                partition = chance.choice((A, B))
                world.source.lose(partition)
                world.source.assign(partition)
                first = world.sink.committed.get(partition, 0)
                world.source.read(partition, first, *values[partition][first:])
            if chance.random() < 0.5:
                world.pipeline.quarantine.accept(chance.choice((0, 10)))
        for partition, all_of_it in values.items():
            assert left(world, partition) == [
                (offset, "letter" if value == POISON else "response") for offset, value in enumerate(all_of_it)
            ]


def left(world: World, partition: Partition) -> list[tuple[int, str]]:
    """The records of a partition in the order in which they left, and as what."""
    found: dict[tuple[int, str], None] = {}
    for message in world.sink.log:
        headers = dict(message.headers)
        if message.topic == "responses":
            source = response(message)["source"]
            number, offset, kind = source["partition"], source["offset"], "response"
        else:
            number, offset = (int(headers[f"ms-source-{name}"] or b"") for name in ("partition", "offset"))
            kind = "letter"
            assert (offset, kind) not in found or number != partition.number, "two letters of one record"
        if number == partition.number:
            found[offset, kind] = None
    return list(found)
