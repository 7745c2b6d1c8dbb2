"""7 produce: what becomes of a record whose messages Kafka refuses, such as one that is too large for its topic.

    a response is refused        the event's one dead letter is sent instead
    that letter is refused       its next form is sent (`dead_letter.forms`): with a key, then without the record
    the last form is refused     the partition waits, the worker is unready and says why; tried again every 30 s
    50 events in a row           the topic is broken, and not an event: no more dead letters, the same wait

A dead letter costs one event; a wait holds its own partition and no other.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from worker.core.delivery.dead_letter import forms
from worker.core.delivery.handover import Handover
from worker.core.delivery.handover_messages import Refusal
from worker.core.records import DeadLetter, Partition, Reason
from worker.pipeline.config import Rules
from worker.pipeline.in_flight import RecordInFlight, RecordsInFlight

log = logging.getLogger(__name__)

WAIT_S = 30.0  # until a partition that is held up is tried again
MAX_ROW = 50  # refused events with none published between them; as the decode breaker's


class RefusalWatch(Protocol):
    """Who counts what Kafka refuses."""

    def refused(self, reason: Reason) -> None:
        """Count a record of which Kafka refuses a message; `reason` is one of `records.REFUSALS`."""

    def dead_letter(self, reason: Reason) -> None:
        """Count a record that becomes a dead letter; once per record, however many forms of the letter are tried."""


class Refusals:
    """Replaces what Kafka refuses with the dead letter of its record, or lets its partition wait."""

    def __init__(
        self,
        watch: RefusalWatch,
        *,
        handover: Handover,
        flight: RecordsInFlight,
        rules: Rules,
        clock: Callable[[], float],
    ) -> None:
        self._watch, self._rules, self._clock = watch, rules, clock
        self._handover, self._flight = handover, flight
        self._waiting: dict[Partition, str] = {}  # why nothing of it leaves
        self._row = 0

    @property
    def held_up(self) -> str:
        """Why a partition waits, for people; "" if none does."""
        return next(iter(self._waiting.values()), "")

    def replace(self, refusal: Refusal) -> None:
        """Send the next form of a record's dead letter instead of what Kafka refuses, or make its partition wait."""
        entry = self._flight.find(refusal.partition, refusal.offset)
        if entry is None:
            return
        self._watch.refused(refusal.reason)
        wanted = forms(entry.record)
        if not entry.num_letters:
            self._row += 1
        if entry.num_letters == len(wanted):
            self._wait(entry, f"{entry.record.where}: {refusal.detail}, and no dead letter of it either")
        elif self._row > MAX_ROW and not entry.num_letters:
            self._wait(
                entry, f"{MAX_ROW} events in a row were refused, the last {entry.record.where}: {refusal.detail}"
            )
        else:
            self._write(entry, refusal)

    def released(self, partition: Partition, entries: Iterable[RecordInFlight]) -> None:
        """Note the records of a partition that were published."""
        self._waiting.pop(partition, None)
        if any(entry.num_bytes and not entry.num_letters for entry in entries):  # one that is skipped has no messages
            self._row = 0

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        for partition in partitions:
            self._waiting.pop(partition, None)

    def _write(self, entry: RecordInFlight, refusal: Refusal) -> None:
        record, form = entry.record, forms(entry.record)[entry.num_letters]
        if not entry.num_letters:
            self._watch.dead_letter(refusal.reason)
        log.warning("%s: %s: %s; dead-lettered (letter: %s)", record.where, refusal.reason, refusal.detail, form.value)
        entry.num_letters += 1
        entry.trace.unanswered(refusal.reason)
        message = self._rules.to_message(DeadLetter(record, refusal.reason, refusal.detail, form))
        self._flight.grow(entry, 0, message.num_bytes)
        self._handover.replace(record.partition, record.epoch, record.offset, (message,))

    def _wait(self, entry: RecordInFlight, why: str) -> None:
        record = entry.record
        if self._waiting.get(record.partition) != why:
            log.error("%s; %s waits, tried again every %.0f s", why, record.partition, WAIT_S)
        self._waiting[record.partition] = why
        self._handover.block(record.partition, record.epoch, self._clock() + WAIT_S)
