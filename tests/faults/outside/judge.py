"""Counts what a run lost, did twice, answered unasked, answered wrongly and did not say.  Pure.

lost         a record that must be answered lacks an answer (a dead letter is none), or one that must be
             dead-lettered has neither; a record is counted once, however many of its questions are missing
duplicated   a question has more committed answers than records that ask it, a record has two dead letters, or it is
             both answered and dead-lettered; a record sent again to a topic that was made anew is a new record
unasked      an answer or dead letter of a record that must have none, or of no record at all
wrong        an answer that says another time than its event, or a dead letter without its reason
unsaid       a part of a notice that nobody gave: no line, no metric or no /readyz that says so
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .ledger import Entry, Fate, Key, Metric, Notice

SEVERE = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b|\[(warning|error|critical) *\]")


@dataclass(frozen=True, slots=True)
class Answer:
    """One committed response."""

    key: Key
    occurred_at_us: int


@dataclass(frozen=True, slots=True)
class Letter:
    """One committed dead letter; `number` is the header that its record had, "" if it is not there."""

    number: str
    place: str  # of its record, as the letter's headers have it
    reason: str
    detail: str


@dataclass(slots=True)
class Evidence:
    """What was seen of one worker process while it ran."""

    log: str = ""
    most: dict[str, float] = field(default_factory=dict)  # the highest value of each series, by name and labels
    unready: list[str] = field(default_factory=list)  # what /readyz said with status 503, each text once


@dataclass(slots=True)
class Findings:
    """What the judge found; each list has a sentence for people for each thing that it counts."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unsaid: list[str] = field(default_factory=list)
    pending: int = 0  # of the lost: those of which nothing came out at all, so that it still may

    @property
    def clean(self) -> bool:
        """True if nothing was found."""
        return not (self.lost or self.duplicated or self.unasked or self.wrong or self.unsaid)


def judge(
    ledger: Sequence[Entry],
    answers: Iterable[Answer],
    letters: Iterable[Letter],
    notices: Iterable[Notice] = (),
    evidence: Sequence[Evidence] = (),
) -> Findings:
    """Hold what came out against what was expected."""
    found = Findings()
    of_record = _letters_by_record(ledger, letters, found)
    given: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        given[answer.key[0]].append(answer)
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in ledger:
        groups[entry.event_id or f"record {entry.number}"].append(entry)
    for event_id, group in groups.items():
        answered = given.pop(event_id, [])
        _judge_letters(group, of_record, found, answered=bool(answered))
        _judge_answers(group, of_record, answered, found)
    for event_id, rest in given.items():
        found.unasked.append(f"{len(rest)} answers of event {event_id}, which was not sent")
    for notice in notices:
        found.unsaid += [f"{notice.what}: {part}" for part in missing(notice, evidence)]
    return found


def missing(notice: Notice, evidence: Sequence[Evidence]) -> list[str]:
    """Return which parts of a notice none of its workers gave."""
    asked = [evidence[number] for number in notice.workers]
    where = f"worker {' or '.join(map(str, notice.workers))}"
    parts = []
    if notice.line is not None and not any(_has_line(one.log, notice) for one in asked):
        parts.append(f"no log line of {where} with {' and '.join(notice.line)}")
    if notice.metric is not None and not any(_reached(one.most, notice.metric) for one in asked):
        parts.append(f"metric {notice.metric} of {where} did not reach {notice.metric.least:g}")
    if notice.unready is not None and not any(_holds(text, notice.unready) for one in asked for text in one.unready):
        others = sorted({text.strip() for one in asked for text in one.unready})
        parts.append(f"/readyz of {where} never was 503 with {' and '.join(notice.unready)}; it was with {others}")
    return parts


def _letters_by_record(ledger: Sequence[Entry], letters: Iterable[Letter], found: Findings) -> dict[str, list[Letter]]:
    """Find each letter's record by its header, else by its place; say which have none."""
    numbers = {entry.number for entry in ledger}
    places: Mapping[str, str] = {str(entry.place): entry.number for entry in ledger}  # the latest that was there
    of_record: dict[str, list[Letter]] = defaultdict(list)
    for letter in letters:
        number = letter.number if letter.number in numbers else places.get(letter.place, "")
        if number:
            of_record[number].append(letter)
        else:
            found.unasked.append(f"dead letter of {letter.place}, where nothing was sent: {letter.detail}")
    return of_record


