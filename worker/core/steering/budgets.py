"""Budgets of tokens: whose events are asked while an hour's, a day's or an experiment's tokens run out.

    tokens                  are counted when an event is answered; each partition has its part of a budget
    ahead of the clock      the share of users falls to what the rest can pay for, by a half at most per
                            twentieth of the tokens
    all spent               the share is 0 until the period ends; an experiment's own budget never comes back
    a new period            the share is what the last one could have paid for from its beginning to its end

Within a period the share never rises.  A user is asked while a hash is below it, so the users of a smaller
share are among those of a larger one: whoever is left out at a moment is left out for the rest of the period.
The hash knows nothing of answers, and the responses carry the share in `sample_rate`.

What was spent travels with the partition, as a note beside its committed offset.  So a restart or a rebalance
changes nothing but for what was answered and not committed: those events are asked again and paid again, and
the tokens of their first answers are in the note only if an older event was committed after them.

>>> limits = TokenLimits(per_hour=1_000)
>>> meters = Meters()
>>> meters.share(limits, parts=2, now_s=0.0)
1.0
>>> meters.spend(limits, 300, parts=2, now_s=900.0)  # of its 500, in a quarter of an hour
>>> meters.share(limits, parts=2, now_s=900.0)  # 200 remain for the rest: less, by a half at most
0.5
>>> meters.spend(limits, 200, parts=2, now_s=1_800.0)
>>> meters.share(limits, parts=2, now_s=1_800.0), meters.share(limits, parts=2, now_s=3_600.0)
(0.0, 0.25)
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from worker.core.records import Partition

HOUR_S, DAY_S = 3_600.0, 86_400.0
LEAD = 0.1  # of a period's tokens that may be spent ahead of the clock: events do not come evenly
STEP = 0.05  # of a period's tokens, from one step down to the next: the effect must show, and chance even out
LEAST_LEFT = 0.5  # of the share, at one step: a backlog that is read at once says little of what comes later
MOST_RISE, LEAST_SHARE = 10.0, 1e-4  # from one period to the next
EVERY = ""  # the scope of all experiments together
MAX_EXPERIMENTS = 16  # whose tokens a partition's note can hold; others are counted until the partition moves
MAX_METERS = 1_000  # experiments whose tokens a partition counts: ids come with events
MAX_TOKENS = 2**53  # what a number of JSON holds exactly


class Period(StrEnum):
    """What a budget is for."""

    HOUR = "hour"
    """An hour of the clock, UTC."""

    DAY = "day"
    """A day of the clock, UTC."""

    TOTAL = "total"
    """The whole experiment."""


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """Tokens, read and written, over all workers; None is no limit."""

    per_hour: int | None = None
    per_day: int | None = None
    total: int | None = None

    @property
    def any(self) -> bool:
        """True if there is a limit."""
        return (self.per_hour, self.per_day, self.total) != (None, None, None)


@dataclass(slots=True)
class _Meter:
    """Of one period of one budget in one partition; `gone` is which part of the period is over."""

    number: int = -1  # of the period, since 1970
    spent: int = 0
    share: float = 1.0  # of the users, before all was spent
    ran_out: float = 0.0  # `gone` when all was spent; 0: it is not
    lowered: float = 0.0  # `gone` at the last step down
    spent_then: int = 0

    def share_at(self, budget: float, length_s: float, now_s: float) -> float:
        """Return the share of users who are asked now; `budget` is this partition's part."""
        number = int(now_s // length_s)
        gone = now_s / length_s - number
        if number > self.number or number < self.number - 1:  # a clock may be late by a little; one far ahead was wrong
            self._begin(number, budget)
        if self.spent >= budget:
            self.ran_out = self.ran_out or max(gone, 1e-6)
            return 0.0
        self.ran_out = 0.0  # the budget may have been raised
        is_ahead = self.spent > budget * (LEAD + (1 - LEAD) * gone)
        if is_ahead and self.spent - self.spent_then >= STEP * budget and gone > self.lowered:
            self._lower(budget, gone)
        return self.share

    def _lower(self, budget: float, gone: float) -> None:
        """Fall to what can be paid to the end, if users go on as since the last step."""
        paid = (budget - self.spent) / (1 - gone)
        rate = (self.spent - self.spent_then) / (gone - self.lowered)
        if rate > paid:
            self.share *= max(LEAST_LEFT, paid / rate)
            self.lowered, self.spent_then = gone, self.spent

    def _begin(self, number: int, budget: float) -> None:
        """Start with what the last period could have paid for all along; after a pause, with everybody."""
        if number == self.number + 1 and self.number >= 0:
            rise = self.ran_out or min(MOST_RISE, budget / max(1, self.spent))
            self.share = min(1.0, max(LEAST_SHARE, self.share * rise))
        else:
            self.share = 1.0
        self.number, self.spent, self.ran_out, self.lowered, self.spent_then = number, 0, 0.0, 0.0, 0


@dataclass(slots=True)
class Meters:
    """The meters of one scope in one partition: all experiments, or one."""

    hour: _Meter = field(default_factory=_Meter)
    day: _Meter = field(default_factory=_Meter)
    total: int = 0

    def shares(self, limits: TokenLimits, *, parts: int, now_s: float) -> dict[Period, float]:
        """Return the share of users by each limit that there is; `parts` is the number of partitions."""
        found = {}
        for period, limit, meter, length_s in self._metered(limits):
            found[period] = meter.share_at(limit / parts, length_s, now_s)
        if limits.total is not None:
            found[Period.TOTAL] = 0.0 if self.total >= limits.total / parts else 1.0
        return found

    def share(self, limits: TokenLimits, *, parts: int, now_s: float) -> float:
        """Return the share of users who are asked now."""
        return min(self.shares(limits, parts=parts, now_s=now_s).values(), default=1.0)

    def spend(self, limits: TokenLimits, tokens: int, *, parts: int, now_s: float) -> None:
        """Count tokens of an event that was answered."""
        for _, limit, meter, length_s in self._metered(limits):
            meter.share_at(limit / parts, length_s, now_s)
            meter.spent += tokens
        if limits.total is not None:
            self.total += tokens

    def _metered(self, limits: TokenLimits) -> list[tuple[Period, int, _Meter, float]]:
        found = [(Period.HOUR, limits.per_hour, self.hour, HOUR_S), (Period.DAY, limits.per_day, self.day, DAY_S)]
        return [(period, limit, meter, length_s) for period, limit, meter, length_s in found if limit is not None]

    # -- as a note

    def told(self) -> list[float]:
        """Return all figures in one order."""
        return [self.total, *_told(self.hour), *_told(self.day)]

    @classmethod
    def read(cls, told: Sequence[float]) -> "Meters":
        """Read `told`.  Raises `ValueError`, `TypeError` if it is none of ours."""
        total, *rest = told
        half = len(rest) // 2
        return cls(_meter(rest[:half]), _meter(rest[half:]), _whole(total))


def _told(meter: _Meter) -> list[float]:
    shares = (round(one, 6) for one in (meter.share, meter.ran_out, meter.lowered))
    return [meter.number, meter.spent, meter.spent_then, *shares]


def _meter(told: Sequence[float]) -> _Meter:
    number, spent, spent_then, share, ran_out, lowered = told
    if not all(0 <= one <= 1 for one in (share, ran_out, lowered)):
        raise ValueError("no shares")
    return _Meter(_whole(number + 1) - 1, _whole(spent), share, ran_out, lowered, _whole(spent_then))


def _whole(number: float) -> int:
    if not 0 <= number <= MAX_TOKENS:
        raise ValueError("no number of tokens or periods")
    return int(number)


class Budgets:
    """What the users of this worker's partitions may still cost.

    `every` limits all experiments together, `each` is what an experiment may cost where its definition says nothing,
    and `num_partitions` returns how many partitions the input topics have, 0 while that is not known.
    """

    def __init__(
        self,
        every: TokenLimits = TokenLimits(),
        each: TokenLimits = TokenLimits(),
        num_partitions: Callable[[], int] = lambda: 0,
    ) -> None:
        self._every, self._each, self._num_partitions = every, each, num_partitions
        self._of: dict[Partition, dict[str, Meters]] = {}  # by scope
        self._limits: dict[str, TokenLimits] = {}  # of the scopes that were met last, as they were then

    def share(self, partition: Partition, experiment_id: str, own: TokenLimits | None, *, now_s: float) -> float:
        """Return which share of the users of one of our partitions is asked now; `own` are a definition's limits."""
        scopes = self._scopes(experiment_id, own)
        if not scopes:
            return 1.0
        parts, of = self._parts(), self._of.get(partition)
        if of is None:
            return 1.0
        return min(_meters(of, scope).share(limits, parts=parts, now_s=now_s) for scope, limits in scopes)

    def spend(
        self, partition: Partition, experiment_id: str, own: TokenLimits | None, tokens: int, *, now_s: float
    ) -> bool:
        """Count what an event has cost; return whether the note of its partition, which is still ours, has changed."""
        scopes = self._scopes(experiment_id, own)
        parts, of = self._parts(), self._of.get(partition)
        if of is None:
            return False
        for scope, limits in scopes:
            _meters(of, scope).spend(limits, tokens, parts=parts, now_s=now_s)
        return bool(scopes)

    def states(self, *, now_s: float) -> dict[tuple[str, Period], float]:
        """Return the least share in any of our partitions by scope and period; scope "" is all experiments."""
        found: dict[tuple[str, Period], float] = {}
        parts = self._parts()
        for meters in self._of.values():
            for scope, one in meters.items():
                limits = self._limits.get(scope, TokenLimits())
                for period, share in one.shares(limits, parts=parts, now_s=now_s).items():
                    found[scope, period] = min(share, found.get((scope, period), 1.0))
        return found

    def _scopes(self, experiment_id: str, own: TokenLimits | None) -> list[tuple[str, TokenLimits]]:
        ours = self._each if own is None else _either(own, self._each)
        found = [(scope, limits) for scope, limits in ((EVERY, self._every), (experiment_id, ours)) if limits.any]
        for scope in (experiment_id, EVERY):  # the last stay longest
            self._limits.pop(scope, None)
        self._limits |= reversed(found)
        while len(self._limits) > MAX_METERS:
            del self._limits[next(iter(self._limits))]
        return found

    def _parts(self) -> int:
        return max(1, len(self._of), self._num_partitions())

    # -- with the partitions

    def note(self, partition: Partition) -> Mapping[str, Sequence[float]]:
        """Return what the partition's next owner must know: of the experiments that cost most, if there are many."""
        meters = self._of.get(partition, {})
        most = sorted(meters, key=partial(_cost, meters))
        return {scope: meters[scope].told() for scope in most[-MAX_EXPERIMENTS:]}

    def restore(self, partition: Partition, note: Mapping[str, Sequence[float]]) -> None:
        """Go on where the partition's last owner was; what cannot be read says nothing."""
        found = {}
        for scope, told in note.items():
            try:
                found[scope] = Meters.read(told)
            except (ValueError, TypeError):
                continue
        self._of[partition] = found

    def drop(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that are no longer ours."""
        for partition in partitions:
            self._of.pop(partition, None)


def _meters(of: dict[str, Meters], scope: str) -> Meters:
    """Return the meters of a scope; where there are too many, the one that cost least is forgotten."""
    if scope not in of:
        if len(of) >= MAX_METERS:
            del of[min(of, key=partial(_cost, of))]
        of[scope] = Meters()
    return of[scope]


def _cost(of: Mapping[str, Meters], scope: str) -> tuple[bool, int]:
    """Return what orders scopes by what they cost; all experiments together are the last."""
    meters = of[scope]
    return scope == EVERY, max(meters.total, meters.day.spent, meters.hour.spent)


def _either(own: TokenLimits, other: TokenLimits) -> TokenLimits:
    def first(one: int | None, two: int | None) -> int | None:
        return two if one is None else one

    return TokenLimits(
        first(own.per_hour, other.per_hour), first(own.per_day, other.per_day), first(own.total, other.total)
    )
