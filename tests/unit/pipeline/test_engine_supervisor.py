"""The engine dies, hangs, or does not come back: who is asked again, who is a killer, what the next owner is told."""

import asyncio

import pytest

from tests.support.fakes import jumping, until
from tests.support.world import (
    DRAWS,
    QUESTIONS,
    A,
    B,
    World,
    event,
    events,
    failing,
    held_by,
    response,
    statuses,
    working,
)
from worker.core.delivery.handover_messages import Assigned, Lost
from worker.core.delivery.offset_metadata import Note
from worker.core.errors import EngineDead, EngineGone, Fatal, Retryable
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.questions import Kind
from worker.pipeline import engine_supervisor

pytestmark = pytest.mark.usefixtures("coarse")


async def gone(world: World, *records: bytes) -> EngineGone:
    """Run a worker that reads these until its engine is gone for good."""
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(*records)
    error = await running
    assert isinstance(error, EngineGone)
    return error


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
    assert world.watch.counts["engine death"] == world.watch.counts["engine started"] == 2
    asked = [ask.ask_id for ask in world.engine.asks]
    assert world.watch.counts["draw again: died"] == len(asked) - len(set(asked)) > 0
    assert world.watch.gauges_of_engine["restarts left"] == 2, "it has answered since"
    assert world.watch.gauges_of_engine["seats"] > 0


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
    error = await gone(world, *events(3))
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
    error = await gone(world, event())
    assert "no GPU" in str(error)


@jumping
async def test_an_engine_that_starts_for_ever_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_supervisor, "MAX_START_S", 20.0)
    world = World()
    killed_by(world, "event-0")
    slow_start(world)
    await gone(world, event())


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
        assert asyncio.get_running_loop().time() < 2.0 + engine_supervisor.PROBE_S + 1.0
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
    assert world.watch.counts["draw again: timeout"] == QUESTIONS * DRAWS


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
async def test_an_engine_that_dies_of_everything_ends_the_worker_and_buries_nobody() -> None:
    """Nor does it in a crash loop, where the next worker finds the deaths in the note."""
    note = ""
    for _ in range(5):
        world = World(max_restarts=3)
        killed_by(world, *(f"event-{number}" for number in range(10)))
        running = asyncio.create_task(failing(world))
        await until(lambda world=world: world.pipeline.held_up == "")  # type: ignore[misc]
        world.source.epochs[A] = 1
        world.source.deliver(Assigned(A, 1, None, note))
        await world.read(*events(10))
        assert isinstance(await running, EngineGone)
        assert dead_letters(world) == []
        note = world.sink.flushes[-1].heads[-1].note
    assert Note.decode(note).suspects


@jumping
async def test_an_engine_that_only_fails_is_not_one_that_answers() -> None:
    world = World(max_restarts=2)
    killed_by(world, *(f"event-{number}" for number in range(0, 10, 2)))
    answer = world.engine.answer

    def fails(ask: Ask) -> Drawn:
        if int(ask.impression.event_id.removeprefix("event-")) % 2:
            raise RuntimeError("no output")
        return answer(ask)

    world.engine.answer = fails
    await gone(world, *events(10))
    assert dead_letters(world) == []


@jumping
async def test_an_engine_that_answers_some_draws_and_dies_of_others_ends_the_worker() -> None:
    world = World(max_restarts=3)
    killed_by(world, *(f"event-{number}" for number in range(30)))
    kill = world.engine.answer
    world.engine.answer = lambda ask: kill(ask) if ask.question.kind is Kind.DUEL else world.engine.even(ask)
    await gone(world, *events(30))
    assert dead_letters(world) == []


@jumping
async def test_a_suspect_is_not_blamed_for_an_engine_that_was_dead_before_it_came() -> None:
    world = World()
    killed_by(world, "event-9")
    was_sound = world.engine.probe
    failures = [EngineDead("out of memory, while idle")]

    async def probe() -> None:
        if failures:
            raise failures.pop()
        await was_sound()

    world.engine.probe = probe  # type: ignore[method-assign]
    async with working(world):
        world.source.epochs[A] = 1
        world.source.deliver(Assigned(A, 1, None, Note({0: 1}).encode()))
        await world.read(event())
        await world.committed(A, 1)
    assert dead_letters(world) == []
    assert world.watch.counts["engine death"] == 1


