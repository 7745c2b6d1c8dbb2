"""A test build of the worker: `python -m tests.faults.build run ...` is `python -m worker run ...` that fails on order.

The client and the core are wrapped from outside before the command starts; production code has no fault points.

    FAULT='{"point": "commit", "when": "before", "nth": 7, "do": "kill", "marker": "/tmp/marker"}'

`point` names a call of the transactional producer, `when` its side, and `nth` the transaction of this process, from 1
on, in which it fails.  A transaction that does not reach the point, because it has offsets alone, leaves it to the
next one.  It fails once, but for `refuse`.  A transaction's first `produce` stands for all of them.

    kill      SIGKILL.  After `produce`, only when the broker has the record: readers must not see it.
    hang      the call never returns
    sleep     the call takes `seconds` longer
    wait      the call takes until the marker is removed
    timeout   the call raises a time-out that may be tried again; `when` tells whether it was made before that
    refuse    until the marker is removed, the call raises an error that aborts its transaction

At that moment, before anything else, a line of JSON goes to `marker`, which see: `Mark`.  Without FAULT nothing fails.

    MUTANT=release-order    an event may leave before an older one of its partition is finished
    MUTANT=epoch-check      a flush may be sent after its partition moved away
    MUTANT=in-doubt         a transaction in doubt is sent again, whatever the broker says

Each switches one rule of the handover off: the judge must then find something.  Answers always take between nothing
and twice `choice_latency_s`, so that events are finished out of order.
"""

import asyncio
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from prometheus_client import REGISTRY

import worker.core.delivery.handover
import worker.engines.choice_model
import worker.kafka.sink
import worker.kafka.source
import worker.runtime.answering
from tests.support.patience import patience
from worker.core.delivery.handover import FlushLimits, Handover
from worker.core.delivery.handover_messages import Command, Frozen, Head, Settled
from worker.core.delivery.offset_tracker import Offsets
from worker.core.records import Partition
from worker.core.simulation.draws import Ask, Drawn
from worker.engines.choice_model import ChoiceModel
from worker.kafka.assignment import Assignment

from .fault import Fault, Mark, Point, When

FLUSH_S = 2.0  # for one record to reach the broker
LOOK_S = 0.02  # how often it looks for the marker


class _Watched(Handover):
    """The worker's own state machine; the one of this process is kept."""

    latest: "_Watched | None" = None

    def __init__(self, limits: FlushLimits) -> None:
        super().__init__(limits)
        _Watched.latest = self

    def held(self, *, committed: bool) -> tuple[int, int, tuple[int, ...]]:
        """Count the records that are not answered and those not committed, and list the partitions.

        Called in the transaction thread, where the loop still waits to hear that the running flush is `committed`.
        """
        owned = list(self._owned.items())
        gone = {head.partition: head.commit_offset for head in self._running.heads} if self._running else {}
        unfinished = sum(len(one.offsets) - len(one.results) for _, one in owned)
        covered = sum(offset < gone.get(partition, 0) for partition, one in owned for offset in list(one.results))
        uncommitted = self.in_flight - (covered if committed else 0)
        return unfinished, uncommitted, tuple(sorted(partition.number for partition, _ in owned))


class _NoEpochCheck(_Watched):
    def _holds(self, head: Head, event: Frozen) -> bool:
        return True


class _KeepsIds(Assignment):
    """Remembers whose records they were after they moved away, or the topic's id would stop them as well."""

    def end(self, partitions: Iterable[Partition]) -> None:
        before = dict(self._ids)
        super().end(partitions)
        self._ids |= before


class _AlwaysAgain(_Watched):
    def _settled(self, event: Settled) -> list[Command]:
        return self._aborted(event.now_s)


class _Impatient(Offsets):
    def head(self) -> Iterator[int]:
        return (offset for offset, finished in list(self._in_flight.items()) if finished)


class _UnevenChoiceModel(ChoiceModel):
    """Takes between nothing and twice its latency for a draw."""

    def __init__(self, *, latency_s: float = 0.0) -> None:
        super().__init__()
        self._mean_s = latency_s

    async def draw(self, ask: Ask) -> Drawn:
        await asyncio.sleep(random.uniform(0, 2 * self._mean_s))
        return await super().draw(ask)


