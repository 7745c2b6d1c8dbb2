"""7 produce, 8 commit: carries the handover's commands to Kafka's threads, and their answers back.

It decides nothing: what may be published and committed together, and when a partition may go, is
`delivery.handover`'s.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from worker.core.delivery.handover import Handover
from worker.core.delivery.handover_messages import (
    Assigned,
    Command,
    Drop,
    Event,
    FenceCause,
    Flush,
    FlushEnd,
    Freeze,
    Frozen,
    InDoubt,
    LetGo,
    Rebuild,
    Release,
    Replace,
    Send,
    Tick,
)
from worker.core.errors import Fenced
from worker.core.records import Partition
from worker.pipeline.loop_port import PartitionLoop
from worker.pipeline.ports import Sink, Source
from worker.pipeline.task_group import TaskGroup
from worker.pipeline.traces import BatchTraces

T = TypeVar("T")


class FlushWatch(BatchTraces, Protocol):
    """Who counts and traces transactions."""

    def flushed(self, end: FlushEnd, seconds: float) -> None:
        """Count a transaction by its end, and how long it took, seconds."""

    def settled(self, seconds: float) -> None:
        """Count a producer that was rebuilt, and how long it was in doubt what became of its transaction, seconds."""

    def fenced(self, fence: FenceCause) -> None:
        """Count a broker's refusal of our producer or member."""


class Committer:
    """Carries out the handover's commands.

    `loop` is told what becomes durable, void or refused.  `assigned` has the partitions that are ours now,
    `last_tick_s` the time of the last tick, `sent_s` when the last transaction began, both monotonic seconds.
    """

    def __init__(
        self,
        loop: PartitionLoop,
        source: Source,
        sink: Sink,
        watch: FlushWatch,
        *,
        handover: Handover,
        tasks: TaskGroup,
        clock: Callable[[], float],
    ) -> None:
        self._loop, self._source, self._sink, self._watch = loop, source, sink, watch
        self._handover, self._tasks, self._clock = handover, tasks, clock
        self.assigned: set[Partition] = set()
        self.last_tick_s = self.sent_s = clock()

    def handle(self, event: Event) -> None:
        """Pass an event on to the handover and do what it commands."""
        if isinstance(event, Frozen):
            self._loop.freezing()
        self._do(self._handover.handle(event))
        if isinstance(event, Assigned):
            self.assigned.add(event.partition)

    def tick(self, *, urgent: bool = False) -> None:
        """Flush what is finished if a flush is due; `urgent` does not wait for the flush interval."""
        self.last_tick_s = self._clock()
        self._do(self._handover.handle(Tick(self.last_tick_s, urgent)))

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Freeze():
                    self._source.freeze()
                case Send(flush):
                    self._tasks.spawn(self._flush(flush))
                case Rebuild(partitions):
                    self._tasks.spawn(self._settle(partitions))
                case Release(partition, commit_offset):
                    self._loop.released(partition, commit_offset)
                case Replace(refusal):
                    self._loop.refused(refusal)
                case LetGo(partitions):
                    self._drop(partitions)
                    self._source.let_go(partitions)
                case Drop(partitions):
                    self._drop(partitions)

    async def _flush(self, flush: Flush) -> None:
        self.sent_s = started_s = self._clock()
        with self._watch.flush(flush) as span:
            outcome = await self._fenceable(self._sink.flush(flush))
            span.ended(outcome.end)
        self._watch.flushed(outcome.end, self._clock() - started_s)
        if isinstance(outcome, InDoubt) and outcome.is_fenced:
            self._watch.fenced(FenceCause.TIMEOUT)
        self._do(self._handover.handle(outcome))
        self.tick(urgent=self._handover.due())

    async def _settle(self, partitions: frozenset[Partition]) -> None:
        began_s = self._clock()
        settled = await self._fenceable(self._sink.settle(partitions))
        self._watch.settled(self._clock() - began_s)
        self._do(self._handover.handle(settled))

    async def _fenceable(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except Fenced:
            self._watch.fenced(FenceCause.IDENTITY)
            raise

    def _drop(self, partitions: frozenset[Partition]) -> None:
        self.assigned -= partitions
        self._loop.dropped(partitions)
