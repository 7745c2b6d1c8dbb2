"""The simulation against real clicks on control, and the click probability that is bridged from there.

    shown slates + outcomes  ->  columns  ->  calibration            every figure with a fixed-time interval
                                          ->  head (first half)  ->  bridge over the duels of the second half

Both say in words why they are not there yet.  The bridge assumes logit choice and carries its own estimand; its
interval holds what its model does not know, or there is only a sign (`bridge_limits`).  Where
both slates are one list nothing has to be carried over, nor asked: such an event is a difference of 0.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from worker.experiment.quality.dominance import MIN_COVERED, dominant, words
from worker.experiment.readout import Agreement, Calibrated, Effect
from worker.experiment.real_clicks import calibration, click_model
from worker.experiment.real_clicks.bridge_limits import Limits, limits
from worker.experiment.real_clicks.calibration import Figure
from worker.experiment.real_clicks.shown_slates import Floats, Ints, Seen, columns, usable
from worker.experiment.real_clicks.user_spread import moved
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
    crowd = dominant(Counter(one.user for one in known if one.clicked), at_least=MIN_COVERED)
    if why := words(list(crowd.values()), of="clicks"):
        return Calibrated(**counts, figures=(), words=why)
    named = ((one.name, getattr(found, one.name)) for one in fields(found))
    figures = tuple(_agreement(name, figure) for name, figure in named if isinstance(figure, Figure))
    skill = found.skill_uniform
    good = skill.interval is not None and skill.interval.low > 0
    told = (
        "simulated users predict clicks better than chance"
        if good
        else "simulated users are not shown to predict clicks better than chance"
    )
    return Calibrated(**counts, figures=figures, words=told)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Click probabilities (control, candidate) by event of the second half; without any, `withheld` says why."""

    by_event: Mapping[str, tuple[float, float]]
    user: Mapping[str, int]  # by event, also of those in `unchanged`
    unchanged: frozenset[str] = frozenset()  # events whose slates are one list
    head: click_model.FittedHead | None = None
    log_ratio: Mapping[str, float] = field(default_factory=dict)  # of the duel's masses, by event of `by_event`
    limits: Limits | None = None
    withheld: str = ""


def bridge(seen: Sequence[Seen], duels: Duels, unchanged: Sequence[Unchanged] = ()) -> Bridge:
    """Fit the head on the first half of the time that is known, and carry it over to the candidate from there on."""
    known = [one for one in seen if one.clicked is not None]
    middle = _middle(known)
    first = [one for one in known if one.occurred_at < middle]
    none = click_model.NotIdentified("no outcomes yet whose window is over")
    head = click_model.fit(columns(one.row for one in first)) if first else none
    if isinstance(head, click_model.NotIdentified):
        return Bridge({}, {}, withheld=head.reason)
    same = {event: user for event, user, at in unchanged if at >= middle}
    later = [one for one in seen if one.occurred_at >= middle and one.event_id in duels and one.event_id not in same]
    asked = sorted((one for one in later if usable(one.row)), key=lambda one: (one.occurred_at, str(one.user)))
    if not asked:
        return Bridge({}, {}, withheld="no duel yet whose control slate was shown to a real user")
    found = _carried(head, asked, duels)
    if isinstance(found, click_model.NotIdentified):
        return Bridge({}, {}, withheld=found.reason)
    both = zip(found.control.tolist(), found.candidate.tolist(), strict=True)
    by_event = {one.event_id: clicks for one, clicks in zip(asked, both, strict=True)}
    ratios = {one.event_id: ratio for one, ratio in zip(asked, found.log_ratio.tolist(), strict=True)}
    open_ones = limits(
        head,
        known=columns(one.row for one in known),
        later=columns(one.row for one in known if one.occurred_at >= middle),
    )
    user = same | {one.event_id: one.user for one in asked}
    return Bridge(by_event, user, frozenset(same), head, ratios, open_ones)


def _carried(
    head: click_model.FittedHead, asked: Sequence[Seen], duels: Duels
) -> click_model.Bridged | click_model.NotIdentified:
    """Bridge slates in the order in which `columns` has them."""
    share, contested = np.array([duels[one.event_id] for one in asked]).T
    own, shared = share - (1 - contested) / 2, 1 - contested
    return click_model.bridged(head, columns(one.row for one in asked), mass_a=1 - own, mass_b=own + shared)


