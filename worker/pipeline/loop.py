"""Start reading here: the way of one record from Kafka to Kafka.

    poll thread            this loop                                          transaction thread
    1 poll            ->   2 decode  3 batch  4 prompt  5 generate  6 parse -> 7 produce  8 commit

This module owns the control flow and nothing else.  What may be published and committed is decided in
`handover`, what is asked in `prepare`, what the answer is in `respond`; the outside is behind the protocols
of `ports`.  Its parts are made and tied to it in `runtime.wiring`.

The unit is the event: all its responses, or its one dead letter, and its offset leave in one transaction.
Inference never happens inside one.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from worker.core.blockers import Blocker, Blockers, both, told
from worker.core.delivery.handover import Handover
from worker.core.delivery.handover_messages import Assigned, FenceCause, Lost, Rebalanced, Refusal, TopicNews
from worker.core.delivery.micro_batcher import BatchEnd, MicroBatcher
from worker.core.delivery.offset_metadata import Note
from worker.core.delivery.window import ShutBy
from worker.core.errors import EngineGone, Fatal, Fenced, Poison
from worker.core.records import DeadLetter, Message, Partition, Reason, Record
from worker.core.resilience.watchdog import Watchdog
from worker.core.simulation.memory import num_bytes
from worker.core.simulation.prepare import num_tokens
from worker.pipeline.answerer import Answerer
from worker.pipeline.asker import Ready
from worker.pipeline.budget_reporter import BudgetReporter
from worker.pipeline.committer import Committer
from worker.pipeline.config import Rules
from worker.pipeline.decoder import Decoded
from worker.pipeline.engine_supervisor import EngineSupervisor
from worker.pipeline.in_flight import RecordInFlight, RecordsInFlight
from worker.pipeline.joins import Joins
from worker.pipeline.lag_reporter import LagReporter
from worker.pipeline.latencies import Latencies
from worker.pipeline.ports import AllRead, Delivery, Sink, Source
from worker.pipeline.quarantine import Quarantine
from worker.pipeline.refusals import Refusals
from worker.pipeline.schema_waits import StaleWatch
from worker.pipeline.task_group import TaskGroup
from worker.pipeline.traces import BatchTraces

log = logging.getLogger(__name__)

TICK_S = 0.01  # how often the loop looks at its clocks


class AdmissionWatch(Protocol):
    """Who counts what is let in."""

    def batch(self, num_records: int, ended_by: BatchEnd) -> None:
        """Count a micro-batch that closed."""

    def window(self, shares: Sequence[float], shut_by: ShutBy | None) -> None:
        """Set the shares of the window's budgets (records, bytes, tokens), and why partitions are paused."""

    def seats(self, number: int) -> None:
        """Set how many draws may run in the engine at once."""


class LoopWatch(StaleWatch, AdmissionWatch, BatchTraces, Protocol):
    """Who counts and traces what the loop itself does."""

    def dead_letter(self, reason: Reason) -> None:
        """Count a record that becomes a dead letter."""

    def state(self, *, in_flight: int, assigned: int, paused: int, head_s: float) -> None:
        """Set the gauges: records in flight, partitions, and how long the oldest head has waited, seconds."""

    def topic(self, news: TopicNews) -> None:
        """Count a topic that was made anew or deleted, and set whether it keeps the worker from being ready."""

    def rebalanced(self, rebalanced: Rebalanced) -> None:
        """Count a rebalance, its partitions, and how long it took."""

    def fenced(self, fence: FenceCause) -> None:
        """Count a broker's refusal of our producer or member."""

    def unreadable(self, *, found: int, waiting: int) -> None:
        """Count unreadable batches found since the last call, and set how many hold a partition now."""

    def held(self, by_breaker: int, *, waiting: int) -> None:
        """Set how many records the breaker holds, and how many wait for their writer's schema."""

    def forgotten(self, num_user_days: int) -> None:
        """Set how many users' daily counts were dropped before their day was over."""


class Phase(Enum):
    """How far a run is; the value is why the worker is not ready, as `/readyz` says it."""

    JOINING = "joining the group"
    WORKING = ""  # records are received
    STOPPING = "stopping"
    ENGINE_GONE = "the engine is gone"


