"""A Kafka in memory, as strict as the real one: a log, transactions with producer epochs, a group with generations.

Every call that a real broker would refuse is refused.  The judge sits where a transaction is applied: each result once,
and no commit over an event that has none.
"""

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.core.delivery.handover_messages import Head
from worker.core.records import Message, Partition

PARTITIONS = tuple(Partition("impressions", number) for number in range(3))
TRANSACTION_S = 10.0
KILLERS = 16  # about one event in so many
REFUSED = 23  # the same


class Wrong(AssertionError):
    """What the judge says."""


class FencedError(Exception):
    """Somebody else has this transactional id: the process ends."""


class RefusedError(Exception):
    """An abortable error."""


def results(partition: Partition, offset: int) -> tuple[Message, ...]:
    """What an event must lead to: some lead to one message, some to two, some are skipped and lead to none."""
    names = (f"{partition}/{offset}/{number}" for number in range(offset % 3))
    return tuple(Message("responses", None, name.encode()) for name in names)


def dead_letter(partition: Partition, offset: int) -> Message:
    """What an event leads to instead, if the engine died of it."""
    return Message("dead letters", None, f"{partition}/{offset}/dead".encode())


def is_killer(offset: int) -> bool:
    """Say whether an engine that is asked this event dies; one that is skipped is not asked."""
    return offset % KILLERS == KILLERS // 2 and offset % 3 != 0


def is_refused(offset: int) -> bool:
    """Say whether the broker refuses the results of this event, whatever is tried; it takes its dead letter."""
    return offset % REFUSED == REFUSED // 2 and offset % 3 != 0


@dataclass
class Transactions:
    """One transactional id: its epoch and its open transaction; `ends` from the decision until markers are written."""

    epoch: int = 0
    messages: list[Message] = field(default_factory=list)
    offsets: dict[Partition, tuple[int, str]] = field(default_factory=dict)  # with their notes
    opened_s: float | None = None
    ends: str = ""

    def clear(self) -> None:
        self.messages, self.offsets, self.opened_s, self.ends = [], {}, None, ""


class Plan(NamedTuple):
    """What one member is told in one generation."""

    revoke: frozenset[Partition]
    assign: tuple[Partition, ...]


