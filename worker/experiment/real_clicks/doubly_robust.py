"""What real outcomes say about the candidate where control's own chance showed what the candidate would have shown.

    slates are one list, by one policy     -> Y_B = Y_A: a difference of 0
    control drew its slate, chances logged -> psi = S_B + w (Y_A - S_A),  w = P(slate | candidate) / P(slate | control)
    anything else                          -> "not identified", and why

Y is what the user did (1: any click), S what the simulated user does on the same slate; psi is doubly robust (Dudik,
Langford and Li, 2011): with right weights its mean is that of the candidate however wrong S is; S makes it narrow.
The lift is the mean over users of a user's mean of psi - Y_A, in the confidence sequence of every other figure.

Weights are those of whole slates.  Slot-wise weights take for granted that items of a slate do not compete, which a
choice among them denies (5 of 20 items: off by 0.090 in a simulation), so there are none.  A constant added to Y or
S moves both sides alike: it cancels out of the lift, and no such correction is printed.

>>> rows, rng = 2_000, np.random.default_rng(0)
>>> liked = rng.random(rows) < 0.5                      # control tosses a coin, the candidate always shows slate 1
>>> drawn = rng.random(rows) < 0.5
>>> events = ControlEvents(
...     user=np.arange(rows), outcome=(drawn & liked).astype(float), identical=drawn,
...     simulated_control=np.where(drawn, 0.6, 0.1), simulated_candidate=np.full(rows, 0.6),
...     whole_slate=np.full(rows, True), slate_propensity=np.full(rows, 0.5), target_propensity=drawn.astype(float))
>>> lift = doubly_robust(events, alpha=0.05, planned_users=2_000)
>>> str(lift.estimand), round(lift.value, 3), str(lift.interval), lift.effective_sample_size
('doubly-robust', 0.248, '0.214 to 0.281', 1024.0)
"""

from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from worker.experiment.statistics.confidence import MIN_USERS, Estimate, Interval, estimate, half_width

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MIN_EFFECTIVE_SAMPLE = 100  # events; below, few weights carry the mean and its interval is too narrow
# Simulated, rates of 0.1 to 1 %: under 5 clicking canary users missed in 11 to 41 % of runs; from 20 on 0 of 164 did.
MIN_CLICKING = 20  # outcomes above 0; a sequence that leans on the central limit theorem is too narrow before
OVERLAP_ALPHA = 0.001  # chance that right propensities are called wrong, all looks together; as for sample ratios
LIFT_BOUNDS = (-1.0, 1.0)  # outcomes lie in [0, 1]


class Estimand(StrEnum):
    """What a figure about real outcomes rests on."""

    DOUBLY_ROBUST = "doubly-robust"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class ObservedLift:
    """Candidate less control in real outcomes, per user; without a value or an interval, `withheld` says why."""

    estimand: Estimand
    users: int
    value: float | None
    interval: Interval | None
    withheld: str = ""
    effective_sample_size: float | None = None  # doubly robust: events
    tuning: float | None = None  # canary: how much of the simulation is used, 0 to 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEvents:
    """Events that were shown control's slate, one row each, in any order.

    An outcome counts once its window is closed, clicked or not, and is NaN before: a click that counted at once would
    be known sooner than no click.  A simulation is NaN where there is none, a propensity where it was not logged.
    """

    user: NDArray[np.int64]
    outcome: Floats  # in [0, 1]
    simulated_control: Floats  # of the slate that was shown, in [0, 1]
    simulated_candidate: Floats
    identical: Flags  # both slates are one list, in one order
    whole_slate: Flags  # propensity_kind is SLATE
    slate_propensity: Floats  # of the slate that was shown, under control
    target_propensity: Floats  # of the same slate, under the candidate

    def __post_init__(self) -> None:
        """Raise `ValueError` for columns of unequal length."""
        check_columns(self)


def doubly_robust(events: ControlEvents, *, alpha: float, planned_users: int) -> ObservedLift:
    """Return the lift of the candidate from outcomes of control."""
    known = ~np.isnan(events.outcome)
    events = ControlEvents(**{field.name: getattr(events, field.name)[known] for field in fields(events)})
    why = _unusable(events)
    if why:
        return not_identified(Estimand.DOUBLY_ROBUST, why, users=len(np.unique(events.user)))
    weight = _weights(events)
    open_ = ~(events.identical & (weight == 1))  # elsewhere both policies would have done the same
    effective = _effective_sample_size(weight[open_])
    why = _too_little_overlap(events.user[open_], weight[open_], effective, planned_users)
    if why:
        return not_identified(Estimand.DOUBLY_ROBUST, why, users=len(np.unique(events.user)), effective=effective)
    clicked = _effective_sample_size(weight[open_ & (events.outcome > 0)])
    values = by_user(events.user, np.where(open_, _differences(events, weight), 0.0))
    differing = len(np.unique(events.user[open_]))
    found = estimate(
        values.tolist(), num_differ=differing, alpha=alpha, planned_users=planned_users, bounds=LIFT_BOUNDS
    )
    if found.interval is not None and clicked < MIN_CLICKING:
        why = f"events with a click have an effective sample size of {clicked:.0f}; at least {MIN_CLICKING} is needed"
        found = Estimate(found.users, found.value, None, why)
    return observed(Estimand.DOUBLY_ROBUST, found, effective=effective)


