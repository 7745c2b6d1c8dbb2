"""What may be said about a simulated preference while one watches: interval, worst case and verdict.

The unit is the user, the value the mean of the user's events so far, 0.5 where neither side is preferred:

    UserMeans  ->  overall, triggered: estimate with interval  ->  judge  ->  candidate preferred | control preferred
               ->  worst case of the missing pairs             ->             keep running        | do not trust

The interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences"): it holds at every look together, where
1.96 standard errors hold at one look only.  The price is width:

>>> round(half_width(5_000, 1.0, alpha=0.05, planned_users=5_000), 4), round(1.96 / 5_000**0.5, 4)
(0.0429, 0.0277)
>>> estimate([0.5] * 40, num_differ=0, alpha=0.05, planned_users=5_000).withheld
'40 users seen and 100 wanted, 0 users whose slates differ and 50 wanted'
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import fsum, log, sqrt

EVEN = 0.5  # the duel share of two equal slates

# With 1 % of users differing, the interval is 0 wide in 36 % of runs at 100 users (simulated): hence both.
MIN_USERS = 100
MIN_DIFFERING = 50  # users whose slates differ

MAX_MISSING = 0.01  # share of pairs without an answer
MIN_PAIRS = 100  # below, the share of missing pairs says little
_NO_SPREAD = 1e-9  # standard deviation below which values are equal up to rounding

ESTIMAND = "simulated"
BASIS = "exploratory (no definition stood before the data)"
CANNOT_TELL = (
    "This is what simulated users would pick, not what real users did.",
    "It looks one step ahead, from histories that control made: no learning, no wearing off of what is new.",
    "What the candidate's own feedback and stock would change is not in it, nor whether users come back.",
    "Only the first positions of both lists were compared, as many of one as of the other.",
    "Two orders of the same items count as 0.5: this simulator does not see display order.",
    "Response times and page layout play no part.",
    "The reasons that simulated users give are text of the same model, not causes.",
    "Each candidate has an interval of its own; nothing corrects for reading several.",
)


class Verdict(StrEnum):
    """The verdict in one word, as `ExperimentReadout` has it."""

    CANDIDATE_PREFERRED = "CANDIDATE_PREFERRED"
    CONTROL_PREFERRED = "CONTROL_PREFERRED"
    KEEP_RUNNING = "KEEP_RUNNING"
    DO_NOT_TRUST = "DO_NOT_TRUST"

    @property
    def words(self) -> str:
        """The verdict as one would say it."""
        return self.value.replace("_", " ").lower()


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends, both in [0, 1]."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        """Say whether the value lies between the ends; an end counts."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """Write the ends, as in "0.481 to 0.532"."""
        return f"{self.low:.3f} to {self.high:.3f}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over users; without an interval, `withheld` says why."""

    users: int
    value: float | None
    interval: Interval | None
    withheld: str = ""


@dataclass(slots=True)
class _User:
    total: float = 0.0  # of the values
    answered: int = 0
    missing: int = 0
    differs: bool = False  # an answered pair had slates that differ


class UserMeans:
    """One mean a user, estimated anew with each pair; about 0.3 KB a user.

    >>> means = UserMeans()
    >>> means.add("u", 0.8, differs=True), means.add("u", EVEN, differs=False), means.add("v", EVEN, differs=False)
    (None, None, None)
    >>> means.overall(0.05, 5_000).value, means.triggered(0.05, 5_000).value
    (0.575, 0.65)
    >>> means.add("v", None, differs=False)
    >>> str(means.worst_case())
    '0.450 to 0.700'
    """

    def __init__(self) -> None:
        """Start with no user."""
        self._users: defaultdict[str, _User] = defaultdict(_User)

    def add(self, user_id: str, value: float | None, *, differs: bool) -> None:
        """Count one pair; a value of None is a missing answer."""
        user = self._users[user_id]
        if value is None:
            user.missing += 1
            return
        user.total += value
        user.answered += 1
        user.differs |= differs

    def overall(self, alpha: float, planned_users: int) -> Estimate:
        """Return the mean over all users with an answer."""
        return _mean_of([user for user in self._users.values() if user.answered], alpha, planned_users)

    def triggered(self, alpha: float, planned_users: int) -> Estimate:
        """Return the mean over the users whose slates differ, all their pairs."""
        return _mean_of([user for user in self._users.values() if user.differs], alpha, planned_users)

    def worst_case(self) -> Interval | None:
        """Return the mean over all users if every missing pair were 0, and if every one were 1."""
        users = [(user, user.answered + user.missing) for user in self._users.values()]
        if not users:
            return None
        low = fsum(user.total / pairs for user, pairs in users) / len(users)
        high = fsum((user.total + user.missing) / pairs for user, pairs in users) / len(users)
        return Interval(low, min(1.0, high))


