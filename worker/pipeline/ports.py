"""What the pipeline asks of the outside: where records come from, who answers, where answers go, who watches.

The real ones are `kafka`, `engines` and `runtime.telemetry`; the tests' fakes of each fit on one screen.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from worker.core.codec.avro_schemas import Schema
from worker.core.codec.framing import SchemaRef
from worker.core.delivery.handover_messages import (
    Assigned,
    Flush,
    FlushEnd,
    FlushOutcome,
    Frozen,
    Lost,
    Revoking,
    Settled,
    TopicNews,
)
from worker.core.errors import Fatal
from worker.core.prompts.prompt import Prompt
from worker.core.records import Impression, Partition, Reason, Record
from worker.core.simulation.draws import Ask, Drawn, EngineCard
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.sampling import Skip


@dataclass(frozen=True, slots=True)
class AllRead:
    """A backfill has read everything up to its end; said again where partitions come later."""


Delivery = list[Record] | Assigned | Revoking | Lost | Frozen | TopicNews | Fatal | AllRead


class Source(Protocol):
    """Where records come from.  Everything returns at once but `close`."""

    def open(self, deliver: Callable[[Delivery], None]) -> None:
        """Join the group; `deliver` is called in the running loop."""

    def took(self) -> None:
        """Hear that a delivered list of records is taken."""

    def unreadable(self) -> tuple[int, int]:
        """Return how many unreadable batches were found since the last call, and how many hold a partition now."""

    def pause_only(self, partitions: frozenset[Partition]) -> None:
        """Pause these partitions and resume the others."""

    def freeze(self) -> None:
        """Ask for group metadata and assignment epochs, read in one step: `Frozen` is delivered."""

    def let_go(self, partitions: frozenset[Partition]) -> None:
        """Let the revoke callback return that waits for these partitions."""

    async def close(self) -> None:
        """Leave the group."""


class Engine(Protocol):
    """Who answers."""

    @property
    def card(self) -> EngineCard:
        """Who it is; known from `start` on."""

    async def start(self) -> None:
        """Load, warm up, test itself; again after `stop`.

        Raises `Fatal` if it cannot answer, `Retryable` if what it needs is away; it may then be tried again.
        """

    async def stop(self) -> None:
        """Free everything, also of an engine that died or hangs; what it was asked ends with `EngineDead`."""

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the tokens of a prompt, for an engine whose card says `reads_prompt`; may be called in a thread.

        Of a prompt that does not fit the model, the tokens of its beginning, more than `max_prompt_tokens`.
        """

    async def draw(self, ask: Ask) -> Drawn:
        """Answer one draw; cancelling it aborts the request.

        Raises `EngineDead` if nobody is left to answer, `Retryable` if nobody can be reached, which is nobody's fault.
        """

    def on_step(self, hear: Callable[[int, int], None]) -> None:
        """Have `hear(running, waiting)` called in the loop after each step; not by an engine that cannot tell."""

    async def probe(self) -> None:
        """Answer something tiny.  Raises as `draw`; does not return where the engine hangs."""


class Sink(Protocol):
    """Where answers go, with their offsets, in one transaction."""

    @property
    def held_up(self) -> str:
        """Why nothing gets through now, "" if it does."""

    async def flush(self, flush: Flush) -> FlushOutcome:
        """Publish and commit; say how that ended.  Raises `Fatal`."""

    async def settle(self, partitions: frozenset[Partition]) -> Settled:
        """Rebuild the producer, then read these partitions' committed offsets."""

    async def close(self) -> None:
        """Close the producer."""


class WriterSchemas(Protocol):
    """Writer schemas by reference."""

    def known(self, ref: SchemaRef) -> Schema | None:
        """Return one that was fetched before."""

    async def fetch(self, ref: SchemaRef) -> Schema:
        """Return one.  Raises `Poison` if there is none, `Retryable` if nobody can say now."""


class Chat(Protocol):
    """The span of one draw."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The trace context for the engine."""

    def done(self, drawn: Drawn, seconds: float) -> None:
        """Hear what the engine said."""


class RefusalWatch(Protocol):
    """Who counts what Kafka refuses."""

    def refused(self, reason: Reason) -> None:
        """Count a record of which Kafka refuses a message."""

    def dead_letter(self, reason: Reason) -> None:
        """Count a record that can never be answered."""


class Watch(RefusalWatch, Protocol):
    """Who counts and traces."""

    def consumed(self) -> None:
        """Count a record taken on."""

    def stale(self) -> None:
        """Count a record whose assignment is over."""

    def skipped(self, reason: Skip) -> None:
        """Count a record that is not simulated."""

    def answered(self, responses: tuple[SimulatedResponse, ...], *, end_to_end_s: float | None) -> None:
        """Count an event's responses; None if nobody knows when its record was written."""

    def unreadable(self, *, found: int, waiting: int) -> None:
        """Take how many unreadable batches were found since the last call, and how many hold a partition now."""

    def state(self, *, in_flight: int, assigned: int, paused: int, head_s: float) -> None:
        """Take the gauges."""

    def engine_died(self) -> None:
        """Count a death of the engine."""

    def breaker(self, *, is_open: bool) -> None:
        """Take whether dead letters are held."""

    def topic(self, news: TopicNews) -> None:
        """Count a topic that was made anew or deleted, and take whether it keeps the worker from being ready."""

    def held(self, by_breaker: int, *, waiting: int) -> None:
        """Take how many records the breaker holds, and how many wait for their writer's schema."""

    def forgotten(self, num_user_days: int) -> None:
        """Take how many users' days were forgotten while they went on."""

    def flushed(self, end: FlushEnd, seconds: float) -> None:
        """Count a transaction."""

    def process(self, record: Record, impression: Impression) -> AbstractContextManager[Mapping[str, str]]:
        """Span one impression; gives the trace context for its responses."""

    def chat(self, ask: Ask) -> AbstractContextManager[Chat]:
        """Span one draw."""

    def flush(self, num_messages: int) -> AbstractContextManager[None]:
        """Span one transaction."""
