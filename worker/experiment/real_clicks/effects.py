"""The lift in real outcomes, from the events whose users really saw control's slate, or the candidate's.

    control shown      outcome, propensities     doubly robust, if control's own chance was logged
    candidate shown    outcome, assignment       canary, if some users were assigned to see it

The simulation that makes them narrow: for doubly robust the bridged click probabilities, where there are any yet; for
the canary the duel share.  Both may be wrong without harm: see `observed` and `canary`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import fsum, nan

import numpy as np

from worker.experiment.readout import Check, Effect
from worker.experiment.real_clicks import canary, doubly_robust
from worker.experiment.real_clicks.bridge import METRIC, Bridge
from worker.experiment.real_clicks.canary import CanaryEvents
from worker.experiment.real_clicks.doubly_robust import ControlEvents, Estimand, Floats, ObservedLift
from worker.experiment.real_clicks.sample_ratio import (
    FirstExposures,
    chances,
    events_by_arm,
    is_unknown,
    sample_ratio,
    withholds,
)
from worker.experiment.real_clicks.shown_slates import Exposure
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Rule

_NEITHER = (nan, nan)


@dataclass(frozen=True, slots=True)
class Observed:
    """What outcomes say about a candidate, and whether the canary's arms are whole; no check without a canary."""

    effects: tuple[Effect, ...] = ()
    checks: tuple[Check, ...] = ()


def observe(exposures: Sequence[Exposure], over: Bridge, rule: Rule) -> Observed:
    """Return what outcomes say about the candidate; "not identified" and why, where they cannot."""
    control, found, checks = [one for one in exposures if not one.shown_candidate], [], []
    if any(one.outcome is not None for one in control):
        lift = doubly_robust.doubly_robust(_control(control, over), alpha=rule.alpha, planned_users=rule.planned_users)
        found.append(_effect(lift, _rate(control)))
    if len(control) < len(exposures):
        first = _first(exposures)
        if first.in_canary.any():
            checks = [sample_ratio(first), events_by_arm(first, planned_users=rule.planned_users)]
        lift = canary.canary(_canary(exposures, first), alpha=rule.alpha, planned_users=rule.planned_users)
        if lost := [check.words for check in checks if withholds(check)]:
            why = f"the canary seems to have lost some, and those who are left are no random ones: {'; '.join(lost)}"
            lift = doubly_robust.not_identified(Estimand.CANARY, why, users=lift.users)
        unsure = [check.words for check in checks if is_unknown(check) and not lost]
        effect = _effect(lift, _rate(one for one in control if one.assigned))
        found.append(replace(effect, note="; ".join(filter(None, [effect.note, *unsure]))))
    return Observed(tuple(found), tuple(checks))


def _first(exposures: Iterable[Exposure]) -> FirstExposures:
    """Return the first exposure of each assigned user; events come by time."""
    first: dict[int, Exposure] = {}
    clicked, events = set(), Counter[int]()
    for one in exposures:
        if one.assigned:
            first.setdefault(one.user, one)
            clicked |= {one.user} if one.outcome else set()
            events[one.user] += 1
    users = list(first.values())
    return FirstExposures(
        user=np.array([one.user for one in users], np.int64),
        in_canary=np.array([one.shown_candidate for one in users], bool),
        probability=_column(users, lambda one: one.arm_probability),
        at=np.array([one.assigned_at for one in users], np.int64),
        clicked=np.array([one.user in clicked for one in users], bool),
        events=np.array([events[one.user] for one in users], np.int64),
    )


def _rate(control: Iterable[Exposure]) -> float | None:
    """Return what control's users did with its slates: the mean over users of each user's mean; None without any."""
    by_user: defaultdict[int, list[float]] = defaultdict(list)
    for one in control:
        if one.outcome is not None:
            by_user[one.user].append(one.outcome)
    return fsum(fsum(seen) / len(seen) for seen in by_user.values()) / len(by_user) if by_user else None


def _control(events: Sequence[Exposure], over: Bridge) -> ControlEvents:
    simulated = [over.by_event.get(one.event_id, _NEITHER) for one in events]
    return ControlEvents(
        user=np.array([one.user for one in events]),
        outcome=_column(events, lambda one: one.outcome),
        simulated_control=np.array([one for one, _ in simulated]),
        simulated_candidate=np.array([one for _, one in simulated]),
        identical=np.array([one.identical for one in events]),
        whole_slate=np.array([one.whole_slate for one in events]),
        slate_propensity=_column(events, lambda one: one.propensity),
        target_propensity=_column(events, lambda one: one.target_propensity),
    )


def _canary(events: Sequence[Exposure], first: FirstExposures) -> CanaryEvents:
    chance = dict(zip(first.user.tolist(), chances(first).tolist(), strict=True))
    return CanaryEvents(
        user=np.array([one.user for one in events]),
        outcome=_column(events, lambda one: one.outcome),
        shown_candidate=np.array([one.shown_candidate for one in events]),
        assigned=np.array([one.assigned for one in events]),
        simulated_candidate=_column(events, lambda one: one.duel_share),
        identical=np.array([one.identical for one in events]),
        chance=np.array([chance.get(one.user, nan) for one in events]),
    )


def _column(events: Sequence[Exposure], of: Callable[[Exposure], float | None]) -> Floats:
    return np.array([nan if (value := of(one)) is None else value for one in events], np.float64)


def _effect(found: ObservedLift, control_value: float | None) -> Effect:
    estimate = stats.Estimate(found.users, found.value, found.interval, found.withheld)
    return Effect(
        METRIC, 0.0, estimate, estimate, estimand=found.estimand, note=_note(found), control_value=control_value
    )


def _note(found: ObservedLift) -> str:
    if found.estimand is Estimand.CANARY:
        return "" if found.tuning is None else f"weight of the simulation: {found.tuning:.2f}"
    sample = found.effective_sample_size
    return "" if sample is None else f"effective sample size: {sample:,.0f} events where the policies differ"