@jumping
async def test_an_answer_that_comes_after_the_death_is_no_sign_of_life() -> None:
    world = World(max_restarts=0)
    deaths = [EngineDead("killed by signal 9")]

    def first_dies(ask: Ask) -> Drawn:
        if deaths:
            raise deaths.pop()
        return world.engine.even(ask)

    world.engine.answer = first_dies
    world.engine.gates["event-0"] = asyncio.Event()
    running = asyncio.create_task(failing(world))
    await until(lambda: world.pipeline.held_up == "")
    await world.read(event())
    await until(lambda: len(world.engine.asks) == QUESTIONS * DRAWS)
    world.engine.gates["event-0"].set()
    assert isinstance(await running, EngineGone)
    assert world.engine.num_starts == 0


@jumping
async def test_killers_side_by_side_do_not_end_the_worker() -> None:
    world = World(max_restarts=3)
    world.engine.gates |= {f"event-{number}": asyncio.Event() for number in (1, 2, 3, 4, 5)}
    killed_by(world, "event-0", "event-1", "event-2")
    async with working(world):
        await world.read(*(event(f"event-{number}") for number in (1, 2, 3, 4, 5, 0)))
        await world.committed(A, 6)
    assert dead_letters(world) == ["engine_killer"] * 3
    assert answered(world) == ["event-3", "event-4", "event-5"]


@jumping
async def test_a_killer_alone_in_the_world_is_buried_after_a_while() -> None:
    world = World()
    killed_by(world, "event-0")
    async with working(world):
        await world.read(event())
        await world.committed(A, 1)
        assert asyncio.get_running_loop().time() >= engine_supervisor.LONE_S
    assert dead_letters(world) == ["engine_killer"]


@jumping
async def test_a_death_after_the_stop_signal_blames_nobody_and_ends_the_drain() -> None:
    world = World()
    killed_by(world, "event-0")
    world.engine.gates["event-0"] = asyncio.Event()
    kill, world.engine.answer = world.engine.answer, world.engine.even
    async with working(world):
        await world.read(event())
        await until(lambda: len(world.engine.asks) > 0)
        world.stop.set()
        await asyncio.sleep(0.1)
        world.engine.answer = kill
        started_s = asyncio.get_running_loop().time()
        world.engine.gates["event-0"].set()
        await until(lambda: world.sink.calls["close"] == 1)
        assert asyncio.get_running_loop().time() < started_s + 1.0
        world.handover.handle(Lost(frozenset({A})))  # what is left is the next owner's
        world.window.remove(A, num_bytes=held_by(world.window)[1], num_tokens=0)
    assert world.sink.flushes == []
    assert world.engine.num_stops == 0


@pytest.mark.parametrize("where", ["start", "stop", "probe"])
@jumping
async def test_any_failure_of_an_engine_at_a_restart_or_a_probe_is_one_more_death(where: str) -> None:
    world = World()
    killed_by(world)
    failures = [RuntimeError("vLLM gave no output")]
    original = getattr(world.engine, where)

    async def fails_once() -> None:
        if failures:
            raise failures.pop()
        await original()

    setattr(world.engine, where, fails_once)
    world.engine.hangs = True
    world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        await world.read(event())
        await until(lambda: world.watch.counts["engine death"] == 1)
        world.engine.hangs = False
        await world.committed(A, 1)
    assert statuses(world) == {"OK": QUESTIONS}


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


# -- an engine that cannot be reached


