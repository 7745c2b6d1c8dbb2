"""5 generate: keeps the engine, which may die: who may ask it now, and what follows a death.

    serving     everybody may ask, about `max_draws` at once (`worker.core.resilience.concurrency_limit`)
    away        nobody: it cannot be reached, for as long as that takes; all paused, nobody suspected
    down        nobody; the engine is started again in place, while the worker stays in the group with all paused
    suspects    one record at a time, of those that were in it when it died (`resilience.suspects`); then serving again

A killer is poison, once the engine has answered any other record since: one that dies of everything convicts nobody.
Before a suspect is asked, a probe shows that the engine is sound: else its death would be the suspect's.  An engine
that dies again and again with nothing answered between, or that cannot be started, ends the worker: `EngineGone`.  One
that hangs is dead too: when a draw passes its deadline, and nothing else was answered since it was sent, a probe of one
token tells.  After a stop signal a death is no news: the engine may have got the same signal.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from worker.core.errors import EngineDead, EngineGone, Poison, Retryable
from worker.core.records import Reason, Record
from worker.core.resilience.suspects import KILLER_DEATHS, Suspects, Where
from worker.core.simulation.draws import Drawn
from worker.core.simulation.questions import Status
from worker.pipeline.concurrency_gate import Gate
from worker.pipeline.loop_port import RecordLoop
from worker.pipeline.ports import Engine
from worker.pipeline.task_group import Supervisor

log = logging.getLogger(__name__)

PROBE_S = 30.0  # for one token, of an engine that has answered nothing for a whole deadline; one step may take seconds
LONE_S = 60.0  # a killer that nothing else is asked beside waits so long for somebody who is answered
MAX_START_S = 1_800.0  # of an engine again: 11 minutes cold are on record (vllm#20264 and others)
RESTART_WAIT_S = 1.0  # before the next try of an engine that did not start
AWAY_S, MAX_AWAY_S = 1.0, 10.0  # before the next look for an engine that cannot be reached


class EngineWatch(Protocol):
    """Who counts deaths."""

    def engine_died(self) -> None:
        """Count a death or a hang of the engine, but none after a stop signal."""


class Keeper:
    """One started engine, seen through its deaths; made inside the running event loop.

    `max_draws` go in at once to begin with; `max_restarts` are allowed in a row.  `loop` hears of each partition whose
    suspects have changed.
    """

    def __init__(
        self,
        loop: RecordLoop,
        engine: Engine,
        supervisor: Supervisor,
        watch: EngineWatch,
        *,
        max_draws: int,
        max_restarts: int,
        clock: Callable[[], float],
    ) -> None:
        self.suspects = Suspects()
        self._loop, self._engine, self._supervisor, self._watch = loop, engine, supervisor, watch
        self._max_restarts, self._clock = max_restarts, clock
        self._gate = Gate(max_draws)
        engine.on_step(self._gate.hear)
        self._inside: Counter[Where] = Counter()
        self._changed = asyncio.Event()
        self._probing = asyncio.Lock()
        self._down = self._away = ""
        self._life = 0  # how often the engine was started anew
        self._num_deaths = 0  # since anything was answered
        self._proven = False  # it has answered a whole record since its last death
        self._heard_of: set[Where] = set()  # records under way of which this life has answered a draw
        self._vouched: set[Where] = set()  # suspects that the engine was found sound for
        self._last_answer_s = clock()

    @property
    def is_down(self) -> bool:
        """Say whether nobody is there to answer."""
        return bool(self._down or self._away)

    @property
    def held_up(self) -> str:
        """Why new records must wait, "" if they need not."""
        if self._down:
            return f"{self._down}; starting it again"
        if self._away:
            return f"the engine cannot be reached: {self._away}"
        waiting = self.suspects.waiting
        return f"the engine crashed: asking {waiting} suspect records one at a time" if waiting else ""

    @contextmanager
    def answering(self, record: Record) -> Iterator[None]:
        """Wrap the answering of one record, all its questions."""
        where = (record.partition, record.offset)
        self.suspects.enter(where)
        try:
            yield
            self._answered(where)
        finally:
            self._heard_of.discard(where)
            self._vouched.discard(where)
            self.suspects.leave(where)
            self._wake()

    async def ask(self, record: Record, send: Callable[[], Awaitable[Drawn]]) -> Drawn:
        """Send a draw when it is this record's turn; again if the engine dies.  Raises `Poison` for a killer."""
        where = (record.partition, record.offset)
        while True:
            await self._turn(where)
            async with self._gate:
                await self._vouch(where)
                if not self._may_ask(where):
                    continue
                life = self._life
                self._inside[where] += 1
                try:
                    return self._heard(where, await send(), life)
                except EngineDead as error:
                    self._on_death(error, life, self._inside)
                except Retryable as error:
                    self._on_away(error)
                finally:
                    self._leave(where)

    async def look_after(self, sent_s: float) -> None:
        """After a draw's deadline has passed: raise `EngineDead` if the engine hangs, `Retryable` if it is away."""
        life = self._life
        async with self._probing:
            if self._last_answer_s > sent_s:
                return
            if life != self._life or self._down:
                raise EngineDead("the engine hung")
            if self._away:
                raise Retryable(self._away)
            await self._probe()
            self._last_answer_s = self._clock()

    async def _vouch(self, where: Where) -> None:
        """See that the engine is sound before the first draw of a suspect's turn; if it is not, nobody is to blame."""
        if not self.suspects.is_suspect(where):
            return
        async with self._probing:
            if where in self._vouched or not self._may_ask(where):
                return
            life = self._life
            try:
                await self._probe()
                self._vouched.add(where)
            except EngineDead as error:
                self._on_death(error, life, ())
            except Retryable as error:
                self._on_away(error)

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_S):
                await self._engine.probe()
        except TimeoutError:
            raise EngineDead(f"the engine hangs: no answer to a probe within {PROBE_S:.0f} s") from None
        except (EngineDead, Retryable):
            raise
        except Exception as error:
            raise EngineDead(f"the engine failed at a probe: {type(error).__name__}: {error}") from error

    # -- turns

    async def _turn(self, where: Where) -> None:
        while not self._may_ask(where):
            if self.suspects.is_killer(where):
                await self._conviction()
                raise Poison(
                    Reason.ENGINE_KILLER, f"the engine died {KILLER_DEATHS} times with it, the last time alone"
                )
            await self._changed.wait()

    async def _conviction(self) -> None:
        """Wait until the engine has answered somebody since its last death, or nobody else has come for a while."""
        while not self._proven:
            try:
                async with asyncio.timeout(LONE_S):
                    await self._changed.wait()
            except TimeoutError:
                if not self.suspects.others and not self.is_down:
                    return

    def _may_ask(self, where: Where) -> bool:
        if self.is_down or self.suspects.is_killer(where):
            return False
        return self.suspects.may_ask(where, self._inside)

    def _heard(self, where: Where, drawn: Drawn, life: int) -> Drawn:
        if drawn.status not in {Status.TIMEOUT, Status.ENGINE_ERROR} and life == self._life and not self._down:
            self._last_answer_s = self._clock()
            self._heard_of.add(where)
        return drawn

    def _answered(self, where: Where) -> None:
        """Take note of a whole record answered: of a killer, an engine may answer some draws and die of others."""
        if where in self._heard_of and not self._proven:
            self._num_deaths, self._proven = 0, True
        if self.suspects.clear(where):
            self._loop.note_changed(where[0])

    def _leave(self, where: Where) -> None:
        self._inside[where] -= 1
        if not self._inside[where]:
            del self._inside[where]
            if self.suspects.waiting:
                self._wake()

    def _wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    # -- away

    def _on_away(self, error: Retryable) -> None:
        """Hear that the engine cannot be reached; what it had is asked again once it can."""
        if self.is_down:
            return
        self._away = str(error)
        log.warning("%s", self.held_up)
        self._supervisor.spawn(self._find_again())

    async def _find_again(self) -> None:
        """Look for the engine until it answers; one that turns out to be dead is started anew, and nobody is blamed."""
        wait_s, life = AWAY_S, self._life
        while self._away:
            await asyncio.sleep(wait_s)
            wait_s = min(MAX_AWAY_S, 2 * wait_s)
            try:
                await self._probe()
                self._away = ""
                log.info("the engine can be reached again")
            except Retryable as error:
                self._away = str(error)
            except EngineDead as error:
                self._away = ""
                self._on_death(error, life, ())
        self._wake()

    # -- death

    def _on_death(self, error: EngineDead, life: int, blamed: Collection[Where]) -> None:
        """Hear of a death; of one life everybody inside hears, and the first one counts."""
        if life != self._life or self._down:
            return
        self._down = f"the engine died: {error}"
        if self._loop.stopping:
            log.warning("%s, while the worker stops: what it had is left to the next owner", self._down)
            return
        self._num_deaths += 1
        self._proven = False
        self._heard_of.clear()
        self._vouched.clear()
        self._watch.engine_died()
        self.suspects.blame(blamed)
        for partition in {partition for partition, _ in blamed}:
            self._loop.note_changed(partition)
        log.error("%s, with %d records in it", self._down, len(blamed))
        self._supervisor.spawn(self._revive())
        self._wake()

    async def _revive(self) -> None:
        """Start the engine again, within the bound.  Raises `EngineGone`."""
        while True:
            if self._num_deaths > self._max_restarts:
                raise EngineGone(f"{self._down}; {self._num_deaths} deaths in a row, the worker stops")
            try:
                async with asyncio.timeout(MAX_START_S):
                    await self._engine.stop()
                    await self._engine.start()
                break
            except TimeoutError:
                raise EngineGone(f"{self._down}; no new one within {MAX_START_S:.0f} s, the worker stops") from None
            except Exception as error:
                log.exception("the engine did not start")
                self._down = f"the engine died and did not start: {error}"
                self._num_deaths += 1
            await asyncio.sleep(RESTART_WAIT_S)
        log.info("engine restarted; asking %d suspect records one at a time", self.suspects.waiting)
        self._life += 1
        self._down = ""
        self._wake()
