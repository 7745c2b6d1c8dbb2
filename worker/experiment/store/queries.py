"""What a report asks of the state: rows as the tables have them, named."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.experiment.quality.absent_slates import Served
from worker.experiment.quality.reasons import Named
from worker.experiment.statistics.user_means import UserSums
from worker.experiment.store.series import series
from worker.experiment.store.sums import REASON, UNIT

NOTHING = UserSums.of([], unit=UNIT)


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One configuration under one form of a definition; times in microseconds."""

    id: int
    stream: int  # of the configuration
    experiment_id: str
    fingerprint: str
    key: str
    first: int
    last: int
    responses: int
    slates: int


@dataclass(frozen=True, slots=True)
class PairRow:
    """How many duels of a candidate and a control ended in one status; contested mass is their sum."""

    candidate: str
    control: str
    status: str
    count: int
    contested: float
    num_contested: int


def epochs(db: sqlite3.Connection) -> list[EpochRow]:
    """Return every epoch, by experiment and newest event."""
    query = """select epoch.id, stream, experiment, fingerprint, key, first, last, responses, slates
        from epoch join stream on stream.id = stream order by experiment, last, fingerprint, key"""
    return [EpochRow(*row) for row in db.execute(query)]


def newest_minutes(db: sqlite3.Connection, epoch: int, metric: str) -> dict[int, int]:
    """Return the minute of each user's newest pair of a metric; by minute only for an epoch's primary metric."""
    query = """select user, max(bucket) from series join total on series = id
        where epoch = ? and metric = ? and segment = '' group by user"""
    return dict(db.execute(query, (epoch, metric)))


def epoch_named(db: sqlite3.Connection, experiment_id: str, fingerprint: str) -> int | None:
    """Return the epoch of an experiment in one configuration, the newest one; None if there is none."""
    query = """select epoch.id from epoch join stream on stream.id = stream where experiment = ? and fingerprint = ?
        order by last desc limit 1"""
    found = db.execute(query, (experiment_id, fingerprint)).fetchone()
    return int(found[0]) if found else None


def pair_rows(db: sqlite3.Connection, epoch: int) -> list[PairRow]:
    """Return the duels of an epoch, by candidate and control."""
    query = """select candidate, control, status, count, contested, num_contested from pair where epoch = ?
        order by candidate, control, status"""
    return [
        PairRow(candidate, control, status, count, contested / UNIT, num)
        for candidate, control, status, count, contested, num in db.execute(query, (epoch,))
    ]


def served(
    db: sqlite3.Connection,
    row: EpochRow,
    candidate: str,
    control: str,
    eligible: Mapping[str, Sequence[str]],
    *,
    is_duel: bool,
) -> list[Served]:
    """Return each user's events of either side in an epoch, and how many lack what the primary metric compares.

    That is the duel of both for one that `is_duel`'s, and else a slate of each: whichever record never came.
    `eligible` has the values of the segments that the candidate serves; an event with another one does not count.
    """
    named: dict[str, object] = {"duel": is_duel, "candidate": candidate, "control": control, "stream": row.stream}
    named |= {"first": row.first, "last": row.last}
    fits = ""
    for number, (name, values) in enumerate(eligible.items()):  # a name may hold what means something in a path of JSON
        wanted = {f"value_{number}_{place}": value for place, value in enumerate(values)}
        named |= {f"segment_{number}": name, **wanted}
        fits += f""" and exists (select 1 from json_each(segments)
            where key = :segment_{number} and value in ({", ".join(f":{one}" for one in wanted)}))"""
    query = f"""select user, count(*), sum(not iif(:duel, duelled, mine and theirs)) from (
            select min(user) as user, max(:candidate = variant) as mine, max(:control in (variant, control)) as theirs,
            max(question = 'DUEL' and variant = :candidate and control = :control) as duelled from answer
            where stream = :stream and occurred_at between :first and :last{fits} group by event)
        where mine or theirs group by user order by user"""
    return [Served(user, events, absent) for user, events, absent in db.execute(query, named)]


def user_name(db: sqlite3.Connection, number: int) -> str:
    """Return the id of a user from its number in the state."""
    return str(db.execute("select name from user where id = ?", (number,)).fetchone()[0])


def compared(db: sqlite3.Connection, epoch: int) -> list[tuple[str, str]]:
    """Return (candidate, control) of every comparison of an epoch."""
    query = "select distinct candidate, control from series where epoch = ? order by candidate, control"
    return [(candidate, control) for candidate, control in db.execute(query, (epoch,))]


def num_candidates(db: sqlite3.Connection, row: EpochRow) -> int:
    """Return how many candidates have answers in the time of an epoch, whether its definition names them or not."""
    query = """select count(distinct variant) from answer where stream = ? and occurred_at between ? and ?
        and (question = 'DUEL' or role = 'CANDIDATE')"""
    return int(db.execute(query, (row.stream, row.first, row.last)).fetchone()[0])


def sums(
    db: sqlite3.Connection, epoch: int, candidate: str, control: str, *, primary: str
) -> Iterator[tuple[str, str, UserSums]]:
    """Yield (metric, segment, sums) of a comparison, with what is missing (`store.series`); segment is as there."""
    for one in series(db, epoch, candidate, control, primary=primary):
        yield one.metric, one.segment, UserSums.of(db.execute(one.rows()).fetchall(), unit=UNIT)


def reasons(db: sqlite3.Connection, epoch: int, candidate: str, control: str) -> Iterator[Named]:
    """Yield how many draws of each user named a factor."""
    query = """select segment, user, reason.control, reason.candidate from series join reason on series = id
        where epoch = ? and series.candidate = ? and series.control = ? and metric = ?"""
    return map(Named._make, db.execute(query, (epoch, candidate, control, REASON)))


class ExampleRow(NamedTuple):
    """One duel that went far; `told` is what people are shown of it, as JSON."""

    event: str
    occurred_at: int
    user_id: str
    share: float
    told: str
    user: int  # its number in the state
    segments: str | None  # as JSON


def examples(
    db: sqlite3.Connection,
    epoch: int,
    candidate: str,
    control: str,
    *,
    wins: bool,
    between: tuple[int, int],
    limit: int,
) -> list[ExampleRow]:
    """Return the duels that went furthest, `between` two times."""
    query = f"""select example.event, example.occurred_at, name, share, told, user.id, segments
        from example join epoch on epoch.stream = example.stream join user on user.id = example.user
        join answer on answer.stream = example.stream and answer.event = example.event and question = 'DUEL'
            and answer.variant = candidate
        where epoch.id = ? and candidate = ? and example.control = ? and example.occurred_at >= ?
        and example.occurred_at < ? and share {"> 0.5" if wins else "< 0.5"}
        order by share {"desc" if wins else "asc"}, example.event limit ?"""
    return [ExampleRow(*row) for row in db.execute(query, (epoch, candidate, control, *between, limit))]


def asides(db: sqlite3.Connection) -> dict[str, int]:
    """Return how many answers are in no figure, by reason."""
    return dict(db.execute("select reason, sum(count) from aside group by reason"))
