"""A file of real choices, line by line: scenes of the reference, impressions with outcomes, or events of your own.

    {"text": ..., "item_pos": 2, ...}                    a scene of the reference: the choice is in it
    {"event_id": ..., "slates": [...]}                   an impression, and its outcomes in any line or file
    {"outcome_id": ..., "event_id": ..., "actions": ...}
    {"event_name": "view_item_list", ...}                an event, by `mapping`; its choice by `choice` or by outcomes

The file may have any size: outcomes are first collected in an index (SQLite, one row per event), then each line
becomes a choice or says why it is none.  Nothing is kept of a line beside a hash of its event's id.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from worker.core.codec.json_reader import FILE_RULES
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings, Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression, Role, Slate
from worker.core.seeding import digest
from worker.core.simulation.questions import MAX_OPTIONS
from worker.experiment.store.real_clicks import CLICKS
from worker.offline import json_lines
from worker.offline.evaluate import reference_scenes
from worker.offline.evaluate.scene import LeftOut, RealChoice, Why, askable, of_event

WANT = "want one JSON object per line: scenes of the reference, or impressions and their outcomes"
OUTCOME_WINDOW_US = 86_400_000_000  # as in a readout without a definition: a later click does not count
MAX_TOLD = 10  # lines that are told with their place, of each reason
_ENDING = "the line is left out"
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


@dataclass(slots=True)
class ReadCounts:
    """What was read, as far as reading has come."""

    num_bytes: int = 0
    size: int = 0
    choices: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    wrong: int = 0

    def leave_out(self, one: LeftOut) -> None:
        """Count a line, and tell the first ones of each reason that is a mistake."""
        self.left_out[one.why] += 1
        self.wrong += one.is_wrong
        if one.is_wrong and self.left_out[one.why] <= MAX_TOLD:
            self.told.append(str(one))


class RealChoices:
    """The choices of a file, in its order; the index of outcomes is made at `index`.

    The constructor raises `BadSettings` for a file that is not JSON Lines.  Iterating twice reads the file twice and
    gives the same.
    """

    def __init__(self, files: Files, *, index: Path, strict: bool = False) -> None:
        self._files, self._index, self._strict = files, index, strict
        for path in filter(None, (files.path, files.outcomes)):
            json_lines.check(path, WANT, ending="nothing was evaluated")
            if not path.is_file():
                raise BadSettings(f"{path}: is not a file; it is read twice, so a pipe will not do")
        self.counts = ReadCounts()

    def __iter__(self) -> Iterator[RealChoice]:
        """Yield the choices; what is left out is counted in `counts`.  Raises `BadSettings` if strict."""
        self.counts = ReadCounts(size=self._files.path.stat().st_size)
        self._collect()
        try:
            with closing(sqlite3.connect(self._index)) as db:
                db.execute("create table seen(event blob primary key) without rowid")
                db.execute("create table matched(event text primary key) without rowid")
                for found in self._read(db):
                    if isinstance(found, LeftOut):
                        if self._strict and found.is_wrong:
                            raise BadSettings(f"{found}; nothing more was evaluated")
                        self.counts.leave_out(found)
                        continue
                    self.counts.choices += 1
                    yield found
                    if self.counts.choices == self._files.limit:
                        return
                query = "select count(distinct event) from outcome where event not in (select event from matched)"
                if orphans := db.execute(query).fetchone()[0]:
                    self.counts.left_out[Why.NO_EVENT] = int(orphans)
        finally:
            self._index.unlink(missing_ok=True)

    @property
    def share(self) -> float:
        """The share that was read: of the limit, or of the file, whichever ends first."""
        of_file = self.counts.num_bytes / max(1, self.counts.size)
        return max(of_file, self.counts.choices / self._files.limit) if self._files.limit else of_file

    def _collect(self) -> None:
        """Make the index of outcomes; a wrong line of the main file is told when that is read."""
        self._index.unlink(missing_ok=True)
        path = self._files.outcomes or self._files.path
        own = self._files.outcomes is not None
        with closing(sqlite3.connect(self._index)) as db:
            db.execute("pragma journal_mode = off")  # made anew at each start
            db.execute("create table outcome(event text, variant text, clicks text) ")
            rows: list[tuple[str, str, str]] = []
            for number, line in json_lines.lines(path, on_bad=lambda _: None):
                if '"outcome_id"' not in line and not own:
                    continue
                found = self._outcome(path, number, line, own=own)
                if found is not None:
                    rows.append(_row(found))
                if len(rows) >= _ADDED:
                    db.executemany("insert into outcome values (?, ?, ?)", rows)
                    rows.clear()
            db.executemany("insert into outcome values (?, ?, ?)", rows)
            db.execute("create index by_event on outcome(event)")
            db.commit()

    def _outcome(self, path: Path, number: int, line: str, *, own: bool) -> Outcome | None:
        place = f"{path}, line {number}"
        try:
            _, outcome = json_lines.moment(place, line, FILE_RULES, ending=_ENDING)
        except BadSettings as error:
            if own:
                if self._strict:
                    raise
                self.counts.leave_out(_not_read(place, error))
            return None
        return None if outcome is None or outcome.is_test else outcome

    def _read(self, db: sqlite3.Connection) -> Iterator[RealChoice | LeftOut]:
        def tell(num_bytes: int) -> None:
            self.counts.num_bytes += num_bytes

        bad: list[BadSettings] = []
        path = self._files.path
        for number, line in json_lines.lines(path, tell, on_bad=bad.append, ending=_ENDING):
            yield from (LeftOut(*_split(str(error))) for error in bad)
            bad.clear()
            place = f"{path}, line {number}"
            try:
                found = self._of_line(db, place, number, line)
            except BadSettings as error:
                found = _not_read(place, error)
            if isinstance(found, RealChoice):
                found = askable(found, self._files.depth)
            if isinstance(found, RealChoice) and not found.impression.texts_as_is:  # a scene has no id of its own
                found = _once(db, found)
            if found is not None:
                yield found
        yield from (LeftOut(*_split(str(error))) for error in bad)

    def _of_line(self, db: sqlite3.Connection, place: str, number: int, line: str) -> RealChoice | LeftOut | None:
        """Return what a line is; None for an outcome, and for an event that the mapping passes over."""
        own = digest("line", line).hex()
        if self._files.mapping is not None:
            event = json_lines.json_object(place, line, ending=_ENDING)
            impression = json_lines.mapped(place, line, self._files.mapping, ending=_ENDING)
            if impression is None:
                return None
            if self._files.chosen is not None:
                try:
                    return _chosen(place, number, impression, self._files.chosen(event), own)
                except Poison as poison:
                    return LeftOut(place, Why.NOT_READ, str(poison))
            return self._with_outcome(db, place, number, impression, own)
        content = json_lines.json_object(place, line, ending=_ENDING)
        if reference_scenes.FIELDS & content.keys() and "slates" not in content:
            return reference_scenes.read(place, number, content, own)
        impression, _ = json_lines.moment(place, line, _RULES, ending=_ENDING)
        return None if impression is None else self._with_outcome(db, place, number, impression, own)

    def _with_outcome(
        self, db: sqlite3.Connection, place: str, number: int, impression: Impression, own: str
    ) -> RealChoice | LeftOut:
        query = "select variant, clicks from outcome where event = ?"
        rows = db.execute(query, (impression.event_id,)).fetchall()
        if not rows:
            return LeftOut(place, Why.NO_OUTCOME, f"event {impression.event_id}: has no outcome in the files")
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
            return LeftOut(place, Why.NOT_OFFERED, words)
        shown = next((name for name in clicks if clicks[name]), next(iter(clicks)))
        chosen = frozenset(clicks[shown])
        return of_event(place, number, impression, slates[shown], chosen, domain=impression.domain, digest=own)


def _chosen(place: str, number: int, impression: Impression, chosen: frozenset[str], own: str) -> RealChoice | LeftOut:
    slate = shown_slate(impression)
    return of_event(place, number, impression, slate, chosen, domain=impression.domain, digest=own)


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


def _not_read(place: str, error: BadSettings) -> LeftOut:
    return LeftOut(place, Why.NOT_READ, str(error).removeprefix(f"{place}: ").removesuffix(f"; {_ENDING}"))


def _split(text: str) -> tuple[str, Why, str]:
    place, _, detail = text.partition(": ")
    return place, Why.NOT_READ, detail.removesuffix(f"; {_ENDING}")
