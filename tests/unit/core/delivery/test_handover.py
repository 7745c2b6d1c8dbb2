"""The flush and rebalance machine: every event in any order that the world allows, held against a plain ledger."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.core.delivery.handover import MAX_BACKOFF_S, FlushLimits, Handover
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
from worker.core.records import Message, Partition, Reason

A, B = Partition("impressions", 0), Partition("impressions", 1)
LIMITS = FlushLimits(interval_s=0.1, max_records=3, max_bytes=100)
BOTH = (A, B)


def message(text: str) -> Message:
    return Message("responses", None, text.encode())


@dataclass
class Ledger:
    """One partition in one assignment: every record ever started, and how far commits have come."""

    resume_at: int | None
    over: bool = False
    started: list[int] = field(default_factory=list)
    results: dict[int, tuple[Message, ...]] = field(default_factory=dict)
    committed: int = -1

    def unfinished(self) -> list[int]:
        return [offset for offset in self.started if offset not in self.results]

    def end(self) -> int:
        """Return what the last commit must be; -1 if there is nothing to commit."""
        if self.started:
            return self.started[-1] + 1
        return -1 if self.resume_at is None else self.resume_at


class World(RuleBasedStateMachine):
    """Source, broker and engine in the order that one poll thread and one transaction thread allow."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Handover(LIMITS)
        self.now_s = 0.0
        self.ledgers: dict[tuple[Partition, int], Ledger] = {}
        self.source: dict[Partition, int] = {}  # epochs, as the poll thread knows them
        self.num_epochs = 0
        self.frozen: Frozen | None = None  # the last answer to a freeze
        self.freezing = False
        self.flush: Flush | None = None
        self.in_doubt = False
        self.revoking: Revoking | None = None  # its callback waits
        self.given_up: Revoking | None = None  # the last callback returned without an answer
        self.num_let_go = self.num_revoked = self.num_given_up = 0

    # -- commands

    def tell(self, event: Event) -> None:
        for command in self.machine.handle(event):
            self.obey(command)

    def obey(self, command: Command) -> None:
        match command:
            case Freeze():
                assert not self.freezing
                assert self.flush is None
                self.freezing = True
            case Send(flush):
                self.send(flush)
            case Rebuild(partitions):
                assert self.flush is not None
                assert partitions == set(self.flush.offsets)
            case Release(partition, commit_offset):
                ((epoch, ledger),) = ((epoch, one) for (owner, epoch), one in self.live().items() if owner == partition)
                # After a callback that gave up, the commit that the broker tells of may be the next owner's.
                assert ledger.committed == commit_offset or self.source.get(partition) != epoch
            case LetGo(partitions):
                self.let_go(partitions)
            case Drop(partitions):
                self.end(partitions)

    def send(self, flush: Flush) -> None:
        assert self.flush is None, "two flushes at once"
        assert self.frozen is not None
        assert self.frozen.generation >= 0
        assert flush.metadata is self.frozen.metadata, "metadata of another freeze"
        assert flush.heads
        assert sum(len(self.covered(head)) for head in flush.heads) <= LIMITS.max_records
        for head in flush.heads:
            ledger = self.ledgers[head.partition, head.epoch]
            assert not ledger.over
            assert self.frozen.epochs[head.partition] == head.epoch
            self.check_whole(head, ledger)
        self.flush = flush

    def covered(self, head: Head) -> list[int]:
        ledger = self.ledgers[head.partition, head.epoch]
        return [offset for offset in ledger.started if ledger.committed <= offset < head.commit_offset]

    def check_whole(self, head: Head, ledger: Ledger) -> None:
        """All that lies between two commits, all of it finished, in order, and not a message more."""
        covered = self.covered(head)
        assert not set(covered) & set(ledger.unfinished()), "passes an unfinished record"
        assert head.messages == tuple(one for offset in covered for one in ledger.results[offset])
        assert head.commit_offset == (covered[-1] + 1 if covered else ledger.resume_at)
        assert head.commit_offset > ledger.committed

    def let_go(self, partitions: frozenset[Partition]) -> None:
        waiting = self.revoking or self.given_up
        assert waiting is not None, "nobody waits"
        assert waiting.partitions == partitions
        self.num_let_go += self.revoking is not None
        self.revoking = self.given_up = None
        self.forget(partitions)
        self.end(partitions)

    def forget(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self.source.pop(partition, None)

    def end(self, partitions: frozenset[Partition]) -> None:
        for (partition, epoch), ledger in self.ledgers.items():
            ledger.over |= partition in partitions and self.source.get(partition) != epoch

    def live(self) -> dict[tuple[Partition, int], Ledger]:
        return {key: ledger for key, ledger in self.ledgers.items() if not ledger.over}

    # -- the pipeline's thread

    @precondition(lambda self: self.ledgers)
    @rule(which=st.integers(0, 9), gap=st.integers(0, 2))
    def start(self, which: int, gap: int) -> None:
        """A record read in some assignment, perhaps one that is over by now, perhaps read before."""
        (partition, epoch), ledger = list(self.ledgers.items())[-1 - which % len(self.ledgers)]
        offset = max([*ledger.started, (ledger.resume_at or 0) - 1]) + gap
        taken = self.machine.start(partition, epoch, offset)
        assert taken == (not ledger.over and gap > 0)
        ledger.started += [offset] if taken else []

    @precondition(lambda self: any(ledger.unfinished() for ledger in self.ledgers.values()))
    @rule(which=st.integers(0, 9), num_messages=st.integers(0, 2))
    def finish(self, which: int, num_messages: int) -> None:
        open_ones = [(key, offset) for key, ledger in self.ledgers.items() for offset in ledger.unfinished()]
        (partition, epoch), offset = open_ones[which % len(open_ones)]
        messages = tuple(message(f"{partition}/{epoch}/{offset}/{n}") for n in range(num_messages))
        taken = self.machine.finish(partition, epoch, offset, messages)
        assert taken != self.ledgers[partition, epoch].over
        self.ledgers[partition, epoch].results[offset] = messages

    @rule(wait_s=st.sampled_from([0.0, 0.05, 0.2, 6.0]), urgent=st.booleans())
    def tick(self, wait_s: float, urgent: bool) -> None:
        self.now_s += wait_s
        self.tell(Tick(self.now_s, urgent))
        assert self.revoking is None or self.now_s < self.revoking.deadline_s, "a deadline passed unheard"

    # -- the poll thread

    @precondition(lambda self: self.freezing)
    @rule(generation=st.sampled_from([-1, 5, 5, 5]))
    def answer_freeze(self, generation: int) -> None:
        self.freezing = False
        self.frozen = Frozen(object(), generation, dict(self.source))
        self.tell(self.frozen)

    @precondition(lambda self: self.revoking is None and len(self.source) < len(BOTH))
    @rule(which=st.integers(0, 1), resume_at=st.none() | st.integers(0, 3))
    def assign(self, which: int, resume_at: int | None) -> None:
        free = [partition for partition in BOTH if partition not in self.source]
        partition = free[which % len(free)]
        self.num_epochs += 1
        self.source[partition] = self.num_epochs
        for (owner, _), ledger in self.ledgers.items():
            ledger.over |= owner == partition
        self.ledgers[partition, self.num_epochs] = Ledger(resume_at)
        self.given_up = None
        self.tell(Assigned(partition, self.num_epochs, resume_at))

    @precondition(lambda self: self.revoking is None)
    @rule(partitions=st.frozensets(st.sampled_from(BOTH)), wait_s=st.sampled_from([0.0, 0.1, 5.0]))
    def revoke(self, partitions: frozenset[Partition], wait_s: float) -> None:
        """Also with nothing in it, as a cooperative rebalance that takes nothing away."""
        self.revoking = Revoking(partitions & frozenset(self.source), self.now_s + wait_s)
        self.num_revoked += 1
        self.given_up = None
        self.tell(self.revoking)

    @precondition(lambda self: self.revoking is not None)
    @rule()
    def give_up(self) -> None:
        """The loop was too slow: the callback returns unheard, and whatever comes next finds the machine behind."""
        assert self.revoking is not None
        self.forget(self.revoking.partitions)
        self.given_up, self.revoking = self.revoking, None
        self.num_given_up += 1

    @precondition(lambda self: self.revoking is None and self.source)
    @rule(partitions=st.frozensets(st.sampled_from(BOTH)))
    def lose(self, partitions: frozenset[Partition]) -> None:
        gone = (partitions & frozenset(self.source)) or frozenset(self.source)
        self.forget(gone)
        self.given_up = None
        self.tell(Lost(gone))
        assert all(ledger.over for (partition, _), ledger in self.ledgers.items() if partition in gone)

    # -- the transaction thread

    @precondition(lambda self: self.flush is not None and not self.in_doubt)
    @rule()
    def commit(self) -> None:
        self.land(Committed())

    @precondition(lambda self: self.flush is not None and not self.in_doubt)
    @rule()
    def abort(self) -> None:
        self.flush = None
        self.tell(Aborted(self.now_s))

    @precondition(lambda self: self.flush is not None and not self.in_doubt)
    @rule()
    def doubt(self) -> None:
        self.in_doubt = True
        self.tell(InDoubt())

    @precondition(lambda self: self.in_doubt)
    @rule(landed=st.booleans(), others=st.booleans())
    def settle(self, landed: bool, others: bool) -> None:
        """`others`: who owns a partition after us has committed past this flush."""
        assert self.flush is not None
        self.in_doubt = False
        answer = {}
        for head in self.flush.heads:
            before = self.ledgers[head.partition, head.epoch].committed
            answer[head.partition] = head.commit_offset if landed else before
            if others and self.source.get(head.partition) != head.epoch:
                answer[head.partition] = head.commit_offset + 1
        event = Settled(answer, self.now_s)
        if landed:
            self.land(event)
        else:
            self.flush = None
            self.tell(event)

    def land(self, event: Event) -> None:
        assert self.flush is not None
        for head in self.flush.heads:
            self.ledgers[head.partition, head.epoch].committed = head.commit_offset
        self.flush = None
        self.tell(event)

    # -- what always holds

    @invariant()
    def every_revocation_has_at_most_one_answer(self) -> None:
        waits = self.revoking is not None
        assert self.num_let_go + self.num_given_up + waits == self.num_revoked

    @invariant()
    def in_flight_counts_what_is_started_and_not_committed(self) -> None:
        behind = {key for key in self.live() if self.source.get(key[0]) != key[1]}
        if not behind and not self.in_doubt:
            live = self.live().values()
            wanted = sum(offset >= ledger.committed for ledger in live for offset in ledger.started)
            assert self.machine.in_flight == wanted

    def teardown(self) -> None:
        """When the world calms down, everything that is still ours is committed and nothing is held back."""
        for _ in range(2 * LIMITS.max_records * (2 + sum(len(one.started) for one in self.ledgers.values()))):
            for (partition, epoch), ledger in self.live().items():
                for offset in ledger.unfinished():
                    self.machine.finish(partition, epoch, offset, ())
                    ledger.results[offset] = ()
            self.tick(MAX_BACKOFF_S, urgent=False)
            if self.freezing:
                self.answer_freeze(5)
            if self.in_doubt:
                self.settle(landed=False, others=False)
            elif self.flush is not None:
                self.commit()
        assert self.revoking is None
        assert self.num_let_go + self.num_given_up == self.num_revoked
        assert not self.freezing
        for (partition, epoch), ledger in self.live().items():
            if self.source.get(partition) == epoch:
                assert ledger.committed == ledger.end()
        if all(self.source.get(partition) == epoch for partition, epoch in self.live()):
            assert self.machine.idle
            assert self.machine.in_flight == 0
        super().teardown()


TestEveryInterleaving = World.TestCase
TestEveryInterleaving.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)


