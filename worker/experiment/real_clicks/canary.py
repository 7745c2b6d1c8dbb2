"""What a canary says: some users are really shown the candidate's slate, and simulation makes their clicks go further.

    canary users   (candidate shown, assigned)   Y_B and S_B  --+-> theta_B = mean Y + t (mean shadow S - mean canary S)
    control users  (control shown, assigned)     Y_A and S_B  --+-> lift = theta_B - mean Y_A

S_B is the simulation of the candidate's slate, for everyone.  This is PPI++ (Angelopoulos, Duchi and Zrnic, 2023,
arXiv:2311.01453): t is tuned to the narrowest lift, so a useless simulation (t near 0) costs nothing, and a biased
one shifts nothing, as its bias is in both means of S.  Each user has one influence value; their mean is the lift,
and they stand in the confidence sequence of every other figure.  Events whose slates are one list count 0 on both
sides: there Y_B = Y_A.

On a ramp users had different chances of being in the canary.  Then each chance is a stratum with a lift of its own, and
the lift is their mean by users: early users may click more, and most of them are in control.  Where no chance was
logged, all assigned users must have had one.

>>> rng = np.random.default_rng(0)
>>> taste, shown, yes = rng.random(4_000), rng.random(4_000) < 0.2, np.full(4_000, True)
>>> clicked = (rng.random(4_000) < np.where(shown, 0.1 + taste * 0.8, taste * 0.8)).astype(float)
>>> events = CanaryEvents(user=np.arange(4_000), outcome=clicked, shown_candidate=shown, assigned=yes,
...                       simulated_candidate=taste, identical=~yes)
>>> lift = canary(events, alpha=0.05, planned_users=4_000)
>>> str(lift.estimand), round(lift.value, 3), str(lift.interval), round(lift.tuning, 2)
('canary', 0.074, '0.022 to 0.126', 0.79)
"""

from dataclasses import dataclass, field, fields
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from worker.experiment.real_clicks.doubly_robust import (
    LIFT_BOUNDS,
    MIN_CLICKING,
    Estimand,
    Flags,
    Floats,
    ObservedLift,
    by_user,
    check_columns,
    not_identified,
    observed,
)
from worker.experiment.statistics.confidence import MIN_USERS, estimate

NO_SPREAD = 1e-9  # standard deviation below which simulations are equal up to rounding
MIN_STAGE = 20  # users in each arm of a ramp's stage, below which its users are left out
_DECIMALS = 4  # of a chance: users with the same one are a stage
MAX_CROSSED = 0.01  # share of users who were shown both arms; these few are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryEvents:
    """Events of canary and control users, one row each, in any order; NaN as in `ControlEvents`."""

    user: NDArray[np.int64]
    outcome: Floats  # in [0, 1], of the slate that was shown
    shown_candidate: Flags  # the slate that was shown is the candidate's
    assigned: Flags  # the assignment was logged
    simulated_candidate: Floats  # of the candidate's slate, shown or not, in [0, 1]
    identical: Flags  # both slates are one list, in one order
    chance: Floats = field(default_factory=lambda: np.empty(0))  # of being in the canary; NaN or empty: not logged

    def __post_init__(self) -> None:
        """Raise `ValueError` for columns of unequal length."""
        if not self.chance.size:
            object.__setattr__(self, "chance", np.full(self.user.size, np.nan))
        check_columns(self)


@dataclass(frozen=True, slots=True)
class Predicted:
    """A mean with the help of predictions; its error is that of one fixed look, for independent values."""

    value: float
    tuning: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class _Users:
    outcome: Floats
    simulated: Floats
    in_canary: Flags
    differ: Flags
    chance: Floats

    def of(self, which: Flags) -> "_Users":
        """Return some of them."""
        return _Users(*(getattr(self, one.name)[which] for one in fields(self)))


def canary(events: CanaryEvents, *, alpha: float, planned_users: int) -> ObservedLift:
    """Return the lift of the candidate from the users who were really shown it."""
    use = ~np.isnan(events.outcome) & events.assigned
    events = CanaryEvents(**{one.name: getattr(events, one.name)[use] for one in fields(events)})
    users, crossed = _users(events)
    count = len(users.outcome)
    if not (users := _of_stages(users)).outcome.size and count:
        why = f"no stage of the ramp has {MIN_STAGE} users in each arm yet"
        return not_identified(Estimand.CANARY, why, users=count)
    if crossed > MAX_CROSSED * (count + crossed):
        return not_identified(Estimand.CANARY, f"{crossed:,} users were shown both arms", users=count)
    sizes = int(users.in_canary.sum()), int((~users.in_canary).sum())
    if not all(sizes):
        why = f"of the users with a logged assignment, {sizes[0]:,} were shown the candidate and {sizes[1]:,} control"
        return not_identified(Estimand.CANARY, why, users=count)
    values, tuning = _influence(users)
    why = _too_few(users, sizes)
    if why:
        return ObservedLift(Estimand.CANARY, count, float(values.mean()), None, why, tuning=tuning)
    differing = min(int((users.differ & arm).sum()) for arm in (users.in_canary, ~users.in_canary))
    found = estimate(
        values.tolist(), num_differ=differing, alpha=alpha, planned_users=planned_users, bounds=LIFT_BOUNDS
    )
    return observed(Estimand.CANARY, found, tuning=tuning)


