"""The engine dies, hangs, or does not come back: who is asked again, who is a killer, what the next owner is told."""

import asyncio

import pytest
from fakes import jumping, until
from world import DRAWS, QUESTIONS, A, B, World, event, events, failing, response, statuses, working

from worker import keeping
from worker.draws import Ask, Drawn
from worker.errors import EngineDead, EngineGone, Fatal
from worker.notes import Note
from worker.signals import Assigned


def killed_by(world: World, *killers: str) -> None:
    """Let the engine die of these events; it dies for everybody that is in it."""
    alive = [True]

    def answer(ask: Ask) -> Drawn:
        if ask.impression.event_id in killers and alive[0]:
            alive[0] = False
            for gate in world.engine.gates.values():
                gate.set()
        if not alive[0]:
            raise EngineDead("killed by signal 9")
        return world.engine.even(ask)

    async def start() -> None:
        alive[0] = True

    world.engine.answer, world.engine.start = answer, start  # type: ignore[method-assign]


def slow_start(world: World) -> asyncio.Event:
    """Return what the next starts of the engine wait for."""
    back = asyncio.Event()
    start = world.engine.start

    async def slow() -> None:
        await back.wait()
        await start()

    world.engine.start = slow  # type: ignore[method-assign]
    return back


def dead_letters(world: World) -> list[str]:
    """The reason of each dead letter."""
    letters = [message for message in world.sink.log if message.topic == "impressions.dlq"]
    return [(dict(message.headers)["ms-reason"] or b"").decode() for message in letters]


def answered(world: World) -> list[str]:
    found = [message for message in world.sink.log if message.topic == "responses"]
    return sorted({str(response(message)["event_id"]) for message in found})


@jumping
async def test_a_killer_costs_two_deaths_and_every_other_event_is_answered() -> None:
    world = World()
    killed_by(world, "event-2")
    async with working(world):
        await world.read(*events(6))
        await world.committed(A, 6)
    assert dead_letters(world) == ["engine_killer"]
    assert answered(world) == ["event-0", "event-1", "event-3", "event-4", "event-5"]
    assert len(world.sink.log) == 5 * QUESTIONS + 1
    assert world.watch.counts["engine death"] == 2


@jumping
async def test_suspects_are_asked_one_at_a_time_and_before_all_others() -> None:
    world = World()
    killed_by(world, "event-3")
    world.engine.gates |= {f"event-{number}": asyncio.Event() for number in range(3)}
    async with working(world):
        await world.read(*events(6))
        await world.committed(A, 6)
    names = [ask.impression.event_id for ask in world.engine.asks]
    again = names[names.index("event-3") + 1 :]
    turns = [name for name, earlier in zip(again, ["", *again], strict=False) if name != earlier]
    assert sorted(turns[:4]) == ["event-0", "event-1", "event-2", "event-3"]
    assert {"event-4", "event-5"} & set(turns[:4]) == set()


@jumping
async def test_nothing_is_read_while_the_engine_is_away() -> None:
    world = World()
    killed_by(world, "event-0")
    back = slow_start(world)
    async with working(world):
        await world.read(event("event-0"))
        await until(lambda: world.engine.num_stops == 1)
        await asyncio.sleep(1.0)
        assert "starting it again" in world.pipeline.held_up
        assert world.source.paused == {A}
        back.set()
        await world.committed(A, 1)
        await until(lambda: world.pipeline.held_up == "")
        await until(lambda: not world.source.paused)
    assert dead_letters(world) == ["engine_killer"]


@jumping
async def test_what_an_engine_died_with_is_told_to_the_next_owner_at_the_unchanged_offset() -> None:
    world = World(max_restarts=0)
    killed_by(world, "event-1")
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(*events(3))
    error = await running
    assert isinstance(error, EngineGone)
    assert "signal 9" in str(error)
    last = world.sink.flushes[-1].heads[-1]
    assert last.commit_offset == world.sink.committed[A] <= 1
    assert Note.decode(last.note).suspects[1] == 1
    assert set(answered(world)) <= {"event-0"}


