"""The rows of both exported tables, read one at a time: memory does not grow with the state.

`users` are the sums that the report is made from, by the same rule of what is missing (`store.series`): the mean of
`value` is the report's figure, and `events` and `missing` add up to its pairs.  `answers` are the facts behind that.
Both read inside the caller's snapshot.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache

from worker.core.simulation.questions import Kind
from worker.experiment.definition import Definition
from worker.experiment.export.columns import ANSWERS, Row
from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.store import queries
from worker.experiment.store.answer_rows import AnswerRows
from worker.experiment.store.answers import Answer
from worker.experiment.store.offered import unpacked
from worker.experiment.store.pairs import Aside, placed
from worker.experiment.store.queries import EpochRow
from worker.experiment.store.series import by_user, series
from worker.experiment.store.sums import BUCKET_US, UNIT

MAX_ITEMS = 50_000  # whose ids are remembered while options are written: about 10 MB
_METRICS = [column.name for column in ANSWERS if column.name in METRICS]


def users(db: sqlite3.Connection, experiment_id: str, forms: Sequence[Definition]) -> Iterator[Row]:
    """Yield a row of `USERS` per user, segment, metric, comparison and epoch."""
    primaries = {form.epoch: form.primary_metric for form in forms}
    for epoch in queries.epochs(db):
        if epoch.experiment_id == experiment_id:
            yield from _of_epoch(db, epoch, primaries.get(epoch.key, DUEL_SHARE))


def _of_epoch(db: sqlite3.Connection, epoch: EpochRow, primary: str) -> Iterator[Row]:
    """Only the primary metric over all events is summed by minute, so that has the time of the first event."""
    for candidate, control in queries.compared(db, epoch.id):
        found = list(series(db, epoch.id, candidate, control, primary=primary))
        timed = next((one for one in found if (one.metric, one.segment) == (primary, "")), None)
        for one in found:
            if one.metric not in METRICS:
                continue
            named = (epoch.fingerprint, epoch.key, candidate, control, one.metric, one.segment)
            for name, answered, missing, total, differs, first in by_user(db, one, timed):
                value = total / UNIT / answered if answered else None
                yield (name, *named, value, answered, missing, differs, None if first is None else first * BUCKET_US)


def answers(db: sqlite3.Connection, experiment_id: str, forms: Sequence[Definition]) -> Iterator[Row]:
    """Yield a row of `ANSWERS` per answer that is kept, also of those that are in no figure."""
    options, rows = _Options(db), AnswerRows(db)
    keys = {id(form): form.epoch for form in forms}  # each is a digest, too slow to make for every row
    streams = db.execute("select id from stream where experiment = ? order by fingerprint", (experiment_id,)).fetchall()
    for (stream,) in streams:
        for found in rows.events(stream):
            for answer in found:
                form = placed(answer, forms)
                key, left_out = ("", form.value) if isinstance(form, Aside) else (keys.get(id(form), ""), "")
                yield _row(answer, key, left_out, options.of(stream, answer))


def _row(answer: Answer, key: str, left_out: str, options: str) -> Row:
    return (
        answer.event_id,
        answer.occurred_at,
        answer.user_id,
        answer.config_fingerprint,
        key,
        left_out,
        answer.question.value,
        answer.variant,
        answer.control_variant,
        answer.role,
        answer.status,
        *(answer.values.get(name) for name in _METRICS),
        answer.contested_mass,
        answer.overlap,
        answer.tau,
        json.dumps(dict(answer.segments), ensure_ascii=False) if answer.segments else "",
        options,
    )


class _Options:
    """Reads what duels offered on one side alone."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._item = lru_cache(MAX_ITEMS)(self._read_item)

    def of(self, stream: int, answer: Answer) -> str:
        """Return the options of a duel as JSON; "" if none are kept."""
        if answer.question is not Kind.DUEL:
            return ""
        query = "select offered from answer where stream = ? and event = ? and question = ? and variant = ?"
        key = (stream, answer.event_id, answer.question, answer.variant)
        offered = self._db.execute(query, key).fetchone()[0]
        if offered is None:
            return ""
        sides = (answer.control_variant, answer.variant)
        found = [
            {"item_id": self._item(item), "variant": sides[side], "position": position, "probability": p}
            for item, side, position, p in unpacked(offered)
        ]
        return json.dumps(found, ensure_ascii=False)

    def _read_item(self, number: int) -> str:
        return str(self._db.execute("select name from item where id = ?", (number,)).fetchone()[0])
