"""The state of a reader in one SQLite file: answers, sums, and the positions in the topics, committed together.

    answer     each answer once, by (experiment, configuration, event, question, variant): the facts
    total      mergeable sums by comparison, metric, segment, user and minute: made from the answers (`sums`)
    example    the duels that went furthest, with what people are shown of them (`examples`)
    taken      when each form of a definition was taken, which says whether it was defined before its data
    position   the next offset of each partition
    topic      the id of each topic that the positions belong to: one that is made anew keeps its name, not its id

`take` writes the answers of a batch, what they add to the sums, and the positions after it in one transaction: a
reader that is killed continues from its last commit: nothing is counted twice, nothing is lost.  The sums depend
neither on the order of the answers nor on how they were batched.  A definition that arrives or
changes has them computed again from the answers (`define`).  A forgotten user stays forgotten: a hash of the id is
kept to refuse it.
"""

import json
import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from worker.core.errors import BadSettings, Retryable
from worker.core.outcomes import Outcome
from worker.core.records import Partition
from worker.core.seeding import digest
from worker.core.steering.orders import OPENS_AN_EPOCH
from worker.experiment.definition import Definition, as_record, from_record, revised_at
from worker.experiment.readout import KeptBacktest
from worker.experiment.store import tables
from worker.experiment.store.answers import Answer
from worker.experiment.store.backtests import write_backtest
from worker.experiment.store.sums import Counting

log = logging.getLogger(__name__)

MAX_FORMS = 50  # of one definition that open an epoch; each one more has all of its experiment's answers counted anew


def _opened_to_read(path: Path) -> sqlite3.Connection:
    """Return a connection that changes nothing: no tables are made, and no file of another version is taken over."""
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
        tables.check(db, path, is_current=True)
    except sqlite3.DatabaseError as error:
        raise BadSettings(f"--state {path}: {error}; want a file that this program made") from error
    return db


def _opened(path: Path | None) -> sqlite3.Connection:
    """Return a connection to a state, with its tables."""
    try:
        db = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:  # which says "unable to open database file" of all
        raise BadSettings(f"--state {path}: {error}; want a file that can be written") from error
    try:
        tables.check(db, path)
        db.execute("pragma journal_mode = wal")
        db.execute("pragma secure_delete = on")  # what is forgotten is overwritten; not every SQLite does by default
        db.execute("pragma synchronous = normal")  # a power cut may cost commits, positions and all
        tables.prepare(db, path)
    except sqlite3.OperationalError as error:
        db.close()
        raise BadSettings(f"--state {path}: {error}; want a file that can be written, in a folder that can") from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise BadSettings(f"--state {path}: {error}; want a file that this program made, or none") from error
    except BaseException:
        db.close()
        raise
    return db