# -- one claim at a time


def owner(*offsets: int) -> Handover:
    """A machine that owns both partitions, with these records of A finished."""
    machine = Handover(LIMITS)
    machine.handle(Assigned(A, 1))
    machine.handle(Assigned(B, 1))
    finish(machine, A, *offsets)
    return machine


def finish(machine: Handover, partition: Partition, *offsets: int) -> None:
    """Take records on and answer each with a message of its own."""
    for offset in offsets:
        assert machine.start(partition, 1, offset)
        assert machine.finish(partition, 1, offset, (message(f"{partition}/{offset}"),))


def freeze(machine: Handover, *, generation: int = 5, epochs: dict[Partition, int] | None = None) -> list[Command]:
    return machine.handle(Frozen("metadata", generation, {A: 1, B: 1} if epochs is None else epochs))


def sent(machine: Handover, now_s: float = 0.0) -> Flush:
    """Tick, freeze, and return the flush that leaves."""
    assert machine.handle(Tick(now_s)) == [Freeze()]
    (command,) = freeze(machine)
    assert isinstance(command, Send)
    return command.flush


def test_a_flush_takes_the_finished_head_and_its_commit_frees_it() -> None:
    machine = owner(3, 4)
    machine.start(A, 1, 6)
    flush = sent(machine)
    assert flush == Flush((Head(A, 1, 5, (message(f"{A}/3"), message(f"{A}/4")), origins=(3, 4)),), "metadata")
    assert machine.in_flight == 3
    assert machine.handle(Committed()) == [Release(A, 5)]
    assert (machine.in_flight, machine.oldest(A), machine.oldest(B)) == (1, 6, None)