def unreachable(world: World) -> asyncio.Event:
    """Let nobody reach the engine until the event is set."""
    back = asyncio.Event()
    sound = world.engine.probe

    def answer(ask: Ask) -> Drawn:
        if not back.is_set():
            raise Retryable("http://gpu-1:8000: no connection")
        return world.engine.even(ask)

    async def probe() -> None:
        if not back.is_set():
            raise Retryable("http://gpu-1:8000: HTTP 503")
        await sound()

    world.engine.answer, world.engine.probe = answer, probe  # type: ignore[method-assign]
    return back


def blames_nobody(world: World) -> None:
    assert world.watch.counts["engine death"] == 0
    assert (world.engine.num_starts, world.engine.num_stops) == (0, 0)
    assert dead_letters(world) == []
    assert {head.note for flush in world.sink.flushes for head in flush.heads} <= {""}


@jumping
async def test_an_outage_costs_no_question_no_suspect_and_no_restart_however_long_it_lasts() -> None:
    world = World(max_restarts=0)
    back = unreachable(world)
    async with working(world):
        await world.read(*events(6))
        await until(lambda: "gpu-1:8000: no connection" in world.pipeline.held_up)
        await until(lambda: world.source.paused == {A})
        await asyncio.sleep(100.0)
        assert world.pipeline.held_up == "the engine cannot be reached: http://gpu-1:8000: HTTP 503"
        assert world.sink.log == []
        back.set()
        await world.committed(A, 6)
        await until(lambda: world.pipeline.held_up == "" and not world.source.paused)
    assert statuses(world) == {"OK": 6 * QUESTIONS}
    blames_nobody(world)


@jumping
async def test_an_outage_that_is_only_silence_is_found_at_the_deadline_and_costs_no_question() -> None:
    world = World()
    back = unreachable(world)
    world.engine.gates["event-0"] = asyncio.Event()
    async with working(world):
        await world.read(event())
        await until(lambda: "cannot be reached" in world.pipeline.held_up)
        assert asyncio.get_running_loop().time() < 2.0 + 1.0  # the deadline, and no time for each draw's probe
        world.engine.gates.clear()
        back.set()
        await world.committed(A, 1)
    assert statuses(world) == {"OK": QUESTIONS}
    blames_nobody(world)


@jumping
async def test_a_stop_does_not_wait_for_the_end_of_an_outage() -> None:
    world = World()
    unreachable(world)
    async with working(world):
        await world.read(event())
        await until(lambda: "cannot be reached" in world.pipeline.held_up)
        world.stop.set()
        started_s = asyncio.get_running_loop().time()
        await until(lambda: world.sink.calls["close"] == 1)
        assert asyncio.get_running_loop().time() < started_s + 1.0
        world.handover.handle(Lost(frozenset({A})))  # what is left is the next owner's
        world.window.remove(A, num_bytes=held_by(world.window)[1], num_tokens=0)
    assert world.sink.flushes == []


@jumping
async def test_an_engine_that_was_out_of_reach_and_is_found_dead_is_started_again_and_nobody_blamed() -> None:
    world = World()
    unreachable(world)

    async def probe() -> None:
        if not world.engine.num_starts:
            raise EngineDead("killed by signal 9")

    async def start() -> None:
        world.engine.num_starts += 1
        world.engine.answer = world.engine.even

    world.engine.probe, world.engine.start = probe, start  # type: ignore[method-assign]
    async with working(world):
        await world.read(*events(3))
        await world.committed(A, 3)
    assert world.watch.counts["engine death"] == 1
    assert dead_letters(world) == []
    assert statuses(world) == {"OK": 3 * QUESTIONS}


@jumping
async def test_a_suspect_that_meets_an_outage_is_no_killer() -> None:
    world = World()
    back = unreachable(world)
    async with working(world):
        world.source.epochs[A] = 1
        world.source.deliver(Assigned(A, 1, None, Note({0: 1}).encode()))
        await world.read(event())
        await until(lambda: "cannot be reached" in world.pipeline.held_up)
        back.set()
        await world.committed(A, 1)
    assert dead_letters(world) == []
    assert statuses(world) == {"OK": QUESTIONS}