def _judge_letters(
    group: Sequence[Entry], of_record: Mapping[str, list[Letter]], found: Findings, *, answered: bool
) -> None:
    for entry in group:
        letters = of_record.get(entry.number, [])
        if entry.fate is Fate.DEAD and not letters:
            found.lost.append(f"{entry}: no dead letter")
            found.pending += not answered
        if len(letters) > 1:
            found.duplicated.append(f"{entry}: {len(letters)} dead letters")
        if letters and entry.fate is Fate.NEITHER:
            found.unasked.append(f"{entry}: a dead letter: {letters[0].reason}: {letters[0].detail}")
        for letter in letters:
            said = f"{letter.reason}: {letter.detail}"
            if entry.fate in {Fate.DEAD, Fate.EITHER} and not re.search(entry.detail, said, re.IGNORECASE):
                found.wrong.append(f"{entry}: its dead letter says {said!r}, want {entry.detail!r}")


def _judge_answers(
    group: Sequence[Entry], of_record: Mapping[str, list[Letter]], given: Sequence[Answer], found: Findings
) -> None:
    """Judge one event: as many answers to each question as records that ask it, less those dead-lettered instead."""
    buried = [entry for entry in group if of_record.get(entry.number)]
    must = [
        entry for entry in group if entry.fate is Fate.ANSWERED or (entry.fate is Fate.EITHER and entry not in buried)
    ]
    may = [entry for entry in group if entry.fate is Fate.MAYBE and entry not in buried]
    counts = Counter(answer.key for answer in given)
    asked = frozenset(key for entry in group for key in entry.keys)
    short = max((len(must) - counts[key] for entry in must for key in entry.keys), default=0)
    over = max((counts[key] - len(must) - len(may) for key in asked), default=0)
    found.lost += [_lost(entry, counts, of_record, len(must)) for entry in must[len(must) - short :]]
    found.pending += max(0, short - sum(entry in buried for entry in must))
    if short <= 0:  # else the letter is told with the missing answer
        twice = [entry for entry in must if entry in buried]
        found.duplicated += [f"{entry}: answered and dead-lettered" for entry in twice]
    if over > 0:
        expected = len(must) + len(may)
        seen = f"{max(counts.values())} answers to one question, want {expected} at most"
        # What was never to be answered is one answer too many; what was dead-lettered and answered was done twice.
        kind = found.duplicated if expected or buried else found.unasked
        kind.append(f"{group[-1]}: {seen}")
    if unknown := counts.keys() - asked:
        found.unasked.append(f"{group[-1]}: answers to questions that it does not ask: {sorted(unknown)}")
    times = {entry.occurred_at_us for entry in group if entry.occurred_at_us is not None}
    astray = {answer.occurred_at_us for answer in given} - times if times else set()
    found.wrong += [f"{group[-1]}: answered with occurred_at {at}, want {sorted(times)}" for at in sorted(astray)]


def _lost(entry: Entry, counts: Mapping[Key, int], of_record: Mapping[str, list[Letter]], records: int) -> str:
    num = sum(counts[key] for key in entry.keys)
    said = f"{entry}: {num} answers to the {len(entry.keys)} questions"
    said += f" of {records} records of this event" if records > 1 else ""
    letters = of_record.get(entry.number)
    return f"{said}, but dead-lettered: {letters[0].reason}: {letters[0].detail}" if letters else said


def _has_line(log: str, notice: Notice) -> bool:
    lines = (line for line in log.splitlines() if SEVERE.search(line) or not notice.severe)
    return any(_holds(line, notice.line or ()) for line in lines)


def _holds(text: str, words: Iterable[str]) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in words)


def _reached(most: Mapping[str, float], metric: Metric) -> bool:
    wanted = [f'{name}="{value}"' for name, value in metric.labels]
    values = (
        value
        for series, value in most.items()
        if series.partition("{")[0] == metric.name and all(one in series for one in wanted)
    )
    return sum(values) >= metric.least
