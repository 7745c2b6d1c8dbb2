"""The mean over users and its interval: valid at every look, withheld while there are too few users.

The interval is an asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas,
"Time-uniform central limit theory and asymptotic confidence sequences"): it is valid at all looks
together, where 1.96 standard errors are valid at one look only.  The price is width:

>>> round(half_width(5_000, 1.0, alpha=0.05, planned_users=5_000), 4), round(1.96 / 5_000**0.5, 4)
(0.0429, 0.0277)
>>> estimate([0.5] * 40, num_differ=0, alpha=0.05, planned_users=5_000).withheld
'40 users so far, at least 100 needed; 0 users whose lists differ so far, at least 50 needed'
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import fsum, isfinite, log, sqrt

EVEN = 0.5  # the duel share of two equal slates

# With 1 % of users differing, the interval is 0 wide in 36 % of runs at 100 users (simulated): hence both.
MIN_USERS = 100
MIN_DIFFERING = 50  # users whose lists differ
PLANNED_USERS = 5_000  # where nobody has planned: narrow enough from 1,000 users to 25,000, and wide before

_NO_SPREAD = 1e-9  # standard deviation below which values are equal up to rounding

NOT_IDENTIFIED = "not identified"
ESTIMAND = "simulated"
BASIS = "exploratory (no definition)"
DEFINED = "defined"
CANNOT_TELL = (
    "This is what simulated users would choose, not what real users did.",
    "Each event is judged on its own, from a history collected under control: learning and novelty are not measured.",
    "Feedback loops, stock and user retention under the candidate are not measured.",
    "Only the first positions of both lists were compared, the same number from each.",
    "The same items in another order count as 0.5: the simulator is not shown display positions.",
    "Response times and page layout are not simulated.",
    "The reasons that simulated users give are text from the same model, not causes.",
    "With several candidates or epochs, only intervals of the primary metric and of guardrails are widened for them.",
)


class Verdict(StrEnum):
    """The verdict on one candidate, as `ExperimentReadout` names it."""

    CANDIDATE_PREFERRED = "CANDIDATE_PREFERRED"
    CONTROL_PREFERRED = "CONTROL_PREFERRED"
    NO_DIFFERENCE = "NO_DIFFERENCE"
    KEEP_RUNNING = "KEEP_RUNNING"
    DO_NOT_TRUST = "DO_NOT_TRUST"

    @property
    def words(self) -> str:
        """The verdict in lower case, with spaces."""
        return self.value.replace("_", " ").lower()


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval; `low` is at most `high`."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        """Return whether the value is in the interval, ends included."""
        return self.low <= value <= self.high

    def is_within(self, margin: float, null: float) -> bool:
        """Return whether the whole interval is at most `margin` from `null`."""
        return max(abs(self.low - null), abs(self.high - null)) <= margin

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
    sd: float | None = None  # of the users' values, where there is an interval
    all_equal: bool = False  # all users have one value, and are enough for an interval if they had not


def estimate(
    values: Sequence[float],
    *,
    num_differ: int,
    alpha: float,
    planned_users: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Return the mean of one value per user with its interval, valid at every look together with all others.

    The result does not depend on the order of the values.  `planned_users` is where the interval is tightest; it
    never passes `bounds`, between which all values lie.
    """
    n = len(values)
    mean = fsum(values) / n if n else None
    sd = sqrt(fsum((value - mean) ** 2 for value in values) / (n - 1)) if mean is not None and n > 1 else 0.0
    return around(mean, sd, users=n, num_differ=num_differ, alpha=alpha, planned_users=planned_users, bounds=bounds)


