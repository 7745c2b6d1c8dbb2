"""What the pipeline asks of the outside: where records come from, who answers, where answers go.

The real ones are in `kafka` and `engines`; the tests' fakes of each fit on one screen.  What is counted and traced
stands as a small protocol beside each part that does it, such as `pipeline.committer.FlushWatch`; all of them are
`runtime.telemetry`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from worker.core.codec.avro_schemas import Schema
from worker.core.codec.framing import SchemaRef
from worker.core.delivery.handover_messages import (
    Assigned,
    Flush,
    FlushOutcome,
    Frozen,
    Lost,
    Revoking,
    Settled,
    TopicNews,
)
from worker.core.errors import Fatal
from worker.core.prompts.prompt import Prompt
from worker.core.records import Partition, Record
from worker.core.simulation.draws import Ask, Drawn, EngineCard


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