class State:
    """The state of a readout; one process at a time writes it, any number may read."""

    def __init__(self, path: Path | None = None, *, to_read: bool = False) -> None:
        """Open or make a file; without one everything stays in memory.

        `to_read` leaves the file as it is, which a reader of an older version may be writing.  Raises `BadSettings` if
        it cannot be written, or is no state of ours, or, `to_read`, of another version; then nothing of it is changed.
        """
        self._db = _opened_to_read(path) if to_read and path else _opened(path)
        self._counting = Counting(self._db)
        self._seen = self._written_by_others()  # before what it is about: what is written meanwhile is read once more
        self._forms = self._read_forms()
        self._forgotten = self._read_forgotten()
        if not to_read:
            self._rename_taken()
            self._count_renamed_epochs()
        elif self._renamed():
            self.close()
            raise BadSettings(f"--state {path}: its figures are being counted anew; try again when its reader is done")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for queries."""
        return self._db

    @property
    def version(self) -> int:
        """A number that grows with every change of the state, whoever makes it."""
        return int(self._db.execute("select coalesce(max(number), 0) from change").fetchone()[0])

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read several queries from one snapshot, whatever another connection writes meanwhile."""
        self._db.execute("begin")
        try:
            self._forms = self._read_forms()
            yield
        finally:
            self._db.execute("rollback")

    def positions(self) -> dict[Partition, int]:
        """Return the next offset of each partition that was read."""
        rows = self._db.execute("select topic, partition, next from position")
        return {Partition(topic, number): offset for topic, number, offset in rows}

    def topic_ids(self) -> dict[str, str]:
        """Return the id of each topic that the positions belong to; a file of an older version has none."""
        return dict(self._db.execute("select name, id from topic"))

    def forms(self, experiment_id: str) -> Sequence[Definition]:
        """Return the versions of an experiment's definition, by `since`."""
        return self._forms.get(experiment_id, ())

    def taken_at(self, experiment_id: str) -> dict[str, int]:
        """Return when each form of a definition was taken, by epoch; forms of an older file are not there.

        Forms that a later one replaced altogether are still there: they were looked at.
        """
        query = "select epoch, at from taken where experiment = ?"
        return dict(self._db.execute(query, (experiment_id,)))

    def experiments(self) -> list[str]:
        """Return the ids of all experiments that something was read of, or that are defined."""
        read = {name for (name,) in self._db.execute("select distinct experiment from stream")}
        return sorted(filter(None, read | self._forms.keys()))

    def health(self) -> dict[str, int]:
        """Return the number of records read, and of those that could not be used, by reason."""
        return dict(self._db.execute("select name, count from health order by name"))

    def take(
        self,
        answers: Iterable[Answer],
        *,
        outcomes: Iterable[Outcome] = (),
        health: Mapping[str, int],
        positions: Mapping[Partition, int],
        topic_ids: Mapping[str, str] | None = None,
        made_anew: Sequence[str] = (),
    ) -> None:
        """Count answers that are new and move on to `positions`, in one transaction; `health` counts what was read.

        `topic_ids` are the topics' that the positions belong to; old positions of those in `made_anew` are forgotten.
        """
        counted = Counter(health)
        with self._transaction():
            for outcome in outcomes:
                counted["forgotten_user"] += not self._take_outcome(outcome)
            for answer in answers:
                trouble = self._trouble(answer)
                counted[trouble] += bool(trouble)
            self._counting.flush()
            self._db.executemany("delete from position where topic = ?", [(topic,) for topic in made_anew])
            self._db.executemany("insert or replace into topic values (?, ?)", list((topic_ids or {}).items()))
            rows = [(where.topic, where.number, offset) for where, offset in positions.items()]
            self._db.executemany("insert or replace into position values (?, ?, ?)", rows)
            self._db.executemany(
                "insert into health values (?, ?) on conflict do update set count = count + excluded.count",
                [(name, count) for name, count in counted.items() if count],
            )

    def define(self, definition: Definition, *, taken_at: int = 0) -> Definition:
        """Store a definition, or a new version of one; return it with the `revised_at` that it got.

        `taken_at` is when Kafka took it, or when it was given, in microseconds; 0 is before any data.  Of a form that
        is taken again, the first time counts; a record that is read again, because the topics are, changes nothing.

        A form that says no `revised_at` holds from when it was taken, and from after what was counted under the one
        before it: what was looked at under one rule is never counted again under another.  One before it that never
        held, because it was replaced before its start, is left out.  Raises `BadSettings`, with nothing changed, for
        one of too many forms.
        """
        self._refresh()
        found, forms = self._with(definition, taken_at)
        if forms is None:
            return found  # as nearly always: that needs no lock
        name = definition.experiment_id
        with self._transaction():
            found, forms = self._with(definition, taken_at)  # again: another process may have defined it meanwhile
            if forms is not None:
                self._take_form(found, taken_at, kept=forms if self._is_untouched(name) else None)
                is_other = [one.epoch for one in forms] != [one.epoch for one in self.forms(name)]
                self._write_forms(name, forms)
                if is_other:  # else nothing that answers are counted by is new, such as `draws`
                    self._counting.anew(name, forms)
        return found

    def _with(self, definition: Definition, taken_at: int) -> tuple[Definition, list[Definition] | None]:
        """Return a definition as it is to be stored, and all forms with it; None of these if nothing is to be written.

        See `define`.
        """
        name = definition.experiment_id
        old, newest, taken = list(self.forms(name)), self._newest(name), self.taken_at(name)
        was_taken = {
            epoch for epoch, at in taken.items() if epoch.partition("@")[0] == definition.key and at == taken_at
        }
        if taken_at and was_taken:
            return next((form for form in old if form.epoch in was_taken), definition), None
        if old and old[-1].key == definition.key:
            definition = replace(definition, revised_at=old.pop().revised_at)
        elif old and definition.revised_at is None:
            since = revised_at(old[-1], definition, newest=newest, taken_at=taken_at)
            never_held = newest < 0 and since <= old[-1].since
            old, definition = ([], definition) if never_held else (old, replace(definition, revised_at=since))
        forms = [*(form for form in old if form.since < definition.since), definition]
        if len(forms) > MAX_FORMS or len(taken.keys() | {definition.epoch}) > max(MAX_FORMS, len(taken)):
            raise BadSettings(
                f"{name}: {', '.join(OPENS_AN_EPOCH[:4])} and what else a verdict depends on changed {MAX_FORMS} times,"
                " want no more; what was defined before holds: define an experiment of another id"
            )
        is_known = definition in self.forms(name)
        if is_known and definition.epoch not in taken and taken_at > newest:
            return definition, None  # of a file that kept no times: this one is not when it was first taken
        is_new = not is_known or forms != list(self.forms(name))
        return definition, forms if is_new or taken_at < taken.get(definition.epoch, taken_at + 1) else None

    def forget(self, user_id: str) -> int:
        """Delete all data of a user and refuse it from now on; return the number of deleted answers.

        Nothing of it stays in the file's free pages.  SQLite's log (`-wal`) is emptied too, unless a reader still reads
        from it, which is logged; then the last one who closes the file deletes it.
        """
        gone = self._forget(user_id)
        is_left = True
        with suppress(sqlite3.OperationalError):  # the transaction is done; another process writes
            is_left = bool(self._db.execute("pragma wal_checkpoint(truncate)").fetchone()[0])
        if is_left:
            log.warning(
                "the log beside the state file (-wal) could not be emptied, because another process reads or writes "
                "it: it may still have data of this user; run the same command again once that process is done"
            )
        return gone

    def _forget(self, user_id: str) -> int:
        with self._transaction():
            self._forgotten.add(digest("user", user_id))
            self._db.executemany("insert or ignore into forgotten values (?)", [(one,) for one in self._forgotten])
            found = self._db.execute("select id from user where name = ?", (user_id,)).fetchone()
            if found is None:
                return 0
            streams = "select distinct stream from answer where user = ?"
            touched = self._db.execute(f"select distinct experiment from stream where id in ({streams})", found)
            experiments = touched.fetchall()
            mine = "select stream, event from answer where user = ?"
            self._db.execute(f"delete from target where (stream, event) in ({mine})", found)
            gone = self._db.execute("delete from answer where user = ?", found).rowcount
            for table in ("example", "shown", "outcome"):
                self._db.execute(f"delete from {table} where user = ?", found)
            self._db.execute("delete from user where id = ?", found)
            for (name,) in experiments:
                self._counting.anew(name, self.forms(name))
        return gone

    def keep_backtest(self, one: KeptBacktest) -> None:
        """Store the result of a backtest, the last one of each configuration."""
        with self._transaction():
            write_backtest(self._db, one)

    def reset(self) -> None:
        """Delete all that was read, positions too; definitions, forgotten users and backtests are kept."""
        with self._transaction():
            self._db.execute("insert or ignore into looked select distinct experiment from stream")
            for table in (*tables.DERIVED, *tables.READ):
                self._db.execute(f"delete from {table}")
            self._counting.clear()

    def _is_forgotten(self, user_id: str) -> bool:
        return bool(self._forgotten) and digest("user", user_id) in self._forgotten

    def _take_outcome(self, outcome: Outcome) -> bool:
        if self._is_forgotten(outcome.user_id):
            return False
        self._counting.take_outcome(outcome)
        return True

    def _trouble(self, answer: Answer) -> str:
        """Count one answer; return the reason that data health counts, or ""."""
        if self._is_forgotten(answer.user_id):
            return "forgotten_user"
        new = self._counting.take(answer, self.forms(answer.experiment_id))
        return answer.trouble if new else "duplicate"

    def _rename_taken(self) -> None:
        """Keep when each form was taken under the name that its epoch has now."""
        changed = [
            (form.epoch, name, form.epoch_before)
            for name, forms in self._forms.items()
            for taken in [self.taken_at(name)]
            for form in forms
            # Where both names are known, the older one is another form's that was looked at.
            if form.epoch_before in taken and form.epoch not in taken
        ]
        if not changed:
            return  # as nearly always: to open a file needs no lock that its reader may hold
        with self._transaction():
            query = "update or ignore taken set epoch = ? where experiment = ? and epoch = ?"
            self._db.executemany(query, changed)

    def _count_renamed_epochs(self) -> None:
        """Count the experiments anew whose epochs have other names: an older version named them by another rule."""
        if not self._renamed():
            return
        with self._transaction():
            self._forms = self._read_forms()  # the writer may have taken another form meanwhile, and counted under it
            for name in self._renamed():
                self._counting.anew(name, self.forms(name))

    def _renamed(self) -> list[str]:
        found: dict[str, set[str]] = {}
        for name, key in self._db.execute("select experiment, key from epoch join stream on stream.id = stream"):
            found.setdefault(name, set()).add(key)
        known = {name: {form.epoch for form in self.forms(name)} or {""} for name in found}
        return [name for name, keys in found.items() if keys - known[name]]

    def _is_untouched(self, experiment_id: str) -> bool:
        """Return whether nobody can have looked at an experiment: nothing was ever counted of it."""
        looked = self._db.execute("select 1 from looked where experiment = ?", (experiment_id,)).fetchone()
        return looked is None and self._newest(experiment_id) < 0

    def _newest(self, experiment_id: str) -> int:
        """Return the time of the newest event that was read, or -1."""
        query = "select max(last) from epoch join stream on stream.id = stream where experiment = ?"
        found = self._db.execute(query, (experiment_id,)).fetchone()[0]
        return -1 if found is None else int(found)

    def _take_form(self, form: Definition, taken_at: int, *, kept: Sequence[Definition] | None) -> None:
        """Note when a form was taken; before any data, nobody looked at those that are not `kept`."""
        if kept is not None:
            marks = ", ".join("?" * len(kept))
            self._db.execute(
                f"delete from taken where experiment = ? and epoch not in ({marks})",
                (form.experiment_id, *(one.epoch for one in kept)),
            )
        self._db.execute(
            "insert into taken values (?, ?, ?) on conflict do update set at = min(at, excluded.at)",
            (form.experiment_id, form.epoch, taken_at),
        )

    def _write_forms(self, experiment_id: str, forms: Sequence[Definition]) -> None:
        self._db.execute("delete from definition where experiment = ?", (experiment_id,))
        rows = [(experiment_id, form.since, json.dumps(as_record(form))) for form in forms]
        self._db.executemany("insert into definition values (?, ?, ?)", rows)
        self._forms[experiment_id] = tuple(forms)

    def _read_forms(self) -> dict[str, tuple[Definition, ...]]:
        forms: dict[str, tuple[Definition, ...]] = {}
        for name, record in self._db.execute("select experiment, record from definition order by experiment, since"):
            forms[name] = (*forms.get(name, ()), from_record(json.loads(record)))
        return forms

    def _read_forgotten(self) -> set[bytes]:
        return {hashed for (hashed,) in self._db.execute("select hash from forgotten")}

    def _written_by_others(self) -> int:
        """Return a number that changes with each commit of another connection."""
        return int(self._db.execute("pragma data_version").fetchone()[0])

    def _refresh(self) -> None:
        """Drop what is cached of the tables if another process has written them, such as one that forgets a user.

        That user's records are to be refused from then on, and the number of the user may be another one's by now.
        """
        if (seen := self._written_by_others()) != self._seen:
            self._seen = seen
            self._forgotten, self._forms = self._read_forgotten(), self._read_forms()
            self._counting.clear()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit all or nothing; a rollback also clears what was cached of the tables.

        Raises `Retryable` while another process writes for long, such as one that forgets a user.
        """
        try:
            self._db.execute("begin immediate")
        except sqlite3.OperationalError as error:
            raise Retryable(f"the state file cannot be written: {error}; another process may be writing it") from error
        try:
            self._refresh()
            yield
            self._db.execute("insert into change select coalesce(max(number), 0) + 1 from change")
            self._db.execute("delete from change where number < (select max(number) from change)")
            self._db.execute("commit")
        except BaseException:
            self._db.execute("rollback")
            self._counting.clear()
            self._forms = self._read_forms()
            raise
