"""The loop under definitions that change while it runs: the next record obeys, those in flight end as they began."""

import asyncio
import random
from typing import Any

import pytest

from tests.support.examples import AT_US
from tests.support.fakes import jumping
from tests.support.world import A, B, World, event, response, working
from worker.core.simulation.sampling import Skip
from worker.core.steering.orders import read_orders
from worker.core.steering.steering import Steering


class Steered:
    """What definitions say now."""

    def __init__(self) -> None:
        self.now = Steering()

    def say(self, **changes: Any) -> None:
        """Replace the definition of the example's experiment."""
        said = {"experiment_id": "exp", "start": 0, "control": "control", "candidates": ["candidate"],
                "state": "RUNNING", "questions": "both"}  # fmt: skip
        self.now = Steering({"exp": read_orders(said | changes)})


def answered(world: World) -> dict[str, list[tuple[str, str, int]]]:
    """Return of each event its (question, status, draws) and no event twice."""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for message in world.sink.log:
        one = response(message)
        found.setdefault(one["event_id"], []).append((one["question"], one["status"], len(one["draws"])))
    return found


@jumping
async def test_the_next_record_obeys_a_changed_definition() -> None:
    """Stopped, it is skipped and counted by reason, and its offset moves on; asked less, it is asked less."""
    steered = Steered()
    async with working(steering=lambda: steered.now) as world:
        await world.read(event("event-0"))
        steered.say(state="STOPPED")
        await world.read(event("event-1"), first=1)
        steered.say(start=AT_US + 1)
        await world.read(event("event-2"), first=2)
        steered.say(draws=4, questions="duels")
        await world.read(event("event-3"), first=3)
        await world.committed(A, 4)
    found = answered(world)
    assert found.keys() == {"event-0", "event-3"}
    assert [draws for *_, draws in found["event-0"]] == [2, 2, 2]
    assert ("DUEL", "OK", 4) in found["event-3"]
    assert ("SLATE", "NOT_ASKED", 0) in found["event-3"]
    counted = {name: num for name, num in world.watch.counts.items() if name.startswith("skipped")}
    assert counted == {f"skipped {Skip.NOT_RUNNING}": 1, f"skipped {Skip.BEFORE_START}": 1}


@jumping
async def test_a_record_in_flight_ends_as_it_began() -> None:
    """Its questions, its responses and their fingerprint are of one form, whatever is said meanwhile."""
    steered = Steered()
    async with working(steering=lambda: steered.now) as world:
        gate = world.engine.gates["event-0"] = asyncio.Event()
        await world.read(event("event-0"))
        await asyncio.sleep(0.1)
        steered.say(draws=4)
        await world.read(event("event-1"), first=1)
        gate.set()
        await world.committed(A, 2)
    found = answered(world)
    assert [draws for *_, draws in found["event-0"]] == [2, 2, 2]
    assert [draws for *_, draws in found["event-1"]] == [4, 4, 4]
    prints = {one["event_id"]: one["provenance"]["config_fingerprint"] for one in map(response, world.sink.log)}
    assert prints["event-0"] != prints["event-1"]


@pytest.mark.parametrize("seed", range(20))
@jumping
async def test_whatever_is_said_when_every_event_is_answered_once_or_skipped(seed: int) -> None:
    """Definitions change at random between and during records of two partitions; offsets reach the end."""
    chance, steered, number = random.Random(seed), Steered(), 0
    said: tuple[dict[str, Any], ...] = (
        {"state": "STOPPED"}, {"draws": 1}, {"questions": "duels"}, {"questions": "slates"}, {"sample_rate": 0.5},
        {"slate_share": 0.5}, {"stop": AT_US}, {},
    )  # fmt: skip
    nexts = {A: 0, B: 0}
    async with working(steering=lambda: steered.now) as world:
        for _ in range(30):
            steered.say(**chance.choice(said))
            partition = chance.choice((A, B))
            names = [f"event-{number + more}" for more in range(chance.randrange(1, 4))]
            number += len(names)
            values = [event(name, user=f"user-{chance.randrange(9)}") for name in names]
            await world.read(*values, partition=partition, first=nexts[partition])
            nexts[partition] += len(names)
            await asyncio.sleep(chance.choice((0.0, 0.01, 0.2)))
        for partition, end in nexts.items():
            await world.committed(partition, end)
    found = answered(world)
    num_skipped = sum(num for name, num in world.watch.counts.items() if name.startswith("skipped"))
    assert len(found) + num_skipped == number
    assert all(len(one) == 3 for one in found.values())
