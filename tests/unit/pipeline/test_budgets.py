"""Budgets of tokens in the loop: skipped and told, and carried by the partition through kills and rebalances."""

import asyncio
import logging
from dataclasses import replace

import pytest

from tests.support.fakes import jumping, until
from tests.support.world import A, B, World, event, response, working
from worker.core.delivery.handover_messages import Assigned
from worker.core.delivery.offset_metadata import Note
from worker.core.seeding import unit
from worker.core.simulation.draws import Ask, Drawn, Usage
from worker.core.steering.budgets import EVERY, Budgets, TokenLimits

DRAW = 50  # tokens; an event of the example has three questions of two draws
EVENT = 6 * DRAW


def world_of(**limits: int) -> World:
    """A worker whose draws cost `DRAW` tokens each, with a budget over two partitions."""
    world = World(budgets=Budgets(every=TokenLimits(**limits), num_partitions=lambda: 2))
    even = world.engine.even

    def draw(ask: Ask) -> Drawn:
        return replace(even(ask), usage=Usage(DRAW - 10, 0, 10))

    world.engine.answer = draw
    return world


def committed_note(world: World) -> str:
    return [head.note for flush in world.sink.flushes for head in flush.heads if head.partition == A][-1]


@jumping
async def test_what_a_budget_does_not_pay_for_is_skipped_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "worker.pipeline.budget_reporter")
    world = world_of(total=2 * 4 * EVENT)
    async with working(world):
        for number in range(10):  # one after the other: what is in flight is not counted yet
            await world.read(event(f"event-{number}", user=f"user-{number}"), first=number)
            await world.committed(A, number + 1)
        assert world.watch.counts["skipped over_budget"] == 6
        await until(lambda: world.watch.gauges.get("budget total") == 0.0)
        assert world.watch.gauges["budget hour"] == 1.0
    told = [one.getMessage() for one in caplog.records if one.name.endswith("budget_reporter")]
    assert told == [
        "all experiments: the total budget of tokens is spent: its events are skipped until the budget is raised"
    ]
    assert Note.decode(committed_note(world)).spent[EVERY][0] == 4 * EVENT


@jumping
async def test_a_partition_that_moves_takes_along_what_it_has_spent() -> None:
    """After a kill and after a rebalance alike: the next owner goes on with what was committed."""
    first = world_of(total=2 * 4 * EVENT)
    async with working(first):
        await first.read(*(event(f"event-{number}", user=f"user-{number}") for number in range(3)))
        await first.committed(A, 3)
        await until(lambda: Note.decode(committed_note(first)).spent[EVERY][0] == 3 * EVENT)
        await first.source.revoke(A)
    second = world_of(total=2 * 4 * EVENT)
    async with working(second):
        second.source.epochs |= {A: 7, B: 8}
        second.source.deliver(Assigned(A, 7, None, committed_note(first), committed=3))
        second.source.deliver(Assigned(B, 8, 0))
        for number in range(3, 7):
            await second.read(event(f"event-{number}", user=f"user-{number}"), first=number)
            await second.committed(A, number + 1)
        assert second.watch.counts["skipped over_budget"] == 3
        await second.read(event("other"), partition=B)
        await second.committed(B, 1)
        assert second.watch.counts["skipped over_budget"] == 3


@jumping
async def test_tokens_go_with_the_next_offset_so_that_a_partition_moves_without_delay() -> None:
    """While the first event takes long, each answer behind it changes what was spent: none of them is a flush."""
    world = world_of(total=10**9)
    world.sink.flush_s = 0.03  # as Kafka takes
    names = [f"event-{number}" for number in range(1, 80)]
    world.engine.gates = {name: asyncio.Event() for name in ("event-0", *names)}
    async with working(world):
        await world.read(event("before"), *(event(name) for name in ("event-0", *names)))
        await world.committed(A, 1)
        num_flushes = len(world.sink.flushes)

        async def answer() -> None:
            for name in names:
                await asyncio.sleep(0.01)
                world.engine.gates[name].set()

        answering = asyncio.create_task(answer())
        await asyncio.sleep(0.3)
        began_s = asyncio.get_running_loop().time()
        await world.source.revoke(A)
        assert asyncio.get_running_loop().time() - began_s < 0.1
        assert len(world.sink.flushes) == num_flushes
        assert Note.decode(committed_note(world)).spent[EVERY][0] == EVENT
        await answering
        world.engine.gates["event-0"].set()


@jumping
async def test_a_kill_forgets_what_was_spent_since_the_last_commit_and_nothing_else() -> None:
    """Those events are asked again, and paid again."""
    world = world_of(total=10**9)
    world.engine.gates = {"event-1": asyncio.Event(), "event-2": asyncio.Event()}
    async with working(world):
        await world.read(*(event(f"event-{number}") for number in range(3)))
        await world.committed(A, 1)
        world.engine.gates["event-2"].set()
        await until(lambda: world.pipeline._rules.budgets.note(A)[EVERY][0] == 2 * EVENT)
        note = committed_note(world)
        assert Note.decode(note).spent[EVERY][0] == EVENT
        world.source.lose(A)
        assert world.pipeline._rules.budgets.note(A) == {}
        world.engine.gates = {}
        world.source.epochs |= {A: 9}
        world.source.deliver(Assigned(A, 9, None, note, committed=1))
        await world.read(event("event-1"), event("event-2"), first=1)
        await world.committed(A, 3)
        assert Note.decode(committed_note(world)).spent[EVERY][0] == 3 * EVENT


@jumping
async def test_a_share_of_users_stands_in_their_responses() -> None:
    """Readers weight by it; who is asked is in the share by the hash that `sample_rate` has, too."""
    world = world_of(per_hour=2 * 10 * EVENT)
    async with working(world):
        for number in range(12):
            await world.read(event(f"event-{number}", user=f"user-{number}"), first=number)
            await world.committed(A, number + 1)
    rates = {str(one["user_id"]): float(one["sample_rate"]) for one in map(response, world.sink.log)}
    assert min(rates.values()) < 1.0
    assert all(unit("", "exp", user) < rate for user, rate in rates.items())
    assert 0 < world.watch.counts["skipped over_budget"] < 12
