"""What the parts of the loop call back, as small as each needs it; `worker.pipeline.loop.Pipeline` does all of it.

`worker.runtime.wiring` makes the loop first, then the parts with it, and then gives the parts to the loop.
"""

from collections.abc import Collection
from typing import Protocol

from worker.core.delivery.handover_messages import Refusal
from worker.core.errors import Poison
from worker.core.records import Message, Partition
from worker.pipeline.decoder import Decoded
from worker.pipeline.in_flight import RecordInFlight


class RecordLoop(Protocol):
    """What becomes of single records: called by the quarantine and by who supervises the engine."""

    @property
    def has_room(self) -> bool:
        """True if one more record may be received: the run goes on, the engine answers, the window has room."""

    @property
    def stopping(self) -> bool:
        """True from the stop signal on: a death of the engine is expected then."""

    async def ready(self, entry: RecordInFlight, decoded: Decoded) -> None:
        """Join a decoded record with what is known, and ask its questions."""

    async def joined(self, entry: RecordInFlight, decoded: Decoded) -> None:
        """Ask the questions of a record that has waited for what it is joined with."""

    def finish(self, entry: RecordInFlight, messages: tuple[Message, ...]) -> None:
        """Hand a record's messages over, in order; none for one that is skipped."""

    def dead_letter(self, entry: RecordInFlight, poison: Poison) -> None:
        """Finish a record with its dead letter; one whose assignment is over is only counted."""

    def note_changed(self, partition: Partition) -> None:
        """Commit what the partition's next owner must know, beside its offset."""


class PartitionLoop(Protocol):
    """What becomes of partitions and flushes: called by the committer."""

    def freezing(self) -> None:
        """Bring up to date what stands beside the offsets that are about to leave."""

    def released(self, partition: Partition, commit_offset: int) -> None:
        """Forget the records below `commit_offset`: they are durable."""

    def dropped(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours, with all that is in flight there."""

    def refused(self, refusal: Refusal) -> None:
        """Replace the messages of a record of which Kafka takes none."""