def _too_few(users: _Users, sizes: tuple[int, int]) -> str:
    """Return which arm has too few users, or too few that clicked; "" if both have enough."""
    if min(sizes) < MIN_USERS:
        return f"{sizes[0]:,} users in the canary, {sizes[1]:,} in control; at least {MIN_USERS} of each are needed"
    clicked = [int(((users.outcome > 0) & arm & users.differ).sum()) for arm in (users.in_canary, ~users.in_canary)]
    if min(clicked) < MIN_CLICKING:
        return (
            f"{clicked[0]:,} users in the canary clicked, {clicked[1]:,} in control; "
            f"at least {MIN_CLICKING} of each are needed"
        )
    return ""


def _users(events: CanaryEvents) -> tuple[_Users, int]:
    """Return the users of one arm, and how many were shown both.  A missing simulation is the mean one."""
    known = events.simulated_candidate[~np.isnan(events.simulated_candidate)]
    simulated = np.where(np.isnan(events.simulated_candidate), known.mean() if known.size else 0.0,
                         events.simulated_candidate)  # fmt: skip
    share = by_user(events.user, events.shown_candidate.astype(np.float64))
    kept = (share == 0) | (share == 1)
    users = _Users(
        by_user(events.user, np.where(events.identical, 0.0, events.outcome))[kept],
        by_user(events.user, np.where(events.identical, 0.0, simulated))[kept],
        share[kept] == 1,
        by_user(events.user, (~events.identical).astype(np.float64))[kept] > 0,
        by_user(events.user, events.chance)[kept],
    )
    return users, int((~kept).sum())


def _of_stages(users: _Users) -> _Users:
    """Return the users of the stages that can be compared; all where there is one stage, or no chance was logged."""
    stages = np.unique(users.chance.round(_DECIMALS))  # NaN is one
    if len(stages) <= 1:
        return users
    kept = np.zeros(len(users.chance), dtype=bool)
    for stage in stages[~np.isnan(stages)]:
        mine = users.chance.round(_DECIMALS) == stage
        inside = int(np.count_nonzero(users.in_canary[mine]))
        kept |= mine & (MIN_STAGE <= inside <= np.count_nonzero(mine) - MIN_STAGE)
    return users.of(kept)


def _influence(users: _Users) -> tuple[Floats, float]:
    """Return one value per user, whose mean is the lift and whose spread is its error, and the mean tuning."""
    values, tunings = np.empty(len(users.in_canary)), np.empty(len(users.in_canary))
    codes = np.unique(users.chance.round(_DECIMALS), return_inverse=True)[1]
    for stage in range(int(codes.max()) + 1):
        mine = codes == stage
        values[mine], tunings[mine] = _of_stage(users.of(mine))
    return values, float(tunings.mean())


def _of_stage(users: _Users) -> tuple[Floats, float]:
    """Return the values of the users who had one chance of the canary, and the tuning."""
    inside, share = users.in_canary, float(users.in_canary.mean())
    y, s, y_shadow, s_shadow = (
        users.outcome[inside], users.simulated[inside], users.outcome[~inside], users.simulated[~inside],
    )  # fmt: skip
    tuning = power_tuning(y, s, s_shadow, y_shadow)
    lift = ppi_mean(y, s, s_shadow, tuning=tuning).value - float(y_shadow.mean())
    rectified, shadow = y - tuning * s, tuning * s_shadow - y_shadow
    values = np.empty(len(inside))
    values[inside] = lift + (rectified - rectified.mean()) / share
    values[~inside] = lift + (shadow - shadow.mean()) / (1 - share)
    return values, tuning


def ppi_mean(outcome: Floats, simulated: Floats, shadow: Floats, *, tuning: float | None = None) -> Predicted:
    """Return the mean outcome by PPI++, tuned for itself unless told; one value per user, as `ppi_mean_ci` has it."""
    if tuning is None:
        tuning = power_tuning(outcome, simulated, shadow, np.zeros_like(shadow))
    rectified = outcome - tuning * simulated
    value = float(rectified.mean() + tuning * shadow.mean())
    error = sqrt(float(rectified.var()) / len(outcome) + tuning**2 * float(shadow.var()) / len(shadow))
    return Predicted(value, tuning, error)


def power_tuning(outcome: Floats, simulated: Floats, shadow: Floats, shadow_outcome: Floats) -> float:
    """Return the share in [0, 1] of the simulation that makes theta_B - mean(shadow_outcome) narrowest.

    It is where the variance, var(Y - t S) / n + var(t S' - Y') / N, is least; with Y' = 0 it is that of PPI++.
    """
    ratio = len(outcome) / len(shadow)
    spread = float(np.concatenate([simulated, shadow]).var(ddof=1)) if len(outcome) + len(shadow) > 1 else 0.0
    if spread < NO_SPREAD**2:
        return 0.0
    shared = _covariance(outcome, simulated) + ratio * _covariance(shadow_outcome, shadow)
    return min(1.0, max(0.0, shared / ((1 + ratio) * spread)))


def _covariance(one: Floats, other: Floats) -> float:
    return float(((one - one.mean()) * (other - other.mean())).mean())
