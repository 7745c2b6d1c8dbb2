"""What the pipeline asks of the outside: where records come from, who answers, where answers go.

The real ones are in `kafka` and `engines`; the tests' fakes of each fit on one screen.  What is counted and
traced is a small protocol beside each part that does it, such as `pipeline.committer.FlushWatch`;
`runtime.telemetry` has them all.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from worker.core.codec.framing import SchemaRef
from worker.core.codec.input_forms import WriterSchema
from worker.core.delivery.handover_messages import (
    Assigned,
    Flush,
    FlushOutcome,
    Frozen,
    Lost,
    Rebalanced,
    Revoking,
    Settled,
    TopicNews,
)
from worker.core.errors import Fatal
from worker.core.joining.facts import FactKind, ItemFacts, UserFacts, Versions
from worker.core.prompts.prompt import Prompt
from worker.core.records import Partition, Record
from worker.core.service_requests import ServerWatch
from worker.core.simulation.draws import Ask, Drawn, EngineCard


@dataclass(frozen=True, slots=True)
class AllRead:
    """A backfill has read everything up to its end; delivered again if partitions are assigned later."""


Delivery = list[Record] | Assigned | Revoking | Lost | Frozen | Rebalanced | TopicNews | Fatal | AllRead


class Source(Protocol):
    """Where records come from.  Every method but `close` returns at once.

    Records of one partition are delivered in offset order; a few lists at most are delivered before the first
    of them is accepted (`batch_accepted`).  A failure of the source is delivered as `Fatal`.
    """

    def open(self, deliver: Callable[[Delivery], None]) -> None:
        """Join the group; `deliver` is called in the running event loop.  Called once."""

    def batch_accepted(self) -> None:
        """Allow one more list of records: the oldest delivered one is accepted."""

    def unreadable(self) -> tuple[int, int]:
        """Return two counts of unreadable batches: found since the last call, and holding a partition now."""

    def high_watermarks(self) -> Mapping[Partition, int]:
        """Return the end offset of each assigned partition, as far as it is known."""

    def pause_only(self, partitions: frozenset[Partition]) -> None:
        """Pause these assigned partitions and resume all others; polling goes on."""

    def freeze(self) -> None:
        """Ask for group metadata and assignment epochs, read in one step; the answer is delivered as `Frozen`."""

    def let_go(self, partitions: frozenset[Partition]) -> None:
        """Release the revoke callback that waits for these partitions; ignored if it has already returned."""

    async def close(self) -> None:
        """Leave the group and close the client; returns within a bound, also if the client hangs."""


class Engine(Protocol):
    """Who answers draws."""

    @property
    def card(self) -> EngineCard:
        """Its name, version, model and limits; complete once `start` has returned."""

    async def start(self) -> None:
        """Load, warm up and test itself; may be called again after `stop`.

        Raises `Fatal` if it cannot answer, `Retryable` if something that it needs is unavailable: try again
        later.
        """

    async def stop(self) -> None:
        """Free everything, also if the engine has died or hangs; draws in progress raise `EngineDead`."""

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the token ids of a prompt, if the card says `reads_prompt`; may be called in a thread.

        Of a prompt that does not fit the model, the ids of its beginning: more than the card's
        `max_prompt_tokens`.
        """

    async def draw(self, ask: Ask) -> Drawn:
        """Answer one draw; cancelling the call aborts the request.

        A draw that the model answers badly is a status of `Drawn`.  Raises `EngineDead` if the engine has
        died, `Retryable` if it cannot be reached, which no record is blamed for.
        """

    def on_step(self, report: Callable[[int, int], None], /) -> None:
        """Call `report(running, waiting)`, counts of draws, in the event loop after each scheduler step.

        An engine without such counts never calls it.
        """

    async def probe(self) -> None:
        """Answer one token.  Raises as `draw` does; does not return while the engine hangs."""


Admit = Callable[[Ask], AbstractAsyncContextManager[None]]  # what `RemoteEngine.admitted` is


def at_once(_: Ask) -> AbstractAsyncContextManager[None]:
    """Admit a draw to an engine that is ours alone."""
    return nullcontext()


class RemoteEngine(Engine, Protocol):
    """An engine whose model runs on servers of their own."""

    def watch_servers(self, watch: ServerWatch) -> None:
        """Have requests to the servers counted; to be called before `start`."""

    def admitted(self, ask: Ask) -> AbstractAsyncContextManager[None]:
        """Enclose a draw, before its deadline begins; entering waits, however long, while servers are busy for others.

        Entering raises `EngineDead` if the engine is stopped.
        """


class Sink(Protocol):
    """Where answers go, with their offsets, in one transaction; one call at a time."""

    @property
    def held_up(self) -> str:
        """Why nothing gets through now, for people; "" if the last flush did."""

    async def flush(self, flush: Flush) -> FlushOutcome:
        """Publish the messages and commit the offsets; return how that ended.

        Raises `Fatal` if no later flush can succeed: `Fenced` by another holder of the identity, `Stuck` in
        the client.
        """

    async def settle(self, partitions: frozenset[Partition]) -> Settled:
        """Rebuild the producer, which ends the old transaction, then read these partitions' committed offsets.

        The offset is -1 for a partition without one.  Waits as long as Kafka does not answer; raises `Fatal`
        as `flush` does.
        """

    async def close(self) -> None:
        """Close the producer."""


class WriterSchemas(Protocol):
    """Writer schemas by reference; the registry's, and our own."""

    def known(self, ref: SchemaRef) -> WriterSchema | None:
        """Return a schema without asking the registry; None if it must be fetched."""

    async def fetch(self, ref: SchemaRef) -> WriterSchema:
        """Return a schema, asking the registry if need be; one try.

        Raises `Poison` (`Reason.SCHEMA`) if there is none or it is refused, `Retryable` if the registry does
        not answer.
        """


class Facts(Protocol):
    """What is known of items and users, in a store of this process; every method returns at once."""

    @property
    def kinds(self) -> frozenset[FactKind]:
        """What there are facts about at all."""

    @property
    def held_up(self) -> str:
        """Why not all that is known can be found now, for people; "" if it can."""

    @property
    def behind(self) -> str:
        """Why items that were written last may be missing, for people; "" if none is."""

    @property
    def num_changes(self) -> int:
        """How often something was added: what was not found may be found after it has grown."""

    def items(self, ids: Sequence[str]) -> Mapping[str, Versions[ItemFacts]]:
        """Return the versions of those items that are known.  Raises `Fatal` if the store cannot be read."""

    def user(self, user_id: str) -> Versions[UserFacts]:
        """Return the versions of a user; none if nothing is known.  Raises `Fatal` if the store cannot be read."""
