"""So many draws are at the engine as keep it full, and few that only wait in it."""

import asyncio

from worker.core.resilience.concurrency_limit import SPAN, ConcurrencyLimit
from worker.pipeline.concurrency_gate import ConcurrencyGate


def hear(gate: ConcurrencyGate, *, running: int, waiting: int) -> None:
    for _ in range(SPAN):
        gate.update(running, waiting)


async def taken(gate: ConcurrencyGate, number: int) -> None:
    for _ in range(number):
        await asyncio.wait_for(gate.acquire(), 1)


async def test_it_grows_while_all_seats_are_taken_and_nobody_waits() -> None:
    gate = ConcurrencyGate(8)
    await taken(gate, 8)
    hear(gate, running=8, waiting=0)
    assert gate.limit == 9
    await taken(gate, 1)
    assert gate.locked()


async def test_it_does_not_grow_for_nobody() -> None:
    gate = ConcurrencyGate(8)
    await taken(gate, 7)
    hear(gate, running=7, waiting=0)
    assert gate.limit == 8


async def test_it_never_more_than_doubles() -> None:
    gate = ConcurrencyGate(8)
    for _ in range(50):
        while not gate.locked():
            await taken(gate, 1)
        hear(gate, running=gate.limit, waiting=0)
    assert gate.limit == 16


async def test_seats_that_are_gone_are_given_to_nobody() -> None:
    gate = ConcurrencyGate(10)
    await taken(gate, 10)
    hear(gate, running=4, waiting=6)
    assert gate.limit == 5
    for _ in range(5):
        gate.release()
        assert gate.locked()
    gate.release()
    assert not gate.locked()


async def test_what_is_to_go_is_not_taken_off_again_while_it_still_waits_in_the_engine() -> None:
    gate = ConcurrencyGate(32)
    await taken(gate, 32)
    for _ in range(3):
        hear(gate, running=8, waiting=24)
    assert gate.limit == 10


async def test_who_waits_comes_in_when_a_seat_is_added() -> None:
    gate = ConcurrencyGate(8)
    await taken(gate, 8)
    late = asyncio.ensure_future(gate.acquire())
    await asyncio.sleep(0)
    assert not late.done()
    hear(gate, running=8, waiting=0)
    assert await asyncio.wait_for(late, 1)


def test_draws_that_have_just_come_do_not_shrink_it() -> None:
    """They wait for one step; at another step of the span nobody does."""
    seats = ConcurrencyLimit(20, most=40)
    for step in range(SPAN):
        seats.update(running=4, waiting=16 if step < SPAN - 1 else 1, full=True)
    assert seats.limit == 20


def test_there_is_always_one_seat() -> None:
    seats = ConcurrencyLimit(2, most=4)
    for _ in range(3 * SPAN):
        seats.update(running=0, waiting=500, full=True)
    assert seats.limit == 1
