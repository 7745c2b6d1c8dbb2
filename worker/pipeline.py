"""Start reading here: the way of one record from Kafka to Kafka.

    poll thread            this loop                                          transaction thread
    1 poll            ->   2 decode  3 batch  4 prompt  5 generate  6 parse -> 7 produce  8 commit

This module owns the control flow and nothing else.  What may be published and committed is decided in `handover`,
what is asked in `prepare`, what the answer is in `responses`; the outside is behind the protocols of `ports`.

The unit is the event: all its responses, or its one dead letter, and its offset leave in one transaction.  Inference
never happens inside one.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from worker import codec
from worker.batching import MicroBatcher
from worker.codec import Encoder, SchemaRef
from worker.deadletters import to_message
from worker.draws import Ask, Drawn
from worker.errors import EngineDead, EngineGone, Fatal, Poison, Retryable
from worker.handover import Assigned, Command, Drop, Flush, Freeze, Handover, LetGo, Rebuild, Release, Send, Tick
from worker.ports import Delivery, Engine, FlushOutcome, Schemas, Sink, Source, Watch
from worker.prepare import Asking, Prepared, num_tokens, prepare
from worker.questions import Status
from worker.records import DeadLetter, Headers, Impression, Message, Partition, Record
from worker.responses import Asked, Setup, SimulatedResponse, Timings, respond, shorten, source_of
from worker.sampling import Sampling, Skip, UserBudget
from worker.window import Window

log = logging.getLogger(__name__)

TRIES = 2  # of one draw: a deadline that passes is given one more
MAX_WAIT_S = 10.0  # between two tries to reach the registry


@dataclass(frozen=True, slots=True)
class Rules:
    """What the pipeline decides by, from the settings."""

    sampling: Sampling
    user_budget: UserBudget
    setup: Setup
    asking: Asking
    output_topic: str
    dead_letter_topic: str
    max_message_bytes: int
    pass_headers: frozenset[str]
    question_timeout_s: float
    max_draws: int  # in the engine at once
    drain_timeout_s: float
    tick_s: float = 0.01  # how often the loop looks at its clocks


@dataclass(slots=True)
class _Event:
    """One record in flight."""

    record: Record
    taken_s: float
    num_tokens: int = 0
    task: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Ready:
    """One impression, ready for the engine."""

    event: _Event
    impression: Impression
    schema: SchemaRef
    questions: tuple[Prepared, ...] = field(default=())


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
        encoder: Encoder,
        batcher: MicroBatcher[_Ready],
        window: Window,
        handover: Handover,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the parts, made by `worker.app`."""
        self._source, self._engine, self._sink, self._schemas, self._watch = source, engine, sink, schemas, watch
        self._rules, self._encoder, self._batcher, self._window, self._handover = (
            rules, encoder, batcher, window, handover,
        )  # fmt: skip
        self._wall, self._clock = wall, clock
        self._inbox: asyncio.Queue[list[Record]] = asyncio.Queue()
        self._events: dict[Partition, dict[int, _Event]] = defaultdict(dict)
        self._assigned: set[Partition] = set()
        self._draw_slots = asyncio.Semaphore(rules.max_draws)
        self._background: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._stopping = False
        self.held_up = "starting"  # why the worker is not ready, "" if it is
        self.last_tick_s = clock()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or everything is read, then drain.  Raises `Fatal`; nothing more is committed then."""
        await self._sink.open()
        self._source.open(self._on_delivery)
        self.held_up = ""
        taking, ticking = self._spawn(self._take_all()), self._spawn(self._tick_all())
        try:
            await self._until(stop, self._ended)
            self._stopping = True
            await self._drain()
        finally:
            self.held_up = "stopping"
            for task in [taking, ticking, *self._tasks()]:
                task.cancel()
            await self._source.close()
        await self._sink.close()

    # -- 1 poll: what the source delivers

    def _on_delivery(self, delivery: Delivery) -> None:
        if isinstance(delivery, list):
            self._inbox.put_nowait(delivery)
        elif isinstance(delivery, Fatal):
            self._fail(delivery)
        elif delivery is None:
            self._spawn(self._finish_reading())
        else:
            if isinstance(delivery, Assigned):
                self._assigned.add(delivery.partition)
            self._do(self._handover.handle(delivery))

    async def _finish_reading(self) -> None:
        """Wait until what was read is answered and committed."""
        while self._inbox.qsize() or self._handover.in_flight or not self._handover.idle:
            await asyncio.sleep(self._rules.tick_s)
        self._ended.set()

    async def _take_all(self) -> None:
        while True:
            for record in await self._inbox.get():
                if self._stopping:
                    return  # what is not taken on is not committed: the next owner reads it
                await self._take(record)
            self._source.took()
            self._pause()

    async def _take(self, record: Record) -> None:
        """Take one record on: 2 decode it, decide whether it is simulated, hand it to 3 batch."""
        if not self._handover.start(record.partition, record.epoch, record.offset):
            self._watch.stale()
            return
        event = _Event(record, self._clock())
        self._events[record.partition][record.offset] = event
        self._window.add(record.partition, num_bytes=record.num_bytes)
        self._watch.consumed()
        try:
            ready = await self._decode(event)
        except Poison as poison:
            self._bury(event, poison)
            return
        if ready is not None and self._owns(event):
            self._batch(ready)

    # -- 2 decode

    async def _decode(self, event: _Event) -> _Ready | None:
        """Return the impression, or None for a record that is not simulated.  Raises `Poison`."""
        record = event.record
        if record.value is None:
            return self._skip(event, Skip.TOMBSTONE)
        ref, payload = codec.split(record.value, record.headers)
        schema = self._schemas.known(ref) or await self._fetch_schema(ref)
        impression = codec.decode(payload, schema)
        reason = self._rules.sampling.skip(impression, now_s=self._wall())
        budget = self._rules.user_budget
        if not reason and not budget.takes(impression.user.user_id, impression.event_id, impression.occurred_at):
            reason = Skip.USER_BUDGET
        return self._skip(event, reason) if reason else _Ready(event, impression, ref)

    async def _fetch_schema(self, ref: SchemaRef) -> codec.Schema:
        """Ask the registry until it answers: an outage holds records up, it never makes dead letters of them."""
        wait_s = 0.5
        while True:
            try:
                schema = await self._schemas.fetch(ref)
            except Retryable as error:
                self.held_up = str(error)
                log.warning("%s; next try in %.1f s", error, wait_s)
                await asyncio.sleep(wait_s)
                wait_s = min(MAX_WAIT_S, 2 * wait_s)
            else:
                self.held_up = ""
                return schema

    def _skip(self, event: _Event, reason: Skip) -> None:
        self._watch.skipped(reason)
        self._finish(event, ())

    def _bury(self, event: _Event, poison: Poison) -> None:
        self._watch.dead_letter(poison.reason)
        log.warning("%s: %s: %s; dead-lettered", event.record.where, poison.reason, poison)
        letter = DeadLetter(event.record, poison.reason, str(poison))
        message = to_message(letter, self._rules.dead_letter_topic, max_bytes=self._rules.max_message_bytes)
        self._finish(event, (message,))

    # -- 3 batch, 4 prompt

    def _batch(self, ready: _Ready) -> None:
        ready.questions = prepare(ready.event.record, ready.impression, self._rules.asking)
        ready.event.num_tokens = num_tokens(ready.questions)
        self._window.grow(num_tokens=ready.event.num_tokens)
        self._admit(self._batcher.add(ready, tokens=ready.event.num_tokens, now_s=self._clock()))

    def _admit(self, batch: list[_Ready] | None) -> None:
        """Send a micro-batch to the engine, one user's events side by side: they share the longest prefix."""
        for ready in sorted(batch or (), key=lambda ready: ready.impression.user.user_id):
            if self._owns(ready.event):
                ready.event.task = self._spawn(self._answer(ready))

    # -- 5 generate, 6 parse

    async def _answer(self, ready: _Ready) -> None:
        with self._watch.process(ready.event.record, ready.impression) as trace_headers:
            asked = await asyncio.gather(*(self._ask(ready, one) for one in ready.questions))
            responses = respond(
                ready.impression,
                asked,
                self._rules.setup,
                source_of(ready.event.record, ready.schema.value),
                sample_rate=self._rules.sampling.rate(ready.impression.experiment_id),
                produced_at_us=int(self._wall() * 1e6),
            )
        headers = self._headers(ready.event.record, trace_headers.items())
        messages = tuple(self._message(response, headers) for response in responses)
        self._watch.answered(responses, end_to_end_s=self._wall() - ready.event.record.timestamp_ms / 1000)
        self._finish(ready.event, messages)

    async def _ask(self, ready: _Ready, one: Prepared) -> Asked:
        """Ask one question in all its draws."""
        started_s = self._clock()
        if one.refused:
            drawn = [one.refused] * len(one.asks)
        else:
            drawn = await asyncio.gather(*(self._draw(ask) for ask in one.asks))
        timings = Timings(queue_s=started_s - ready.event.taken_s, engine_s=self._clock() - started_s)
        return Asked(one.question, tuple(drawn), tuple(ask.order for ask in one.asks), one.flags, timings)

    async def _draw(self, ask: Ask) -> Drawn:
        """Ask one draw within its deadline; a question that fails is a response with a status, never a lost event."""
        for _ in range(TRIES):
            async with self._draw_slots:
                with self._watch.chat(ask) as chat:
                    started_s = self._clock()
                    drawn = await self._draw_once(ask.with_trace(chat.headers))
                    chat.done(drawn, self._clock() - started_s)
            if drawn.status is not Status.TIMEOUT:
                break
        return drawn

    async def _draw_once(self, ask: Ask) -> Drawn:
        try:
            async with asyncio.timeout(self._rules.question_timeout_s):
                return await self._engine.draw(ask)
        except TimeoutError:
            return Drawn(Status.TIMEOUT)
        except EngineDead as error:
            self._fail(EngineGone(f"the engine died: {error}; nothing unfinished is committed, the worker stops"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever the engine says of one prompt must not lose the event
            log.warning("%s: the engine failed: %s", ask.ask_id, type(error).__name__)
            return Drawn(Status.ENGINE_ERROR)

    def _headers(self, record: Record, trace: Iterable[tuple[str, str]]) -> Headers:
        passed = tuple(header for header in record.headers if header[0] in self._rules.pass_headers)
        return passed + tuple((name, value.encode()) for name, value in trace)

    def _message(self, response: SimulatedResponse, headers: Headers) -> Message:
        """Encode a response; one too large for the topic loses its long texts and is flagged."""
        value = self._encoder.encode(response)
        if len(value) > self._rules.max_message_bytes:
            value = self._encoder.encode(shorten(response))
        return Message(self._rules.output_topic, response.user_id.encode(), value, headers)

    # -- 7 produce, 8 commit: what the handover decides

    def _finish(self, event: _Event, messages: tuple[Message, ...]) -> None:
        """Hand an event's messages over; they leave once every record before it is finished."""
        record = event.record
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
            self._tick(urgent=self._stopping)
            self._pause()
            await asyncio.sleep(self._rules.tick_s)

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Freeze():
                    self._source.freeze()
                case Send(flush):
                    self._spawn(self._flush(flush))
                case Rebuild(partitions):
                    self._spawn(self._settle(partitions))
                case Release(partition, commit_offset):
                    self._release(partition, commit_offset)
                case LetGo(partitions):
                    self._void(partitions)
                    self._source.let_go()
                case Drop(partitions):
                    self._void(partitions)

    async def _flush(self, flush: Flush) -> None:
        started_s = self._clock()
        messages = list(flush.messages)
        with self._watch.flush(len(messages)):
            outcome: FlushOutcome = await self._sink.flush(flush)
        self._watch.flushed(type(outcome).__name__, self._clock() - started_s)
        self._do(self._handover.handle(outcome))
        if self._handover.due():
            self._tick(urgent=True)

    async def _settle(self, partitions: frozenset[Partition]) -> None:
        self._do(self._handover.handle(await self._sink.settle(partitions)))

    # -- what is in flight

    def _owns(self, event: _Event) -> bool:
        return self._events.get(event.record.partition, {}).get(event.record.offset) is event

    def _release(self, partition: Partition, commit_offset: int) -> None:
        events = self._events[partition]
        for offset in [offset for offset in events if offset < commit_offset]:
            self._free(events.pop(offset))

    def _void(self, partitions: frozenset[Partition]) -> None:
        """Forget partitions that are no longer ours; their requests are aborted in the engine."""
        self._assigned -= partitions
        for partition in partitions:
            for event in self._events.pop(partition, {}).values():
                if event.task:
                    event.task.cancel()
                self._free(event)

    def _free(self, event: _Event) -> None:
        record = event.record
        self._window.remove(record.partition, num_bytes=record.num_bytes, num_tokens=event.num_tokens)

    def _pause(self) -> None:
        paused = frozenset(self._assigned) if self._stopping else self._window.paused(self._assigned)
        self._source.pause_only(paused)
        heads = [next(iter(events.values())) for events in self._events.values() if events]
        self._watch.state(
            in_flight=self._handover.in_flight,
            assigned=len(self._assigned),
            paused=len(paused),
            head_s=max((self._clock() - event.taken_s for event in heads), default=0.0),
        )

    # -- tasks, failure, stop

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End the run; a failure that is not `Fatal` is our own bug and ends it too."""
        if not self._failure.done():
            self._failure.set_exception(error)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return list(self._background)

    async def _until(self, *events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait([*waits, self._failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._failure.done():
            self._failure.result()

    async def _drain(self) -> None:
        """Finish what is in flight within the budget, then commit the finished heads."""
        self._admit(self._batcher.close())
        self._pause()
        deadline_s = self._clock() + self._rules.drain_timeout_s
        while not self._drained() and self._clock() < deadline_s:
            if self._failure.done():
                self._failure.result()
            await asyncio.sleep(self._rules.tick_s)

    def _drained(self) -> bool:
        return not self._handover.in_flight and self._handover.idle
