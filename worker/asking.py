"""5 generate: every draw of a question to the engine, within a deadline; a failure is a status, never a lost event."""

import asyncio
import logging
from collections.abc import Callable

from worker.draws import Ask, Drawn
from worker.errors import EngineDead
from worker.ports import Engine, Watch
from worker.prepare import Prepared
from worker.questions import Status
from worker.respond import Asked
from worker.responses import Timings

log = logging.getLogger(__name__)

TRIES = 2  # of one draw: a deadline that passes is given one more


class Asker:
    """Keeps at most `max_draws` in the engine at once, in the order of asking."""

    def __init__(
        self, engine: Engine, watch: Watch, *, max_draws: int, timeout_s: float, clock: Callable[[], float]
    ) -> None:
        """Take the engine and the bounds; a deadline runs from when the engine gets the draw."""
        self._engine, self._watch, self._timeout_s, self._clock = engine, watch, timeout_s, clock
        self._slots = asyncio.Semaphore(max_draws)

    async def ask(self, one: Prepared, *, taken_s: float) -> Asked:
        """Ask one question in all its draws.  Raises `EngineDead`."""
        started_s = self._clock()
        drawn: list[Drawn] = [one.refused] * len(one.asks) if one.refused else await self._draws(one.asks)
        timings = Timings(queue_s=started_s - taken_s, engine_s=self._clock() - started_s)
        return Asked(one.question, tuple(drawn), tuple(ask.order for ask in one.asks), one.flags, timings)

    async def _draws(self, asks: tuple[Ask, ...]) -> list[Drawn]:
        return await asyncio.gather(*(self._draw(ask) for ask in asks)) if asks else []

    async def _draw(self, ask: Ask) -> Drawn:
        drawn = Drawn(Status.TIMEOUT)
        for _ in range(TRIES):
            async with self._slots:
                with self._watch.chat(ask) as chat:
                    started_s = self._clock()
                    drawn = await self._once(ask.with_trace(chat.headers))
                    chat.done(drawn, self._clock() - started_s)
            if drawn.status is not Status.TIMEOUT:
                break
        return drawn

    async def _once(self, ask: Ask) -> Drawn:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._engine.draw(ask)
        except TimeoutError:
            return Drawn(Status.TIMEOUT)
        except EngineDead:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine makes of one prompt must not lose the event
            log.warning("%s: the engine failed: %s", ask.ask_id, type(error).__name__)
            return Drawn(Status.ENGINE_ERROR)
