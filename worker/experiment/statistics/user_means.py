"""From sums by user to estimates: each user is one value, the mean of the user's events so far.

    user  minute  answered  total        value
    u0    10      1         0.8     ->   u0: (0.8 + 0.5) / 2 = 0.65
    u0    12      1         0.5          u1: 0.5
    u1    11      1         0.5          mean over users 0.575

Users are weighed alike however often they come; whoever only has missing answers has no value and counts in the worst
case alone.  Means are exactly rounded sums, so figures do not depend on the order in which users were first seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import fsum, isinf

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics import confidence as stats, cuped as adjusted, empirical_bernstein

MAX_POINTS = 60  # of a timeline
MAX_CLOCKS_AHEAD = 9  # users who are believed to be wrong about the time before the time is believed
LEAST_CLOCKS = 2  # that agree on a time before it is believed, where there are two
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UserSums:
    """Columns of one comparison, one row per user and bucket; `total` in whole numbers of 1 / unit."""

    user: Counts
    bucket: Counts
    answered: Counts
    missing: Counts
    total: Counts
    differs: Counts
    unit: int

    @classmethod
    def of(cls, rows: Sequence[tuple[int, ...]], *, unit: int) -> "UserSums":
        """Store rows of (user, bucket, answered, missing, total, differs)."""
        user, bucket, answered, missing, total, differs = np.array(rows, dtype=np.int64).reshape(-1, 6).T
        return cls(user, bucket, answered, missing, total, differs, unit)


@dataclass(frozen=True, slots=True)
class Rule:
    """How an estimate is made: the metric's bounds, and what the interval promises."""

    alpha: float
    planned_users: int
    bounds: tuple[float, float] = (0.0, 1.0)


