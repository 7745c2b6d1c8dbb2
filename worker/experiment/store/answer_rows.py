"""Answers as rows of the table `answer`, written and read by column name.

Each metric has a column of its own, `metric_` and its name; one that a question does not have is null there.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import astuple, replace
from itertools import groupby
from typing import NamedTuple

from worker.core.simulation.questions import Kind
from worker.experiment.metrics import DUEL_SHARE, METRICS, slate_metrics
from worker.experiment.quality.paired_draws import PairedDuel
from worker.experiment.store.answers import Answer
from worker.experiment.store.offered import Items


class _Columns(NamedTuple):
    """The columns of `answer` beside those of the metrics."""

    stream: int
    event: str
    question: str
    variant: str
    control: str
    role: str
    user: int
    occurred_at: int
    status: str
    contested: float | None
    segments: str | None
    factors: str | None
    drawn: str | None
    overlap: float | None
    tau: float | None
    offered: bytes | None


def metric_columns() -> list[str]:
    """Return the column of each metric, in the order of `METRICS`."""
    return [f"metric_{name}" for name in METRICS]


class AnswerRows:
    """Writes and reads answers inside the caller's transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db, self._items = db, Items(db)
        self._metrics = list(METRICS)
        self._by_question = {Kind.DUEL: [DUEL_SHARE], Kind.SLATE: slate_metrics()}
        columns = (*_Columns._fields, *metric_columns())
        self._insert = f"insert or ignore into answer ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"
        self._select = f"""select {", ".join(f"answer.{column}" for column in columns)},
            user.name, stream.experiment, stream.fingerprint from answer
            join user on user.id = answer.user join stream on stream.id = answer.stream"""

    def keep(self, stream: int, user: int, answer: Answer) -> bool:
        """Write an answer; return False if one of the same name was there already."""
        values = [answer.values.get(name) for name in self._metrics]
        row = _as_row(stream, user, answer, self._items.encoded(stream, answer))
        return bool(self._db.execute(self._insert, (*row, *values)).rowcount)

    def other_slates(self, stream: int, answer: Answer) -> list[Answer]:
        """Return the other SLATE answers of an answer's event."""
        where = "where answer.stream = ? and event = ? and question = 'SLATE' and variant != ?"
        return list(self._answers(where, stream, answer.event_id, answer.variant))

    def events(self, stream: int) -> Iterator[Iterable[Answer]]:
        """Yield the answers of each event of a configuration."""
        answers = self._answers("where answer.stream = ? order by event, question", stream)
        for _, found in groupby(answers, key=lambda answer: answer.event_id):
            yield found

    def _answers(self, where: str, *parameters: object) -> Iterator[Answer]:
        num, metrics = len(_Columns._fields), len(self._metrics)
        for found in self._db.execute(f"{self._select} {where}", parameters):
            values = dict(zip(self._metrics, found[num : num + metrics], strict=True))
            user, experiment, fingerprint = found[num + metrics :]
            row = _Columns(*found[:num])
            question = Kind(row.question)
            yield Answer(
                event_id=row.event,
                experiment_id=experiment,
                config_fingerprint=fingerprint,
                occurred_at=row.occurred_at,
                user_id=user,
                question=question,
                variant=row.variant,
                control_variant=row.control,
                role=row.role,
                status=row.status,
                values={name: values[name] for name in self._by_question[question]},
                contested_mass=row.contested,
                segments=json.loads(row.segments) if row.segments else {},
                factors=tuple(map(tuple, json.loads(row.factors))) if row.factors else (),
                drawn=PairedDuel(*json.loads(row.drawn)) if row.drawn else None,
                overlap=row.overlap,
                tau=row.tau,
            )


def _as_row(stream: int, user: int, answer: Answer, offered: bytes | None) -> _Columns:
    return _Columns(
        stream=stream,
        event=answer.event_id,
        question=answer.question,
        variant=answer.variant,
        control=answer.control_variant,
        role=answer.role,
        user=user,
        occurred_at=answer.occurred_at,
        status=answer.status,
        contested=answer.contested_mass,
        segments=json.dumps(dict(answer.segments)) if answer.segments else None,
        factors=json.dumps(answer.factors) if answer.factors else None,
        drawn=json.dumps(astuple(replace(answer.drawn, slots=()))) if answer.drawn else None,
        overlap=answer.overlap,
        tau=answer.tau,
        offered=offered,
    )