@jumping
async def test_an_engine_that_does_not_start_again_ends_the_worker() -> None:
    world = World()
    killed_by(world, "event-0")

    async def no_start() -> None:
        raise Fatal("no GPU")

    world.engine.start = no_start  # type: ignore[method-assign]
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(event())
    error = await running
    assert isinstance(error, EngineGone)
    assert "no GPU" in str(error)


@jumping
async def test_an_engine_that_starts_for_ever_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MAX_START_S", 20.0)
    world = World()
    killed_by(world, "event-0")
    slow_start(world)
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(event())
    assert isinstance(await running, EngineGone)


@jumping
async def test_the_next_owner_asks_a_suspect_alone_and_knows_a_killer() -> None:
    world = World()
    killed_by(world, "event-1")
    async with working(world):
        world.source.epochs[A] = 7
        world.source.deliver(Assigned(A, 7, None, Note({0: 1, 1: 1, 2: 2}).encode()))
        await world.read(*events(4))
        await world.committed(A, 4)
    assert dead_letters(world) == ["engine_killer", "engine_killer"]
    assert answered(world) == ["event-0", "event-3"]
    assert world.watch.counts["engine death"] == 1
    assert "event-2" not in {ask.impression.event_id for ask in world.engine.asks}


@jumping
async def test_a_note_is_taken_back_when_its_suspects_are_answered() -> None:
    world = World()
    killed_by(world, "event-0")
    async with working(world):
        await world.read(*events(3))
        await world.committed(A, 3)
        await until(lambda: world.sink.flushes[-1].heads[-1].note == "")
    assert world.sink.flushes[-1].offsets == {A: 3}


@jumping
async def test_an_engine_that_hangs_is_dead() -> None:
    world = World()
    killed_by(world)
    world.engine.hangs = True
    world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        await world.read(*events(1))
        await until(lambda: world.watch.counts["engine death"] == 1)
        assert asyncio.get_running_loop().time() < 2.0 + 2.0 + 1.0  # a deadline, a probe, and the way there
        world.engine.hangs = False
        await world.committed(A, 1)
    assert statuses(world) == {"OK": QUESTIONS}


@jumping
async def test_a_question_that_never_ends_is_no_death_where_the_engine_answers_a_probe() -> None:
    world = World()
    world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        await world.read(*events(1))
        await world.committed(A, 1)
    assert statuses(world) == {"TIMEOUT": QUESTIONS}
    assert world.watch.counts["engine death"] == 0
    assert len(world.engine.asks) == 2 * QUESTIONS * DRAWS


@jumping
async def test_killers_one_after_another_do_not_end_the_worker() -> None:
    world = World()
    killed_by(world, *(f"event-{number}" for number in range(0, 10, 2)))
    async with working(world):
        for number in range(10):
            await world.read(event(f"event-{number}"), first=number)
            await world.committed(A, number + 1)
    assert dead_letters(world) == ["engine_killer"] * 5


@jumping
async def test_an_engine_that_dies_of_everything_ends_the_worker_before_it_buries_much() -> None:
    world = World(max_restarts=3)
    killed_by(world, *(f"event-{number}" for number in range(10)))
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(*events(10))
    assert isinstance(await running, EngineGone)
    assert dead_letters(world) in (["engine_killer"], ["engine_killer"] * 2)


@jumping
async def test_a_revoked_suspect_lets_the_others_go_on() -> None:
    world = World()
    killed_by(world, "event-0")
    back = slow_start(world)
    async with working(world):
        world.source.assign(A, B)
        world.engine.gates["event-9"] = asyncio.Event()
        await world.read(event("event-9"))
        world.source.read(B, 0, event("event-0"))
        await until(lambda: world.watch.counts["engine death"] == 1)
        await world.source.revoke(B)
        back.set()
        await world.committed(A, 1)
    assert answered(world) == ["event-9"]
    assert dead_letters(world) == []
