"""Asks an engine about real choices, many at once and without a barrier, and hands the answers on in order.

    choices  ->  prepare  ->  engine (up to `window` choices)  ->  answers, in the order of the choices

The next choice starts as soon as any other ends.  A slow answer holds back only the writing of those behind it, and
once `_AHEAD` times the window wait for it, the asking.

    a deadline passes twice       the answer has the status TIMEOUT
    the engine fails on a prompt  ENGINE_ERROR
    the engine dies               it is started again; the choices that it had are asked one at a time, and one that it
                                  dies of again is ENGINE_ERROR
    a server is away              asked again for `MAX_AWAY_S`, then the run ends; what is answered is kept
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import fsum

from worker.core.errors import EngineDead, EngineGone, Fatal, Retryable
from worker.core.records import Partition, Record
from worker.core.seeding import digest
from worker.core.simulation.draws import Ask, Drawn, by_option
from worker.core.simulation.prepare import Asking, Prepared, preparing
from worker.core.simulation.questions import Status
from worker.offline.evaluate.answers import Answered
from worker.offline.evaluate.scene import RealChoice, chosen_options
from worker.pipeline.ports import Engine
from worker.pipeline.turns import Turns

MAX_AWAY_S = 600.0
TRIES = 2  # of a draw whose deadline passes
_AHEAD = 8  # times the window: answers that may wait for the one before them
_SOURCE = Partition("evaluate", 0)


@dataclass(frozen=True, slots=True)
class AskingLimits:
    """How many choices are asked at once, and for how long."""

    window: int
    timeout_s: float  # of one draw
    max_restarts: int  # in a row, of an engine that dies


class Interview:
    """One pass over the choices with a started engine; `on_answer` gets each answer, in the order of the choices."""

    def __init__(
        self, engine: Engine, asking: Asking, limits: AskingLimits, on_answer: Callable[[Answered], None]
    ) -> None:
        self._engine, self._asking, self._limits, self._on_answer = engine, asking, limits, on_answer
        self._turns = Turns(time.monotonic)
        self._free = asyncio.Semaphore(limits.window)
        self._restarts = 0
        self._life = 0

    async def ask(self, choices: Iterable[RealChoice]) -> None:
        """Ask about all.  Raises `EngineGone` or `Fatal` if the engine cannot be had."""
        waiting: deque[tuple[RealChoice, int, asyncio.Task[Answered]]] = deque()
        try:
            for choice in choices:
                await self._free.acquire()
                waiting.append((choice, self._life, asyncio.create_task(self._with_seat(choice))))
                while waiting and (waiting[0][2].done() or len(waiting) > _AHEAD * self._limits.window):
                    await self._hand_on(*waiting.popleft())
            while waiting:
                await self._hand_on(*waiting.popleft())
        finally:
            for _, _, task in waiting:
                task.cancel()
            await asyncio.gather(*(task for _, _, task in waiting), return_exceptions=True)

    async def _with_seat(self, choice: RealChoice) -> Answered:
        try:
            return await self._answer(choice)
        finally:
            self._free.release()

    async def _hand_on(self, choice: RealChoice, life: int, task: asyncio.Task[Answered]) -> None:
        try:
            answer = await task
        except EngineDead:
            answer = await self._after_death(choice, life)
        if answer.status == Status.OK:
            self._restarts = 0
        self._on_answer(answer)

    async def _after_death(self, choice: RealChoice, life: int) -> Answered:
        """Ask alone what a dead engine had; it may be what it died of."""
        if life == self._life:
            await self._restart()
        try:
            return await self._answer(choice)
        except EngineDead:
            await self._restart()
            prepared = await self._prepared(choice)
            return _answered(choice, prepared, [Drawn(Status.ENGINE_ERROR)] * len(prepared.asks))

    async def _restart(self) -> None:
        self._restarts += 1
        if self._restarts > self._limits.max_restarts:
            raise EngineGone(f"the engine died {self._restarts} times in a row; what is answered is kept")
        await self._engine.stop()
        await self._engine.start()
        self._life += 1

    async def _prepared(self, choice: RealChoice) -> Prepared:
        record = Record(_SOURCE, 0, choice.line, None, None)
        (prepared,) = await self._turns.run(preparing(record, choice.impression, self._asking))
        return prepared

    async def _answer(self, choice: RealChoice) -> Answered:
        prepared = await self._prepared(choice)
        if prepared.refused is not None:
            return _answered(choice, prepared, [prepared.refused] * len(prepared.asks))
        return _answered(choice, prepared, await asyncio.gather(*map(self._draw, prepared.asks)))

    async def _draw(self, ask: Ask) -> Drawn:
        left, since_s = TRIES, time.monotonic()
        while left:
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    return await self._engine.draw(ask)
            except TimeoutError:
                left -= 1
            except Retryable as error:
                if time.monotonic() - since_s > MAX_AWAY_S:
                    raise Fatal(f"{error}; tried for {MAX_AWAY_S:.0f} s, what is answered is kept") from error
                await asyncio.sleep(error.after_s)
            except (EngineDead, Fatal):
                raise
            except Exception:  # noqa: BLE001 - whatever the engine makes of one prompt ends no run; it is counted
                return Drawn(Status.ENGINE_ERROR)
        return Drawn(Status.TIMEOUT)


def _answered(choice: RealChoice, prepared: Prepared, drawn: Sequence[Drawn]) -> Answered:
    question = prepared.question
    failed = next((one.status for one in drawn if one.status is not Status.OK), None)
    masses = [one.letter_mass for one in drawn if one.letter_mass is not None]
    draws = (
        ()
        if failed
        else tuple(by_option(ask.order, one.slot_probabilities) for ask, one in zip(prepared.asks, drawn, strict=True))
    )
    return Answered(
        line=choice.line,
        digest=choice.digest,
        user=digest("user", choice.impression.user.user_id).hex(),
        domain=choice.domain,
        at=choice.impression.occurred_at,
        history=choice.history_length,
        items=tuple(one.item_id for one in question.options),
        positions=tuple(one.position for one in question.options),
        chosen=chosen_options(question, choice.chosen),
        status=failed or Status.OK,
        draws=draws,
        num_draws=len(drawn),
        letter_mass=fsum(masses) / len(masses) if masses and not failed else None,
        flags=tuple(sorted(prepared.flags)),
    )
