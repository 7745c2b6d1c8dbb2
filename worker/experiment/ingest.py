"""From records to the state: responses and definitions, decoded, read and counted a batch at a time.

    Following (Kafka)  ->  Records.take  ->  Answer | Definition | a reason for data health  ->  State.take

No record can stop the reader: one that cannot be used is counted by its reason, and the first ones of each reason have
a line in the log.  After a temporary failure, such as an
unreachable schema registry, the batch is retried; the positions do not move meanwhile.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from threading import Event

from worker.core.codec import framing
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadRecord, BadSettings, MirrorstreamError, Retryable
from worker.core.first_lines import FirstLines
from worker.core.outcomes import Outcome
from worker.core.pseudonyms import pseudonym
from worker.core.records import Record
from worker.experiment.definition import DRAFT, Definition, from_record
from worker.experiment.store.answers import Answer, read
from worker.experiment.store.database import State
from worker.experiment.store.real_clicks import read_outcome
from worker.kafka import registry
from worker.kafka.follower import Following, Reached

log = logging.getLogger(__name__)

MAX_AHEAD_US = 86_400_000_000  # of a record's own time before Kafka's; time zones mixed up are less than a day
MAX_WHY_CHARS = 500  # of why a record cannot be used: what it quotes comes from outside
UNMAPPED = "unmapped"  # of an event that the mapping passes over, as it is told to: that needs no line
IDLE_S = 0.5  # how long a batch waits to fill: how old a page may be
Decode = Callable[[Record, str], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Topics:
    """Where things are read; "" for not at all."""

    responses: str
    definitions: str = ""
    outcomes: str = ""

    @property
    def names(self) -> list[str]:
        """The topics to follow."""
        return [name for name in (self.responses, self.definitions, self.outcomes) if name]


@dataclass(slots=True)
class _Batch:
    """What was read of a batch, and what was left out, by reason: a count, and a line each."""

    answers: list[Answer] = field(default_factory=list)
    definitions: list[tuple[Definition, int, Record]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    health: Counter[str] = field(default_factory=Counter)
    lines: list[tuple[str, str]] = field(default_factory=list)  # (reason, line)

    def leave_out(self, record: Record, reason: str, why: str) -> None:
        self.health[reason] += 1
        self.say(record, reason, why)

    def say(self, record: Record, reason: str, why: str) -> None:
        """Keep a line until all was read: a batch comes again while a schema of it cannot be fetched."""
        self.lines.append((reason, f"{record.where}: {why}"))


class Records:
    """Takes records into a state."""

    def __init__(
        self,
        state: State,
        decode: Decode,
        topics: Topics,
        *,
        include_test: bool = False,
        pseudonym_key: bytes | None = None,
    ) -> None:
        """Decode by `decode(record, name of the schema)`; traffic marked `is_test` is left out unless asked for.

        With a key, users of outcomes are known by the pseudonyms that the responses have.
        """
        self._state, self._decode, self._topics, self._include_test = state, decode, topics, include_test
        self._pseudonym_key = pseudonym_key
        self._lines = FirstLines()

    def take(self, records: Iterable[Record], reached: Reached) -> None:
        """Count a batch and move on.  Raises `Retryable` with nothing moved if a schema cannot be fetched now."""
        found = _Batch()
        for record in records:
            try:
                self._read(record, found)
            except BadRecord as bad:
                if bad.reason == UNMAPPED:
                    found.health[UNMAPPED] += 1
                else:
                    found.leave_out(record, bad.reason, f"cannot be used: {_cut(bad)}; it is in no figure")
            except BadSettings as error:
                found.leave_out(record, "bad_definition", f"no definition: {_cut(error)}; it is left out")
            except MirrorstreamError:
                raise
            except Exception as error:  # noqa: BLE001 - a record that nobody thought of must not stop all after it
                found.leave_out(record, "unexpected", f"cannot be read: {type(error).__name__}; it is left out")
        for definition, taken_at, record in found.definitions:
            try:
                self._state.define(definition, taken_at=taken_at)
            except BadSettings as error:
                found.leave_out(record, "bad_definition", f"no definition: {_cut(error)}; it is left out")
        self._tell(found)
        found.health.update({"topic_made_anew": len(reached.made_anew)})
        self._state.take(
            found.answers,
            outcomes=found.outcomes,
            health=found.health,
            positions=reached.positions,
            topic_ids=reached.topic_ids,
            made_anew=reached.made_anew,
        )

    def _tell(self, found: _Batch) -> None:
        for reason, text in found.lines:
            if line := self._lines.line(text, reason):
                log.warning("%s", line)

    def _read(self, record: Record, found: _Batch) -> None:
        if record.partition.topic == self._topics.definitions:
            found.definitions += self._definition(record, found)
        elif record.partition.topic == self._topics.outcomes:
            found.health["outcomes"] += 1
            found.outcomes += self._outcome(record, found.health)
        else:
            found.health["read"] += 1
            found.answers += self._answer(record, found)

    def _definition(self, record: Record, found: _Batch) -> list[tuple[Definition, int, Record]]:
        """Return a definition with the time at which Kafka took it; nothing for a tombstone, and for a draft."""
        if record.value is None:
            return []
        definition = from_record(self._decode(record, "ExperimentDefinition"))
        if definition.is_draft:
            found.leave_out(record, "draft_definition", f"{definition.experiment_id}: {DRAFT}")
            return []
        return [(definition, _written_us(record), record)]

    def _outcome(self, record: Record, health: Counter[str]) -> list[Outcome]:
        if record.value is None:
            raise BadRecord("tombstone", "it has no value, want an outcome")
        outcome = read_outcome(self._decode(record, "Outcome"))
        _check_clock(outcome.observed_at, record)
        if outcome.is_test and not self._include_test:
            health["test"] += 1
            return []
        if self._pseudonym_key is not None:
            outcome = replace(outcome, user_id=pseudonym(self._pseudonym_key, outcome.user_id))
        return [outcome]

    def _answer(self, record: Record, found: _Batch) -> list[Answer]:
        if record.value is None:
            raise BadRecord("tombstone", "it has no value, want a response")
        answer = read(self._decode(record, "SimulatedResponse"))
        _check_clock(answer.occurred_at, record)
        if answer.is_test and not self._include_test:
            found.health["test"] += 1
            return []
        if answer.trouble:
            found.say(record, answer.trouble, "its probabilities are no distribution; its answer counts as missing")
        return [answer]


def _cut(error: Exception) -> str:
    return str(error)[:MAX_WHY_CHARS]


def _check_clock(at_us: int, record: Record) -> None:
    """Refuse what happened after it was written: one record from 2100 would close every open window."""
    written_us = _written_us(record)
    if at_us > written_us + MAX_AHEAD_US:
        raise BadRecord("clock_astray", f"it is of {at_us} us, written at {written_us} us, want at most a day ahead")


def _written_us(record: Record) -> int:
    """Return when a record was written, in microseconds; now, if that is not known or lies ahead.

    Kafka's timestamp is the producer's own on most topics, and not every record has one (-1).
    """
    now_us = time.time_ns() // 1_000
    written_ms = record.timestamp_ms or 0
    return min(written_ms * 1_000, now_us) if written_ms > 0 else now_us


def outcome_fields(raw: Record, schemas: registry.Schemas, mapping: EventMapping | None) -> Mapping[str, object]:
    """Return the fields of an outcome, in our own Avro or by a mapping of foreign JSON.

    Raises `BadRecord`, also for an event that the mapping passes over, and `Retryable` if a schema cannot be fetched.
    """
    if mapping is None:
        return registry.decode_now(schemas, raw, "Outcome")
    fields = mapping.outcome_fields(framing.split_json(raw.value or b"", raw.headers)[1])
    if fields is None:  # counted in data health; a topic may hold events of other kinds
        raise BadRecord(UNMAPPED, f"it is no outcome by mapping {mapping.name}")
    return fields


def catch_up(following: Following, records: Records) -> None:
    """Read to where the topics end now.  Raises `Retryable` if Kafka or the registry does not answer."""
    while not following.at_end:
        records.take(*following.batch(IDLE_S))


def keep_up(following: Following, records: Records, stop: Event, caught_up: Event) -> None:
    """Read until `stop` is set; retry temporary failures, and log each once.

    `caught_up` is set when every partition was read to its end once.
    """
    away, is_first = "", True
    while not stop.is_set():
        try:
            found, reached = following.batch(IDLE_S)
            while not stop.is_set():
                try:
                    if found or reached.made_anew or is_first:  # the first one brings the topics' ids
                        records.take(found, reached)
                        is_first = False
                    if following.was_at_end:
                        caught_up.set()
                    break
                except Retryable as error:
                    away = _log_once(str(error), away)
                    stop.wait(error.after_s)
            away = ""
        except Retryable as error:
            away = _log_once(str(error), away)
            stop.wait(error.after_s)


def _log_once(problem: str, before: str) -> str:
    if problem != before:
        log.warning("%s; trying again", problem)
    return problem
