"""The simulation against real clicks on control, and the click probability that is bridged from there.

    shown slates + outcomes  ->  columns  ->  calibration            every figure with a fixed-time interval
                                          ->  head (first half)  ->  bridge over the duels of the second half

Both say in words why they are not there yet.  The bridge assumes logit choice and carries its own estimand.  Where
both slates are one list nothing has to be carried over, nor asked: such an event is a difference of 0.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import fsum

import numpy as np

from worker.experiment.readout import Agreement, Calibrated, Effect
from worker.experiment.real_clicks import calibration, click_model
from worker.experiment.real_clicks.calibration import Figure
from worker.experiment.real_clicks.shown_slates import Seen, columns, usable
from worker.experiment.statistics import confidence as stats
from worker.experiment.statistics.user_means import Rule

SEED = 1  # of the bootstrap: the same data give the same figures
METRIC = "click_probability"
ESTIMAND = f"{click_model.ESTIMAND} ({click_model.ASSUMPTION})"

Duels = Mapping[str, tuple[float, float]]  # by event: duel share, contested mass
Unchanged = tuple[str, int, int]  # event, user and time of an event whose slates are one list


def calibrated(seen: Sequence[Seen]) -> Calibrated:
    """Return how far simulated choices agree with clicks."""
    known = [one for one in seen if one.clicked is not None]
    clicks = sum(bool(one.clicked) for one in known)
    counts = {"slates": len(seen), "pending": len(seen) - len(known), "clicks": clicks}
    found = calibration.calibration(columns(one.row for one in known), seed=SEED) if known else None
    if found is None:
        return Calibrated(**counts, figures=(), words="too few clicks so far: both halves of the period need some")
    named = ((field.name, getattr(found, field.name)) for field in fields(found))
    figures = tuple(_agreement(name, figure) for name, figure in named if isinstance(figure, Figure))
    skill = found.skill_uniform
    good = skill.interval is not None and skill.interval.low > 0
    words = (
        "simulated users predict clicks better than chance"
        if good
        else "simulated users are not shown to predict clicks better than chance"
    )
    return Calibrated(**counts, figures=figures, words=words)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Click probabilities (control, candidate) by event of the second half; without any, `withheld` says why."""

    by_event: Mapping[str, tuple[float, float]]
    user: Mapping[str, int]  # by event, also of those in `unchanged`
    unchanged: frozenset[str] = frozenset()  # events whose slates are one list
    head: click_model.Head | None = None
    withheld: str = ""


def bridge(seen: Sequence[Seen], duels: Duels, unchanged: Sequence[Unchanged] = ()) -> Bridge:
    """Fit the head on the first half of the time that is known, and carry it over to the candidate from there on."""
    known = [one for one in seen if one.clicked is not None]
    middle = _middle(known)
    first = [one for one in known if one.occurred_at < middle]
    head = click_model.fit(columns(one.row for one in first)) if first else click_model.Refused("no outcomes yet")
    if isinstance(head, click_model.Refused):
        return Bridge({}, {}, withheld=head.reason)
    same = {event: user for event, user, at in unchanged if at >= middle}
    later = [one for one in seen if one.occurred_at >= middle and one.event_id in duels and one.event_id not in same]
    asked = sorted((one for one in later if usable(one.row)), key=lambda one: (one.occurred_at, str(one.user)))
    if not asked:
        return Bridge({}, {}, withheld="no duel yet whose control slate was shown to a real user")
    found = _carried(head, asked, duels)
    if isinstance(found, click_model.Refused):
        return Bridge({}, {}, withheld=found.reason)
    both = zip(found.control.tolist(), found.candidate.tolist(), strict=True)
    by_event = {one.event_id: clicks for one, clicks in zip(asked, both, strict=True)}
    return Bridge(by_event, same | {one.event_id: one.user for one in asked}, frozenset(same), head)


def _carried(head: click_model.Head, asked: Sequence[Seen], duels: Duels) -> click_model.Bridged | click_model.Refused:
    """Bridge slates in the order in which `columns` has them."""
    share, contested = np.array([duels[one.event_id] for one in asked]).T
    own, shared = share - (1 - contested) / 2, 1 - contested
    return click_model.bridged(head, columns(one.row for one in asked), mass_a=1 - own, mass_b=own + shared)


def bridged(over: Bridge, rule: Rule) -> Effect:
    """Return candidate - control of the click probability."""
    if over.withheld:
        return _effect(stats.Estimate(0, None, None, over.withheld))
    by_user: defaultdict[int, list[float]] = defaultdict(list)
    for event, (control, candidate) in over.by_event.items():
        by_user[over.user[event]].append(candidate - control)
    triggered = {user for user, differences in by_user.items() if any(differences)}
    for event in over.unchanged:
        by_user[over.user[event]].append(0.0)
    values = {user: fsum(differences) / len(differences) for user, differences in by_user.items()}
    everyone, differing = list(values.values()), [values[user] for user in triggered]
    overall, of_those = (
        stats.estimate(
            found,
            num_differ=len(triggered),
            alpha=rule.alpha,
            planned_users=rule.planned_users,
            bounds=(-1.0, 1.0),
        )
        for found in (everyone, differing)
    )
    return _effect(overall, of_those, note=_given(over.head))


def _given(head: click_model.Head | None) -> str:
    if head is None:
        return ""
    return (
        f"the interval takes the click model as exact; its slope {head.slope:.2f} has a standard error of "
        f"{head.slope_se:.2f}"
    )


def _effect(overall: stats.Estimate, triggered: stats.Estimate | None = None, note: str = "") -> Effect:
    return Effect(METRIC, 0.0, overall, triggered or overall, estimand=ESTIMAND, note=note)


def _middle(known: Sequence[Seen]) -> int:
    """Return the time that splits what is known in two; one moment is never in both halves."""
    times = sorted(one.occurred_at for one in known)
    return times[len(times) // 2] if times else 0


def _agreement(name: str, figure: Figure) -> Agreement:
    interval = figure.interval
    return Agreement(name, figure.value, interval.low if interval else None, interval.high if interval else None)
