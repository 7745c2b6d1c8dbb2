"""The loop with an open breaker: what is held, what may pass, what the next owner is told."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

import pytest

from tests.support.examples import impression
from tests.support.fakes import jumping, until
from tests.support.world import (
    DRAWS,
    IMPRESSIONS,
    POISON,
    QUESTIONS,
    A,
    B,
    World,
    event,
    events,
    held_by,
    response,
    working,
)
from worker.core.codec import avro_schemas
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.delivery.handover_messages import Assigned
from worker.core.delivery.offset_metadata import Note
from worker.core.records import Partition, User
from worker.core.resilience.decode_breaker import MAX_ROW, PROBE_S
from worker.pipeline import parking
from worker.pipeline.decoder import MAX_FETCHES

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
        assert world.watch.counts["consumed"] == LETTERS + 50, "what is held may fill half of the window"
        assert world.watch.held_now == 50
        world.pipeline.quarantine.accept(1_000)
        await world.committed(A, 2 * MAX_ROW)
        await until(lambda: world.watch.held_now == 0)


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
        world.schemas._schemas = {SchemaRef(SchemaRefKind.ID, "7"): avro_schemas.own_schema("RecommendationImpression")}
        await world.committed(A, 60)
        assert world.pipeline.held_up == ""
        assert last_note(world) == ""
    assert topics(world) == {"impressions.dlq": LETTERS, "responses": (60 - LETTERS) * QUESTIONS}


@jumping
async def test_records_behind_what_is_held_are_read_and_close_the_breaker_at_once() -> None:
    """Once more than 5 % of the last ones are good: 3 of 55."""
    world = World()
    async with working(world):
        await opened(world, POISON, POISON, *events(2))
        await asyncio.sleep(PROBE_S + 1)
        assert world.sink.committed == {A: LETTERS}
        assert len(world.engine.asks) == 2 * QUESTIONS * DRAWS, "they are answered, and wait"
        closing_s = asyncio.get_running_loop().time()
        world.source.read(A, MAX_ROW + 4, event("event-2"))
        await world.committed(A, MAX_ROW + 5)
        assert asyncio.get_running_loop().time() - closing_s < 1
        assert world.pipeline.held_up == ""
    assert topics(world) == {"impressions.dlq": MAX_ROW + 2, "responses": 3 * QUESTIONS}


async def full(world: World, *more: bytes | None) -> None:
    """Open the breaker behind a slow record, in a window that has no room for more than was read then."""
    gate = world.engine.gates["slow"] = asyncio.Event()
    await world.read(event("slow"))
    await until(lambda: bool(world.engine.asks))
    world.source.read(A, 1, *BAD, *more)
    await until(lambda: world.watch.counts["breaker opened"] == 1)
    gate.set()
    await world.committed(A, 1)


@jumping
async def test_past_its_part_of_the_window_a_probe_lets_one_in_and_good_ones_let_in_more() -> None:
    """What is held makes no room, so the breaker would stay open whatever comes.  A tombstone uses no probe up."""
    world = World(max_records=1 + MAX_ROW)
    async with working(world):
        await full(world, POISON, POISON, None, *events(4))
        opened_s = asyncio.get_running_loop().time()
        await world.committed(A, 1 + MAX_ROW + 7)
        assert 3 * PROBE_S - 2 < asyncio.get_running_loop().time() - opened_s < 3 * PROBE_S + 1


@jumping
async def test_a_full_window_does_not_keep_the_probe_from_reading_on() -> None:
    world = World(max_records=1 + MAX_ROW)
    async with working(world):
        await full(world)
        await asyncio.sleep(1.0)
        for offset, value in enumerate((POISON, POISON), 1 + MAX_ROW):
            assert world.source.paused == {A}
            await until(lambda: world.source.paused == frozenset())
            world.source.read(A, offset, value)
            await asyncio.sleep(1.0)
        for offset, value in enumerate(events(3), 3 + MAX_ROW):
            await until(lambda: world.source.paused == frozenset())
            world.source.read(A, offset, value)
            await asyncio.sleep(1.0)
        await world.committed(A, 1 + MAX_ROW + 5)


@jumping
async def test_past_a_full_window_probes_let_in_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MAX_OVER", 2)
    world = World(max_records=1 + MAX_ROW)
    async with working(world):
        await full(world, *BAD)
        await asyncio.sleep(5 * PROBE_S)
        assert held_by(world.window)[0] == MAX_ROW + 2
        world.pipeline.quarantine.accept(1_000)
        await world.committed(A, 1 + 2 * MAX_ROW)


@jumping
async def test_accepting_lets_held_letters_go_and_counts_anew() -> None:
    world = World()
    async with working(world):
        await opened(world, *BAD)
        await asyncio.sleep(1.0)
        assert world.pipeline.quarantine.accept(0).startswith("closed: 50 held records leave as dead letters")
        await world.committed(A, 2 * MAX_ROW)
        world.source.read(A, 2 * MAX_ROW, *[POISON] * (MAX_ROW - 1))
        await until(lambda: world.watch.counts["breaker opened"] == 2)
        world.pipeline.quarantine.accept(10)
        await world.committed(A, 3 * MAX_ROW - 1)
        world.source.read(A, 3 * MAX_ROW - 1, *[POISON] * (10 + LETTERS))
        await world.committed(A, 4 * MAX_ROW + 8)
        assert world.watch.counts["breaker opened"] == 2, "the 10 that were allowed were not counted"
        assert world.pipeline.quarantine.accept(0) == "the breaker is not open"
    assert topics(world) == {"impressions.dlq": 4 * MAX_ROW + 8}


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
async def test_who_is_given_such_a_partition_holds_its_bad_records_and_no_others() -> None:
    world = World()
    async with working(world):
        world.source.assign(B)
        world.source.epochs[A] = 7
        world.source.deliver(Assigned(A, 7, None, Note(breaker="50 of the last 50").encode()))
        assert "breaker open: 50 of the last 50" in world.pipeline.held_up
        world.source.read(A, 49, POISON, *events(2))
        world.source.read(B, 0, POISON, event("another"))
        await world.committed(B, 2)
        await asyncio.sleep(PROBE_S + 1)
        assert A not in world.sink.committed, "the two that decode are too few"
        assert len(world.engine.asks) == 3 * QUESTIONS * DRAWS
        world.source.read(A, 52, event("event-2"))
        await world.committed(A, 53)
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


# -- sources


def framed(number: int, name: str, **changes: Any) -> bytes:
    """An impression behind Confluent's prefix, with this schema id."""
    return b"\x00" + number.to_bytes(4, "big") + event(name, **changes)[10:]


