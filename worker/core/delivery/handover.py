"""The flush and rebalance state machine: events in, commands out; no thread, no clock, no Kafka.

It alone decides what may be published and committed together, and when a revoked partition may be given back.
The three threads of the worker (poll, asyncio, transaction) only carry its messages, and the simulation in
the tests drives this same machine through every interleaving.

    Assigned                               records of the partition may start, in this assignment epoch
    Tick            -> Freeze              something is ready: read the metadata and the epochs in one step
    Frozen          -> Send                one short transaction: responses, dead letters, offsets
    Committed       -> Release             its records are forgotten, the next flush may begin
    Aborted         -> Freeze (later)      the same bytes again, with new metadata, without partitions that moved away
    InDoubt         -> Rebuild             a new producer settles the old transaction, then the broker is asked
    Settled         -> Release, or later   at or past the flush's offsets: it was committed; else it is sent again
    Refused         -> Replace             Kafka takes no message of a record: its one dead letter is sent instead
    Revoking        -> Freeze, LetGo       the finished head is flushed first, within a bound, then the epoch moves on
    Lost            -> Drop                at once: the partition may already be another member's

A flush is frozen as (records, offsets, epochs, group metadata).  It is never sent again without an answer to
what became of it, and its metadata is never refreshed inside it: metadata read after a partition moved would
let the coordinator accept offsets that are no longer ours (KIP-447 fences the generation, not the partition).

A flush is shared by all partitions that have something finished (`worker.core.delivery.fair_shares`).  With P
of them:

- each gets at least `max_records // P` records and `max_bytes / P` bytes of a flush, if it has them, in its turn
- each is in every flush while P <= `max_records` and its next record is no larger than `max_bytes / P`
- each is in at least one of any `ceil(P / max_records)` flushes, and in one of any P if records are larger

Revoked partitions go first.  Where a broker does not say which message of a batch it refuses, flushes shrink
until the record is found, and grow again with each commit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from worker.core.delivery.fair_shares import Room, divide
from worker.core.delivery.handover_messages import (
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
    Refusal,
    Refused,
    Release,
    Replace,
    Revoking,
    Send,
    Settled,
    Tick,
)
from worker.core.delivery.offset_tracker import Offsets
from worker.core.records import Message, Partition

MAX_BACKOFF_S = 5.0
# How much smaller a flush is after one that was refused: that costs 0.6 s, for the client then aborts the next one too,
# and a commit costs 0.03 s (librdkafka 2.16, Kafka 4.3.1, two busy cores, 2026-11).
SHRINK = 8


@dataclass(frozen=True, slots=True)
class FlushLimits:
    """When a flush is due and how much it holds at most."""

    interval_s: float = 0.1
    max_records: int = 256  # of the input
    max_bytes: int = 1_000_000  # of messages: keys, values and headers


@dataclass(slots=True)
class _Owned:
    """One partition in one assignment."""

    epoch: int
    offsets: Offsets
    results: dict[int, tuple[Message, ...]] = field(default_factory=dict)
    blocked_until_s: float = 0.0  # Kafka refuses even the dead letter at its head: nothing leaves before this

    def head(self) -> Iterator[tuple[int, int]]:
        """List the offsets that may leave, each with the bytes of its messages."""
        return ((offset, _num_bytes(self.results[offset])) for offset in self.offsets.head())


class Handover:
    """The state machine of one worker; every method returns at once, and none is safe for two threads.

    Each record is started and then finished once.  Whoever calls `handle` does the commands that it returns,
    in order, and answers each as its docstring in `handover_messages` says.  Times are seconds of one
    monotonic clock.
    """

    def __init__(self, limits: FlushLimits) -> None:
        self._limits = limits
        self._owned: dict[Partition, _Owned] = {}
        self._revoking: Revoking | None = None
        self._running: Flush | None = None  # sent, or in doubt
        self._again: Flush | None = None  # aborted: these very bytes go next
        self._turn: dict[Partition, None] = {}  # in the order in which they are served next
        self._max_records = limits.max_records  # of the next flush: fewer while a refused record is searched for
        self._now_s = 0.0
        self._head_sent = False  # since the last Revoking
        self._freezing = False
        self._finished_records = 0
        self._finished_bytes = 0
        self._next_s = 0.0
        self._backoff_s = 0.0

    # -- records

    def start(self, partition: Partition, epoch: int, offset: int) -> bool:
        """Register a record that is in flight from now on.

        Returns False if the assignment `epoch` is over, or a record at or above this offset was started
        before: the caller drops the record.
        """
        owned = self._owned.get(partition)
        return owned is not None and owned.epoch == epoch and owned.offsets.start(offset)

    def finish(self, partition: Partition, epoch: int, offset: int, messages: tuple[Message, ...]) -> bool:
        """Store a started record's messages; they leave once every record before it is finished.

        A skipped record has none: its offset is committed all the same.  Returns False if its assignment is
        over.  Raises `AssertionError` if the record was not started, or is finished already: our own bug.
        """
        owned = self._owned.get(partition)
        if owned is None or owned.epoch != epoch:
            return False
        owned.offsets.finish(offset)
        owned.results[offset] = messages
        self._finished_records += 1
        self._finished_bytes += _num_bytes(messages)
        return True

    def replace(self, partition: Partition, epoch: int, offset: int, messages: tuple[Message, ...]) -> bool:
        """Store other messages for a finished record, instead of those that Kafka refuses.

        Returns False if its assignment is over, or the record is committed.
        """
        owned = self._owned.get(partition)
        if owned is None or owned.epoch != epoch or offset not in owned.results:
            return False
        self._finished_bytes += _num_bytes(messages) - _num_bytes(owned.results[offset])
        owned.results[offset] = messages
        return True

    def block(self, partition: Partition, epoch: int, until_s: float) -> None:
        """Flush nothing of a partition before `until_s`: Kafka refuses even the dead letter at its head."""
        owned = self._owned.get(partition)
        if owned is not None and owned.epoch == epoch:
            owned.blocked_until_s = until_s

    def set_note(self, partition: Partition, note: str) -> None:
        """Set the metadata of every later commit of a partition (`offset_metadata`).

        A change is committed even without new offsets.  Ignored if the partition is not ours.
        """
        if partition in self._owned:
            self._owned[partition].offsets.note = note

    def due(self) -> bool:
        """Return True if a size limit is reached and no flush is running: the next tick should be urgent."""
        most, most_bytes = self._limits.max_records, self._limits.max_bytes
        if self._busy or (self._finished_records < most and self._finished_bytes < most_bytes):
            return False
        # What is finished behind an unfinished record cannot leave: it must not make each finish a flush of its own.
        room = Room(most, most_bytes)
        for owned in self._owned.values():
            for _, num_bytes in owned.head() if owned.blocked_until_s <= self._now_s else ():
                room.take(num_bytes)
                if not room:
                    return True
        return False

    @property
    def in_flight(self) -> int:
        """How many records are started and not yet committed."""
        return sum(len(owned.offsets) for owned in self._owned.values())

    @property
    def idle(self) -> bool:
        """True if no flush is running or waiting, and nothing is ready for one."""
        return self._running is None and self._again is None and not self._freezing and not self._has_head

    def has_head(self, partition: Partition) -> bool:
        """Return True if the oldest record of a partition of ours is finished, so that its offset can be committed."""
        owned = self._owned.get(partition)
        return owned is not None and owned.offsets.has_head

    def oldest(self, partition: Partition) -> int | None:
        """Return the offset of a partition's oldest unfinished record; None if there is none, or it is not ours."""
        owned = self._owned.get(partition)
        return owned.offsets.oldest if owned else None

    # -- the machine

    def handle(self, event: Event) -> list[Command]:  # noqa: C901, PLR0911 - one return per event
        """Apply an event; return what the caller must do now, in order."""
        match event:
            case Assigned():
                overdue = self._overdue()
                self._owned[event.partition] = _Owned(
                    event.epoch, Offsets(resume_at=event.resume_at, committed=event.committed, note=event.note)
                )
                self._turn[event.partition] = None
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
            case Refused():
                return self._refused(event)

    def _tick(self, event: Tick) -> list[Command]:
        revoking, self._now_s = self._revoking, event.now_s
        if revoking and event.now_s >= revoking.deadline_s:
            return self._let_go(revoking)
        if self._busy or (event.now_s < self._next_s and not (event.urgent and not self._backoff_s)):
            return []
        if self._again is None and not self._has_head:
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
        heads = self._again.heads if self._again else tuple(self._heads(self._take()))
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

    @property
    def _has_head(self) -> bool:
        """True if a flush would hold anything."""
        return any(map(self._leaves, self._owned.values()))

    def _leaves(self, owned: _Owned) -> bool:
        """Return True if a partition has something to release or to commit."""
        released = owned.offsets.has_head and owned.blocked_until_s <= self._now_s
        return released or owned.offsets.unreleased is not None

    def _heads(self, taken: dict[Partition, list[int]]) -> Iterable[Head]:
        """Make the heads of what was taken; a partition of which nothing was may still have a position to commit."""
        for partition, owned in self._owned.items():
            offsets = taken.get(partition, [])
            commit_offset = owned.offsets.commit_offset(past=offsets[-1]) if offsets else owned.offsets.unreleased
            if commit_offset is not None:
                messages = tuple(message for offset in offsets for message in owned.results[offset])
                origins = tuple(offset for offset in offsets for _ in owned.results[offset])
                yield Head(partition, owned.epoch, commit_offset, messages, owned.offsets.note, origins)

    def _take(self) -> dict[Partition, list[int]]:
        """Choose what leaves in the next flush, and the order of partitions after it.

        A revoked partition goes first.  All others share alike what a flush takes; those that get nothing are
        the first of the next one, and where all get something, the first of this one is the last of the next.
        """
        wanted = self._revoking.partitions if self._revoking else frozenset()
        able = [
            p for p in self._turn if self._owned[p].offsets.has_head and self._owned[p].blocked_until_s <= self._now_s
        ]
        room = Room(self._max_records, self._limits.max_bytes)
        taken: dict[Partition, list[int]] = {}
        for group in ([p for p in able if p in wanted], [p for p in able if p not in wanted]):
            taken |= divide([(partition, self._owned[partition].head()) for partition in group], room)
        served = [partition for partition in self._turn if partition in taken]
        waiting = [partition for partition in self._turn if partition not in taken]
        self._turn = dict.fromkeys(waiting + served[1:] + served[:1])
        return taken

    def _committed(self, *, certain: bool) -> list[Command]:
        """Forget what was committed; if only the offsets prove it (not `certain`), its notes are sent once more."""
        assert self._running is not None
        flush, self._running = self._running, None
        self._backoff_s = 0.0
        self._max_records = min(self._limits.max_records, 2 * self._max_records)
        releases: list[Command] = [
            Release(head.partition, head.commit_offset) for head in flush.heads if self._forget(head, certain=certain)
        ]
        return releases + self._advance_revoke()

    def _forget(self, head: Head, *, certain: bool) -> bool:
        owned = self._owned.get(head.partition)
        if owned is None or owned.epoch != head.epoch:
            return False
        for offset in list(takewhile(lambda offset: offset < head.commit_offset, owned.offsets.head())):
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

    def _refused(self, event: Refused) -> list[Command]:
        """Replace what Kafka refuses, or search for it in smaller flushes; no flush is sent again as it was."""
        assert self._running is not None
        self._running, self._again = None, None
        self._next_s, self._backoff_s = event.now_s, 0.0
        replaced: list[Command] = []
        if event.certain:
            replaced += [Replace(one) for one in event.refusals if self._awaits(one)]
        else:
            self._max_records = max(1, min(self._max_records, len(event.refusals)) // SHRINK)
        return replaced + self._advance_revoke(tried=True)

    def _awaits(self, refusal: Refusal) -> bool:
        owned = self._owned.get(refusal.partition)
        return owned is not None and refusal.offset in owned.results

    def _settled(self, event: Settled) -> list[Command]:
        """Judge by the partitions that are still ours; a transaction is whole, so one of them tells for all.

        An offset that has moved on proves the commit.  One that has not disproves it, unless its topic was
        deleted, which takes the committed offset with it: so the proof is looked for first.
        """
        assert self._running is not None
        ours = [head for head in self._running.heads if self._is_ours(head)]
        behind = [head for head in ours if event.committed.get(head.partition, -1) < head.commit_offset]
        proven = any(self._moves_on(head) for head in ours if head not in behind)
        if behind and not proven:
            return self._aborted(event.now_s)
        return self._committed(certain=False)

    def _is_ours(self, head: Head) -> bool:
        owned = self._owned.get(head.partition)
        return owned is not None and owned.epoch == head.epoch

    def _moves_on(self, head: Head) -> bool:
        """Return True if a head commits a larger offset than before, and not only a note or a start."""
        return any(offset < head.commit_offset for offset in self._owned[head.partition].offsets.head())

    # -- rebalance

    def _overdue(self) -> list[Command]:
        """Drop what a revocation still held: callbacks come one after another, so the next one means it gave up."""
        revoking, self._revoking = self._revoking, None
        return [Drop(self._disown(revoking.partitions))] if revoking else []

    def _advance_revoke(self, *, tried: bool = False) -> list[Command]:
        """Continue a revocation: wait for the running flush, flush the finished head once, let go."""
        revoking = self._revoking
        if revoking is None or self._busy:
            return []
        # Once: records go on finishing meanwhile, and the group waits for this callback.  But a new note reports a
        # death, which is rare, and without it the next owner loses an engine.
        going = revoking.partitions & self._owned.keys()
        wanted = not self._head_sent or any(self._owned[partition].offsets.has_new_note for partition in going)
        if wanted and not tried and self._waits_in(going):
            return self._freeze()
        return self._let_go(revoking)

    def _waits_in(self, going: frozenset[Partition]) -> bool:
        """Return True if the next flush would hold something of these partitions."""
        if self._again:
            return any(head.partition in going for head in self._again.heads)
        return any(self._leaves(self._owned[partition]) for partition in going)

    def _let_go(self, revoking: Revoking) -> list[Command]:
        self._revoking = None
        self._disown(revoking.partitions)
        return [LetGo(revoking.partitions)]

    def _disown(self, partitions: frozenset[Partition]) -> frozenset[Partition]:
        for partition in partitions:
            owned = self._owned.pop(partition, None)
            self._turn.pop(partition, None)
            for messages in owned.results.values() if owned else ():
                self._finished_records -= 1
                self._finished_bytes -= _num_bytes(messages)
        return partitions


def _num_bytes(messages: tuple[Message, ...]) -> int:
    return sum(message.payload_bytes for message in messages)
