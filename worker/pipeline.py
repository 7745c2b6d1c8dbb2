"""Start reading here: the way of one record from Kafka to Kafka.

    poll thread            this loop                                          transaction thread
    1 poll            ->   2 decode  3 batch  4 prompt  5 generate  6 parse -> 7 produce  8 commit

This module owns the control flow and nothing else.  What may be published and committed is decided in `handover`,
what is asked in `prepare`, what the answer is in `respond`; the outside is behind the protocols of `ports`.

The unit is the event: all its responses, or its one dead letter, and its offset leave in one transaction.  Inference
never happens inside one.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from worker.asking import Asker
from worker.batching import MicroBatcher
from worker.deadletters import to_message
from worker.errors import Fatal, Poison
from worker.flight import Flight, InFlight
from worker.handover import Handover
from worker.intake import Decoded, Intake
from worker.outgoing import Outgoing
from worker.ports import Delivery, Engine, Schemas, Sink, Source, Watch
from worker.prepare import Asking, Prepared, num_tokens, prepare
from worker.records import DeadLetter, Message, Partition, Record
from worker.respond import Setup, respond, source_of
from worker.sampling import Sampling, UserBudget
from worker.signals import Assigned, Command, Drop, Flush, Freeze, LetGo, Rebuild, Release, Send, Tick
from worker.supervision import Supervisor
from worker.window import Window

log = logging.getLogger(__name__)

TICK_S = 0.01  # how often the loop looks at its clocks


@dataclass(frozen=True, slots=True)
class Rules:
    """What the pipeline decides by, from the settings."""

    sampling: Sampling
    user_budget: UserBudget
    setup: Setup
    asking: Asking
    dead_letter_topic: str
    max_message_bytes: int
    question_timeout_s: float
    max_draws: int  # in the engine at once
    drain_timeout_s: float


@dataclass(frozen=True, slots=True)
class Ready:
    """One impression, ready for the engine."""

    entry: InFlight
    decoded: Decoded
    questions: tuple[Prepared, ...]


class Pipeline:
    """The loop; `run` returns when it is stopped and empty, or raises `Fatal`."""

    def __init__(
        self,
        *,
        source: Source,
        engine: Engine,
        sink: Sink,
        schemas: Schemas,
        watch: Watch,
        rules: Rules,
        outgoing: Outgoing,
        batcher: MicroBatcher[Ready],
        window: Window,
        handover: Handover,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the parts, made by `worker.app`; must be called inside the running loop."""
        self._source, self._sink, self._watch, self._rules = source, sink, watch, rules
        self._outgoing, self._batcher, self._handover = outgoing, batcher, handover
        self._wall, self._clock = wall, clock
        self._intake = Intake(schemas, rules.sampling, rules.user_budget, wall=wall)
        self._asker = Asker(engine, watch, max_draws=rules.max_draws, timeout_s=rules.question_timeout_s, clock=clock)
        self._flight = Flight(window)
        self._inbox: asyncio.Queue[list[Record]] = asyncio.Queue()
        self._assigned: set[Partition] = set()
        self._supervisor = Supervisor()
        self._all_read = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None
        self._state = "joining the group"
        self.last_tick_s = clock()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or all is read, then drain.  Raises `Fatal`; nothing more is committed then."""
        try:
            self._source.open(self._on_delivery)
            self._state = ""
            self._supervisor.spawn(self._take_all())
            self._supervisor.spawn(self._tick_all())
            await self._supervisor.until(stop, self._all_read)
            self._state = "stopping"
            await self._drain()
        finally:
            self._state = "stopping"
            self._supervisor.cancel_all()
            await self._source.close()
        await self._sink.close()

    @property
    def held_up(self) -> str:
        """Why the worker is not ready, "" if it is."""
        return self._state or self._intake.held_up or self._sink.held_up

    # -- 1 poll: what the source delivers

    def _on_delivery(self, delivery: Delivery) -> None:
        if isinstance(delivery, list):
            self._inbox.put_nowait(delivery)
        elif isinstance(delivery, Fatal):
            self._supervisor.fail(delivery)
        elif delivery is None:
            self._finishing = self._supervisor.spawn(self._finish_reading())
        else:
            self._do(self._handover.handle(delivery))
            if isinstance(delivery, Assigned):
                self._assigned.add(delivery.partition)
                if self._finishing:
                    self._finishing.cancel()  # there is more to read after all

    async def _take_all(self) -> None:
        while True:
            for record in await self._inbox.get():
                while self._flight.full and not self._state:  # noqa: ASYNC110 - many things make room
                    await asyncio.sleep(TICK_S)
                if self._state:
                    return  # stopping: what is not taken on is not committed, and the next owner reads it
                await self._take(record)
                await asyncio.sleep(0)  # a long list must not keep the loop from answers and rebalances
            self._inbox.task_done()
            self._source.took()
            self._pause()

    async def _take(self, record: Record) -> None:
        """Take one record on: decode it, decide whether it is simulated, hand it to a micro-batch."""
        if not self._handover.start(record.partition, record.epoch, record.offset):
            self._watch.stale()
            return
        entry = self._flight.take(record, self._clock())
        self._watch.consumed()
        try:
            decoded = await self._intake.decode(record)
            if not self._flight.holds(entry):
                self._watch.stale()
            elif isinstance(decoded, Decoded):
                self._batch(entry, decoded)
            else:
                self._watch.skipped(decoded)
                self._finish(entry, ())
        except Poison as poison:
            self._bury(entry, poison)

    def _bury(self, entry: InFlight, poison: Poison) -> None:
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        self._watch.dead_letter(poison.reason)
        log.warning("%s: %s: %s; dead-lettered", entry.record.where, poison.reason, poison)
        letter = DeadLetter(entry.record, poison.reason, str(poison))
        message = to_message(letter, self._rules.dead_letter_topic, max_bytes=self._rules.max_message_bytes)
        self._finish(entry, (message,))

    # -- 3 batch, 4 prompt

    def _batch(self, entry: InFlight, decoded: Decoded) -> None:
        questions = prepare(entry.record, decoded.impression, self._rules.asking)
        self._flight.grow(entry, num_tokens(questions))
        ready = Ready(entry, decoded, questions)
        self._admit(self._batcher.add(ready, tokens=entry.num_tokens, now_s=self._clock()))

    def _admit(self, batch: list[Ready] | None) -> None:
        """Send a micro-batch to the engine, one user's events side by side: they share the longest prefix."""
        for ready in sorted(batch or (), key=lambda ready: ready.decoded.impression.user.user_id):
            if self._flight.holds(ready.entry):
                ready.entry.task = self._supervisor.spawn(self._answer(ready))

    # -- 5 generate, 6 parse

    async def _answer(self, ready: Ready) -> None:
        record, impression = ready.entry.record, ready.decoded.impression
        with self._watch.process(record, impression) as trace:
            asked = await asyncio.gather(
                *(self._asker.ask(one, taken_s=ready.entry.taken_s) for one in ready.questions)
            )
            responses = respond(
                impression,
                asked,
                self._rules.setup,
                source_of(record, ready.decoded.schema.value),
                sample_rate=self._rules.sampling.rate(impression.experiment_id),
                produced_at_us=int(self._wall() * 1e6),
            )
        self._watch.answered(responses, end_to_end_s=self._wall() - record.timestamp_ms / 1000)
        try:
            self._finish(ready.entry, self._outgoing.messages(record, responses, trace))
        except Poison as poison:
            self._bury(ready.entry, poison)

    # -- 7 produce, 8 commit: as the handover decides

    def _finish(self, entry: InFlight, messages: tuple[Message, ...]) -> None:
        """Hand an event's messages over; they leave once every record before it is finished."""
        record = entry.record
        if not self._handover.finish(record.partition, record.epoch, record.offset, messages):
            self._watch.stale()
        elif self._handover.due():
            self._tick(urgent=True)

    def _tick(self, *, urgent: bool = False) -> None:
        self.last_tick_s = self._clock()
        self._do(self._handover.handle(Tick(self.last_tick_s, urgent)))

    async def _tick_all(self) -> None:
        while True:
            self._admit(self._batcher.due(now_s=self._clock()))
            self._tick(urgent=bool(self._state))
            self._pause()
            await asyncio.sleep(TICK_S)

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Freeze():
                    self._source.freeze()
                case Send(flush):
                    self._supervisor.spawn(self._flush(flush))
                case Rebuild(partitions):
                    self._supervisor.spawn(self._settle(partitions))
                case Release(partition, commit_offset):
                    self._flight.release(partition, commit_offset)
                case LetGo(partitions):
                    self._drop(partitions)
                    self._source.let_go(partitions)
                case Drop(partitions):
                    self._drop(partitions)

    async def _flush(self, flush: Flush) -> None:
        started_s = self._clock()
        with self._watch.flush(sum(len(head.messages) for head in flush.heads)):
            outcome = await self._sink.flush(flush)
        self._watch.flushed(type(outcome).__name__, self._clock() - started_s)
        self._do(self._handover.handle(outcome))
        self._tick(urgent=self._handover.due())

    async def _settle(self, partitions: frozenset[Partition]) -> None:
        self._do(self._handover.handle(await self._sink.settle(partitions)))

    def _drop(self, partitions: frozenset[Partition]) -> None:
        self._assigned -= partitions
        self._flight.drop(partitions)

    def _pause(self) -> None:
        paused = frozenset(self._assigned) if self._state else self._flight.paused(self._assigned)
        self._source.pause_only(paused)
        oldest_s = self._flight.oldest_s()
        self._watch.state(
            in_flight=self._handover.in_flight,
            assigned=len(self._assigned),
            paused=len(paused),
            head_s=0.0 if oldest_s is None else self._clock() - oldest_s,
        )

    # -- the end

    async def _finish_reading(self) -> None:
        """Wait until everything that was read is taken on, answered and committed."""
        await self._inbox.join()
        while not self._empty():  # noqa: ASYNC110 - many things end it, none alone
            await asyncio.sleep(TICK_S)
        self._all_read.set()

    async def _drain(self) -> None:
        """Finish what is in flight within the budget; what is finished is committed."""
        self._admit(self._batcher.close())
        self._pause()
        deadline_s = self._clock() + self._rules.drain_timeout_s
        while not self._empty() and self._clock() < deadline_s:
            await asyncio.sleep(TICK_S)
            self._supervisor.raise_failure()

    def _empty(self) -> bool:
        return not self._handover.in_flight and self._handover.idle