class _Trigger:
    """The one fault of this process; the worker makes its transactional calls in one thread, one after another."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._refusing = False
        self.num_begun = 0
        self.open = False

    def pull(self, point: Point, when: When, producer: Producer) -> None:
        """Fail if it is time to."""
        fault = self._fault
        nth = self.num_begun + ((point, when) == ("begin", "before"))
        if fault is None or (fault.point, fault.when) != (point, when) or nth < fault.nth:
            return
        if not self._refusing:
            self._begin(fault, producer)
        if fault.do != "refuse" or not Path(fault.marker).exists():
            self._fault = None
        match fault.do:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang" | "sleep" | "wait":
                _hold(fault)
            case "timeout":
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "as ordered", retriable=True))
            case "refuse" if self._fault:
                raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION, "as ordered", txn_requires_abort=True))

    def _begin(self, fault: Fault, producer: Producer) -> None:
        self._refusing = fault.do == "refuse"
        if (fault.point, fault.when, fault.do) == ("produce", "after", "kill"):
            producer.flush(patience(FLUSH_S))
        if fault.marker:
            self._leave(fault)

    def _leave(self, fault: Fault) -> None:
        assert _Watched.latest is not None
        committed = (fault.point, fault.when) == ("commit", "after")
        unfinished, uncommitted, partitions = _Watched.latest.held(committed=committed)
        mark = Mark(
            point=fault.point,
            when=fault.when,
            time_s=time.time(),
            open_transaction=self.open,
            unfinished=unfinished,
            uncommitted=uncommitted,
            taken_on=int(REGISTRY.get_sample_value("mirrorstream_records_consumed_total") or 0),
            partitions=partitions,
        )
        with Path(fault.marker).open("w", encoding="utf-8") as file:
            file.write(mark.text())
            file.flush()
            os.fsync(file.fileno())


def _hold(fault: Fault) -> None:
    """Keep whoever calls from going on: for ever, for a time, or until somebody removes the marker."""
    if fault.do == "hang":
        threading.Event().wait()
    time.sleep(fault.seconds)
    while fault.do == "wait" and Path(fault.marker).exists():
        time.sleep(LOOK_S)


def _ordered() -> Fault | None:
    text = os.environ.get("FAULT")
    return Fault(**json.loads(text)) if text else None


_trigger = _Trigger(_ordered())


class _FaultyProducer(Producer):  # type: ignore[misc]  # the client has no types
    """The client's producer; each of the four calls may fail on either side."""

    def begin_transaction(self) -> None:
        _trigger.pull("begin", "before", self)
        super().begin_transaction()
        _trigger.num_begun += 1
        _trigger.open = True
        _trigger.pull("begin", "after", self)

    def produce(self, *args: Any, **kwargs: Any) -> None:
        _trigger.pull("produce", "before", self)
        super().produce(*args, **kwargs)
        _trigger.pull("produce", "after", self)

    def send_offsets_to_transaction(self, *args: Any) -> None:
        _trigger.pull("send_offsets", "before", self)
        super().send_offsets_to_transaction(*args)
        _trigger.pull("send_offsets", "after", self)

    def commit_transaction(self, *args: Any) -> None:
        _trigger.pull("commit", "before", self)
        super().commit_transaction(*args)
        _trigger.open = False
        _trigger.pull("commit", "after", self)

    def abort_transaction(self, *args: Any) -> None:
        super().abort_transaction(*args)
        _trigger.open = False


def install(mutant: str) -> None:
    """Put ours in the place of what the command is going to build its worker of."""
    handovers = {"": _Watched, "release-order": _Watched, "epoch-check": _NoEpochCheck, "in-doubt": _AlwaysAgain}
    ours: list[tuple[object, str, type]] = [
        (worker.runtime.answering, "Handover", handovers[mutant]),
        (worker.engines.choice_model, "ChoiceModel", _UnevenChoiceModel),
        (worker.kafka.sink, "Producer", _FaultyProducer),
    ]
    if mutant == "release-order":
        ours.append((worker.core.delivery.handover, "Offsets", _Impatient))
    if mutant == "epoch-check":
        ours.append((worker.kafka.source, "Assignment", _KeepsIds))
    for module, name, kind in ours:
        assert hasattr(module, name), f"{module} has no {name} any more"
        setattr(module, name, kind)


if __name__ == "__main__":
    from worker.cli.main import main

    install(os.environ.get("MUTANT", ""))
    main()
