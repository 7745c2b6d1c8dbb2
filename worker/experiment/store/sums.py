"""From answers to mergeable sums, inside a transaction that `state` holds.

An answer is kept if its name is new; the pairs that it completes go into sums by comparison, metric, segment, user
and minute.  Sums of one transaction are gathered here and written together: most users come more than once in it.

Values are summed as whole numbers of `1 / UNIT`: unlike floats, they add up to the same whatever the order and
however they were batched, so that a reader that was killed, or one that starts anew, ends with the same figures.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from worker.core.outcomes import Outcome
from worker.core.simulation.questions import Kind
from worker.experiment.definition import Definition
from worker.experiment.metrics import DUEL_SHARE, slate_metrics
from worker.experiment.quality.paired_draws import PairedDuel
from worker.experiment.quality.reasons import ANY
from worker.experiment.store.answer_rows import AnswerRows
from worker.experiment.store.answers import Answer
from worker.experiment.store.duel_text import CANDIDATE
from worker.experiment.store.engine_sums import Measures
from worker.experiment.store.examples import Examples
from worker.experiment.store.pairs import Aside, Pair, not_asked, pairs, placed
from worker.experiment.store.real_clicks import Real

UNIT = 1 << 30  # values to 1e-9; 8e9 fits an integer of SQLite's, the sum of a user's events of MAX_VALUE each
BUCKET_US = 60_000_000
MAX_USERS_BYTES = 128 << 20  # of users whose number in the state is remembered: about 700,000 with ids of 36 characters
USER_BYTES = 100  # of a dictionary's entry and a number, beside the name

FLIP, CHANCE, OVERLAP = "flip", "flip_chance", "overlap"  # series that are no metrics of a candidate
SIDE = "missing_side"  # another: of events with one answer missing, 1 if it is the candidate's
REASON = "reason"  # series whose rows are in the table of this name; the segment is a factor


@dataclass(slots=True)
class _Sum:
    answered: int = 0
    missing: int = 0
    total: int = 0  # of 1 / UNIT
    differs: int = 0

    def add(self, pair: Pair) -> None:
        if pair.value is None:
            self.missing += 1
        else:
            self.answered += 1
            self.total += round(pair.value * UNIT)
            self.differs += pair.differs


class Counting:
    """Writes answers and sums; the caller begins and ends transactions, and calls `flush` before the end."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use the connection of an open state."""
        self._db = db
        self._form: Definition | None = None  # of the last answer
        self._epoch_name = ""
        self.clear()

    def clear(self) -> None:
        """Drop what is remembered of the tables, because they changed or were rolled back."""
        self._users: dict[str, int] = {}
        self._users_bytes = 0
        self._ids: dict[tuple[object, ...], int] = {}
        self._sums: defaultdict[tuple[int, int, int], _Sum] = defaultdict(_Sum)
        self._pairs: defaultdict[tuple[int, str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._epochs: dict[int, list[int]] = {}
        self._asides: defaultdict[tuple[int, str], int] = defaultdict(int)
        self._reasons: defaultdict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
        self._examples, self._real, self._measures = Examples(self._db), Real(self._db), Measures(self._db)
        self._answers = AnswerRows(self._db)

    def take(self, answer: Answer, forms: Sequence[Definition]) -> bool:
        """Store an answer and count it; return False if it was stored before."""
        stream = self._id("stream", experiment=answer.experiment_id, fingerprint=answer.config_fingerprint)
        user = self._user(answer.user_id)
        if not self._answers.keep(stream, user, answer):
            return False
        others = self._answers.other_slates(stream, answer) if answer.question is Kind.SLATE else ()
        self._count(stream, user, answer, others, forms)
        self._examples.take(stream, user, answer)
        self._real.take_answer(stream, user, answer)
        if answer.drawn:
            self._measures.take_slots(stream, answer.drawn)
        return True

    def take_outcome(self, outcome: Outcome) -> None:
        """Store what a real user did."""
        self._real.take_outcome(outcome, self._user(outcome.user_id))

    def anew(self, experiment_id: str, forms: Sequence[Definition]) -> None:
        """Count all answers of an experiment again, because its definition changed or a user left."""
        streams = self._db.execute("select id from stream where experiment = ?", (experiment_id,)).fetchall()
        for (stream,) in streams:
            self._drop(stream)
        self.clear()
        for (stream,) in streams:
            for found in self._answers.events(stream):
                slates: list[Answer] = []
                for answer in found:
                    self._count(stream, self._user(answer.user_id), answer, slates, forms)
                    slates += [answer] if answer.question is Kind.SLATE else []
        self.flush()

    def flush(self) -> None:
        """Write the sums that were gathered."""
        self._db.executemany(
            """insert into total values (?, ?, ?, ?, ?, ?, ?) on conflict do update set
            answered = answered + excluded.answered, missing = missing + excluded.missing,
            total = total + excluded.total, differs = differs + excluded.differs""",
            [(*key, one.answered, one.missing, one.total, one.differs) for key, one in sorted(self._sums.items())],
        )
        self._db.executemany(
            """insert into pair values (?, ?, ?, ?, ?, ?, ?) on conflict do update set count = count + excluded.count,
            contested = contested + excluded.contested, num_contested = num_contested + excluded.num_contested""",
            [(*key, *sums) for key, sums in self._pairs.items()],
        )
        self._db.executemany(
            """update epoch set first = min(first, ?), last = max(last, ?), responses = responses + ?,
            slates = slates + ? where id = ?""",
            [(*values, epoch) for epoch, values in self._epochs.items()],
        )
        self._db.executemany(
            "insert into aside values (?, ?, ?) on conflict do update set count = count + excluded.count",
            [(*key, count) for key, count in self._asides.items()],
        )
        self._db.executemany(
            """insert into reason values (?, ?, ?, ?) on conflict do update set control = control + excluded.control,
            candidate = candidate + excluded.candidate""",
            [(*key, *counts) for key, counts in sorted(self._reasons.items())],
        )
        self._examples.flush()
        self._measures.flush()
        for gathered in (self._sums, self._pairs, self._epochs, self._asides, self._reasons):
            gathered.clear()

    def _count(
        self, stream: int, user: int, answer: Answer, others: Iterable[Answer],
        forms: Sequence[Definition],
    ) -> None:  # fmt: skip
        form = placed(answer, forms)
        if isinstance(form, Aside):
            self._asides[stream, form] += 1
            return
        epoch = self._id("epoch", stream=stream, key=self._epoch_of(form))
        self._note(epoch, answer)
        for pair in pairs(answer, others, form):
            self._add(epoch, user, answer, pair, form)

    def _epoch_of(self, form: Definition | None) -> str:
        """Return the name of a form's epoch; it is a digest, too slow to make for every answer."""
        if form is None:
            return ""
        if form is not self._form:
            self._form, self._epoch_name = form, form.epoch
        return self._epoch_name

    def _note(self, epoch: int, answer: Answer) -> None:
        seen = self._epochs.setdefault(epoch, [answer.occurred_at, answer.occurred_at, 0, 0])
        seen[0], seen[1] = min(seen[0], answer.occurred_at), max(seen[1], answer.occurred_at)
        seen[2] += 1
        seen[3] += answer.question is Kind.SLATE

    def _add(self, epoch: int, user: int, answer: Answer, pair: Pair, form: Definition | None) -> None:
        """Add a pair to its sums; the minute is kept of what is drawn over time, and segments of what is asked for."""
        primary = form.primary_metric if form else DUEL_SHARE
        decides = pair.metric in (primary, not_asked(primary))
        bucket = answer.occurred_at // BUCKET_US if decides else 0
        names = form.counted_segments if form and decides else ()
        values = (f"{name}={answer.segments[name]}" for name in names if name in answer.segments)
        for segment in ("", *values):
            series = self._id("series", epoch=epoch, candidate=pair.candidate, control=pair.control,
                              metric=pair.metric, segment=segment)  # fmt: skip
            self._sums[series, user, 0 if segment else bucket].add(pair)
        if pair.missing and pair.metric == slate_metrics()[0]:  # once an event
            self._add_beside(epoch, user, pair, SIDE, float(pair.missing == CANDIDATE))
        if pair.metric == DUEL_SHARE:
            if answer.drawn:
                self._add_draws(epoch, user, pair, answer.drawn)
            if answer.overlap is not None:
                self._add_beside(epoch, user, pair, OVERLAP, answer.overlap)
            self._measures.take_lists(
                epoch, pair.candidate, pair.control, {"overlap": answer.overlap, "tau": answer.tau}
            )
            sums = self._pairs[epoch, pair.candidate, pair.control, answer.status]
            sums[0] += 1
            sums[1] += round((answer.contested_mass or 0.0) * UNIT)
            sums[2] += answer.contested_mass is not None
            self._add_reasons(epoch, user, pair, answer.factors)

    def _add_draws(self, epoch: int, user: int, pair: Pair, drawn: PairedDuel) -> None:
        """Add what the draws say of the engine; flips by user, for the questions of one user are not independent."""
        self._measures.take_draws(epoch, pair.candidate, pair.control, drawn)
        self._add_beside(epoch, user, pair, FLIP, drawn.flip)
        self._add_beside(epoch, user, pair, CHANCE, drawn.chance)

    def _add_reasons(self, epoch: int, user: int, pair: Pair, factors: Sequence[tuple[str, ...]]) -> None:
        for side, *named in factors:
            for factor in (ANY, *named):
                series = self._id("series", epoch=epoch, candidate=pair.candidate, control=pair.control,
                                  metric=REASON, segment=factor)  # fmt: skip
                self._reasons[series, user][side == CANDIDATE] += 1

    def _add_beside(self, epoch: int, user: int, pair: Pair, metric: str, value: float | None) -> None:
        series = self._id("series", epoch=epoch, candidate=pair.candidate, control=pair.control,
                          metric=metric, segment="")  # fmt: skip
        self._sums[series, user, 0].add(replace(pair, metric=metric, value=value))

    def _user(self, name: str) -> int:
        found = self._users.get(name)
        if found is None:
            self._users_bytes += name.__sizeof__() + USER_BYTES
            if self._users_bytes > MAX_USERS_BYTES:
                self._users.clear()
                self._users_bytes = name.__sizeof__() + USER_BYTES
            found = self._users[name] = self._row("user", {"name": name})
        return found

    def _id(self, table: str, **key: object) -> int:
        name = (table, *key.values())
        if name not in self._ids:
            self._ids[name] = self._row(table, key)
        return self._ids[name]

    def _row(self, table: str, key: dict[str, object]) -> int:
        """Return the id of the row with this key, which is made if need be."""
        where = " and ".join(f"{column} = ?" for column in key)
        found = self._db.execute(f"select id from {table} where {where}", (*key.values(),)).fetchone()
        if found:
            return int(found[0])
        made = self._db.execute(f"insert into {table} ({', '.join(key)}) values ({_marks(len(key))})", (*key.values(),))
        return int(made.lastrowid or 0)

    def _drop(self, stream: int) -> None:
        epochs = "(select id from epoch where stream = ?)"
        for table in ("total", "reason"):
            series = f"(select id from series where epoch in {epochs})"
            self._db.execute(f"delete from {table} where series in {series}", (stream,))
        for table in ("series", "pair", "measure"):
            self._db.execute(f"delete from {table} where epoch in {epochs}", (stream,))
        for table in ("epoch", "aside"):
            self._db.execute(f"delete from {table} where stream = ?", (stream,))


def _marks(number: int) -> str:
    return ", ".join("?" * number)
