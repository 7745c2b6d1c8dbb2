"""Fakes of everything outside the loop (`worker.pipeline.ports`), and a clock that jumps: minutes take milliseconds."""

import asyncio
import functools
import itertools
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec

from worker.core.codec.avro_schemas import Schema
from worker.core.codec.framing import SchemaRef
from worker.core.delivery.handover_messages import (
    Assigned,
    Committed,
    FenceCause,
    Flush,
    FlushEnd,
    FlushOutcome,
    Frozen,
    InDoubt,
    Lost,
    Rebalanced,
    Revoking,
    Settled,
    TopicNews,
)
from worker.core.delivery.lag import LagReport, PartitionLag
from worker.core.delivery.micro_batcher import BatchEnd
from worker.core.delivery.stages import LatencyStage, Marks
from worker.core.delivery.window import ShutBy
from worker.core.errors import Poison, Retryable
from worker.core.joining.facts import FactKind
from worker.core.prompts.prompt import Prompt
from worker.core.records import Headers, Message, Partition, Reason, Record
from worker.core.simulation.draw_trace import ModelAnswer, ModelRequest
from worker.core.simulation.draws import Ask, Drawn, DrawRetry, EngineCard
from worker.core.simulation.questions import Status
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.sampling import Skip
from worker.core.steering.budgets import Period
from worker.pipeline.joins import JoinResult
from worker.pipeline.ports import Delivery
from worker.pipeline.traces import FlushSpan, RecordTrace, UnrecordedDraw, UnrecordedTrace

P = ParamSpec("P")
WALL_S = 1_793_534_400.0  # since 1970, when a loop's own time is 0: November 2026
LIMIT_S = 600.0  # of a scenario, in its own time: one that hangs fails


# -- time


class _Jumps(selectors.SelectSelector):
    """Never waits: where nothing is ready, time goes on at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        self.now_s += 0.0 if ready else timeout or 0.0
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop with a time of its own, from 0."""

    def __init__(self) -> None:
        self._jumps = _Jumps()
        super().__init__(self._jumps)

    def time(self) -> float:
        return self._jumps.now_s