def test_flushes_keep_their_interval_unless_one_is_urgent() -> None:
    machine = owner(1)
    sent(machine)
    machine.handle(Committed())
    finish(machine, A, 2)
    assert machine.handle(Tick(LIMITS.interval_s / 2)) == []
    assert machine.handle(Tick(LIMITS.interval_s / 2, urgent=True)) == [Freeze()]


def test_a_flush_is_bounded_in_records_and_in_bytes() -> None:
    machine = owner(1, 2, 3, 4)
    assert sent(machine).offsets == {A: 4}
    large = Handover(FlushLimits(max_bytes=20))
    large.handle(Assigned(A, 1))
    finish(large, A, 1, 2, 3)
    assert sent(large).offsets == {A: 3}


def test_a_flush_is_due_at_once_when_a_whole_one_can_leave() -> None:
    machine = owner(1, 2)
    assert not machine.due()
    finish(machine, B, 3)
    assert machine.due()
    sent(machine)
    machine.handle(Committed())
    assert not machine.due()


def test_what_waits_behind_an_unfinished_record_makes_no_flush_due() -> None:
    """One slow record must not turn every later finish into a transaction of its own."""
    machine = owner()
    for offset in range(10):
        machine.start(A, 1, offset)
    for offset in range(1, 10):
        machine.finish(A, 1, offset, ())
    assert not machine.due()
    machine.finish(A, 1, 0, ())
    assert machine.due()