def around(
    mean: float | None,
    sd: float,
    *,
    users: int,
    num_differ: int,
    alpha: float,
    planned_users: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """Return a mean with its interval, as `estimate` does, from the standard deviation of what it is a mean of."""
    if mean is not None and not (isfinite(mean) and isfinite(sd)):
        return Estimate(users, None, None, f"the values of {users:,} users have no finite mean and spread")
    if mean is None or users < MIN_USERS or num_differ < MIN_DIFFERING:
        equal = mean is not None and users >= MIN_USERS and sd < _NO_SPREAD
        return Estimate(users, mean, None, _too_few(users, num_differ), all_equal=equal)
    if sd < _NO_SPREAD:
        same = f"all {users:,} users have the same value, {mean:.3f}: no interval can be computed"
        return Estimate(users, mean, None, same, all_equal=True)
    half = half_width(users, sd, alpha=alpha, planned_users=planned_users)
    return Estimate(users, mean, Interval(max(bounds[0], mean - half), min(bounds[1], mean + half)), sd=sd)


def at_level(of: Estimate, alpha: float, *, planned_users: int) -> Interval | None:
    """Return the interval of an estimate at another alpha; None where it has none."""
    if of.sd is None or of.value is None:
        return None
    half = half_width(of.users, of.sd, alpha=alpha, planned_users=planned_users)
    return Interval(of.value - half, of.value + half)


def half_width(n: float, sd: float, *, alpha: float, planned_users: float) -> float:
    """Return half the width of the confidence sequence at its n-th user; `sd` is that of the n values."""
    return excluding(n, sd, alpha=alpha, planned_users=planned_users)


def excluding(n: float, sd: float, *, alpha: float, planned_users: float, candidates: float = 1) -> float:
    """Return how far from the null the mean of n users must be for its p-value to be alpha / `candidates`.

    That is what Holm's correction asks of the first of so many; of one it is half the width of the interval.  An epoch
    that has a share of alpha counts as 1 / share of them.
    """
    check(alpha=alpha, planned_users=planned_users)
    rho2 = mixture_variance(alpha, planned_users)
    spread = n * rho2 + 1
    return sd * sqrt(2 * spread / (n * n * rho2) * log(candidates * sqrt(spread) / alpha))


def log_e(of: Estimate, *, null: float, alpha: float, planned_users: int) -> float | None:
    """Return the logarithm of the e-value against a mean of `null`; None without an interval.

    It is the normal mixture whose inversion the interval is: it passes ln(1 / alpha) where the interval leaves `null`.
    """
    if of.sd is None or of.value is None:
        return None
    rho2 = mixture_variance(alpha, planned_users)
    spread = of.users * rho2 + 1
    z = of.users * (of.value - null) / of.sd
    return z * z * rho2 / (2 * spread) - log(spread) / 2


def holm(p_values: Sequence[float | None], *, of: int = 0) -> list[float | None]:
    """Adjust always-valid p-values for reading several (Holm 1979), `of` so many if there are more to come.

    One that is not there yet counts as 1.
    """
    adjusted, least, left = list(p_values), 0.0, max(of, len(p_values))
    for place, p in sorted(enumerate(p_values), key=lambda one: 1.0 if one[1] is None else one[1]):
        if p is not None:
            adjusted[place] = least = max(least, min(1.0, left * p))
        left -= 1
    return adjusted


def holm_shares(p_values: Sequence[float | None], *, alpha: float, of: int = 0) -> list[int]:
    """Return among how many Holm's correction has shared alpha when it comes to each.

    It goes by p-value, and no further than the first that is not below its share: the rest have the same share.

    >>> holm_shares([0.001, None, 0.02], alpha=0.05), holm_shares([0.04, 0.001], alpha=0.05, of=3)
    ([3, 1, 2], [2, 3])
    """
    shares, left = [0] * len(p_values), max(of, len(p_values))
    for place, p in sorted(enumerate(p_values), key=lambda one: 1.0 if one[1] is None else one[1]):
        shares[place] = left
        if p is not None and p <= alpha / left:
            left -= 1
    return shares


def check(*, alpha: float, planned_users: float) -> None:
    """Raise `ValueError` for values that no interval can be computed from."""
    if not 0 < alpha < 1 or planned_users < 1:
        message = f"alpha {alpha}, planned_users {planned_users}: want an alpha in (0, 1) and at least one user"
        raise ValueError(message)


def not_identified(why: str) -> str:
    """Return the words that stand in the place of a figure that is withheld, everywhere; said twice it is said once.

    >>> not_identified("no outcomes yet"), not_identified(not_identified("no outcomes yet"))
    ('not identified: no outcomes yet', 'not identified: no outcomes yet')
    """
    if why.startswith(NOT_IDENTIFIED):
        return why
    return f"{NOT_IDENTIFIED}: {why or 'there are too few users'}"


def explained(one: Estimate) -> Estimate:
    """Return an estimate that says so where its interval is withheld."""
    return one if one.interval is not None else replace(one, withheld=not_identified(one.withheld))


def mixture_variance(alpha: float, planned_users: float) -> float:
    """Return the mixture's variance that makes the interval narrowest at the planned users."""
    return (-2 * log(alpha) + log(-2 * log(alpha) + 1)) / planned_users


def _too_few(users: int, differing: int) -> str:
    """Return how many users there are and how many are needed, for each limit that is not met."""
    parts = []
    if users < MIN_USERS:
        parts.append(f"{users:,} users so far, at least {MIN_USERS} needed")
    if differing < MIN_DIFFERING:
        parts.append(f"{differing:,} users whose lists differ so far, at least {MIN_DIFFERING} needed")
    return "; ".join(parts)
