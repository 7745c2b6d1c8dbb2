"""The simulation against real clicks on control, and the click probability that is bridged from there.

    shown slates + outcomes  ->  columns  ->  calibration            every figure with a fixed-time interval
                                          ->  head (first half)  ->  bridge over the duels of the second half

Both say in words why they are not there yet.  The bridge assumes logit choice and carries its own estimand.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from worker.experiment import calibration as calibrating
from worker.experiment import head as heads
from worker.experiment import statistics as stats
from worker.experiment.calibration import Figure
from worker.experiment.readout import Agreement, Calibrated, Effect
from worker.experiment.shown import Seen, columns, usable
from worker.experiment.users import Rule

SEED = 1  # of the bootstrap: the same data give the same figures
METRIC = "click_probability"
ESTIMAND = f"{heads.ESTIMAND} ({heads.ASSUMPTION})"

Duels = Mapping[str, tuple[float, float]]  # by event: duel share, contested mass


def calibrated(seen: Sequence[Seen]) -> Calibrated:
    """Return how far simulated choices agree with clicks."""
    known = [one for one in seen if one.clicked is not None]
    clicks = sum(bool(one.clicked) for one in known)
    counts = {"slates": len(seen), "pending": len(seen) - len(known), "clicks": clicks}
    found = calibrating.calibration(columns(one.row for one in known), seed=SEED) if known else None
    if found is None:
        return Calibrated(**counts, figures=(), words="no clicks yet in both halves of the time")
    named = ((field.name, getattr(found, field.name)) for field in fields(found))
    figures = tuple(_agreement(name, figure) for name, figure in named if isinstance(figure, Figure))
    skill = found.skill_uniform
    good = skill.interval is not None and skill.interval.low > 0
    words = "knows more about clicks than chance" if good else "not shown to know more about clicks than chance"
    return Calibrated(**counts, figures=figures, words=words)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Click probabilities (control, candidate) by event of the second half; without any, `withheld` says why."""

    by_event: Mapping[str, tuple[float, float]]
    user: Mapping[str, int]
    withheld: str = ""


def bridge(seen: Sequence[Seen], duels: Duels) -> Bridge:
    """Fit the head on the first half of the time, and carry it over to the candidate in the second."""
    known = [one for one in seen if one.clicked is not None]
    first, second = _halves(known)
    head = heads.fit(columns(one.row for one in first)) if first else heads.Refused("no outcomes yet")
    pairs = [(one, *duels[one.event_id]) for one in second if one.event_id in duels and usable(one.row)]
    if isinstance(head, heads.Refused) or not pairs:
        reason = head.reason if isinstance(head, heads.Refused) else "no duels with a shown control slate yet"
        return Bridge({}, {}, reason)
    table = columns(one.row for one, _, _ in pairs)
    share, contested = (np.array([pair[index] for pair in pairs]) for index in (1, 2))
    own, shared = share - (1 - contested) / 2, 1 - contested
    found = heads.bridged(head, table, mass_a=1 - own, mass_b=own + shared)
    if isinstance(found, heads.Refused):
        return Bridge({}, {}, found.reason)
    both = zip(found.control.tolist(), found.candidate.tolist(), strict=True)
    return Bridge(
        {one.event_id: clicks for (one, _, _), clicks in zip(pairs, both, strict=True)},
        {one.event_id: one.user for one, _, _ in pairs},
    )


def bridged(over: Bridge, rule: Rule) -> Effect:
    """Return candidate - control of the click probability."""
    if over.withheld:
        return _effect(stats.Estimate(0, None, None, over.withheld))
    by_user: defaultdict[int, list[float]] = defaultdict(list)
    for event, (control, candidate) in over.by_event.items():
        by_user[over.user[event]].append(candidate - control)
    values = [sum(differences) / len(differences) for differences in by_user.values()]
    return _effect(
        stats.estimate(
            values,
            num_differ=sum(value != 0 for value in values),
            alpha=rule.alpha,
            planned_users=rule.planned_users,
            bounds=(-1.0, 1.0),
        )
    )


def _effect(estimate: stats.Estimate) -> Effect:
    return Effect(METRIC, 0.0, estimate, estimate, estimand=ESTIMAND)


def _halves(known: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Split by time, one moment never in both; ordered as `columns` orders its rows."""
    ordered = sorted(known, key=lambda one: (one.occurred_at, str(one.user)))
    if not ordered:
        return [], []
    middle = ordered[len(ordered) // 2].occurred_at
    return [one for one in ordered if one.occurred_at < middle], [one for one in ordered if one.occurred_at >= middle]


def _agreement(name: str, figure: Figure) -> Agreement:
    interval = figure.interval
    return Agreement(name, figure.value, interval.low if interval else None, interval.high if interval else None)