def jumping(scenario: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test in jumping time."""

    @functools.wraps(scenario)
    def test(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            runner.run(asyncio.wait_for(scenario(*args, **kwargs), LIMIT_S))

    return test


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks bring about; what takes long is looked at less often."""
    looks = itertools.chain(itertools.repeat(0.01, 100), itertools.repeat(0.1))
    while not condition():  # noqa: ASYNC110 - the condition is plain data
        await asyncio.sleep(next(looks))


# -- the outside


class FakeSource:
    """A group of one member, whose partitions the test gives and takes."""

    def __init__(self) -> None:
        self.generation = 1
        self.epochs: dict[Partition, int] = {}
        self.paused: frozenset[Partition] = frozenset()
        self.ends: dict[Partition, int] = {}
        self.calls: Counter[str] = Counter()
        self.deliver: Callable[[Delivery], None] = self._not_open

    def _not_open(self, delivery: Delivery) -> None:
        raise AssertionError(delivery)

    def open(self, deliver: Callable[[Delivery], None]) -> None:
        self.deliver = deliver

    def batch_accepted(self) -> None:
        self.calls["batch_accepted"] += 1

    def pause_only(self, partitions: frozenset[Partition]) -> None:
        self.paused = partitions

    def unreadable(self) -> tuple[int, int]:
        return 0, 0

    def high_watermarks(self) -> Mapping[Partition, int]:
        return self.ends

    def freeze(self) -> None:
        asyncio.get_running_loop().call_soon(
            lambda: self.deliver(Frozen(("metadata", self.generation), self.generation, dict(self.epochs)))
        )

    def let_go(self, partitions: frozenset[Partition]) -> None:
        self.calls["let_go"] += 1

    async def close(self) -> None:
        self.calls["close"] += 1

    def assign(self, *partitions: Partition, resume_at: int | None = None) -> None:
        for partition in partitions:
            self.calls["assign"] += 1
            self.epochs[partition] = self.calls["assign"]
            self.deliver(Assigned(partition, self.epochs[partition], resume_at))

    async def revoke(self, *partitions: Partition, within_s: float = 20.0) -> None:
        """Return when the loop lets go, as the callback does."""
        before = self.calls["let_go"]
        self.deliver(Revoking(frozenset(partitions), asyncio.get_running_loop().time() + within_s))
        await until(lambda: self.calls["let_go"] > before)
        self._forget(*partitions)

    def lose(self, *partitions: Partition) -> None:
        self._forget(*partitions)
        self.deliver(Lost(frozenset(partitions)))

    def _forget(self, *partitions: Partition) -> None:
        self.epochs = {partition: epoch for partition, epoch in self.epochs.items() if partition not in partitions}

    def read(self, partition: Partition, first: int, *values: bytes | None, headers: Headers = ()) -> None:
        """Deliver records with consecutive offsets, in the present assignment."""
        now_ms = int(1000 * (WALL_S + asyncio.get_running_loop().time()))
        self.deliver(
            [
                Record(partition, self.epochs[partition], first + n, b"key", value, headers, now_ms)
                for n, value in enumerate(values)
            ]
        )


class FakeEngine:
    """Answers at once, evenly and at length; `answer` and `gates` (by event id) make it worse."""

    card = EngineCard("fake", "1", "fake", None, {}, reads_prompt=False)

    def __init__(self, text: str = "Stimulus: a film.\nBehavior: [") -> None:
        self.text = text
        self.answer: Callable[[Ask], Drawn] = self.even
        self.gates: dict[str, asyncio.Event] = {}
        self.asks: list[Ask] = []
        self.num_cancelled = 0
        self.num_starts = self.num_stops = 0
        self.hangs = False

    def even(self, ask: Ask) -> Drawn:
        return Drawn(Status.OK, (1 / ask.num_slots,) * ask.num_slots, 1.0, self.text, "stop")

    async def start(self) -> None:
        """Have nothing to load."""
        self.num_starts += 1

    async def stop(self) -> None:
        """Free nothing, but end what it was asked."""
        self.num_stops += 1
        for gate in self.gates.values():
            gate.set()
        self.gates = {}

    def on_step(self, hear: Callable[[int, int], None]) -> None:
        self.hear = hear

    async def probe(self) -> None:
        """Be there, unless it hangs."""
        if self.hangs:
            await asyncio.Event().wait()

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        raise NotImplementedError

    async def draw(self, ask: Ask) -> Drawn:
        self.asks.append(ask)
        with ask.trace.request(ModelRequest()) as span:
            try:
                if gate := self.gates.get(ask.impression.event_id):
                    await gate.wait()
            except asyncio.CancelledError:
                self.num_cancelled += 1
                raise
            drawn = self.answer(ask)
            span.answered(ModelAnswer(10, 8, 5, drawn.finish_reason, lambda: "a prompt", lambda: drawn.text or ""))
        return drawn


class FakeSink:
    """A log and committed offsets.  `ends`: how the next flushes end; a flush in doubt may have landed all the same."""

    def __init__(self) -> None:
        self.ends: deque[FlushOutcome | Exception] = deque()
        self.lands_in_doubt = False
        self.flush_s = self.settle_s = 0.005
        self.flushes: list[Flush] = []
        self.log: list[Message] = []
        self.committed: dict[Partition, int] = {}
        self.calls: Counter[str] = Counter()
        self.held_up = ""

    async def flush(self, flush: Flush) -> FlushOutcome:
        self.flushes.append(flush)
        await asyncio.sleep(self.flush_s)
        end = self.ends.popleft() if self.ends else Committed()
        if isinstance(end, Exception):
            raise end
        if isinstance(end, Committed) or (isinstance(end, InDoubt) and self.lands_in_doubt):
            self.log += flush.messages
            self.committed |= flush.offsets
        return end

    async def settle(self, partitions: frozenset[Partition]) -> Settled:
        self.calls["settle"] += 1
        await asyncio.sleep(self.settle_s)
        return Settled({one: self.committed.get(one, -1) for one in partitions}, asyncio.get_running_loop().time())

    async def close(self) -> None:
        self.calls["close"] += 1


class FakeSchemas:
    """A registry that knows these schemas, `outages` tries from now; it can never give those that are `away`."""

    def __init__(self, schemas: Mapping[SchemaRef, Schema], *, outages: int = 0) -> None:
        self._schemas = schemas
        self._fetched: dict[SchemaRef, Schema] = {}
        self.outages = outages
        self.away: set[SchemaRef] = set()
        self.asked: Counter[SchemaRef] = Counter()
        self.most_at_once = self._at_once = 0

    def known(self, ref: SchemaRef) -> Schema | None:
        return self._fetched.get(ref)

    async def fetch(self, ref: SchemaRef) -> Schema:
        self.asked[ref] += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await asyncio.sleep(0.001)
        self._at_once -= 1
        if self.outages or ref in self.away:
            self.outages = max(0, self.outages - 1)
            raise Retryable("the registry is away")
        if ref not in self._schemas:
            raise Poison(Reason.SCHEMA, "no such schema")
        self._fetched[ref] = self._schemas[ref]
        return self._fetched[ref]


class _FakeTrace(UnrecordedTrace):
    """A trace whose headers are the watch's, or name the event."""

    def __init__(self, watch: "FakeWatch") -> None:
        super().__init__()
        self._watch = watch

    def draw(self, _ask: Ask, number: int, attempt: int) -> AbstractContextManager[UnrecordedDraw]:
        self._watch.counts["chat"] += 1
        self._watch.tries.append((number, attempt))
        return super().draw(_ask, number, attempt)

    def send(self, response: SimulatedResponse) -> Mapping[str, str]:
        return self._watch.trace or {"traceparent": f"00-{response.event_id}"}

    def unanswered(self, reason: Reason | Skip) -> None:
        self._watch.ends[str(reason)] += 1

    def committed(self, marks: Marks) -> None:
        self._watch.ends["committed"] += 1

    def dropped(self) -> None:
        self._watch.ends["dropped"] += 1


class FakeWatch:
    """Counts by name; `gauges` are the last ones, `most_paused` the most."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.gauges: dict[str, float] = {}
        self.gauges_of_engine: dict[str, int] = {}
        self.most_paused = 0
        self.trace: Mapping[str, str] = {}  # instead of one by event id
        self.ends: Counter[str] = Counter()  # of traces
        self.tries: list[tuple[int, int]] = []  # of draws: the draw's number, and the try's
        self.held_now = self.waiting_now = self.joining_now = 0
        self.shares: Sequence[float] = ()
        self.shut_by: set[ShutBy | None] = set()
        self.latencies_s: list[float] = []
        self.stages_s = dict.fromkeys(LatencyStage, 0.0)
        self.lags: dict[Partition, PartitionLag] = {}
        self.drain_s = self.in_doubt_s = 0.0

    def consumed(self) -> None:
        self.counts["consumed"] += 1

    def stale(self) -> None:
        self.counts["stale"] += 1

    def budgets(self, shares: Mapping[Period, float]) -> None:
        self.gauges |= {f"budget {period}": share for period, share in shares.items()}

    def skipped(self, reason: Skip) -> None:
        self.counts[f"skipped {reason}"] += 1

    def dead_letter(self, reason: Reason) -> None:
        self.counts[f"dead letter {reason}"] += 1

    def joined(self, kind: FactKind, result: JoinResult, number: int = 1) -> None:
        self.counts[f"{kind} {result}"] += number

    def joining(self, num_waiting: int) -> None:
        self.joining_now = num_waiting

    def answered(self, responses: tuple[SimulatedResponse, ...]) -> None:
        self.counts["answered"] += len(responses)

    def redacted(self, num: int, num_failed: int) -> None:
        self.counts["redacted"] += num
        self.counts["redactor failed"] += num_failed

    def event_committed(self, stages_s: Sequence[float], *, end_to_end_s: float | None, trace_id: str) -> None:
        for stage, seconds in zip(LatencyStage, stages_s, strict=True):
            self.stages_s[stage] += seconds
        self.counts["committed"] += 1
        self.counts["untimed"] += end_to_end_s is None
        self.latencies_s += [] if end_to_end_s is None else [end_to_end_s]

    def refused(self, reason: Reason) -> None:
        self.counts[f"refused {reason}"] += 1

    def unreadable(self, *, found: int, waiting: int) -> None:
        self.counts["unreadable"] += found

    def state(self, *, in_flight: int, assigned: int, paused: int, head_s: float) -> None:
        self.gauges = {"in_flight": in_flight, "assigned": assigned, "paused": paused, "head_s": head_s}
        self.most_paused = max(self.most_paused, paused)

    def lag(self, report: LagReport) -> None:
        self.lags = {one.partition: one for one in report.partitions}
        self.drain_s = report.drain_s

    def breaker(self, *, is_open: bool) -> None:
        self.counts["breaker opened" if is_open else "breaker closed"] += 1

    def topic(self, news: TopicNews) -> None:
        self.counts[f"topic {news.change}"] += 1

    def held(self, by_breaker: int, *, waiting: int) -> None:
        self.held_now, self.waiting_now = by_breaker, waiting

    def forgotten(self, num_user_days: int) -> None:
        self.counts["forgotten"] = num_user_days

    def engine_died(self) -> None:
        self.counts["engine death"] += 1

    def engine_start(self, *, seconds: float, ok: bool) -> None:
        self.counts["engine started" if ok else "engine did not start"] += 1

    def restarts_left(self, number: int) -> None:
        self.gauges_of_engine["restarts left"] = number

    def draw_retried(self, reason: DrawRetry) -> None:
        self.counts[f"draw again: {reason}"] += 1

    def seats(self, number: int) -> None:
        self.gauges_of_engine["seats"] = number

    def batch(self, num_records: int, ended_by: BatchEnd) -> None:
        self.counts[f"batch {ended_by}"] += num_records

    def window(self, shares: Sequence[float], shut_by: ShutBy | None) -> None:
        self.shares = shares
        self.shut_by.add(shut_by)

    def settled(self, seconds: float) -> None:
        self.counts["settled"] += 1
        self.in_doubt_s += seconds

    def fenced(self, fence: FenceCause) -> None:
        self.counts[f"fence {fence}"] += 1

    def rebalanced(self, rebalanced: Rebalanced) -> None:
        self.counts[f"rebalance {rebalanced.kind}"] += rebalanced.num_partitions

    def flushed(self, end: FlushEnd, seconds: float) -> None:
        self.counts[f"flush {end}"] += 1

    def drawn(self, drawn: Drawn, seconds: float, *, trace_id: str) -> None:
        self.counts["drawn"] += 1

    def record(self, record: Record) -> RecordTrace:
        return _FakeTrace(self)

    def polled(self, records: Sequence[Record]) -> None:
        self.counts["polled"] += len(records)

    def flush(self, flush: Flush) -> AbstractContextManager[FlushSpan]:
        return nullcontext(_FakeTrace(self))
