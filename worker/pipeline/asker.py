"""5 generate: every draw of a question to the engine, within a deadline; a failure is a status, never a lost event."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Protocol, TypeVar

from worker.core.errors import EngineDead, Retryable, Withdrawn
from worker.core.simulation.draws import Ask, Drawn, DrawRetry
from worker.core.simulation.prepare import Prepared
from worker.core.simulation.questions import Status
from worker.core.simulation.response import Timings
from worker.core.simulation.response_builder import AskedQuestion
from worker.pipeline.decoder import Decoded
from worker.pipeline.engine_supervisor import EngineSupervisor
from worker.pipeline.in_flight import RecordInFlight
from worker.pipeline.ports import Admit, Engine, at_once

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 2  # of one draw: a deadline that passes is given one more


@dataclass(frozen=True, slots=True)
class Ready:
    """One impression, ready for the engine."""

    entry: RecordInFlight
    decoded: Decoded
    questions: tuple[Prepared, ...]


class DrawWatch(Protocol):
    """Who counts draws."""

    def draw_retried(self, reason: DrawRetry) -> None:
        """Count a draw that is asked again."""

    def drawn(self, drawn: Drawn, seconds: float, *, trace_id: str) -> None:
        """Count a draw that has ended, and how long the engine had it, seconds; `trace_id` is "" if none is kept."""


class Asker:
    """Sends draws to the engine as its supervisor admits them.

    A draw's deadline, `timeout_s`, runs from when the engine gets it: not while it waits in `admit`.
    """

    def __init__(
        self,
        engine: Engine,
        supervisor: EngineSupervisor,
        watch: DrawWatch,
        *,
        timeout_s: float,
        clock: Callable[[], float],
        admit: Admit = at_once,
    ) -> None:
        self._admit = admit
        self._engine, self._supervisor, self._watch = engine, supervisor, watch
        self._timeout_s, self._clock = timeout_s, clock

    async def ask_all(self, ready: Ready) -> list[AskedQuestion]:
        """Ask all questions of an impression.

        Returns one `AskedQuestion` per question, in the same order; a draw that fails is a status of it.  Raises
        `Poison` if the engine has died of this record twice.
        """
        entry, started_s = ready.entry, self._clock()
        # The oldest first: what comes after it in its partition waits for it.  By our clock, not by the record's time:
        # one that is dated ahead would wait for ever.
        rank = int(1000 * entry.received_s)
        asks = [
            (number, replace(ask, priority=rank))
            for one in ready.questions
            if not one.refused
            for number, ask in enumerate(one.asks, 1)
        ]
        with self._supervisor.answering(entry.record):
            drawn = iter(await _together(self._draw(entry, ask, number) for number, ask in asks))
        entry.asked_s, entry.drawn_s = started_s, self._clock()
        return [_asked(one, drawn, received_s=entry.received_s, started_s=started_s) for one in ready.questions]

    async def _draw(self, entry: RecordInFlight, ask: Ask, number: int) -> tuple[Drawn, float]:
        """Return what a draw gave, and when; `number` is its place in its question, from 1."""
        drawn, attempts = Drawn(Status.TIMEOUT), count(1)
        for tried in range(TRIES):
            if tried:
                self._watch.draw_retried(DrawRetry.TIMEOUT)
            drawn = await self._supervisor.ask(
                entry.record, lambda: self._send(entry, ask, number, next(attempts)), lambda: self._admit(ask)
            )
            if drawn.status is not Status.TIMEOUT:
                break
        return drawn, self._clock()

    async def _send(self, entry: RecordInFlight, ask: Ask, number: int, attempt: int) -> Drawn:
        with entry.trace.draw(ask, number, attempt) as trace:
            started_s = self._clock()
            drawn = await self._once(ask.with_trace(trace), started_s)
            trace.ended(drawn)
        self._watch.drawn(drawn, self._clock() - started_s, trace_id=entry.trace.trace_id)
        return drawn

    async def _once(self, ask: Ask, started_s: float) -> Drawn:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._engine.draw(ask)
        except TimeoutError:
            await self._supervisor.check_after_timeout(started_s)
            return Drawn(Status.TIMEOUT)
        except (EngineDead, Retryable, Withdrawn):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine makes of one prompt must not lose the event
            log.warning("%s: the engine failed: %s", ask.ask_id, type(error).__name__)
            return Drawn(Status.ENGINE_ERROR)


def _asked(
    one: Prepared, answers: Iterator[tuple[Drawn, float]], *, received_s: float, started_s: float
) -> AskedQuestion:
    """Return a question with its draws, the next ones of `answers`; it ended with its last one."""
    given = [(one.refused, started_s)] * len(one.asks) if one.refused else list(islice(answers, len(one.asks)))
    ended_s = max((at_s for _, at_s in given), default=started_s)
    timings = Timings(queue_s=started_s - received_s, engine_s=ended_s - started_s)
    drawn, orders = tuple(answer for answer, _ in given), tuple(ask.order for ask in one.asks)
    return AskedQuestion(one.question, drawn, orders, one.flags, timings)


async def _together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Return what all give, in order; after the first failure the others are cancelled."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