class Users:
    """One value per user, from the rows of one comparison.

    >>> rows = [(0, 10, 1, 0, 8, 1), (0, 12, 1, 0, 5, 0), (1, 11, 1, 0, 5, 0)]
    >>> users = Users(UserSums.of(rows, unit=10), Rule(0.05, 5_000))
    >>> users.overall().value, users.triggered().value, str(users.worst_case())
    (0.575, 0.65, '0.575 to 0.575')
    """

    def __init__(self, sums: UserSums, rule: Rule) -> None:
        """Add up the rows of each user."""
        self._ids, index = np.unique(sums.user, return_inverse=True)
        self._sums, self._rule, self._index = sums, rule, index
        self._num = int(index.max()) + 1 if index.size else 0
        self._answered, self._total, self._differs = self._until(len(sums.user), np.arange(len(sums.user)))
        self._missing = np.bincount(index, sums.missing, self._num)

    @property
    def ids(self) -> Counts:
        """The users who have a value, ascending."""
        return np.asarray(self._ids[self._answered > 0])

    @property
    def everyone(self) -> Counts:
        """The users of whom there is a pair, with an answer or without, ascending."""
        return np.asarray(self._ids)

    def values(self) -> Values:
        """Return the value of each user who has one, in the order of `ids`."""
        seen = self._answered > 0
        return np.asarray(self._total[seen] / self._answered[seen])

    def inverse_events(self) -> list[float]:
        """Return 1 / answered events of each user who has a value."""
        return [float(value) for value in 1 / self._answered[self._answered > 0]]

    def closed(self, window_buckets: int, *, alpha: float | None = None) -> stats.Estimate | None:
        """Return the mean over users whose first window is over, each counted once; None before one is.

        None too of a metric without bounds.  `alpha` is the rule's by default.
        """
        (values, moments), (low, high) = self._closed_values(window_buckets), self._rule.bounds
        if not values.size or isinf(high - low):
            return None
        found = empirical_bernstein.interval(values, moments, low=low, high=high, alpha=alpha or self._rule.alpha)
        return stats.Estimate(values.size, float(values.mean()), found)

    def _closed_values(self, window_buckets: int) -> tuple[Values, Counts]:
        """Return the means over the first window of each user whose window is over, and when it began, ascending.

        The data's own events say what is over: what a few users have reached, not the newest one of all, whose clock
        may be ahead.
        """
        sums = self._sums
        if not self._num:
            return np.empty(0), np.empty(0, np.int64)
        first = np.full(self._num, np.iinfo(np.int64).max)
        np.minimum.at(first, self._index, sums.bucket)
        inside = sums.bucket < first[self._index] + window_buckets
        answered = np.bincount(self._index[inside], sums.answered[inside], self._num)
        total = np.bincount(self._index[inside], sums.total[inside], self._num) / sums.unit
        last = np.zeros(self._num, np.int64)
        np.maximum.at(last, self._index, sums.bucket)
        over = (first + window_buckets <= reached(last)) & (answered > 0)
        values = total[over] / answered[over]
        order = np.lexsort((values, first[over]))  # by value within a moment: sums round alike, whoever came first
        return values[order], first[over][order]

    def miss_rates(self) -> list[float]:
        """Return the share of pairs without an answer of each user."""
        return [float(rate) for rate in self._missing / (self._answered + self._missing)]

    def num_events(self) -> Counts:
        """Return the number of answered events of each user who has a value, in the order of `ids`."""
        return np.asarray(self._answered[self._answered > 0], dtype=np.int64)

    @property
    def num_pairs(self) -> int:
        """How many pairs there are, with an answer or without."""
        return int(self._answered.sum() + self._missing.sum())

    @property
    def num_missing(self) -> int:
        """How many pairs have no answer."""
        return int(self._missing.sum())

    def overall(self) -> stats.Estimate:
        """Return the mean over all users with an answer."""
        return self._estimate(self._answered > 0, self._answered, self._total, self._differs)

    def among(self, ids: Sequence[int]) -> stats.Estimate:
        """Return the mean over some users with an answer, by their ids."""
        some = np.isin(self._ids, np.array(ids, np.int64)) & (self._answered > 0)
        return self._estimate(some, self._answered, self._total, self._differs)

    def triggered(self) -> stats.Estimate:
        """Return the mean over the users whose slates differ, all their pairs."""
        return self._estimate(self._differs > 0, self._answered, self._total, self._differs)

    def shown_from(self) -> int:
        """Return the bucket from which on there are users enough for an interval; the last one where there are not.

        Buckets are those of the events, whatever the order in which they were counted.
        """
        sums = self._sums
        firsts = (
            (stats.MIN_USERS, _firsts(self._index, sums.bucket, sums.answered > 0, self._num)),
            (stats.MIN_DIFFERING, _firsts(self._index, sums.bucket, sums.differs > 0, self._num)),
        )
        last = int(sums.bucket.max(initial=0))
        return max(int(np.partition(first, least - 1)[least - 1]) if first.size >= least else last
                   for least, first in firsts)  # fmt: skip

    def by_event(self, *, triggered: bool = False) -> stats.Estimate:
        """Return the mean over answered events of all users, or of those whose slates differ."""
        who = self._differs > 0 if triggered else self._answered > 0
        return self._around(adjusted.by_event(self._total[who], self._answered[who]), who)

    def cuped(self, covariate: "Users") -> stats.Estimate | None:
        """Return the overall mean adjusted by a covariate (CUPED); None where every eligible user has an answer.

        Eligible are the users whom `covariate` knows; one with an answer whom it does not know is left out.
        """
        both, mine, theirs = np.intersect1d(self.ids, covariate.ids, assume_unique=True, return_indices=True)
        everyone = covariate.values()
        if both.size == everyone.size:
            return None
        found = adjusted.cuped(self.values()[mine], everyone[theirs], everyone)
        return self._around(found, np.isin(self._ids, both))

    def _around(self, found: adjusted.Moments | None, who: NDArray[np.bool_]) -> stats.Estimate:
        return stats.around(
            found.mean if found else None,
            found.sd if found else 0.0,
            users=found.users if found else int(np.count_nonzero(who)),
            num_differ=int(np.count_nonzero(self._differs[who])),
            alpha=self._rule.alpha,
            planned_users=self._rule.planned_users,
            bounds=self._rule.bounds,
        )

    def worst_case(self, absent: Mapping[int, float] | None = None, *, share: float = 1.0) -> stats.Interval | None:
        """Return the mean over all users if every missing pair were at the lower bound, and at the upper.

        `absent` are pairs by user that were never asked, because a slate was not there: they are missing too.  Of
        users who have no pair at all, `share` would have been asked.  None without users, and of a metric without
        bounds.
        """
        more, low, high = dict(absent or {}), *self._rule.bounds
        missing = self._missing + np.array([more.pop(int(user), 0.0) for user in self._ids])
        pairs, strangers = self._answered + missing, share * sum(1 for number in more.values() if number)
        if not self._num or isinf(high - low):
            return None
        ends = [
            (fsum((self._total + end * missing) / pairs) + end * strangers) / (self._num + strangers)
            for end in (low, high)
        ]
        return stats.Interval(max(low, ends[0]), min(high, ends[1]))

    def timeline(self) -> list[tuple[int, stats.Estimate]]:
        """Return (end of a bucket, overall estimate of all that came before it), oldest first."""
        order = np.argsort(self._sums.bucket, kind="stable")
        buckets = self._sums.bucket[order]
        points = []
        for end in _ends(buckets):
            upto = int(np.searchsorted(buckets, end))
            answered, total, differs = self._until(upto, order)
            points.append((end, self._estimate(answered > 0, answered, total, differs)))
        return points

    def _until(self, upto: int, order: NDArray[np.intp]) -> tuple[Values, Values, Values]:
        """Return answered, total and differs by user over the first rows in this order."""
        rows = order[:upto]
        columns = (self._sums.answered, self._sums.total, self._sums.differs)
        answered, total, differs = (
            np.bincount(self._index[rows], one[rows], self._num).astype(np.float64) for one in columns
        )
        return answered, total / self._sums.unit, differs  # whole numbers add up exactly, in any order

    def _estimate(self, who: NDArray[np.bool_], answered: Values, total: Values, differs: Values) -> stats.Estimate:
        return stats.estimate(
            (total[who] / answered[who]).tolist(),
            num_differ=int(np.count_nonzero(differs[who])),
            alpha=self._rule.alpha,
            planned_users=self._rule.planned_users,
            bounds=self._rule.bounds,
        )


