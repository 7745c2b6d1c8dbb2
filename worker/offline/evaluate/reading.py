"""A file of real choices, row by row: scenes of the reference, impressions with outcomes, or events of your own.

    {"text": ..., "item_pos": 2, ...}                    a scene of the reference: the choice is in it
    {"event_id": ..., "slates": [...]}                   an impression, and its outcomes in any row or file
    {"outcome_id": ..., "event_id": ..., "actions": ...}
    {"event_name": "view_item_list", ...}                an event, by `mapping`; its choice by `choice` or by outcomes,
                                                         which the mapping may read from events, too

The file may have any size and each form that `offline.events` reads: outcomes are first collected in an index (SQLite,
one row per event), then each row becomes a choice or says why it is none.  Nothing is kept of a row beside a hash of
its event's id.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.core.codec import avro_encoder
from worker.core.codec.json_reader import FILE_RULES
from worker.core.codec.mapping import EventMapping, TableForm
from worker.core.errors import BadSettings, Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression, Role, Slate
from worker.core.seeding import digest
from worker.core.simulation.questions import MAX_OPTIONS
from worker.experiment.store.real_clicks import CLICKS
from worker.offline.evaluate import output_files, reference_scenes
from worker.offline.evaluate.scene import LeftOut, RealChoice, Why, askable, has_untimed_history, of_event
from worker.offline.events import event_files, moments
from worker.offline.events.event_files import EventRow, Progress
from worker.offline.events.item_facts import Facts

WANT = "want one JSON object per line: scenes of the reference, or impressions and their outcomes"
OUTCOME_WINDOW_US = 86_400_000_000  # as in a readout without a definition: a later click does not count
MAX_TOLD = 10  # lines that are told with their place, of each reason
_NOTHING_MORE = "nothing more was evaluated"
_MARK = '"outcome_id"'  # in every line of JSON that is an outcome
_OF_OWN = frozenset({"outcome_id", "event_id", "actions"})  # by which a row beside a mapping is an outcome of ours
_ADDED = 10_000  # outcomes per transaction of the index
_RULES = replace(FILE_RULES, number_positions=True)
Chosen = Callable[[Mapping[str, object]], frozenset[str]]  # of an event: the ids of the items that were chosen


@dataclass(frozen=True, slots=True)
class Files:
    """Where real choices are; `outcomes` is the file itself unless it is another one."""

    path: Path
    outcomes: Path | None = None
    mapping: EventMapping | None = None
    chosen: Chosen | None = None  # reads the choice from a foreign event
    limit: int = 0  # of choices; 0 is all
    depth: int = MAX_OPTIONS  # options that are asked about
    items: Facts = field(default_factory=dict)  # of mapped events: what is known about items that have ids alone

    @property
    def table(self) -> TableForm:
        """How rows of tables are read."""
        return self.mapping.table if self.mapping else TableForm()


@dataclass(slots=True)
class ReadCounts:
    """What was read, as far as reading has come."""

    choices: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    wrong: int = 0
    history_not_checked: int = 0  # choices with entries of the history that have no time

    def leave_out(self, one: LeftOut) -> None:
        """Count a line, and tell the first ones of each reason that is a mistake."""
        self.left_out[one.why] += 1
        self.wrong += one.is_wrong
        if one.is_wrong and self.left_out[one.why] <= MAX_TOLD:
            self.told.append(str(one))


class RealChoices:
    """The choices of a file, in its order; the index of outcomes is made at `index`.

    The constructor raises `BadSettings` for a file that is something else.  Iterating twice reads the file twice and
    gives the same.
    """

    def __init__(self, files: Files, *, index: Path, strict: bool = False) -> None:
        self._files, self._index, self._strict = files, index, strict
        output_files.check(index)
        for path in filter(None, (files.path, files.outcomes)):
            with event_files.ending("nothing was evaluated"):
                self._check(path)
        self.counts = ReadCounts()
        self._progress = Progress()

    def _check(self, path: Path) -> None:
        if self._files.mapping is None and event_files.delimiter(path, self._files.table):
            raise BadSettings(f"{path}: is a table: want --mapping, which says what its columns mean")
        event_files.check(path, self._files.table, WANT)
        if not path.is_file():
            raise BadSettings(f"{path}: is not a file; it is read twice, so a pipe will not do")
        event_files.check_whole(path)

    def __iter__(self) -> Iterator[RealChoice]:
        """Yield the choices; what is left out is counted in `counts`.

        Raises `BadSettings` if strict, `Fatal` without room for the index.
        """
        self.counts, self._progress = ReadCounts(), Progress()
        try:
            with output_files.writing(self._index, _NOTHING_MORE):
                self._index.unlink(missing_ok=True)
                # Opened once: another process that reads choices in this folder makes a file of its own.
                with closing(sqlite3.connect(self._index)) as db:
                    self._collect(db)
                    yield from self._choices(db)
        finally:
            self._index.unlink(missing_ok=True)

    def _choices(self, db: sqlite3.Connection) -> Iterator[RealChoice]:
        db.execute("create table seen(event blob primary key) without rowid")
        db.execute("create table matched(event text primary key) without rowid")
        for found in self._read(db):
            if isinstance(found, LeftOut):
                if self._strict and found.is_wrong:
                    raise BadSettings(f"{found}; {_NOTHING_MORE}")
                self.counts.leave_out(found)
                continue
            self.counts.choices += 1
            self.counts.history_not_checked += has_untimed_history(found.impression)
            yield found
            if self.counts.choices == self._files.limit:
                return
        query = "select count(distinct event) from outcome where event not in (select event from matched)"
        if orphans := db.execute(query).fetchone()[0]:
            self.counts.left_out[Why.NO_EVENT] = int(orphans)

    @property
    def share(self) -> float:
        """The share that was read: of the limit, or of the file, whichever ends first."""
        of_file = self._progress.share or 0.0
        return max(of_file, self.counts.choices / self._files.limit) if self._files.limit else of_file

    def _collect(self, db: sqlite3.Connection) -> None:
        """Make the index of outcomes; a wrong line of the main file is told when that is read."""
        path = self._files.outcomes or self._files.path
        own = self._files.outcomes is not None
        db.execute("pragma journal_mode = off")  # made anew at each start
        db.execute("create table outcome(event text, variant text, clicks text) ")
        rows: list[tuple[str, str, str]] = []
        for found in self._outcomes(path, own=own):
            rows.append(_row(found))
            if len(rows) >= _ADDED:
                db.executemany("insert into outcome values (?, ?, ?)", rows)
                rows.clear()
        db.executemany("insert into outcome values (?, ?, ?)", rows)
        db.execute("create index by_event on outcome(event)")
        db.commit()

    def _outcomes(self, path: Path, *, own: bool) -> Iterator[Outcome]:
        """Yield the outcomes of a file; `own` if it is one of outcomes."""

        def tell(place: str, detail: str) -> None:
            if not own:
                return
            if self._strict:
                raise BadSettings(f"{place}: {detail}")
            self.counts.leave_out(LeftOut(place, Why.NOT_READ, detail))

        if self._files.chosen is not None:
            return
        mapping, table = self._files.mapping, self._files.table
        wanted = None if own or (mapping and mapping.outcomes) else _is_marked
        rows = event_files.rows(path, table, on_bad=lambda error: tell(*_split(error)), wanted=wanted)
        with event_files.ending(_NOTHING_MORE):
            for row in rows:
                try:
                    outcome = self._outcome(row)
                except Poison as poison:
                    tell(row.place, str(poison))
                else:
                    if outcome is not None and not outcome.is_test:
                        yield outcome

    def _outcome(self, row: EventRow) -> Outcome | None:
        """Return the outcome of a row, by the mapping if it reads outcomes.  Raises `Poison`."""
        mapping = self._files.mapping
        is_ours = self._files.outcomes is not None and row.fields.keys() >= _OF_OWN
        if mapping is not None and mapping.outcomes is not None and not is_ours:
            return mapping.outcome(row.fields, show_names=True)
        if self._files.outcomes is None and not moments.is_outcome(row.fields):
            return None
        return moments.own(row.fields, FILE_RULES)[1]

    def _read(self, db: sqlite3.Connection) -> Iterator[RealChoice | LeftOut]:
        bad: list[BadSettings] = []
        rows = event_files.rows(self._files.path, self._files.table, self._progress, on_bad=bad.append)
        with event_files.ending(_NOTHING_MORE):
            for row in rows:
                yield from (LeftOut(place, Why.NOT_READ, detail) for place, detail in map(_split, bad))
                bad.clear()
                try:
                    found = self._of_row(db, row)
                except Poison as poison:
                    found = LeftOut(row.place, Why.NOT_READ, str(poison))
                if isinstance(found, RealChoice):
                    found = askable(found, self._files.depth)
                if isinstance(found, RealChoice) and not found.impression.texts_as_is:  # a scene has no id of its own
                    found = _once(db, found)
                if found is not None:
                    yield found
        yield from (LeftOut(place, Why.NOT_READ, detail) for place, detail in map(_split, bad))

    def _of_row(self, db: sqlite3.Connection, row: EventRow) -> RealChoice | LeftOut | None:
        """Return what a row is; None for an outcome, and for an event that the mapping passes over.

        Raises `Poison`.
        """
        mapping = self._files.mapping
        if mapping is not None:
            impression = moments.mapped(mapping, row.fields, self._files.items)
            if self._files.chosen is None and self._files.outcomes is None:
                mapping.outcome(row.fields, show_names=True)  # a wrong one is told with its row
            if impression is None:
                return None
            # Of the impression, not of the row: another mapping or other items make another question.
            own = digest("impression", json.dumps(avro_encoder.plain(impression), sort_keys=True)).hex()
            if self._files.chosen is not None:
                return _chosen(row, impression, self._files.chosen(row.fields), own)
            return self._with_outcome(db, row, impression, own)
        own = digest("line", row.line or json.dumps(row.fields)).hex()
        if reference_scenes.FIELDS & row.fields.keys() and "slates" not in row.fields:
            return reference_scenes.read(row.place, row.number, row.fields, own)
        found, _ = moments.own(row.fields, _RULES)
        return None if found is None else self._with_outcome(db, row, found, own)

    def _with_outcome(
        self, db: sqlite3.Connection, row: EventRow, impression: Impression, own: str
    ) -> RealChoice | LeftOut:
        query = "select variant, clicks from outcome where event = ?"
        rows = db.execute(query, (impression.event_id,)).fetchall()
        if not rows:
            return LeftOut(row.place, Why.NO_OUTCOME, f"event {impression.event_id}: has no outcome in the files")
        db.execute("insert or ignore into matched values (?)", (impression.event_id,))
        slates = {slate.variant: slate for slate in impression.slates}
        clicks: dict[str, set[str]] = {}
        for variant, found in rows:
            clicks.setdefault(variant, set()).update(
                item for item, at in json.loads(found) if at < impression.occurred_at + OUTCOME_WINDOW_US
            )
        strange = sorted(clicks.keys() - slates.keys())
        if strange:
            words = f"an outcome is of variant {strange[0]!r}, which the event does not have"
            return LeftOut(row.place, Why.NOT_OFFERED, words)
        shown = next((name for name in clicks if clicks[name]), next(iter(clicks)))
        chosen = frozenset(clicks[shown])
        return of_event(row.place, row.number, impression, slates[shown], chosen, domain=impression.domain, digest=own)


def _chosen(row: EventRow, impression: Impression, chosen: frozenset[str], own: str) -> RealChoice | LeftOut:
    slate = shown_slate(impression)
    return of_event(row.place, row.number, impression, slate, chosen, domain=impression.domain, digest=own)


def shown_slate(impression: Impression) -> Slate:
    """Return the slate that the user saw: the one marked so, else control's, else the first."""
    return min(impression.slates, key=lambda one: (not one.shown, one.role is not Role.CONTROL))


def _once(db: sqlite3.Connection, found: RealChoice) -> RealChoice | LeftOut:
    name = digest("event", found.impression.event_id)
    added = db.execute("insert or ignore into seen values (?)", (name,)).rowcount
    return found if added else LeftOut(found.place, Why.TWICE, "the event stands in the file before")


def _row(outcome: Outcome) -> tuple[str, str, str]:
    clicks = [(one.item_id, one.occurred_at or outcome.observed_at) for one in outcome.actions if one.kind in CLICKS]
    return outcome.event_id, outcome.variant, json.dumps(clicks)


def _is_marked(line: str) -> bool:
    return _MARK in line


def _split(error: BadSettings) -> tuple[str, str]:
    """Return the place and the problem of an error about a row."""
    place, _, detail = str(error).partition(": ")
    return place, detail