def test_an_aborted_flush_goes_again_byte_for_byte_without_what_moved_away() -> None:
    machine = owner(1)
    finish(machine, B, 7)
    first = sent(machine)
    assert machine.handle(Aborted(0.0)) == []
    finish(machine, B, 8)
    machine.handle(Lost(frozenset({A})))
    again = sent(machine, now_s=1.0)
    assert again.heads == tuple(head for head in first.heads if head.partition == B)


def test_aborts_in_a_row_wait_longer_each_time_up_to_a_bound_that_urgency_cannot_pass() -> None:
    machine, now_s, waits = owner(1), 0.0, []
    for _ in range(8):
        sent(machine, now_s)
        machine.handle(Aborted(now_s))
        due_s = machine._next_s
        waits.append(round(due_s - now_s, 3))
        assert machine.handle(Tick(due_s - 0.001, urgent=True)) == []
        now_s = due_s
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, MAX_BACKOFF_S, MAX_BACKOFF_S]
    sent(machine, now_s)
    machine.handle(Committed())
    finish(machine, A, 2)
    sent(machine, now_s + 1)
    machine.handle(Aborted(now_s))
    assert round(machine._next_s - now_s, 3) == 0.1, "a commit ends the row"


@pytest.mark.parametrize(("committed", "released"), [({A: 2}, True), ({A: 9}, True), ({A: 1}, False), ({}, False)])
def test_a_flush_in_doubt_is_dropped_only_if_the_broker_has_its_offsets(
    *, committed: dict[Partition, int], released: bool
) -> None:
    machine = owner(1)
    flush = sent(machine)
    assert machine.handle(InDoubt()) == [Rebuild(frozenset({A}))]
    assert machine.handle(Tick(99.0, urgent=True)) == [], "never again without asking"
    assert machine.handle(Settled(committed, 99.0)) == ([Release(A, 2)] if released else [])
    assert machine.idle == released
    if not released:
        assert sent(machine, now_s=999.0) == flush