def quick(name: str) -> bytes:
    """An impression that decodes and is not simulated."""
    return event(name, is_test=True)


def knows(world: World, *numbers: int) -> None:
    """Have the registry know our schema under these ids."""
    ours = avro_schemas.own_schema("RecommendationImpression")
    world.schemas._schemas = {
        **world.schemas._schemas,
        **{SchemaRef(SchemaRefKind.ID, str(number)): ours for number in numbers},
    }


@pytest.mark.parametrize("bad", [POISON, UNKNOWN + event()[10:], event("cut")[:-9]])
@jumping
async def test_a_quarter_of_bad_records_throttles_nobody(bad: bytes) -> None:
    """900 records took 121 s."""
    world = World()
    async with working(world):
        started_s = asyncio.get_running_loop().time()
        world.source.assign(A)
        for first in range(0, 900, 4):
            world.source.read(A, first, *(quick(f"event-{first + n}") for n in range(3)), bad)
        await world.committed(A, 900)
        assert asyncio.get_running_loop().time() - started_s < 5
        assert world.watch.counts["breaker opened"] == 0
    assert topics(world) == {"impressions.dlq": 225}


@jumping
async def test_a_partition_without_bad_records_does_not_feel_another_that_has_nothing_else() -> None:
    world = World(max_records=60)
    async with working(world):
        world.source.assign(A, B)
        for first in range(0, 600, 30):
            world.source.read(A, first, *[POISON] * 30)
            world.source.read(B, first, *(quick(f"event-{first + n}") for n in range(30)))
        started_s = asyncio.get_running_loop().time()
        await world.committed(B, 600)
        assert asyncio.get_running_loop().time() - started_s < 5
        await until(lambda: world.source.paused == {A})
        assert world.sink.committed[A] == LETTERS
        assert "records of impressions[0] could not be decoded" in world.pipeline.held_up
        world.pipeline.quarantine.accept(1_000)
        await world.committed(A, 600)


@jumping
async def test_a_writer_that_stops_decoding_is_held_beside_others_also_after_a_restart() -> None:
    world = World()
    async with working(world):
        knows(world, 1, 2)
        await world.read(framed(1, "first"), framed(2, "first"))
        await world.committed(A, 2)
        for first in range(2, 100, 2):
            world.source.read(A, first, framed(1, f"event-{first}"), framed(2, "cut")[:-9])
            await world.committed(A, first + 2)
        world.source.read(A, 100, framed(1, "event-100"), *[framed(2, "cut")[:-9]] * 20)
        await until(lambda: world.watch.counts["breaker opened"] == 1)
        assert "50 of the last 50 records of writer id 2" in world.pipeline.held_up
        await until(lambda: world.sink.committed[A] == 101 and world.handover.idle)
        assert topics(world)["impressions.dlq"] == LETTERS
        note = world.sink.flushes[-1].heads[0].note

        world.source.lose(A)
        world.source.epochs[A] = 7
        world.source.deliver(Assigned(A, 7, None, note))
        world.source.read(A, 101, framed(2, "cut")[:-9], *(framed(1, f"again-{n}") for n in range(40)))
        await asyncio.sleep(1.0)
        assert world.sink.committed[A] == 101
        assert topics(world)["impressions.dlq"] == LETTERS
        world.source.read(A, 142, framed(2, "mended"), framed(2, "mended-1"), framed(2, "mended-2"), framed(2, "more"))
        await world.committed(A, 146)
        assert last_note(world) == ""


