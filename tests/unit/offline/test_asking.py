"""Choices are asked side by side and answered in order; a slow one, a dead engine and a deadline lose nothing."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.fakes import jumping
from worker.core.errors import EngineDead, EngineGone, Retryable
from worker.core.prompts.prompt import Profile
from worker.core.records import Impression, Item, Role, Slate, User
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.prepare import Asking
from worker.core.simulation.questions import Depths, Status
from worker.engines.choice_model import ChoiceModel
from worker.offline.evaluate.answers import Answered
from worker.offline.evaluate.asking import AskingLimits, Interview
from worker.offline.evaluate.scene import RealChoice
from worker.settings import prompt_profiles


def profile() -> Profile:
    return prompt_profiles.load("mirror-v1")


class Engine(ChoiceModel):
    """The choice model with a moment of its own for each draw, and deaths."""

    def __init__(self, delay_s: Callable[[int], float], dies: Callable[[int, int], bool] = lambda *_: False) -> None:
        super().__init__()
        self._delay_s, self._dies = delay_s, dies
        self.starts, self.running, self.most, self.tried = 0, 0, 0, dict[int, int]()

    async def start(self) -> None:
        self.starts += 1

    async def draw(self, ask: Ask) -> Drawn:
        number = int(ask.impression.event_id)
        self.tried[number] = self.tried.get(number, 0) + 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self._delay_s(number))
            if self._dies(number, self.tried[number]):
                raise EngineDead("it died")
            return self.answer(ask)
        finally:
            self.running -= 1


def choice(number: int) -> RealChoice:
    items = tuple(Item(name, place, text=name) for place, name in enumerate("abc"))
    event = Impression(str(number), 10**15, User("u"), (Slate("control", items, Role.CONTROL),))
    return RealChoice(f"f, line {number}", number, event, frozenset({("b", 1)}), "generic", f"d{number}")


async def asked(engine: Engine, num: int, *, window: int = 4, restarts: int = 3) -> list[Answered]:
    found: list[Answered] = []
    asking = Asking(profile(), Depths(), draws=2, history_limit=10, seeded=True, tokenise=None)
    limits = AskingLimits(window, timeout_s=60.0, max_restarts=restarts)
    await Interview(engine, asking, limits, found.append).ask(map(choice, range(num)))
    return found


@jumping
async def test_a_slow_choice_holds_nobody_back_and_the_order_stays() -> None:
    engine = Engine(lambda number: 20.0 if number == 0 else 1.0)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    found = await asked(engine, 24)
    assert [one.line for one in found] == list(range(24))
    assert loop.time() - began_s == pytest.approx(20.0, abs=0.1)  # batches of four would take 25 s
    assert engine.most <= 8  # two draws of each choice


@jumping
async def test_a_choice_that_the_engine_dies_of_is_told_and_the_others_are_answered() -> None:
    engine = Engine(lambda _: 1.0, lambda number, _: number == 5)
    found = await asked(engine, 12)
    assert [one.status for one in found] == [Status.OK] * 5 + [Status.ENGINE_ERROR] + [Status.OK] * 6
    assert engine.starts == 2


@jumping
async def test_an_engine_that_dies_again_and_again_ends_the_run() -> None:
    with pytest.raises(EngineGone, match="what is answered is kept"):
        await asked(Engine(lambda _: 1.0, lambda number, _: number > 3), 12, restarts=2)


@jumping
async def test_a_deadline_that_passes_twice_is_a_status() -> None:
    found = await asked(Engine(lambda number: 100.0 if number == 1 else 1.0), 3)
    assert [one.status for one in found] == [Status.OK, Status.TIMEOUT, Status.OK]
    assert found[1].draws == ()


@jumping
async def test_a_server_that_is_away_for_a_while_changes_nothing() -> None:
    class Away(Engine):
        async def draw(self, ask: Ask) -> Drawn:
            if asyncio.get_running_loop().time() < 30:
                raise Retryable("nobody answers")
            return await super().draw(ask)

    found = await asked(Away(lambda _: 1.0), 6)
    assert [one.status for one in found] == [Status.OK] * 6


@jumping
async def test_probabilities_are_by_option_whatever_the_order() -> None:
    (found,) = await asked(Engine(lambda _: 0.0), 1)
    assert (found.items, found.chosen) == (("a", "b", "c"), (1,))
    assert all(sum(draw) == pytest.approx(1) for draw in found.draws)
    assert replace(found, line=0) == found