def _unusable(events: ControlEvents) -> str:
    """Return which propensities are missing or impossible; equal lists without logged ones are one policy."""
    slate, target = events.slate_propensity, events.target_propensity
    differ = ~events.identical
    unlogged = differ & (np.isnan(slate) | np.isnan(target) | ~events.whole_slate)
    certain = differ & (slate == 1)
    wrong = (slate <= 0) | (slate > 1) | (target < 0) | (target > 1)  # NaN is none of these
    by_chance = events.identical & (slate < 1) & (np.isnan(target) | ~events.whole_slate)
    reasons = (
        (wrong, "events have a propensity that is no probability"),
        (unlogged, "events have different slates and no whole-slate propensities: deterministic or not logged"),
        (certain, "events have different slates and a deterministic control, which never shows the candidate's slate"),
        (by_chance, "events have a randomised slate and no whole-slate propensity under the candidate"),
    )
    return next((f"{np.sum(rows):,} of {len(rows):,} {words}" for rows, words in reasons if rows.any()), "")


def _weights(events: ControlEvents) -> Floats:
    """Return the whole-slate weights; 1 where both lists are one and no chance was logged."""
    ratio = events.target_propensity / events.slate_propensity
    return np.where(np.isnan(ratio) | ~events.whole_slate, 1.0, ratio)


def _effective_sample_size(weight: Floats) -> float:
    """Return how many events of equal weight would say as much (Kish)."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def _too_little_overlap(user: NDArray[np.int64], weight: Floats, effective: float, planned_users: int) -> str:
    """Return a warning if few events carry the weight, or if the weights do not average 1, as right ones do."""
    if not weight.size:
        return ""
    if effective < MIN_EFFECTIVE_SAMPLE:
        seen = f"effective sample size {effective:,.0f} of {weight.size:,} events"
        return f"overlap too small: {seen}; at least {MIN_EFFECTIVE_SAMPLE} is needed"
    means = by_user(user, weight)
    if len(means) < MIN_USERS:
        return ""
    sd = float(means.std(ddof=1))
    mean, half = float(means.mean()), half_width(len(means), sd, alpha=OVERLAP_ALPHA, planned_users=planned_users)
    if abs(mean - 1) <= half:
        return ""
    return f"overlap too small or propensities wrong: the mean weight is {mean:.2f}, 1 is expected"


def _differences(events: ControlEvents, weight: Floats) -> Floats:
    """Return psi - Y_A by event.  A missing simulation is the mean outcome on both sides: any S is right on average."""
    missing = np.isnan(events.simulated_control) | np.isnan(events.simulated_candidate)
    guess = events.outcome.mean() if len(missing) else 0.0
    control = np.where(missing, guess, events.simulated_control)
    candidate = np.where(missing, guess, events.simulated_candidate)
    return np.asarray(candidate + weight * (events.outcome - control) - events.outcome)


def by_user(user: NDArray[np.int64], values: Floats) -> Floats:
    """Return each user's mean, users in ascending order."""
    _, row = np.unique(user, return_inverse=True)
    return np.asarray(np.bincount(row, values) / np.bincount(row))


def not_identified(estimand: Estimand, why: str, *, users: int, effective: float | None = None) -> ObservedLift:
    """Return a lift without a value."""
    return ObservedLift(estimand, users, None, None, f"not identified: {why}", effective)


def observed(
    estimand: Estimand, found: Estimate, *, effective: float | None = None, tuning: float | None = None
) -> ObservedLift:
    """Return an estimate as a lift."""
    return ObservedLift(estimand, found.users, found.value, found.interval, found.withheld, effective, tuning)


def check_columns(events: object) -> None:
    """Raise `ValueError` where the columns of a dataclass are of unequal length."""
    names = [field.name for field in fields(events)]  # type: ignore[arg-type]
    lengths = {name: len(getattr(events, name)) for name in names}
    if len(set(lengths.values())) > 1:
        message = f"{type(events).__name__}: want columns of one length, got {lengths}"
        raise ValueError(message)