def bridged(over: Bridge, rule: Rule) -> Effect:
    """Return candidate - control of the click probability."""
    if over.withheld or over.head is None or over.limits is None:
        return _effect(stats.Estimate(0, None, None, over.withheld))
    left_open = over.limits
    events = _Events.of(over)
    ranges = [
        events.estimates(rule, slope=slope, spread=spread) for slope in left_open.slopes for spread in left_open.spreads
    ]
    if left_open.withheld:
        users = len(set(over.user.values()))
        words = f"not identified: {left_open.withheld}; {_sign([overall for overall, _ in ranges])}"
        return _effect(stats.Estimate(users, None, None, words))
    best = events.estimates(rule, slope=over.head.slope, spread=left_open.likeliest)
    overall, of_those = (_around(mine, [both[place] for both in ranges]) for place, mine in enumerate(best))
    return _effect(overall, of_those, note=left_open.words)


@dataclass(frozen=True, slots=True)
class _Events:
    """The events of a bridge as columns: those that were asked, then those whose slates are one list."""

    user: Ints  # codes
    control: Floats  # of the asked ones, as is the next
    log_ratio: Floats

    @staticmethod
    def of(over: Bridge) -> "_Events":
        asked = list(over.by_event)
        _codes, user = np.unique(
            np.array([over.user[event] for event in (*asked, *sorted(over.unchanged))]), return_inverse=True
        )
        control = np.array([over.by_event[event][0] for event in asked])
        return _Events(user, control, np.array([over.log_ratio[event] for event in asked]))

    def estimates(self, rule: Rule, *, slope: float, spread: float) -> tuple[stats.Estimate, stats.Estimate]:
        """Return the lift of all users and of those whose slates differ, were the slope and the spread known."""
        lifts = np.zeros(self.user.size)
        lifts[: self.control.size] = moved(self.control, slope * self.log_ratio, spread) - self.control
        values = np.bincount(self.user, lifts) / np.bincount(self.user)
        differs = np.bincount(self.user[: self.control.size], self.log_ratio != 0, values.size) > 0
        everyone, differing = (
            stats.estimate(
                found.tolist(),
                num_differ=int(differs.sum()),
                alpha=rule.alpha,
                planned_users=rule.planned_users,
                bounds=(-1.0, 1.0),
            )
            for found in (values, values[differs])
        )
        return everyone, differing


def _around(best: stats.Estimate, others: Sequence[stats.Estimate]) -> stats.Estimate:
    """Return an estimate whose interval holds those of all that is left open; it has no sd, for it is of no mean."""
    intervals = [one.interval for one in (best, *others) if one.interval is not None]
    if best.interval is None or len(intervals) <= len(others):
        return best if best.interval is None else replace(best, interval=None, withheld=others[0].withheld)
    hull = stats.Interval(min(one.low for one in intervals), max(one.high for one in intervals))
    return stats.Estimate(best.users, best.value, hull)


def _sign(of: Sequence[stats.Estimate]) -> str:
    """Return what can be said of the direction, which neither noise nor differences between users turn round."""
    intervals = [one.interval for one in of if one.interval is not None]
    if intervals and len(intervals) == len(of):
        if min(one.low for one in intervals) > 0:
            return "the candidate is clicked more often"
        if max(one.high for one in intervals) < 0:
            return "the candidate is clicked less often"
    return "nor is its sign"


def _effect(overall: stats.Estimate, triggered: stats.Estimate | None = None, note: str = "") -> Effect:
    return Effect(METRIC, 0.0, overall, triggered or overall, estimand=ESTIMAND, note=note)


def _middle(known: Sequence[Seen]) -> int:
    """Return the time that splits what is known in two; one moment is never in both halves."""
    times = sorted(one.occurred_at for one in known)
    return times[len(times) // 2] if times else 0


def _agreement(name: str, figure: Figure) -> Agreement:
    interval = figure.interval
    return Agreement(name, figure.value, interval.low if interval else None, interval.high if interval else None)