def reached(last: Counts) -> int:
    """Return the bucket that several users have reached, from the last one of each: a few clocks ahead move it not.

    >>> reached(np.array([7, 7, 8, 9])), reached(np.array([7] * 95 + [10_000] * 5)), reached(np.array([7]))
    (8, 7, 7)
    """
    rank = min(last.size, max(LEAST_CLOCKS, min(MAX_CLOCKS_AHEAD + 1, last.size // 10)))
    return int(np.partition(last, -rank)[-rank])


def _firsts(user: NDArray[np.intp], bucket: Counts, counts: NDArray[np.bool_], num: int) -> Counts:
    """Return the first bucket of each user with a row that counts."""
    first = np.full(num, np.iinfo(np.int64).max)
    np.minimum.at(first, user[counts], bucket[counts])
    return first[first < np.iinfo(np.int64).max]


def _ends(buckets: Counts) -> list[int]:
    """Choose where points stand: evenly in time, at buckets that hold something, the last one always.

    >>> _ends(np.array([3, 3, 4, 9])), len(_ends(np.arange(1000)))
    ([4, 5, 10], 60)
    """
    ends = np.unique(buckets) + 1
    if ends.size <= MAX_POINTS:
        return [int(end) for end in ends]
    wanted = np.linspace(ends[0], ends[-1], MAX_POINTS)
    return sorted({int(ends[index]) for index in np.searchsorted(ends, wanted - 0.5)})