@pytest.mark.parametrize(("committed", "released"), [({A: -1, B: 2}, True), ({A: -1, B: 1}, False)])
def test_an_offset_that_moved_on_proves_a_flush_although_a_deleted_topic_took_another_away(
    *, committed: dict[Partition, int], released: bool
) -> None:
    """Kafka deletes a topic's committed offsets with it: that they are gone says nothing of the transaction."""
    machine = owner(1)
    finish(machine, B, 1)
    sent(machine)
    machine.handle(InDoubt())
    commands = machine.handle(Settled(committed, 99.0))
    assert commands == ([Release(A, 2), Release(B, 2)] if released else [])


def test_nothing_is_sent_while_the_member_is_not_in_the_group() -> None:
    """A coordinator takes offsets of generation -1 without checking whose they are."""
    machine = owner(1)
    machine.handle(Tick(0.0))
    assert freeze(machine, generation=-1) == []
    assert sent(machine, now_s=1.0).offsets == {A: 2}


@pytest.mark.parametrize("epochs", [{B: 1}, {A: 2, B: 1}], ids=["gone", "assigned anew"])
def test_a_flush_holds_only_partitions_whose_epoch_stood_when_the_metadata_was_read(
    epochs: dict[Partition, int],
) -> None:
    """The poll thread knows of a rebalance before the machine does."""
    machine = owner(1)
    finish(machine, B, 7)
    machine.handle(Tick(0.0))
    (command,) = freeze(machine, epochs=epochs)
    assert isinstance(command, Send)
    assert command.flush.offsets == {B: 8}


def test_an_aborted_flush_of_an_assignment_that_is_over_does_not_go_again_in_the_next_one() -> None:
    machine = owner(1)
    sent(machine)
    machine.handle(Aborted(0.0))
    machine.handle(Lost(frozenset({A})))
    machine.handle(Assigned(A, 2))
    assert machine.handle(Tick(1.0)) == [Freeze()]
    assert freeze(machine, epochs={A: 2, B: 1}) == []
    assert machine.idle


def test_a_start_position_without_a_commit_is_committed_before_any_record() -> None:
    machine = Handover(LIMITS)
    machine.handle(Assigned(A, 1, resume_at=7))
    assert not machine.idle
    assert sent(machine).offsets == {A: 7}
    assert machine.handle(Committed()) == [Release(A, 7)]
    assert machine.idle


def test_a_new_note_goes_by_itself_at_the_unchanged_offset_and_stays_with_the_next_commit() -> None:
    machine = owner()
    assert machine.start(A, 1, 3)
    machine.set_note(A, "suspects")
    assert not machine.idle
    assert sent(machine).heads == (Head(A, 1, 3, (), "suspects"),)
    machine.handle(Committed())
    assert machine.idle
    assert machine.finish(A, 1, 3, ())
    assert [(head.commit_offset, head.note) for head in sent(machine, 1.0).heads] == [(4, "suspects")]


def test_a_note_whose_commit_is_in_doubt_goes_again() -> None:
    machine = owner()
    assert machine.start(A, 1, 3)
    machine.set_note(A, "suspects")
    sent(machine)
    machine.handle(InDoubt())
    machine.handle(Settled({A: 3}, 0.0))  # as it stood before, or as it stands now: nobody knows
    assert [head.note for head in sent(machine, 1.0).heads] == ["suspects"]


def test_a_revocation_hands_the_note_on() -> None:
    machine = owner()
    assert machine.start(A, 1, 3)
    machine.set_note(A, "suspects")
    assert machine.handle(Revoking(frozenset({A}), 9.0)) == [Freeze()]
    assert [type(one) for one in freeze(machine)] == [Send]
    assert machine.handle(Committed())[-1] == LetGo(frozenset({A}))


def test_a_revocation_takes_the_finished_head_first_and_then_lets_go() -> None:
    machine = owner(1)
    machine.start(A, 1, 2)
    assert machine.handle(Revoking(frozenset({A}), deadline_s=9.0)) == [Freeze()]
    (command,) = freeze(machine)
    assert isinstance(command, Send)
    assert command.flush.offsets == {A: 2}
    assert machine.handle(Committed()) == [Release(A, 2), LetGo(frozenset({A}))]
    assert not machine.finish(A, 1, 2, ())
    assert machine.in_flight == 0


