"""5 generate: supervises the engine: admits draws, restarts it after a crash, isolates suspect records.

    serving     all records are asked, about `max_draws` draws at once (`core.resilience.concurrency_limit`)
    away        no draws: the engine cannot be reached; all partitions are paused, no record is a suspect
    down        no draws: the engine is restarted in place; the worker stays in the group with all partitions paused
    suspects    one record at a time, of those that were in it when it died (`resilience.suspects`); then serving again

A killer becomes a dead letter once the engine has answered any other record since its last death: an engine
that crashes on every record proves nothing about any of them.  Before a suspect is asked, a probe checks that
the engine works: otherwise its next death would be blamed on the suspect.  An engine that dies again and
again with nothing answered between, or that cannot be started, ends the worker: `EngineGone`.  An engine that
hangs counts as dead: when a draw passes its deadline, and nothing else was answered since it was sent, a
probe of one token decides.  After a stop signal a death is expected: the engine may have got the same signal.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, nullcontext
from typing import Protocol

from worker.core.errors import EngineDead, EngineGone, Poison, Retryable, Withdrawn
from worker.core.records import Reason, Record
from worker.core.resilience.suspects import KILLER_DEATHS, Suspects, Where
from worker.core.simulation.draws import Drawn, DrawRetry
from worker.core.simulation.questions import Status
from worker.pipeline.concurrency_gate import ConcurrencyGate
from worker.pipeline.loop_port import RecordLoop
from worker.pipeline.ports import Engine
from worker.pipeline.task_group import TaskGroup

log = logging.getLogger(__name__)

PROBE_S = 30.0  # for one token, of an engine that has answered nothing for a whole deadline; one step may take seconds
LONE_S = 60.0  # how long a killer waits for another record to be answered, if there is no other record
MAX_START_S = 1_800.0  # of a restart: 11 minutes cold are on record (vllm#20264 and others)
RESTART_WAIT_S = 1.0  # before the next try to start an engine that did not start
AWAY_S, MAX_AWAY_S = 1.0, 10.0  # before the next probe of an engine that cannot be reached


class EngineWatch(Protocol):
    """Who counts deaths, starts and retries."""

    def engine_died(self) -> None:
        """Count a death or a hang of the engine, but none after a stop signal."""

    def engine_start(self, *, seconds: float, ok: bool) -> None:
        """Count a start of the engine, and how long it took, seconds."""

    def restarts_left(self, number: int) -> None:
        """Set how many more deaths in a row the engine is restarted after."""

    def draw_retried(self, reason: DrawRetry) -> None:
        """Count a draw that is asked again."""


class EngineSupervisor:
    """One started engine and its restarts; made inside the running event loop.

    `max_draws` run at once to begin with; `max_restarts` are allowed in a row.  `loop` is told of each
    partition whose suspects have changed.
    """

    def __init__(
        self,
        loop: RecordLoop,
        engine: Engine,
        tasks: TaskGroup,
        watch: EngineWatch,
        *,
        max_draws: int,
        max_restarts: int,
        clock: Callable[[], float],
    ) -> None:
        self.suspects = Suspects()
        self._loop, self._engine, self._tasks, self._watch = loop, engine, tasks, watch
        self._max_restarts, self._clock = max_restarts, clock
        self._gate = ConcurrencyGate(max_draws)
        engine.on_step(self._gate.update)
        self._inside: Counter[Where] = Counter()
        self._num_held = 0  # draws that wait for room on servers that others use too
        self._changed = asyncio.Event()
        self._probing = asyncio.Lock()
        self._down = self._away = ""
        self._life = 0  # how often the engine was restarted
        self._set_deaths(0)
        self._proven = False  # the engine has answered a whole record since its last death
        self._partly_answered: set[Where] = set()  # records with a draw answered since the last start
        self._checked: set[Where] = set()  # suspects before which the engine was probed
        self._last_answer_s = clock()

    @property
    def seats(self) -> int:
        """How many draws may run on the engine at once."""
        return self._gate.limit

    def _set_deaths(self, number: int) -> None:
        """Set how many deaths there were since anything was answered."""
        self._num_deaths = number
        self._watch.restarts_left(max(0, self._max_restarts - number))

    @property
    def is_yielding(self) -> bool:
        """True while draws wait for others' traffic on the servers, and the engine has none."""
        return self._num_held > 0 and not self._inside

    @property
    def is_down(self) -> bool:
        """True while the engine is down or away."""
        return bool(self._down or self._away)

    @property
    def held_up(self) -> str:
        """Why new records must wait, for people; "" if they need not."""
        if self._down:
            return f"{self._down}; starting it again"
        if self._away:
            return f"the engine cannot be reached: {self._away}"
        waiting = self.suspects.waiting
        return f"the engine crashed: asking {waiting} suspect records one at a time" if waiting else ""

    @contextmanager
    def answering(self, record: Record) -> Iterator[None]:
        """Enclose the answering of one record, all its questions; leaving without an error proves the engine."""
        where = (record.partition, record.offset)
        self.suspects.enter(where)
        try:
            yield
            self._note_answered(where)
        finally:
            self._partly_answered.discard(where)
            self._checked.discard(where)
            self.suspects.leave(where)
            self._wake()

    async def ask(
        self,
        record: Record,
        send: Callable[[], Awaitable[Drawn]],
        admit: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> Drawn:
        """Send a draw when it is this record's turn; send it again if the engine dies, is away, or withdraws it.

        `admit` encloses each try; a draw that waits to enter it is not in the engine, so it is blamed for nothing.
        Must be called within `answering`.  Raises `Poison` (`Reason.ENGINE_KILLER`) for a killer.
        """
        where = (record.partition, record.offset)
        retry: DrawRetry | None = None
        while True:
            await self._turn(where)
            async with self._gate, AsyncExitStack() as stack:
                await self._check_before_suspect(where)
                try:
                    await self._admit(stack, admit())
                except EngineDead as error:
                    self._on_death(error, self._life, ())
                if not self._may_ask(where):
                    continue
                if retry:
                    self._watch.draw_retried(retry)
                life = self._life
                self._inside[where] += 1
                try:
                    return self._note_answer(where, await send(), life)
                except EngineDead as error:
                    retry = DrawRetry.DIED
                    self._on_death(error, life, self._inside)
                except Retryable as error:
                    retry = DrawRetry.AWAY
                    self._on_away(error)
                except Withdrawn:
                    retry = DrawRetry.WITHDRAWN
                finally:
                    self._leave(where)

    async def _admit(self, stack: AsyncExitStack, admitted: AbstractAsyncContextManager[None]) -> None:
        self._num_held += 1
        try:
            await stack.enter_async_context(admitted)
        finally:
            self._num_held -= 1

    async def check_after_timeout(self, sent_s: float) -> None:
        """Check the engine after a draw has passed its deadline; the draw was sent at `sent_s`, monotonic seconds.

        Returns if the engine works.  Raises `EngineDead` if it hangs, `Retryable` if it cannot be reached.
        """
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

    async def _check_before_suspect(self, where: Where) -> None:
        """Probe the engine before a suspect's first draw; if it fails now, no record is blamed."""
        if not self.suspects.is_suspect(where):
            return
        async with self._probing:
            if where in self._checked or not self._may_ask(where):
                return
            life = self._life
            try:
                await self._probe()
                self._checked.add(where)
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
                await self._until_proven()
                raise Poison(
                    Reason.ENGINE_KILLER, f"the engine died {KILLER_DEATHS} times with it, the last time alone"
                )
            await self._changed.wait()

    async def _until_proven(self) -> None:
        """Wait until the engine has answered another record since its last death, or no other has come for a while."""
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

    def _note_answer(self, where: Where, drawn: Drawn, life: int) -> Drawn:
        if drawn.status not in {Status.TIMEOUT, Status.ENGINE_ERROR} and life == self._life and not self._down:
            self._last_answer_s = self._clock()
            self._partly_answered.add(where)
        return drawn

    def _note_answered(self, where: Where) -> None:
        """Note a record that is answered whole: an engine may answer some draws of a killer and die of others."""
        if where in self._partly_answered and not self._proven:
            self._set_deaths(0)
            self._proven = True
        if self.suspects.clear(where):
            self._loop.note_changed(where[0])

    def _leave(self, where: Where) -> None:
        self._inside[where] -= 1
        if not self._inside[where]:
            del self._inside[where]
            if self.suspects.waiting:
                self._wake()

    def _wake(self) -> None:
        """Wake all draws that wait, to check again whether they may be sent."""
        self._changed.set()
        self._changed = asyncio.Event()

    # -- away

    def _on_away(self, error: Retryable) -> None:
        """Note that the engine cannot be reached; the draws it had are sent again once it can."""
        if self.is_down:
            return
        self._away = str(error)
        log.warning("%s", self.held_up)
        self._tasks.spawn(self._find_again())

    async def _find_again(self) -> None:
        """Probe the engine until it answers; if it turns out to be dead it is restarted, and no record is blamed."""
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
        """Note a death; all draws in the engine report the same one, and the first report counts."""
        if life != self._life or self._down:
            return
        self._down = f"the engine died: {error}"
        if self._loop.stopping:
            log.warning("%s, while the worker stops: its records are left to the next owner", self._down)
            return
        self._set_deaths(self._num_deaths + 1)
        self._proven = False
        self._partly_answered.clear()
        self._checked.clear()
        self._watch.engine_died()
        self.suspects.blame(blamed)
        for partition in {partition for partition, _ in blamed}:
            self._loop.note_changed(partition)
        log.error("%s, with %d records in it", self._down, len(blamed))
        self._tasks.spawn(self._revive())
        self._wake()

    async def _revive(self) -> None:
        """Restart the engine.  Raises `EngineGone` after `max_restarts` deaths in a row, or too long a start."""
        while True:
            if self._num_deaths > self._max_restarts:
                raise EngineGone(f"{self._down}; {self._num_deaths} deaths in a row, the worker stops")
            started_s = self._clock()
            try:
                async with asyncio.timeout(MAX_START_S):
                    await self._engine.stop()
                    started_s = self._clock()
                    await self._engine.start()
                break
            except TimeoutError:
                raise EngineGone(f"{self._down}; no new one within {MAX_START_S:.0f} s, the worker stops") from None
            except Exception as error:
                log.exception("the engine did not start")
                self._down = f"the engine died and did not start: {error}"
                self._watch.engine_start(seconds=self._clock() - started_s, ok=False)
                self._set_deaths(self._num_deaths + 1)
            await asyncio.sleep(RESTART_WAIT_S)
        self._watch.engine_start(seconds=self._clock() - started_s, ok=True)
        log.info("engine restarted; asking %d suspect records one at a time", self.suspects.waiting)
        self._life += 1
        self._down = ""
        self._wake()