class Broker:
    """Log, transactions and group; every call that a real one would refuse is refused."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_s = 0.0
        self.log: dict[Partition, list[int]] = {one: [] for one in PARTITIONS}  # offsets, with gaps
        self.found: Counter[bytes] = Counter()  # results that readers of committed records see
        self.committed: dict[Partition, int] = {}
        self.notes: dict[Partition, str] = {}  # beside the committed offsets
        self.ids: dict[str, Transactions] = {}
        self.late: deque[tuple[str, int]] = deque()  # commits on their way, whose senders gave up waiting
        self.generation = 0
        self.members: list[str] = []
        self.owners: dict[Partition, str] = {}
        self.plans: dict[str, Plan] = {}  # told, but not carried out yet
        self.unbalanced = False

    def append(self) -> None:
        log = self.log[self.chance.choice(PARTITIONS)]
        log.append((log[-1] if log else 4) + self.chance.choice((1, 1, 1, 3)))

    # transactions

    def init_producer(self, name: str) -> int:
        """Fence whoever had this id, and settle what was left open."""
        mine = self.ids.setdefault(name, Transactions())
        if mine.ends:
            self.write_markers(mine)
        mine.clear()
        mine.epoch += 1
        return mine.epoch

    def produce(self, name: str, epoch: int, messages: Iterable[Message]) -> None:
        self._open(name, epoch).messages.extend(messages)

    def add_offsets(self, name: str, epoch: int, metadata: object, heads: Iterable[Head]) -> None:
        """As KIP-447: the generation is checked, the partition is not, and -1 is not checked at all."""
        mine = self._open(name, epoch)
        assert isinstance(metadata, tuple)
        member, generation = metadata
        if generation >= 0 and (member not in self.members or generation != self.generation):
            raise RefusedError
        mine.offsets |= {head.partition: (head.commit_offset, head.note) for head in heads}

    def end(self, name: str, epoch: int, how: str) -> None:
        mine = self._fence(name, epoch)
        if not mine.ends and mine.opened_s is not None:
            mine.ends = how

    def _open(self, name: str, epoch: int) -> Transactions:
        mine = self._fence(name, epoch)
        assert not mine.ends, "the client waits for the markers of the last transaction"
        if mine.opened_s is None:
            mine.opened_s = self.now_s
        return mine

    def _fence(self, name: str, epoch: int) -> Transactions:
        if self.ids[name].epoch != epoch:
            raise FencedError
        return self.ids[name]

    def write_markers(self, mine: Transactions) -> None:
        if mine.ends == "commit":
            self._apply(mine)
        mine.clear()

    def expire(self) -> None:
        for mine in self.ids.values():
            if mine.opened_s is not None and not mine.ends and self.now_s - mine.opened_s > TRANSACTION_S:
                mine.clear()
                mine.epoch += 1

    def arrive_late(self) -> None:
        name, epoch = self.late.popleft()
        if self.ids[name].epoch == epoch:
            self.end(name, epoch, "commit")

    def _apply(self, mine: Transactions) -> None:
        """The judge: results before offsets, each once, and offsets only over what has its results."""
        for message in mine.messages:
            self.found[message.value or b""] += 1
            if self.found[message.value or b""] > 1:
                raise Wrong(f"{message.value!r} is there twice")
        for partition, (commit_offset, note) in mine.offsets.items():
            before = self.committed.get(partition, -1)
            if commit_offset < before:
                raise Wrong(f"{partition}: the commit went back from {before} to {commit_offset}")
            for offset in self.log[partition]:
                passed = before <= offset < commit_offset
                if passed and not self.answered(partition, offset):
                    raise Wrong(f"{partition}@{offset}: passed by a commit at {commit_offset} without its results")
            self.committed[partition], self.notes[partition] = commit_offset, note

    def answered(self, partition: Partition, offset: int) -> bool:
        """Say whether an event has all its results, each once, or its one dead letter, and not both."""
        answers = [self.found[one.value or b""] for one in results(partition, offset)]
        if self.found[dead_letter(partition, offset).value or b""]:
            return not any(answers)
        return all(answers) and not is_killer(offset) and not is_refused(offset)

    def committed_offset(self, partition: Partition) -> int | None:
        """Return the committed offset, -1 without one; None while a transaction that holds one is open."""
        pending = any(partition in mine.offsets for mine in self.ids.values())
        return None if pending else self.committed.get(partition, -1)

    # the group: cooperative, so what moves is revoked in one generation and assigned in a later one

    def join(self, member: str) -> None:
        self.members.append(member)
        self.unbalanced = True

    def leave(self, member: str) -> None:
        self.members.remove(member)
        self.plans.pop(member, None)
        self.owners = {partition: owner for partition, owner in self.owners.items() if owner != member}
        self.unbalanced = True

    def rebalance(self) -> None:
        if not self.unbalanced or self.plans or not self.members:
            return
        self.unbalanced = False
        self.generation += 1
        wanted = {partition: self.chance.choice(self.members) for partition in PARTITIONS}
        for member in self.members:
            revoke = (one for one in PARTITIONS if self.owners.get(one) == member != wanted[one])
            assign = tuple(one for one in PARTITIONS if one not in self.owners and wanted[one] == member)
            self.plans[member] = Plan(frozenset(revoke), assign)
        for member, plan in self.plans.items():
            self.owners |= dict.fromkeys(plan.assign, member)

    def carried_out(self, member: str, plan: Plan) -> None:
        if self.plans.get(member) is plan:
            del self.plans[member]
            self.owners = {partition: owner for partition, owner in self.owners.items() if partition not in plan.revoke}
            self.unbalanced |= bool(plan.revoke)
