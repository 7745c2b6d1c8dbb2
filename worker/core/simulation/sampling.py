"""Who is simulated: GPUs are dear, and an experiment needs thousands of users, not all of them.

Whole users are taken or left, never single events, so that variants and days of one user stay together.
A skipped record is no failure: its offset moves on, and it is counted by `Skip`.

>>> who = Sampling(sample_rate=0.25)
>>> taken = sum(who.takes_user("exp", f"user-{i}") for i in range(4_000))
>>> 0.22 < taken / 4_000 < 0.28
True
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.core.records import Impression
from worker.core.seeding import digest, unit

_US_A_DAY = 86_400_000_000
MAX_USER_DAYS_BYTES = 64 << 20  # of `UserBudget`: 240,000 users who have one event a day, 190,000 who have ten
USER_DAY_BYTES = (
    270  # of an ordered dictionary's entry, a number of 96 bits and a short text, measured with Python 3.11
)
_HASH_BITS = 64


class Skip(StrEnum):
    """Why an impression is not simulated."""

    SAMPLE = "sample"
    """The user is not in the `sample_rate`."""

    EXPERIMENT = "experiment"
    """The experiment is not in `experiments`."""

    HOLDOUT = "holdout"
    """The user is marked `experiment.holdout`, and `include_holdout` is off."""

    TEST = "test"
    """The record is marked `is_test`, and `include_test` is off."""

    BOT = "bot"
    """The user is marked `is_bot`, and `include_bots` is off."""

    AGE = "age"
    """The impression is older than `max_age_s`."""

    USER_BUDGET = "user_budget"
    """The user had `max_events_per_user_per_day` events on that day."""

    NOT_RUNNING = "not_running"
    """The experiment's definition is not RUNNING."""

    BEFORE_START = "before_start"
    """The event is from before the `start` of the experiment's definition."""

    AFTER_STOP = "after_stop"
    """The event is from the `stop` of the experiment's definition, or later."""

    NOT_ELIGIBLE = "not_eligible"
    """The user has none of the `eligible` values of the experiment's definition."""

    DECIDED = "decided"
    """The readout has given a final verdict, and the definition says `stop_when_decided`."""

    OVER_BUDGET = "over_budget"
    """The user is not in the share that the budgets of tokens still pay for."""

    UNMAPPED = "unmapped"
    """The event is none of those that the `mapping` is for."""

    TOMBSTONE = "tombstone"
    """The record has no value, as compacted topics mark a deleted key."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The rules; each is a setting."""

    sample_rate: float = 1.0
    sample_rates: Mapping[str, float] = field(default_factory=dict)  # by experiment id, wins over `sample_rate`
    salt: str = ""
    experiments: frozenset[str] = frozenset()  # empty: all
    include_test: bool = False
    include_bots: bool = False
    include_holdout: bool = False
    max_age_s: float = 0.0  # 0: any age

    def rate(self, experiment_id: str) -> float:
        """Return the share of users that is simulated in this experiment."""
        return self.sample_rates.get(experiment_id, self.sample_rate)

    def takes_user(self, experiment_id: str, user_id: str, *, rate: float | None = None) -> bool:
        """Decide by a hash, so that every worker decides alike; `rate` is that of a definition, if it has one."""
        return unit(self.salt, experiment_id, user_id) < (self.rate(experiment_id) if rate is None else rate)

    def skip(self, impression: Impression, *, now_s: float) -> Skip | None:
        """Return why this impression is not simulated, or None if it is."""
        if (why := self.marked(impression, now_s=now_s)) is not None:
            return why
        return None if self.takes_user(impression.experiment_id, impression.user.user_id) else Skip.SAMPLE

    def marked(self, impression: Impression, *, now_s: float) -> Skip | None:
        """Return why an impression is not simulated, whoever the user is."""
        experiment = impression.experiment_id
        if impression.is_test and not self.include_test:
            return Skip.TEST
        if impression.user.is_bot and not self.include_bots:
            return Skip.BOT
        if impression.experiment and impression.experiment.holdout and not self.include_holdout:
            return Skip.HOLDOUT
        if self.experiments and experiment not in self.experiments:
            return Skip.EXPERIMENT
        if self.max_age_s and now_s - impression.occurred_at / 1e6 > self.max_age_s:
            return Skip.AGE
        return None


class UserBudget:
    """At most `limit` events of one user a UTC day of event time; 0 is no limit.

    The count is this process's own: after a rebalance a user may get up to the limit again.  A user's day takes some
    270 bytes and 8 for each event, and all together `max_bytes` at most: beyond that the day that was met longest ago
    is forgotten.  That is no loss but where the day still goes on: `num_forgotten` counts those.

    >>> budget = UserBudget(limit=1)
    >>> [budget.takes("u", "e1", 0), budget.takes("u", "e2", 0), budget.takes("u", "e1", 0)]
    [True, False, True]
    """

    def __init__(self, limit: int, *, max_bytes: int = MAX_USER_DAYS_BYTES) -> None:
        self._limit = limit
        self._max_bytes = max_bytes
        # By day and user, as one number; the events are hashes too, side by side.
        self._taken: OrderedDict[int, bytes] = OrderedDict()
        self.num_bytes = 0
        self.num_forgotten = 0

    def takes(self, user_id: str, event_id: str, occurred_at: int) -> bool:
        """Return True if this event is within the user's daily limit; one that comes again is answered as before."""
        if not self._limit:
            return True
        day = occurred_at // _US_A_DAY
        key = day << _HASH_BITS | int.from_bytes(digest("user", user_id), "big")
        event = digest("event", event_id)
        events = self._taken.get(key, b"")
        if _holds(events, event):
            self._taken.move_to_end(key)
            return True
        if len(events) // len(event) >= self._limit:
            self._taken.move_to_end(key)
            return False
        self._keep(key, events + event, day)
        return True

    def _keep(self, key: int, events: bytes, day: int) -> None:
        old = self._taken.get(key)
        self.num_bytes += len(events) - len(old or b"") + (USER_DAY_BYTES if old is None else 0)
        self._taken[key] = events
        self._taken.move_to_end(key)
        while self.num_bytes > self._max_bytes and len(self._taken) > 1:
            forgotten, events = self._taken.popitem(last=False)
            self.num_bytes -= len(events) + USER_DAY_BYTES
            self.num_forgotten += forgotten >> _HASH_BITS >= day


def _holds(events: bytes, event: bytes) -> bool:
    """Return True if one of the hashes that stand side by side is this one."""
    at = events.find(event)
    while at >= 0 and at % len(event):
        at = events.find(event, at + 1)
    return at >= 0
