"""What is said to the `Handover` (events) and by it (commands).  Plain data: no behaviour, no Kafka.

The picture of who answers what stands in `worker.core.delivery.handover`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from worker.core.records import Message, Partition, Reason
from worker.core.topics.topic_history import TopicChange

# -- events ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition is ours from now on.

    `resume_at` is a start position without a commit; else `committed` is the committed offset, and `note`
    stands by it.
    """

    partition: Partition
    epoch: int
    resume_at: int | None = None
    note: str = ""
    committed: int | None = None


@dataclass(frozen=True, slots=True)
class Revoking:
    """The group revokes partitions; the callback waits until `LetGo` or `deadline_s`, monotonic."""

    partitions: frozenset[Partition]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """Partitions are no longer ours, and may be another member's already."""

    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class Tick:
    """It is `now_s`, monotonic; an `urgent` tick does not wait for the flush interval."""

    now_s: float
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Frozen:
    """What the consumer read in one step: group metadata, its generation, and the epoch of each owned partition."""

    metadata: object
    generation: int
    epochs: Mapping[Partition, int]


class FlushEnd(StrEnum):
    """How a flush ended; a label of the metrics."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    IN_DOUBT = "indoubt"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Committed:
    """The flush is durable."""

    end: ClassVar = FlushEnd.COMMITTED


@dataclass(frozen=True, slots=True)
class Aborted:
    """The flush had no effect."""

    end: ClassVar = FlushEnd.ABORTED
    now_s: float


@dataclass(frozen=True, slots=True)
class InDoubt:
    """It is unknown whether the flush had an effect; `is_fenced` if the broker ended its transaction, as too long."""

    end: ClassVar = FlushEnd.IN_DOUBT
    is_fenced: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """A new producer has settled the old transaction; `committed` has the broker's offsets, -1 for none."""

    committed: Mapping[Partition, int]
    now_s: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """Kafka refuses a message of this record, whatever is tried.

    `reason` is one of `records.REFUSALS`, `detail` a sentence that names the topic.
    """

    partition: Partition
    offset: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The flush had no effect, because Kafka refuses a message in it.

    A broker refuses a whole batch: where it does not say which message it means, `refusals` lists every
    record that has one in that batch, and `certain` is False.
    """

    end: ClassVar = FlushEnd.REFUSED
    refusals: tuple[Refusal, ...]
    certain: bool
    now_s: float


FlushOutcome = Committed | Aborted | InDoubt | Refused
Event = Assigned | Revoking | Lost | Tick | Frozen | Committed | Aborted | InDoubt | Settled | Refused


class FenceCause(StrEnum):
    """Why a broker refuses our producer or member; a label of the metrics."""

    TIMEOUT = "timeout"
    """The broker ended our transaction, which took too long; the worker goes on."""

    IDENTITY = "identity"
    """Another process has our transactional id or group instance id; the worker stops."""


class RebalanceKind(StrEnum):
    """How a rebalance changed what this worker has; a label of the metrics."""

    ASSIGNED = "assigned"
    """Partitions were added, or none: the group has answered."""

    REVOKED = "revoked"
    """Partitions were given back, after what was finished of them was committed."""

    LOST = "lost"
    """Partitions were taken away, or not given back in time: what was in flight is answered by their next owner."""


@dataclass(frozen=True, slots=True)
class Rebalanced:
    """A rebalance callback has returned, after so many seconds; as `TopicNews`, not an event of the `Handover`."""

    kind: RebalanceKind
    num_partitions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TopicNews:
    """What happened to an input topic; `is_held` while it keeps the worker from being ready.

    Not an event of the `Handover`, which handles partitions alone.  `change` is None once the topic can be
    read again.
    """

    topic: str
    change: TopicChange | None
    is_held: bool


# -- commands ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Freeze:
    """Read metadata and epochs in one step; answer with `Frozen`."""


@dataclass(frozen=True, slots=True)
class Head:
    """The finished head of one partition: its messages in order, and the offset to commit with its note.

    `origins` are the offsets of the records that the messages answer: one per message, same order.
    """

    partition: Partition
    epoch: int
    commit_offset: int
    messages: tuple[Message, ...]
    note: str = ""
    origins: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Flush:
    """What leaves in one transaction."""

    heads: tuple[Head, ...]
    metadata: object = None

    @property
    def messages(self) -> Iterable[Message]:
        """Every message, by partition in offset order."""
        return (message for head in self.heads for message in head.messages)

    @property
    def offsets(self) -> dict[Partition, int]:
        """The offset to commit, by partition."""
        return {head.partition: head.commit_offset for head in self.heads}


@dataclass(frozen=True, slots=True)
class Send:
    """Run this flush; answer with a `FlushOutcome`."""

    flush: Flush


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Make a new producer with the same identity, read these partitions' committed offsets; answer with `Settled`."""

    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class LetGo:
    """Release the revoke callback; what these partitions have in flight is void.  No answer."""

    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget these partitions: what they have in flight is void.  No answer."""

    partitions: frozenset[Partition]


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a partition's records before this offset: they are durable.  No answer."""

    partition: Partition
    commit_offset: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Kafka takes no message of this record: call `Handover.replace` with its one dead letter, or `Handover.block`."""

    refusal: Refusal


Command = Freeze | Send | Rebuild | LetGo | Drop | Release | Replace
