"""The sums of a comparison as all that reads them takes them, with what should have been asked and was not.

    series of the state                        what is read
    duel_share        user 3: 9 answered       duel_share   user 3: 9 answered, 2 missing
    not_asked_duel    user 3: 2                             user 7: 12 missing
                      user 7: 12

Whoever asks one duel of an epoch asks all of them, and whoever asks one slate of a user asks all of that user's: what
was not asked beside that is missing, for it may be what the candidate would have lost.  Slates of users of whom none
was asked are no gap, for whole users are left out by a hash (`report.asked`).

The rows are joined in SQL, so that an export reads them one at a time.
"""

import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from worker.experiment.metrics import DUEL_SHARE, METRICS
from worker.experiment.store.pairs import not_asked
from worker.experiment.store.sums import REASON

Name = tuple[str, str]  # (metric, segment); segment is name=value, or "" for all events
_ASKED = "select user, bucket, answered, missing, total, differs from total where series = {own}"
_UNASKED = "select user, max(bucket, {first}), 0, answered, 0, 0 from total where series = {unasked}"
_AMONG = " and user in (select user from total where series = {among})"


class UserTotal(NamedTuple):
    """What one user has in a series; `total` in whole numbers of 1 / UNIT."""

    name: str
    answered: int
    missing: int
    total: int
    differs: int
    first: int | None  # minute; None without an event there


@dataclass(frozen=True, slots=True)
class Series:
    """One metric and segment of a comparison, by the numbers of its series in the state."""

    metric: str
    segment: str
    own: int | None  # None: nothing of it was asked
    unasked: int | None = None  # whose events are missing in this one, too
    among: int | None = None  # of the users of this series alone; None is all users
    first: int = 0  # before which nothing was asked: a state of an older version has no minutes of what was not

    def rows(self) -> str:
        """Return the query of its rows: (user, bucket, answered, missing, total, differs).

        A user and bucket may stand in two rows.
        """
        numbers = {"own": self.own, "unasked": self.unasked, "among": self.among, "first": self.first}
        parts = [] if self.own is None else [_ASKED]
        if self.unasked is not None:
            parts.append(_UNASKED + ("" if self.among is None else _AMONG))
        return " union all ".join(parts).format_map(numbers)  # whole numbers alone


def series(db: sqlite3.Connection, epoch: int, candidate: str, control: str, *, primary: str) -> Iterator[Series]:
    """Yield what there is of a comparison, by metric and segment; also series that are no metrics.

    `primary` is the epoch's primary metric, which alone has segments.
    """
    query = """select metric, segment, id from series where epoch = ? and candidate = ? and control = ?
        and metric != ? order by metric, segment"""
    rows = db.execute(query, (epoch, candidate, control, REASON)).fetchall()
    numbers = {(metric, segment): number for metric, segment, number in rows}
    missing = gaps(numbers, primary)
    for name in sorted({*numbers, *missing}):
        if name not in missing:
            yield Series(*name, numbers[name])
            continue
        asked = numbers[name[0], ""]
        first = db.execute("select min(bucket) from total where series = ?", (asked,)).fetchone()[0]
        among = None if name[0] == DUEL_SHARE else asked
        yield Series(*name, numbers.get(name), numbers[missing[name]], among, int(first))


def by_user(db: sqlite3.Connection, one: Series, timed: Series | None) -> Iterator[UserTotal]:
    """Yield the sums of each user of a series, with the first minute that the user has in another one, `timed`."""
    first = timed.rows() if timed else "select null as user, null as bucket"
    query = f"""with
        first as materialized (select user, min(bucket) as bucket from ({first}) group by user),
        mine as materialized (select user, sum(answered) as answered, sum(missing) as missing, sum(total) as total,
            sum(differs) as differs from ({one.rows()}) group by user)
        select name, answered, missing, total, differs, first.bucket from mine join user on user.id = mine.user
        left join first on first.user = mine.user order by mine.user"""
    return map(UserTotal._make, db.execute(query))


def gaps(names: Collection[Name], primary: str) -> dict[Name, Name]:
    """Return which series has what is missing in a metric's series, beside what that one has.

    >>> gaps([("duel_share", ""), ("not_asked_duel", ""), ("not_asked_slates", "")], "duel_share")
    {('duel_share', ''): ('not_asked_duel', '')}
    """
    return {
        (metric, segment): (name, segment)
        for metric in METRICS
        if (metric, "") in names
        for name, segment in names
        if name == not_asked(metric) and (not segment or metric == primary)
    }