_OF_PHASE = {
    Phase.JOINING: Blocker.GROUP,
    Phase.WORKING: Blocker.GROUP,  # which it does not block
    Phase.STOPPING: Blocker.STOPPING,
    Phase.ENGINE_GONE: Blocker.ENGINE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a loop works with; those that call it back were made with it."""

    source: Source
    sink: Sink
    handover: Handover
    flight: RecordsInFlight
    batcher: MicroBatcher[Ready]
    tasks: TaskGroup
    watchdog: Watchdog
    quarantine: Quarantine
    engine_supervisor: EngineSupervisor
    answerer: Answerer
    joins: Joins
    refusals: Refusals
    committer: Committer
    latencies: Latencies
    lag_reporter: LagReporter
    budget_reporter: BudgetReporter


class Pipeline:
    """The loop; `run` returns when it is stopped and empty, or raises `Fatal`.

    It is what the parts call back (`worker.pipeline.loop_port`), so it is made before them: `attach` comes
    next.  `clock` is monotonic, seconds.
    """

    def __init__(self, watch: LoopWatch, rules: Rules, *, clock: Callable[[], float]) -> None:
        self._watch = watch
        self._rules = rules
        self._clock = clock
        self._inbox: asyncio.Queue[list[Record]] = asyncio.Queue()
        self._all_read = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None
        self._phase = Phase.JOINING
        self._spending: set[Partition] = set()  # whose note lacks what their events have cost since

    def attach(self, parts: Parts) -> None:
        """Set the parts; called once, by `runtime.wiring`, before anything else is."""
        self._source = parts.source
        self._sink = parts.sink
        self._handover = parts.handover
        self._flight = parts.flight
        self._batcher = parts.batcher
        self._tasks = parts.tasks
        self.watchdog = parts.watchdog
        self.quarantine = parts.quarantine
        self._engine_supervisor = parts.engine_supervisor
        self._answerer = parts.answerer
        self._joins = parts.joins
        self._refusals = parts.refusals
        self._committer = parts.committer
        self._latencies = parts.latencies
        self._lag_reporter = parts.lag_reporter
        self._budget_reporter = parts.budget_reporter

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or all is read, then drain.  Raises `Fatal`; nothing more is committed then."""
        try:
            self._source.open(self._on_delivery)
            self._phase = Phase.WORKING
            self._tasks.spawn(self._receive_all())
            self._tasks.spawn(self._tick_all())
            self._tasks.spawn(self.quarantine.run())
            self._tasks.spawn(self._joins.run())
            await self._tasks.until(stop, self._all_read)
            self._phase = Phase.STOPPING
            await self._drain()
        except EngineGone:
            self._phase = Phase.ENGINE_GONE
            await self._hand_on()
            raise
        finally:
            self._phase = Phase.STOPPING
            self._tasks.cancel_all()
            await self._source.close()
        await self._sink.close()

    @property
    def held_up(self) -> str:
        """Why the worker is not ready, "" if it is."""
        return told(self.blockers)

    @property
    def blockers(self) -> Blockers:
        """What keeps the worker from being ready, but for the source."""
        # What was refused last may have gone with its partition: whether the next will be is not known.
        sink = "" if self._handover.idle else self._sink.held_up
        engine = "" if self._phase is Phase.ENGINE_GONE else self._engine_supervisor.held_up
        parts = {
            Blocker.ENGINE: engine,
            **self.quarantine.blockers,
            Blocker.FACTS: self._joins.held_up,
            Blocker.REFUSALS: self._refusals.held_up,
            Blocker.TRANSACTIONS: sink,
            Blocker.STALLED: self.watchdog.why,
        }
        return both({_OF_PHASE[self._phase]: self._phase.value}, parts)

    @property
    def _is_working(self) -> bool:
        return self._phase is Phase.WORKING

    @property
    def _waits(self) -> bool:
        """True if new records must wait, room or not."""
        return bool(self._engine_supervisor.held_up)

    @property
    def has_room(self) -> bool:
        """True if one more record may be received."""
        return self._is_working and not (self.quarantine.full() or self._waits)

    @property
    def stopping(self) -> bool:
        """True from the stop signal on."""
        return self._phase is Phase.STOPPING

    @property
    def last_tick_s(self) -> float:
        """When the loop last looked at its clocks, monotonic seconds."""
        return self._committer.last_tick_s

    # -- 1 poll: what the source delivers

    def _on_delivery(self, delivery: Delivery) -> None:
        if isinstance(delivery, list):
            self._inbox.put_nowait(delivery)
        elif isinstance(delivery, Fatal):
            if isinstance(delivery, Fenced):
                self._watch.fenced(FenceCause.IDENTITY)
            self._tasks.fail(delivery)
        elif isinstance(delivery, AllRead):
            self._finishing = self._tasks.spawn(self._finish_reading())
        elif isinstance(delivery, TopicNews):
            self._watch.topic(delivery)
        elif isinstance(delivery, Rebalanced):
            self._watch.rebalanced(delivery)
        else:
            self._committer.handle(delivery)
            if isinstance(delivery, Assigned | Lost) and self._finishing:
                self._finishing.cancel()  # there is more to read after all
            if isinstance(delivery, Assigned):
                self._lag_reporter.assigned(delivery)
                note = Note.decode(delivery.note)
                self._engine_supervisor.suspects.restore(delivery.partition, note.suspects)
                self.quarantine.restore(delivery.partition, note.breaker)
                self._rules.budgets.restore(delivery.partition, note.spent)

    async def _receive_all(self) -> None:
        while True:
            records = await self._inbox.get()
            self._watch.polled(records)
            for record in records:
                while self._must_wait(record) and self._is_working:  # noqa: ASYNC110 - many things make room
                    await asyncio.sleep(TICK_S)
                if not self._is_working:
                    return  # stopping: what is not received is not committed, and the next owner reads it
                await self.quarantine.receive(record)  # 2 decode
                await asyncio.sleep(0)  # a long list must not keep the loop from answers and rebalances
            self._inbox.task_done()
            self._pause()
            self._source.batch_accepted()

    def _must_wait(self, record: Record) -> bool:
        return self._waits or (self.quarantine.full() and self.quarantine.needs_room(record))

    def dead_letter(self, entry: RecordInFlight, poison: Poison) -> None:
        """Finish a record with its dead letter; one whose assignment is over is only counted."""
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        self._watch.dead_letter(poison.reason)
        with entry.trace.active():
            log.warning("%s: %s: %s; dead-lettered", entry.record.where, poison.reason, poison)
        entry.trace.unanswered(poison.reason)
        entry.num_letters += 1
        entry.answered_s = self._clock()
        self.finish(entry, (self._rules.to_message(DeadLetter(entry.record, poison.reason, str(poison))),))

    # -- 3 batch, 4 prompt

    async def ready(self, entry: RecordInFlight, decoded: Decoded) -> None:
        """Join a record with what is known of its items and user; it may have to wait for that (`joined`)."""
        try:
            whole = self._joins.join(entry, decoded)
        except Poison as poison:
            self.dead_letter(entry, poison)
            return
        if whole is not None:
            await self.joined(entry, whole)

    async def joined(self, entry: RecordInFlight, decoded: Decoded) -> None:
        """Prepare a record's questions and put it into the next micro-batch."""
        entry.trace.decoded(decoded.impression)
        questions = await self._answerer.prepare(entry.record, decoded)
        if not self._flight.holds(entry):
            self._watch.stale()
            return
        entry.event_s = decoded.impression.occurred_at / 1e6
        self._flight.grow(entry, num_tokens(questions), num_bytes(decoded.impression, questions))
        entry.batched_s = self._clock()
        ready = Ready(entry, decoded, questions)
        self._admit(self._batcher.add(ready, tokens=entry.num_tokens, now_s=entry.batched_s))

    def _admit(self, batch: list[Ready] | None) -> None:
        """Send a micro-batch to the engine, one user's events side by side: they share the longest prefix."""
        if batch:
            self._watch.batch(len(batch), self._batcher.ended_by)
        for ready in sorted(batch or (), key=lambda ready: ready.decoded.impression.user.user_id):
            if self._flight.holds(ready.entry):
                ready.entry.task = self._tasks.spawn(self._answer(ready))

    # -- 5 generate, 6 parse

    async def _answer(self, ready: Ready) -> None:
        try:
            with ready.entry.trace.active():
                messages = await self._answerer.respond(ready)
        except Poison as poison:
            self.dead_letter(ready.entry, poison)
        else:
            ready.entry.answered_s = self._clock()
            self.finish(ready.entry, messages)

    # -- 7 produce, 8 commit: as the handover decides

    def finish(self, entry: RecordInFlight, messages: tuple[Message, ...]) -> None:
        """Hand an event's messages over; they leave once every record before it is finished."""
        record = entry.record
        self.watchdog.record_finished(self._clock())
        self._flight.grow(entry, 0, sum(message.num_bytes for message in messages))
        if not self._handover.finish(record.partition, record.epoch, record.offset, messages):
            self._watch.stale()
        elif self._handover.due():
            self._committer.tick(urgent=True)

    def note_changed(self, partition: Partition) -> None:
        """Commit what the partition's next owner must know, beside its offset."""
        deaths, spent = self._engine_supervisor.suspects.deaths(partition), self._rules.budgets.note(partition)
        note = Note(deaths, self.quarantine.note(partition), spent)
        self._handover.set_note(partition, note.encode())

    def spent(self, partition: Partition) -> None:
        """Note at the next commit of an offset what a partition's events have cost."""
        self._spending.add(partition)

    def freezing(self) -> None:
        """Bring up to date what stands beside the offsets that are about to leave.

        Only there: if each answer made a commit of its own, a revocation would wait until no more are answered.
        """
        for partition in [one for one in self._spending if self._handover.has_head(one)]:
            self._spending.discard(partition)
            self.note_changed(partition)

    def released(self, partition: Partition, commit_offset: int) -> None:
        """Forget the records below `commit_offset`: they are durable."""
        entries = self._flight.release(partition, commit_offset)
        self._latencies.released(entries, self._committer.sent_s)
        self._lag_reporter.released(partition, commit_offset, entries)
        self._refusals.released(partition, entries)
        if self._engine_supervisor.suspects.forget(partition, commit_offset):
            self.note_changed(partition)

    def dropped(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours, with all that is in flight there."""
        self._flight.drop(partitions)
        self._lag_reporter.drop(partitions)
        self._engine_supervisor.suspects.drop(partitions)
        self._refusals.drop(partitions)
        self.quarantine.drop(partitions)
        self._joins.drop(partitions)
        self._rules.budgets.drop(partitions)
        self._spending.difference_update(partitions)

    def refused(self, refusal: Refusal) -> None:
        """Replace the messages of a record of which Kafka takes none."""
        self._refusals.replace(refusal)

    async def _tick_all(self) -> None:
        while True:
            self._admit(self._batcher.due(now_s=self._clock()))
            self._committer.tick(urgent=not self._is_working)
            is_held = self.quarantine.blocked or self._joins.num_waiting
            reason = "records are held" if is_held else self.held_up
            busy = bool(self._handover.in_flight) and not self._engine_supervisor.is_yielding
            self.watchdog.check(busy=busy, reason=reason, now_s=self._clock())
            self._pause()
            await asyncio.sleep(TICK_S)

    def _pause(self) -> None:
        assigned = self._committer.assigned
        must_pause = self._waits or not self._is_working
        paused = frozenset(assigned) if must_pause else self.quarantine.paused(assigned)
        self._source.pause_only(paused)
        self._watch.window(self._flight.shares(), self._shut_by if paused else None)
        self._watch.seats(self._engine_supervisor.seats)
        self._watch.state(
            in_flight=self._handover.in_flight,
            assigned=len(assigned),
            paused=len(paused),
            head_s=self._flight.head_s(self._clock()),
        )
        found, waiting = self._source.unreadable()
        self._watch.unreadable(found=found, waiting=waiting)
        self._watch.held(self.quarantine.num_held, waiting=self.quarantine.num_waiting)
        self._watch.forgotten(self._rules.user_budget.num_forgotten)
        self._lag_reporter.tick(paused)
        self._budget_reporter.tick()

    @property
    def _shut_by(self) -> ShutBy:
        """Why partitions are paused, if any is."""
        if not self._is_working:
            return ShutBy.STOPPING
        return ShutBy.ENGINE if self._waits else self._flight.shut_by or ShutBy.PARTITION

    # -- the end

    async def _finish_reading(self) -> None:
        """Wait until everything that was read is received, answered and committed."""
        await self._inbox.join()
        while not self._empty():  # noqa: ASYNC110 - many things end it, none alone
            await asyncio.sleep(TICK_S)
        self._all_read.set()

    async def _drain(self) -> None:
        """Finish what is in flight within the budget; what is finished is committed."""
        self._admit(self._batcher.close())
        self._pause()
        deadline_s = self._clock() + self._rules.drain_timeout_s
        while not self._drained() and self._clock() < deadline_s:
            await asyncio.sleep(TICK_S)
            self._tasks.raise_failure()

    def _drained(self) -> bool:
        """Return True if nothing more can be committed: heads wait for something outside, or the engine is down."""
        heads = ((one, self._handover.oldest(one)) for one in self._committer.assigned)
        waiting = all(at is None or self._is_held(one, at) for one, at in heads)
        return self._handover.idle and (self._engine_supervisor.is_down or waiting)

    def _is_held(self, partition: Partition, offset: int) -> bool:
        return self.quarantine.is_held(partition, offset) or self._joins.is_waiting(partition, offset)

    async def _hand_on(self) -> None:
        """Without an engine, commit what is finished, and the notes for the next owners."""
        deadline_s = self._clock() + self._rules.drain_timeout_s
        while not self._handover.idle and self._clock() < deadline_s:  # noqa: ASYNC110 - many things make it idle
            await asyncio.sleep(TICK_S)

    def _empty(self) -> bool:
        return not self._handover.in_flight and not self.quarantine.has_parked and self._handover.idle