def _mean_of(users: Sequence[_User], alpha: float, planned_users: int) -> Estimate:
    values = [user.total / user.answered for user in users]
    differing = sum(user.differs for user in users)
    return estimate(values, num_differ=differing, alpha=alpha, planned_users=planned_users)


def estimate(values: Sequence[float], *, num_differ: int, alpha: float, planned_users: int) -> Estimate:
    """Return the mean of one value a user with its interval, valid at every look together with all others.

    The result does not depend on the order of the values.  `planned_users` is where the interval is tightest.
    """
    n = len(values)
    mean = fsum(values) / n if n else None
    if mean is None or n < MIN_USERS or num_differ < MIN_DIFFERING:
        return Estimate(n, mean, None, _too_few(n, num_differ))
    sd = sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1))
    if sd < _NO_SPREAD:
        return Estimate(n, mean, None, f"all {n:,} users have one value, {mean:.3f}: no spread to judge by")
    half = half_width(n, sd, alpha=alpha, planned_users=planned_users)
    return Estimate(n, mean, Interval(max(0.0, mean - half), min(1.0, mean + half)))


def half_width(n: int, sd: float, *, alpha: float, planned_users: int) -> float:
    """Return half the width of the confidence sequence at its n-th user; `sd` is that of the n values."""
    check(alpha=alpha, planned_users=planned_users)
    rho2 = (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / planned_users
    spread = n * rho2 + 1
    return sd * sqrt(2 * spread / (n * n * rho2) * log(sqrt(spread) / alpha))


def check(*, alpha: float, planned_users: int) -> None:
    """Raise `ValueError` for what no interval can be made of."""
    if not 0 < alpha < 1 or planned_users < 1:
        message = f"alpha {alpha}, planned_users {planned_users}: want an alpha in (0, 1) and a user or more"
        raise ValueError(message)


def judge(
    overall: Estimate, worst: Interval | None, *, pairs: int, missing: int, planned_users: int
) -> tuple[Verdict, str]:
    """Return the verdict with its reason, a sentence without its full stop."""
    if pairs >= MIN_PAIRS and missing > MAX_MISSING * pairs:
        share = f"{missing:,} of {pairs:,} pairs have no answer ({missing / pairs:.1%})"
        return Verdict.DO_NOT_TRUST, f"{share}, more than {MAX_MISSING:.0%}"
    if overall.interval is None:
        return Verdict.KEEP_RUNNING, overall.withheld
    if EVEN in overall.interval:
        seen = f"{overall.users:,} users seen, {planned_users:,} planned"
        return Verdict.KEEP_RUNNING, f"the interval {overall.interval} holds {EVEN}: no preference shown yet; {seen}"
    if worst is None or EVEN in worst:
        return Verdict.DO_NOT_TRUST, f"the {missing:,} missing pairs could turn it round: worst case {worst}"
    up = overall.interval.low > EVEN
    verdict = Verdict.CANDIDATE_PREFERRED if up else Verdict.CONTROL_PREFERRED
    return verdict, f"the interval {overall.interval} lies {'above' if up else 'below'} {EVEN}"


def _too_few(users: int, differing: int) -> str:
    """Say how many users are wanted, of those that are short."""
    parts = []
    if users < MIN_USERS:
        parts.append(f"{users:,} users seen and {MIN_USERS} wanted")
    if differing < MIN_DIFFERING:
        parts.append(f"{differing:,} users whose slates differ and {MIN_DIFFERING} wanted")
    return ", ".join(parts)
