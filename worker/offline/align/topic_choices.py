"""Real choices from Kafka's topics: impressions and outcomes of a time, written to one file that every step reads.

    impressions, outcomes  ->  choices.topics.json   which offsets are read, noted before anything is
                           ->  choices.jsonl.part    while they are read, or after a kill
                           ->  choices.jsonl         once all are; the note then counts what could not be used

The offsets are bounds, not a group: nothing is committed, and a worker notices nothing of it.  A run that was killed
reads the same offsets again, so the file has the same bytes.  Which outcome belongs to which event, and what is no
choice, is decided where files are read (`evaluate.reading`).

The file has what was shown to users and what they chose, with their ids: it is to be kept as the topics are.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadRecord, BadSettings
from worker.core.outcomes import Outcome
from worker.core.records import Impression, Partition, Record
from worker.core.topics.topic_patterns import TopicPatterns
from worker.core.validation_text import wanted as wanted_form
from worker.experiment.ingest import outcome_fields
from worker.experiment.store.real_clicks import read_outcome
from worker.kafka import admin, registry, topic_reader
from worker.offline.align.choice_source import hashed
from worker.offline.align.files import read_note, write_whole
from worker.offline.evaluate import output_files, signed_lines
from worker.offline.evaluate.reading import OUTCOME_WINDOW_US
from worker.offline.events import moments
from worker.settings import input_forms, mappings
from worker.settings.groups import KafkaClientSettings

FILE, NOTE = "choices.jsonl", "choices.topics.json"
MAX_TOLD = 10  # records that are told with their place, of each reason
TELL_EVERY = 1_000  # records
_VERSION = 1
_SPANS = TypeAdapter(list[tuple[str, int, int, int]])


@dataclass(frozen=True, slots=True)
class TopicTime:
    """Which topics, and which record times of theirs, milliseconds since 1970; 0 is no bound.

    Outcomes are read for a day longer than impressions: a click later than that does not count anyway.
    """

    outcomes: str
    since_ms: int = 0
    until_ms: int = 0

    def has(self, record: Record) -> bool:
        """Return True for a record of that time, or one that has none."""
        if record.timestamp_ms is None:
            return True
        longer_ms = OUTCOME_WINDOW_US // 1_000 if record.partition.topic == self.outcomes else 0
        return self.since_ms <= record.timestamp_ms and (
            not self.until_ms or record.timestamp_ms < self.until_ms + longer_ms
        )


@dataclass(slots=True)
class TopicCounts:
    """What was read; `left_out` by reason, `told` with the places of the first ones."""

    impressions: int = 0
    outcomes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)  # hashes of users who were to be forgotten and are in the topics


def write(
    folder: Path,
    settings: KafkaClientSettings,
    time: TopicTime,
    *,
    forget: frozenset[str] = frozenset(),
    tell: Callable[[str, int], None] = lambda *_: None,
) -> TopicCounts:
    """Write `choices.jsonl` into a folder, unless it is there; users to `forget` are not in it.

    Raises `BadSettings` for a folder with choices of other topics, times or users to forget, or if records have
    expired since a killed run noted them; `Retryable` or `Fatal` as Kafka and the registry do.
    """
    path, part = folder / FILE, folder / f"{FILE}.part"
    folder.mkdir(parents=True, exist_ok=True)
    note = _note(folder / NOTE, settings, time, forget)
    if path.is_file():
        found = note["read"]
        return TopicCounts(
            found["impressions"], found["outcomes"], Counter(found["left_out"]), found["told"], set(found["gone"])
        )
    counts = TopicCounts()
    spans = {Partition(topic, number): (first, end) for topic, number, first, end in note["spans"]}
    reader = _Reader(settings, time.outcomes, counts)
    with output_files.writing(part, "nothing of it is used"), part.open("ab") as file:
        signed_lines.lock(file, part)
        file.truncate(0)
        for number, record in enumerate(topic_reader.span_records(settings, spans), 1):
            for one in reader.read(record) if time.has(record) else ():
                user = one.user_id if isinstance(one, Outcome) else one.user.user_id
                if user in forget:
                    counts.gone.add(hashed(user))
                else:
                    file.write(moments.row(one) + b"\n")
            if number % TELL_EVERY == 0:
                tell("topics", number)
        file.flush()
        os.fsync(file.fileno())
    read = {"impressions": counts.impressions, "outcomes": counts.outcomes, "left_out": dict(counts.left_out)}
    write_whole(folder / NOTE, note | {"read": read | {"told": counts.told, "gone": sorted(counts.gone)}})
    part.rename(path)
    return counts


class _Reader:
    """Turns records into impressions and outcomes, and counts those that are none."""

    def __init__(self, settings: KafkaClientSettings, outcomes: str, counts: TopicCounts) -> None:
        self._outcomes, self._counts = outcomes, counts
        self._form = input_forms.load(settings)
        self._schemas = registry.schemas(settings)
        self._outcome_schemas = registry.Schemas(settings.schema_registry_url, settings.registry_access)
        self._mapping: EventMapping | None = (
            mappings.load(settings.outcomes_mapping) if settings.outcomes_mapping else None
        )

    def read(self, record: Record) -> Iterator[Impression | Outcome]:
        """Yield what a record is.  Raises `Retryable` if a schema cannot be fetched now."""
        if record.value is None:
            self._leave_out(record, "tombstone", "")
            return
        try:
            if record.partition.topic == self._outcomes:
                yield read_outcome(outcome_fields(record, self._outcome_schemas, self._mapping))
                self._counts.outcomes += 1
                return
            impression = registry.impression_of(record, self._schemas, self._form)
        except BadRecord as bad:
            self._leave_out(record, bad.reason, str(bad))
            return
        if impression is None:
            self._leave_out(record, "unmapped", "")
            return
        self._counts.impressions += 1
        yield impression

    def _leave_out(self, record: Record, why: str, detail: str) -> None:
        """Count a record, and tell the first ones of each reason that are a mistake."""
        self._counts.left_out[str(why)] += 1
        if detail and why != "unmapped" and self._counts.left_out[str(why)] <= MAX_TOLD:
            told = detail if detail.startswith(record.where) else f"{record.where}: {detail}"
            self._counts.told.append(told)


def _note(path: Path, settings: KafkaClientSettings, time: TopicTime, forget: frozenset[str]) -> dict[str, Any]:
    """Return the note of a folder; that of a new one is written with the offsets that the topics have now."""
    wanted = {
        "version": _VERSION,
        "input_topics": list(settings.input_topics),
        "outcomes_topic": time.outcomes,
        "since_ms": time.since_ms,
        "until_ms": time.until_ms,
        "mappings": [settings.mapping, settings.outcomes_mapping],
        "forgotten": sorted(map(hashed, forget)),
    }
    if path.is_file():
        found = read_note(path, "spans", *(["read"] if path.with_name(FILE).is_file() else ()))
        try:
            _SPANS.validate_python(found["spans"])
        except ValidationError as error:
            raise BadSettings(f"{path}: spans: {wanted_form(dict(error.errors()[0]))}; delete it and {FILE}") from error
        differ = [name for name, value in wanted.items() if found.get(name) != value]
        if differ:
            raise BadSettings(
                f"{path}: is of other choices, which differ in {', '.join(differ)}; want another --work folder, or"
                f" delete it and {FILE}"
            )
        return found
    if path.with_name(FILE).exists():
        raise BadSettings(f"{path.with_name(FILE)}: is there, and was not read from topics; want another --work folder")
    names = TopicPatterns(settings.input_topics, settings.group_protocol).read(admin.partitions(settings))
    spans = topic_reader.spans(settings, [*names, time.outcomes], since_ms=time.since_ms)
    note = wanted | {"spans": [[one.topic, one.number, *span] for one, span in spans.items()]}
    write_whole(path, note)
    return note
