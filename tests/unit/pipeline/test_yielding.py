"""Draws that wait, however long, while the servers are busy for others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.fakes import jumping, until
from tests.support.world import DRAWS, QUESTIONS, A, World, event, statuses, working
from worker.core.errors import EngineDead, Withdrawn
from worker.core.simulation.draws import Ask, Drawn

LONG_S = 200.0  # beyond every deadline, and the watchdog's patience


class Door:
    """Shut until it is opened; `dead` is raised at the next draw."""

    def __init__(self) -> None:
        self.open, self.num_waiting = asyncio.Event(), 0
        self.dead: EngineDead | None = None

    @asynccontextmanager
    async def admit(self, _: Ask) -> AsyncIterator[None]:
        self.num_waiting += 1
        await self.open.wait()
        self.num_waiting -= 1
        if dead := self.dead:
            self.dead = None
            raise dead
        yield


@jumping
async def test_no_deadline_runs_while_draws_wait_and_nothing_looks_stalled() -> None:
    door = Door()
    world = World(admit=door.admit)
    async with working(world):
        await world.read(event())
        await until(lambda: door.num_waiting == QUESTIONS * DRAWS)
        await asyncio.sleep(LONG_S)
        assert (world.pipeline.held_up, world.pipeline.watchdog.why, world.engine.asks) == ("", "", [])
        door.open.set()
        await world.committed(A, 1)
    assert statuses(world) == {"OK": QUESTIONS}


@jumping
async def test_an_engine_that_dies_while_draws_wait_blames_no_record() -> None:
    door = Door()
    world = World(admit=door.admit)
    async with working(world):
        await world.read(event())
        await until(lambda: door.num_waiting == QUESTIONS * DRAWS)
        door.dead = EngineDead("the servers are no longer asked")
        door.open.set()
        await world.committed(A, 1)
        assert world.pipeline.held_up == ""
    assert statuses(world) == {"OK": QUESTIONS}


@jumping
async def test_a_draw_that_made_room_for_others_waits_again_without_a_deadline_and_blames_nobody() -> None:
    """Each time it has its whole deadline, and the engine is neither probed nor taken for away."""
    door, withdrawn = Door(), asyncio.Event()
    world = World(admit=door.admit)

    def answer(ask: Ask) -> Drawn:
        if not withdrawn.is_set():
            withdrawn.set()
            door.open.clear()
            raise Withdrawn("http://gpu-1:8000 is left to others")
        return world.engine.even(ask)

    world.engine.answer = answer
    door.open.set()
    async with working(world):
        await world.read(event())
        await withdrawn.wait()
        await until(lambda: door.num_waiting == QUESTIONS * DRAWS)
        await asyncio.sleep(LONG_S)
        assert (world.pipeline.held_up, world.pipeline.watchdog.why) == ("", "")
        door.open.set()
        await world.committed(A, 1)
    assert statuses(world) == {"OK": QUESTIONS}
    assert len(world.engine.asks) == QUESTIONS * DRAWS + 1
    assert (world.watch.counts["engine death"], world.watch.counts["draw again: withdrawn"]) == (0, 1)