def test_a_revoked_partition_leaves_before_others_where_a_flush_is_full() -> None:
    machine = owner(1, 2, 3)
    finish(machine, B, 7)
    machine.handle(Revoking(frozenset({B}), deadline_s=9.0))
    (command,) = freeze(machine)
    assert isinstance(command, Send)
    assert command.flush.offsets == {B: 8, A: 3}


@pytest.mark.parametrize("prepare", [lambda _: None, sent], ids=["idle", "while a flush runs"])
def test_a_revocation_of_nothing_waits_for_no_more_than_the_flush(prepare: Callable[[Handover], object]) -> None:
    machine = owner(1)
    prepare(machine)
    commands = machine.handle(Revoking(frozenset(), deadline_s=9.0))
    if prepare is sent:
        assert commands == []
        commands = machine.handle(Committed())[1:]
    assert commands == [LetGo(frozenset())]
    assert machine.start(A, 1, 2)


def test_at_its_deadline_a_revocation_waits_no_longer_and_a_late_commit_frees_nothing() -> None:
    machine = owner(1)
    sent(machine)
    assert machine.handle(Revoking(frozenset({A}), deadline_s=9.0)) == []
    assert machine.handle(Tick(8.9)) == []
    assert machine.handle(Tick(9.0)) == [LetGo(frozenset({A}))]
    assert machine.handle(Committed()) == []
    assert machine.in_flight == 0


def test_a_partition_that_came_back_is_not_let_go_by_a_revocation_that_gave_up() -> None:
    """The callback returned unheard, the partition was assigned anew: only the old assignment is over."""
    machine = owner(1)
    sent(machine)
    assert machine.handle(Revoking(frozenset({A}), deadline_s=9.0)) == []
    assert machine.handle(Assigned(A, 2)) == [Drop(frozenset({A}))]
    assert machine.handle(Committed()) == []
    assert machine.start(A, 2, 2)
    assert machine.in_flight == 1


# -- what a broker refuses


def refused(machine: Handover, *offsets: int, certain: bool = True, now_s: float = 0.0) -> list[Command]:
    found = tuple(Refusal(A, offset, Reason.TOO_LARGE, "topic responses refuses it") for offset in offsets)
    return machine.handle(Refused(found, certain, now_s))


def test_a_refused_record_is_replaced_and_goes_with_its_dead_letter() -> None:
    machine = owner(1, 2, 3)
    sent(machine)
    (command,) = refused(machine, 2)
    assert isinstance(command, Replace)
    assert (command.refusal.partition, command.refusal.offset) == (A, 2)
    assert machine.replace(A, 1, 2, (message("letter"),))
    flush = sent(machine)
    assert [one.value for one in flush.messages] == [f"{A}/1".encode(), b"letter", f"{A}/3".encode()]
    assert flush.offsets == {A: 4}


def test_what_is_no_longer_ours_is_not_replaced() -> None:
    machine = owner(1)
    sent(machine)
    machine.handle(Lost(frozenset({A})))
    assert refused(machine, 1) == []
    assert not machine.replace(A, 1, 1, (message("letter"),))
    assert machine.idle


def test_where_a_batch_is_refused_flushes_shrink_until_one_record_is_alone_and_grow_again() -> None:
    limits = FlushLimits(max_records=16)
    machine = Handover(limits)
    machine.handle(Assigned(A, 1))
    finish(machine, A, *range(40))
    sizes = []
    flush = sent_to(machine, {A: 1})
    while len(flush.heads[0].origins) > 1:
        sizes.append(len(flush.heads[0].origins))
        assert refused(machine, *flush.heads[0].origins, certain=False) == []
        flush = sent_to(machine, {A: 1})
    assert sizes == [16, 2]
    for size in (1, 2, 4, 8, 16):
        assert len(flush.heads[0].origins) == size
        machine.handle(Committed())
        flush = sent_to(machine, {A: 1}) if size < 16 else flush


def test_a_partition_whose_letter_is_refused_waits_alone() -> None:
    machine = owner(1)
    finish(machine, B, 5)
    sent(machine)
    refused(machine, 1)
    machine.block(A, 1, 30.0)
    assert sent(machine, 1.0).offsets == {B: 6}
    machine.handle(Committed())
    assert machine.handle(Tick(29.0)) == []
    assert not machine.due()
    assert machine.idle
    assert sent(machine, 31.0).offsets == {A: 2}