# -- schemas that nobody can give


@jumping
async def test_one_schema_that_the_registry_cannot_give_holds_its_own_records() -> None:
    world = World()
    async with working(world):
        knows(world, 1, 2)
        world.schemas.away = {SchemaRef(SchemaRefKind.ID, "2")}
        world.source.assign(A, B)
        world.source.read(A, 0, framed(1, "before"), framed(2, "waits"), *(framed(1, f"after-{n}") for n in range(10)))
        world.source.read(B, 0, *(framed(1, f"other-{n}", is_test=True) for n in range(500)))
        await world.committed(B, 500)
        assert asyncio.get_running_loop().time() < 5
        await asyncio.sleep(60.0)
        assert world.sink.committed == {A: 1, B: 500}
        assert len(world.engine.asks) == 11 * QUESTIONS * DRAWS, "what stands behind it is answered"
        assert world.pipeline.held_up == "the registry is away: 1 records wait for writer schema id 2"
        assert world.watch.waiting_now == 1
        assert world.schemas.asked[SchemaRef(SchemaRefKind.ID, "2")] < 12
        world.schemas.away = set()
        await world.committed(A, 12)
        assert world.pipeline.held_up == ""
    assert topics(world) == {"responses": 12 * QUESTIONS}


@jumping
async def test_a_storm_of_records_with_one_missing_schema_fills_its_part_of_the_window_and_asks_once() -> None:
    world = World(max_records=40)
    async with working(world):
        knows(world, 1, 2)
        world.schemas.away = {SchemaRef(SchemaRefKind.ID, "2")}
        world.source.assign(A, B)
        world.source.read(A, 0, *(framed(2, f"waits-{n}", is_test=True) for n in range(300)))
        for first in range(0, 300, 30):
            world.source.read(B, first, *(framed(1, f"other-{first + n}", is_test=True) for n in range(30)))
        await world.committed(B, 300)
        await until(lambda: world.source.paused == {A})
        assert held_by(world.window)[0] == 40, "it had the window to itself until the registry failed"
        assert world.schemas.asked[SchemaRef(SchemaRefKind.ID, "2")] <= 4
        world.schemas.away = set()
        await world.committed(A, 300)
        assert world.schemas.asked[SchemaRef(SchemaRefKind.ID, "2")] <= 10
    assert world.watch.counts["skipped test"] == 600


@jumping
async def test_a_flood_of_missing_schemas_asks_for_a_few_at_once() -> None:
    world = World(max_records=400)
    async with working(world):
        world.schemas.away = {SchemaRef(SchemaRefKind.ID, str(number)) for number in range(1, 101)}
        knows(world, *range(1, 101))
        world.source.assign(A)
        world.source.read(A, 0, *(framed(number, f"waits-{number}") for number in range(1, 101)))
        await until(lambda: bool(world.pipeline.held_up))
        await asyncio.sleep(30.0)
        assert world.schemas.most_at_once == MAX_FETCHES
        assert "and 97 more schemas" in world.pipeline.held_up
        world.schemas.away = set()
        await world.committed(A, 100)


@jumping
async def test_what_waits_for_a_schema_goes_with_its_partition_and_nobody_asks_any_more() -> None:
    world = World()
    async with working(world):
        knows(world, 1, 2)
        world.schemas.away = {SchemaRef(SchemaRefKind.ID, "2")}
        world.source.assign(A, B)
        world.source.read(A, 0, framed(2, "waits"), framed(2, "waits-too"))
        world.source.read(B, 0, framed(2, "waits-here"))
        await until(lambda: bool(world.pipeline.held_up))
        await world.source.revoke(A)
        assert "1 records wait" in world.pipeline.held_up
        await world.source.revoke(B)
        await until(lambda: world.pipeline.held_up == "")
        asked = world.schemas.asked[SchemaRef(SchemaRefKind.ID, "2")]
        await asyncio.sleep(60.0)
        assert world.schemas.asked[SchemaRef(SchemaRefKind.ID, "2")] == asked
        assert world.watch.counts["stale"] == 3
        world.source.assign(A)
        world.source.read(A, 0, framed(2, "waits"), framed(2, "waits-too"))
        world.schemas.away = set()
        await world.committed(A, 2)


@jumping
async def test_a_missing_schema_that_turns_out_not_to_exist_is_a_dead_letter() -> None:
    world = World()
    async with working(world):
        world.schemas.away = {SchemaRef(SchemaRefKind.ID, "7")}
        await world.read(event("before"), framed(7, "unknown"), event("after"))
        await until(lambda: "schema id 7" in world.pipeline.held_up)
        world.schemas.away = set()
        await world.committed(A, 3)
    assert topics(world) == {"responses": 2 * QUESTIONS, "impressions.dlq": 1}


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
