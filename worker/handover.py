"""The flush and rebalance state machine: events in, commands out; no thread, no clock, no Kafka.

What may be published and committed together, and when a partition may be let go, is decided here alone.  The
three threads of the worker (poll, asyncio, transaction) only carry the messages, and the simulation in the
tests drives this same machine through every interleaving.

    Assigned, Started, Finished            what is in flight, by partition and assignment epoch
    Tick            -> Freeze              something is ready: read the metadata and the epochs in one step
    Frozen          -> Send                one short transaction: responses, dead letters, offsets
    Committed                              its records are forgotten, the next one may begin
    Aborted         -> Freeze (later)      the same bytes again, with new metadata, less what moved away
    InDoubt         -> Rebuild             a new producer settles the old transaction, then the broker is asked
    Settled                                at or past the flush's offsets: it was committed; else it goes again
    Revoking        -> Freeze, LetGo       the finished head leaves first, within a bound, then the epoch moves on
    Lost            -> Drop                at once: the partition may already be somebody else's

A flush is frozen as (records, offsets, epochs, group metadata).  It is never sent again without an answer to
what became of it, and its metadata is never refreshed inside it: metadata read after a partition moved would
let the coordinator accept offsets that are no longer ours (KIP-447 fences the generation, not the partition).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from worker.offsets import Offsets
from worker.records import Message, Partition
from worker.signals import (
    Aborted,
    Assigned,
    Command,
    Committed,
    Drop,
    Event,
    Flush,
    Freeze,
    Frozen,
    Head,
    InDoubt,
    LetGo,
    Lost,
    Rebuild,
    Release,
    Revoking,
    Send,
    Settled,
    Tick,
)

MAX_BACKOFF_S = 5.0


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """When a flush is due and how much it takes."""

    interval_s: float = 0.1
    max_records: int = 256
    max_bytes: int = 1_000_000


@dataclass(slots=True)
class _Owned:
    """One partition in one assignment."""

    epoch: int
    offsets: Offsets
    results: dict[int, tuple[Message, ...]] = field(default_factory=dict)


class Handover:
    """The machine; every method returns at once."""

    def __init__(self, limits: FlushLimits) -> None:
        """Own nothing."""
        self._limits = limits
        self._owned: dict[Partition, _Owned] = {}
        self._revoking: Revoking | None = None
        self._running: Flush | None = None  # sent, or in doubt
        self._again: Flush | None = None  # aborted: these very bytes go next
        self._head_sent = False  # since the last Revoking
        self._freezing = False
        self._finished_records = 0
        self._finished_bytes = 0
        self._next_s = 0.0
        self._backoff_s = 0.0

    # -- what the pipeline tells, and asks

    def start(self, partition: Partition, epoch: int, offset: int) -> bool:
        """Take a record on; False if its assignment is over or it was handed out before: drop it."""
        owned = self._owned.get(partition)
        return owned is not None and owned.epoch == epoch and owned.offsets.start(offset)

    def finish(self, partition: Partition, epoch: int, offset: int, messages: tuple[Message, ...]) -> bool:
        """Take a record's messages, none for a skipped one; False if its assignment is over."""
        owned = self._owned.get(partition)
        if owned is None or owned.epoch != epoch:
            return False
        owned.offsets.finish(offset)
        owned.results[offset] = messages
        self._finished_records += 1
        self._finished_bytes += _num_bytes(messages)
        return True

    def remark(self, partition: Partition, note: str) -> None:
        """Commit this note with the partition's offset from now on (`worker.notes`); a new one goes by itself, too."""
        if partition in self._owned:
            self._owned[partition].offsets.note = note

    def due(self) -> bool:
        """Say whether so much can leave that a flush shall not wait for its interval; not while one is under way."""
        most, most_bytes = self._limits.max_records, self._limits.max_bytes
        if self._busy or (self._finished_records < most and self._finished_bytes < most_bytes):
            return False
        # What is finished behind an unfinished record cannot leave: it must not make each finish a flush of its own.
        ready = [owned.results[offset] for owned in self._owned.values() for offset in owned.offsets.head()]
        return len(ready) >= most or sum(map(_num_bytes, ready)) >= most_bytes

    @property
    def in_flight(self) -> int:
        """Records started and not yet committed."""
        return sum(len(owned.offsets) for owned in self._owned.values())

    @property
    def idle(self) -> bool:
        """True if no flush is under way or waits."""
        return self._running is None and self._again is None and not self._freezing and not any(self._heads())

    def oldest(self, partition: Partition) -> int | None:
        """Return the record that holds a partition's commit."""
        owned = self._owned.get(partition)
        return owned.offsets.oldest if owned else None

    # -- the machine

    def handle(self, event: Event) -> list[Command]:  # noqa: PLR0911 - one return an event
        """Take an event, return what to do."""
        match event:
            case Assigned():
                overdue = self._overdue()
                self._owned[event.partition] = _Owned(
                    event.epoch, Offsets(resume_at=event.resume_at, committed=event.committed, note=event.note)
                )
                return overdue
            case Revoking():
                overdue, self._revoking, self._head_sent = self._overdue(), event, False
                return overdue + self._advance_revoke()
            case Lost():
                return [*self._overdue(), Drop(self._disown(event.partitions))]
            case Tick():
                return self._tick(event)
            case Frozen():
                return self._frozen(event)
            case Committed():
                return self._committed(certain=True)
            case Aborted():
                return self._aborted(event.now_s)
            case InDoubt():
                assert self._running is not None
                return [Rebuild(frozenset(self._running.offsets))]
            case Settled():
                return self._settled(event)

    def _tick(self, event: Tick) -> list[Command]:
        revoking = self._revoking
        if revoking and event.now_s >= revoking.deadline_s:
            return self._let_go(revoking)
        if self._busy or (event.now_s < self._next_s and not (event.urgent and not self._backoff_s)):
            return []
        if self._again is None and not any(self._heads()):
            return []
        self._next_s = event.now_s + self._limits.interval_s
        return self._freeze()

    @property
    def _busy(self) -> bool:
        return self._running is not None or self._freezing

    def _freeze(self) -> list[Command]:
        self._freezing = True
        return [Freeze()]

    def _frozen(self, event: Frozen) -> list[Command]:
        """Freeze the flush: only heads whose assignment still holds, at the moment the metadata was read."""
        self._freezing = False
        heads = self._again.heads if self._again else tuple(self._heads())
        held = tuple(head for head in heads if self._holds(head, event))
        self._again = None
        if not held or event.generation < 0:  # a coordinator does not check generation -1
            self._next_s += self._limits.interval_s
            return self._advance_revoke(tried=True)
        self._running = Flush(held, event.metadata)
        self._head_sent = True
        return [Send(self._running)]

    def _holds(self, head: Head, event: Frozen) -> bool:
        owned = self._owned.get(head.partition)
        return owned is not None and owned.epoch == head.epoch == event.epochs.get(head.partition)

    def _heads(self) -> Iterable[Head]:
        """Take the finished head of each partition, within the limits of one flush; a revoked one goes first."""
        wanted = self._revoking.partitions if self._revoking else frozenset()
        room, room_bytes = self._limits.max_records, self._limits.max_bytes
        for partition, owned in sorted(self._owned.items(), key=lambda pair: pair[0] not in wanted):
            messages: list[Message] = []
            taken: list[int] = []
            for offset in owned.offsets.head():
                if room <= 0 or room_bytes <= 0:
                    break
                taken.append(offset)
                messages += owned.results[offset]
                room -= 1
                room_bytes -= _num_bytes(owned.results[offset])
            commit_offset = owned.offsets.commit_offset(past=taken[-1]) if taken else owned.offsets.unreleased
            if commit_offset is not None:
                yield Head(partition, owned.epoch, commit_offset, tuple(messages), owned.offsets.note)

    def _committed(self, *, certain: bool) -> list[Command]:
        """Forget what was committed; where only the offsets say so, its notes go once more."""
        assert self._running is not None
        flush, self._running = self._running, None
        self._backoff_s = 0.0
        releases: list[Command] = [
            Release(head.partition, head.commit_offset) for head in flush.heads if self._forget(head, certain=certain)
        ]
        return releases + self._advance_revoke()

    def _forget(self, head: Head, *, certain: bool) -> bool:
        owned = self._owned.get(head.partition)
        if owned is None or owned.epoch != head.epoch:
            return False
        for offset in [offset for offset in owned.offsets.head() if offset < head.commit_offset]:
            messages = owned.results.pop(offset)
            self._finished_records -= 1
            self._finished_bytes -= _num_bytes(messages)
        owned.offsets.forget(head.commit_offset, head.note, certain=certain)
        return True

    def _aborted(self, now_s: float) -> list[Command]:
        assert self._running is not None
        self._again, self._running = self._running, None
        self._backoff_s = min(MAX_BACKOFF_S, 2 * self._backoff_s or self._limits.interval_s)
        self._next_s = now_s + self._backoff_s
        return self._advance_revoke(tried=True)

    def _settled(self, event: Settled) -> list[Command]:
        """Judge by the partitions that are still ours; a transaction is whole, so one of them tells for all."""
        assert self._running is not None
        for head in self._running.heads:
            owned = self._owned.get(head.partition)
            if owned and owned.epoch == head.epoch and event.committed.get(head.partition, -1) < head.commit_offset:
                return self._aborted(event.now_s)
        return self._committed(certain=False)

    # -- rebalance

    def _overdue(self) -> list[Command]:
        """Drop what a revocation still held: callbacks come one after another, so the next one means it gave up."""
        revoking, self._revoking = self._revoking, None
        return [Drop(self._disown(revoking.partitions))] if revoking else []

    def _advance_revoke(self, *, tried: bool = False) -> list[Command]:
        """Bring a revocation on: wait for the running flush, send the finished head once, let go."""
        revoking = self._revoking
        if revoking is None or self._busy:
            return []
        # Once: records go on finishing meanwhile, and the group waits for this callback.  But a new note is news of a
        # death, which is rare, and not to hear of it costs the next owner an engine.
        going = revoking.partitions & self._owned.keys()
        wanted = not self._head_sent or any(self._owned[partition].offsets.has_new_note for partition in going)
        if wanted and not tried and any(head.partition in going for head in self._next_heads()):
            return self._freeze()
        return self._let_go(revoking)

    def _next_heads(self) -> Iterable[Head]:
        return self._again.heads if self._again else self._heads()

    def _let_go(self, revoking: Revoking) -> list[Command]:
        self._revoking = None
        self._disown(revoking.partitions)
        return [LetGo(revoking.partitions)]

    def _disown(self, partitions: frozenset[Partition]) -> frozenset[Partition]:
        for partition in partitions:
            owned = self._owned.pop(partition, None)
            for messages in owned.results.values() if owned else ():
                self._finished_records -= 1
                self._finished_bytes -= _num_bytes(messages)
        return partitions


def _num_bytes(messages: tuple[Message, ...]) -> int:
    return sum(len(message.value or b"") for message in messages)