def sent_to(machine: Handover, epochs: dict[Partition, int], now_s: float = 0.0) -> Flush:
    assert machine.handle(Tick(now_s, urgent=True)) == [Freeze()]
    (command,) = freeze(machine, epochs=epochs)
    assert isinstance(command, Send)
    return command.flush


# -- fair shares


@dataclass
class Backlog:
    """A machine that owns some partitions, each with finished records of one size, more of which come as they leave."""

    sizes: list[int]  # bytes of a record, by partition
    limits: FlushLimits

    def __post_init__(self) -> None:
        self.machine = Handover(self.limits)
        self.partitions = [Partition("impressions", number) for number in range(len(self.sizes))]
        self.epochs = dict.fromkeys(self.partitions, 1)
        self.following = dict.fromkeys(self.partitions, 0)
        for partition in self.partitions:
            self.machine.handle(Assigned(partition, 1))

    def flush(self, now_s: float) -> dict[Partition, tuple[int, int]]:
        """Refill every partition and flush once; return records and bytes by partition."""
        for partition, size in zip(self.partitions, self.sizes, strict=True):
            for _ in range(2 * self.limits.max_records):
                offset = self.following[partition]
                if offset - self.released(partition) >= 2 * self.limits.max_records:
                    break
                self.following[partition] += 1
                assert self.machine.start(partition, 1, offset)
                self.machine.finish(partition, 1, offset, (Message("responses", None, b"x" * size),))
        flush = sent_to(self.machine, self.epochs, now_s)
        self.machine.handle(Committed())
        return {
            head.partition: (len(head.origins), sum(one.payload_bytes for one in head.messages)) for head in flush.heads
        }

    def released(self, partition: Partition) -> int:
        return self.following[partition] - len(self.machine._owned[partition].offsets)


@given(
    sizes=st.lists(st.integers(1, 1_500), min_size=1, max_size=12),
    max_records=st.integers(1, 20),
    max_bytes=st.integers(100, 3_000),
)
def test_no_partition_waits_for_anothers_backlog(sizes: list[int], max_records: int, max_bytes: int) -> None:
    """The bounds that the docstring of the machine promises, with every partition always busy."""
    backlog = Backlog(sizes, FlushLimits(max_records=max_records, max_bytes=max_bytes))
    num = len(sizes)
    flushes = [backlog.flush(float(now)) for now in range(3 * num)]
    small = max(sizes) <= max_bytes / num
    within = -(-num // max_records) if small else num
    for partition, size in zip(backlog.partitions, sizes, strict=True):
        gaps = [flush for flush, taken in enumerate(flushes) if partition in taken]
        assert gaps, f"{partition} never leaves"
        assert max(after - before for before, after in zip([-1, *gaps], gaps, strict=False)) <= within
        if small and num <= max_records:
            share = max(1, min(max_records // num, max_bytes // num // size))
            assert all(taken[partition][0] >= share for taken in flushes)
    for taken in flushes:
        assert sum(records for records, _ in taken.values()) <= max_records
        assert sum(num_bytes for _, num_bytes in taken.values()) < max_bytes + max(sizes)


def test_large_records_of_one_partition_leave_the_others_their_share_of_the_bytes() -> None:
    backlog = Backlog([900, 10, 10, 10], FlushLimits(max_records=100, max_bytes=1_000))
    totals: Counter[Partition] = Counter()
    for now in range(100):
        totals.update({one: num_bytes for one, (_, num_bytes) in backlog.flush(float(now)).items()})
    assert all(totals[one] >= 10_000 for one in backlog.partitions[1:]), totals


def test_what_one_partition_does_not_need_the_others_get() -> None:
    machine = Handover(FlushLimits(max_records=8))
    machine.handle(Assigned(A, 1))
    machine.handle(Assigned(B, 1))
    finish(machine, A, *range(20))
    finish(machine, B, 0)
    assert sent(machine).offsets == {A: 7, B: 1}


def test_two_partitions_with_backlogs_share_alike() -> None:
    backlog = Backlog([1, 1], FlushLimits(max_records=4))
    totals: Counter[Partition] = Counter()
    for now in range(100):
        totals.update({one: records for one, (records, _) in backlog.flush(float(now)).items()})
    assert set(totals.values()) == {200}
