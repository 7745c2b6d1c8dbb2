"""Kills workers at seeded fault points, one after another and several at once, while impressions keep coming.

Three workers share six partitions.  Each is a test build with one order to die; when it is dead, it is started again
at once with the next order, until none is left:

    a    a stable `worker_id`, and under the classic protocol a static member: back within seconds
    b    a stable `worker_id`: its transactions are fenced by its next start, its session must run out
    c    neither: its open transaction must run out too

Whatever else ends a worker is counted by its exit code, and its order goes to the next start.  So does the order of a
kill that found nothing unfinished: on a busy machine workers come late and are idle meanwhile, and it proves nothing.
"""

import random
import re
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import Any, Literal

from tests.support.harness import LOG_CHARS, Stage, feeding
from tests.support.judge import judge_of
from tests.support.patience import patience

from .fault import POINTS, WHENS, Fault, Mark
from .tally import Arrivals, Tally, tally
from .victim import Victim, start

Protocol = Literal["classic", "consumer"]

NUM_PARTITIONS = 6
TRANSACTIONS = (2, 12)  # the range of the transaction in which a worker dies
LOAD: dict[str, Any] = {"choice_latency_s": 0.6, "window_max_records": 64, "transaction_timeout_s": 3}
QUICK: dict[str, Any] = {
    "choice_latency_s": 0,
    "window_max_records": 1024,
}  # to work off what is left
MAX_AHEAD = 3  # deaths of one worker before those of the others
MAX_AGAIN = 1.0  # orders given again because a kill found nothing unfinished, of all orders
NO_KILL_S = 90.0  # longest time without one
ALL_COMMITTED_S = 180.0
POLL_S = 0.02
ASK_S = 0.3
TAKEN_ON = re.compile(r"worker done: (\d+) records received")


@dataclass(frozen=True, slots=True)
class Kill:
    """One worker that died as ordered."""

    mark: Mark
    worker: str
    recovery_s: float | None  # None if nothing came after it


@dataclass(slots=True)
class Run:
    """What happened under one group protocol, and what it left."""

    protocol: Protocol
    kills: list[Kill]
    other_exits: Counter[int]
    taken_on: int  # records, by all workers; of those that ended otherwise it is not known
    tally: Tally


@dataclass(slots=True)
class _Slot:
    """One worker and its successors."""

    name: str
    settings: dict[str, Any]
    worker: Victim | None = None


def plan(kills: int, seed: int) -> list[Fault]:
    """Return so many orders to die: rounds of all points, in every round another sequence."""
    chance = random.Random(seed)
    points = [(point, when) for point in POINTS for when in WHENS]
    faults: list[Fault] = []
    while len(faults) < kills:
        faults += [
            Fault(point, when, nth=chance.randint(*TRANSACTIONS)) for point, when in chance.sample(points, len(points))
        ]
    return faults[:kills]


def run(stage: Stage, protocol: Protocol, faults: list[Fault], *, rate: float, events: int) -> Run:
    """Kill as ordered under a steady load, work everything off, and count."""
    stage.overrides |= LOAD | {"group_protocol": protocol}
    stage.create(NUM_PARTITIONS)
    killer = _Killer(stage, protocol, faults)
    try:
        with Arrivals(stage, NUM_PARTITIONS) as arrivals:
            with feeding(stage, rate=rate, least=events) as end_of_feed:
                while killer.busy:
                    killer.look()
                say(f"{protocol}: {end_of_feed()} impressions sent; working them off")
            killer.work_off()
            say(f"{protocol}: all is committed; stopping")
            killer.stop()
        kills = [Kill(mark, name, arrivals.recovery_s(mark)) for name, mark in killer.marks]
    finally:
        for worker in stage.workers:
            worker.end()
    say(f"{protocol}: counting")
    return Run(protocol, kills, killer.other_exits, killer.taken_on, tally(stage))


class _Killer:
    """The workers of one run, and which of them have died."""

    def __init__(self, stage: Stage, protocol: Protocol, faults: list[Fault]) -> None:
        self._stage = stage
        self._num_kills = len(faults)
        self._again = round(MAX_AGAIN * len(faults))
        self._left = deque(faults)
        self._slots = [
            _Slot("a", {"worker_id": "a", "static_membership": protocol == "classic"}),
            _Slot("b", {"worker_id": "b"}),
            _Slot("c", {}),
        ]
        self._last_s = time.monotonic()  # of a kill
        self.marks: list[tuple[str, Mark]] = []
        self.other_exits = Counter[int]()
        self.taken_on = 0

    @property
    def busy(self) -> bool:
        """True while a worker is still to die."""
        return bool(self._left) or any(slot.worker and slot.worker.fault for slot in self._slots)

    def look(self) -> None:
        """Note who has died, and start it again."""
        for slot in self._slots:
            if slot.worker is not None and slot.worker.process.poll() is not None:
                self._bury(slot, slot.worker)
            if slot.worker is None and not self._is_ahead(slot):
                slot.worker = self._start(slot)
        quiet_s = time.monotonic() - self._last_s
        assert not self.busy or quiet_s < patience(NO_KILL_S), f"no kill within {quiet_s:.0f} s"
        time.sleep(POLL_S)

    def _is_ahead(self, slot: _Slot) -> bool:
        """Say whether others shall die first: a leader that dies every few seconds never gives them partitions."""
        died = Counter(name for name, _ in self.marks)
        return bool(self._left) and died[slot.name] - min(died[one.name] for one in self._slots) > MAX_AHEAD

    def work_off(self) -> None:
        """Wait until everything is committed; if it does not come to, the judge says what is missing."""
        deadline_s = time.monotonic() + patience(ALL_COMMITTED_S)
        judge = judge_of(self._stage)
        while not judge.all_committed() and time.monotonic() < deadline_s:
            self.look()
            time.sleep(ASK_S)

    def stop(self) -> None:
        """End who lives, as Kubernetes does."""
        for slot in self._slots:
            assert slot.worker is not None
            code = slot.worker.stop()
            if code:
                self.other_exits[code] += 1
            found = TAKEN_ON.search(slot.worker.log)
            self.taken_on += int(found[1]) if found else 0

    def _start(self, slot: _Slot) -> Victim:
        if not self._left:
            return start(self._stage, None, **slot.settings | QUICK)
        marker = self._stage.folder / f"mark-{len(self._stage.workers)}"
        return start(self._stage, replace(self._left.popleft(), marker=str(marker)), **slot.settings)

    def _bury(self, slot: _Slot, worker: Victim) -> None:
        slot.worker = None
        mark = worker.mark
        if mark is None:
            code = worker.process.returncode
            self.other_exits[code] += 1
            say(f"{slot.name} ended with {code} and not as ordered: {worker.log[-LOG_CHARS // 10 :]}")
            if worker.fault:
                self._left.append(worker.fault)
            return
        self.marks.append((slot.name, mark))
        self.taken_on += mark.taken_on
        if worker.fault and not mark.unfinished and self._again:
            self._again -= 1
            self._left.append(worker.fault)
        self._last_s = time.monotonic()
        say(
            f"{len(self.marks)}/{self._num_kills} {slot.name} {mark.when} {mark.point}: {mark.unfinished} unfinished"
            f"{', transaction open' if mark.open_transaction else ''}"
        )


def say(what: str) -> None:
    """Tell a person who waits."""
    print(time.strftime("%H:%M:%S"), what, file=sys.stderr, flush=True)
