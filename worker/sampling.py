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

from worker.chance import unit
from worker.records import Impression

_US_A_DAY = 86_400_000_000


class Skip(StrEnum):
    """Why an impression is not simulated."""

    SAMPLE = "sample"
    EXPERIMENT = "experiment"
    HOLDOUT = "holdout"
    TEST = "test"
    BOT = "bot"
    AGE = "age"
    USER_BUDGET = "user_budget"
    TOMBSTONE = "tombstone"


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

    def takes_user(self, experiment_id: str, user_id: str) -> bool:
        """Decide by a hash, so that every worker decides alike."""
        return unit(self.salt, experiment_id, user_id) < self.rate(experiment_id)

    def skip(self, impression: Impression, *, now_s: float) -> Skip | None:
        """Return why this impression is not simulated, or None if it is."""
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
        return None if self.takes_user(experiment, impression.user.user_id) else Skip.SAMPLE


class UserBudget:
    """At most `limit` events of one user a UTC day of event time; 0 is no limit.

    The count is this process's own: after a rebalance a user may get up to the limit again.  Remembers the
    `max_users` user-days seen last, so that it cannot grow without bound.

    >>> budget = UserBudget(limit=1)
    >>> [budget.takes("u", "e1", 0), budget.takes("u", "e2", 0), budget.takes("u", "e1", 0)]
    [True, False, True]
    """

    def __init__(self, limit: int, *, max_users: int = 100_000) -> None:
        """Start with nothing counted."""
        self._limit = limit
        self._max_users = max_users
        self._taken: OrderedDict[tuple[str, int], set[str]] = OrderedDict()

    def takes(self, user_id: str, event_id: str, occurred_at: int) -> bool:
        """Say whether this event is within the user's day; one that comes again is answered as before."""
        if not self._limit:
            return True
        day = (user_id, occurred_at // _US_A_DAY)
        events = self._taken.setdefault(day, set())
        self._taken.move_to_end(day)
        if len(self._taken) > self._max_users:
            self._taken.popitem(last=False)
        if event_id in events:
            return True
        if len(events) < self._limit:
            events.add(event_id)
            return True
        return False
