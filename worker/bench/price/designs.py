"""Designs of an experiment, and what simulated users let each of them find: a verdict, and what it asked for it.

    reference   one slate of each event, of control or of the candidate by half of the users; three draws; no pairing;
                as many users as Welch's t-test needs, decided once, at the end
    slates      both slates of each event, the difference within the event, read by the always-valid readout
    duels       the duel of each event, read in the same way; control's slate of the calibrating users
    stopped     the same, and asking ends once the readout has decided

All designs see the users and events of one log.  What decides is the product's: `Users` makes the estimate, `skew` and
`activity` hold it, `judge` gives the verdict, and `steering.decided` ends asking.  Only `reference` has a test of its
own.  A readout is looked at `looks` times; what is asked between two looks is paid for.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from math import ceil
from statistics import fmean

import numpy as np

from worker.bench.price.tokens import REFERENCE_DRAWS, Way
from worker.bench.price.truth import Flags, Floats, Ints, Log, LogitEngine, World, duel_shares, generate
from worker.core.simulation.question_set import DUEL_SHARE, QuestionSet, WantedQuestions
from worker.core.steering.decided import FINAL, Decided, heard, read_readout
from worker.experiment.metrics import METRICS
from worker.experiment.planning.power import Goal, GoalKind, users_for
from worker.experiment.quality.activity import activity, groups
from worker.experiment.quality.skew import sampled_skewness, skew
from worker.experiment.readout import Effect
from worker.experiment.report.verdict import Evidence, judge
from worker.experiment.statistics.confidence import MIN_DIFFERING, MIN_USERS, Verdict
from worker.experiment.statistics.user_means import Rule, Users, UserSums
from worker.experiment.store.sums import UNIT

SLATE_METRIC = "reciprocal_rank"  # how high the choice stands in its own list: what a SLATE says of a ranker
DESIGNS = ("reference", "slates", "duels", "stopped")
EFFECT_PILOTS = 10  # of pilot_users each: the effect must be known better than the sd
MAX_SHIFT = 4.0  # the candidate sees nearly all of the utility
CALIBRATION_SHARE = 0.05  # the worker's default
MINUTES_A_DAY = 1_440


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPrice:
    """What is simulated: the world with its effect, the simulated user, and the errors that are allowed."""

    world: World
    engine: LogitEngine
    draws: int = 2
    alpha: float = 0.05
    power: float = 0.8
    looks: int = 25
    days: float = 7.0  # that an experiment lasts: whose first day is over has an interval of their own
    pilot_users: int = 40_000


@dataclass(frozen=True, slots=True)
class Planned:
    """What a design needs to find the effect, from a large pilot of the same world."""

    metric: str
    effect: float
    sd: float  # of a user's value; `reference`: the root of the sum of both arms' variances
    users: int  # of both arms together


@dataclass(frozen=True, slots=True)
class PricedRun:
    """One experiment by one design."""

    verdict: Verdict
    users: int  # seen until asking ended
    events: int
    asked: Mapping[Way, int]  # events by the way in which they were asked about


def plans(wanted: WantedPrice) -> dict[str, Planned]:
    """Return the plan of each design."""
    log = generate(replace(wanted.world, users=wanted.pilot_users), seed=0)
    a, b = (_means(log, _ranks(log, wanted, REFERENCE_DRAWS, seed=seed, b=bool(seed))) for seed in (0, 1))
    sd, effect = float(np.sqrt(a.var() + b.var())), effect_of(wanted, SLATE_METRIC)
    reference = Planned(SLATE_METRIC, effect, sd, 2 * _fixed(wanted, effect, sd))
    slates, duels = (_always_valid(wanted, log, metric) for metric in (SLATE_METRIC, DUEL_SHARE))
    return dict(zip(DESIGNS, (reference, slates, duels, duels), strict=True))


def effect_of(wanted: WantedPrice, metric: str) -> float:
    """Return how far the mean user is from a tie, from one event of each of many: visits do not depend on taste."""
    world = replace(wanted.world, users=wanted.pilot_users, max_visits=1)
    logs = (generate(world, seed=seed) for seed in range(1, EFFECT_PILOTS + 1))
    return fmean(float(_values(log, wanted, metric, seed=3).mean()) for log in logs) - METRICS[metric].null


def _fixed(wanted: WantedPrice, effect: float, sd: float) -> int:
    """Return the users of each arm that a test at one look needs (two-sided; normal approximation)."""
    from scipy.special import ndtri

    return ceil((float(ndtri(1 - wanted.alpha / 2) + ndtri(wanted.power)) * sd / effect) ** 2)


def _always_valid(wanted: WantedPrice, log: Log, metric: str) -> Planned:
    """Return the plan as `mirrorstream experiment plan` makes it."""
    of, values, effect = METRICS[metric], _means(log, _values(log, wanted, metric, seed=2)), effect_of(wanted, metric)
    sd, differing = float(values.std(ddof=1)), float((values != of.null).mean())
    first = max(MIN_USERS, ceil(MIN_DIFFERING / differing))
    goal = Goal(
        GoalKind.DIFFERENCE,
        abs(effect),
        sd,
        first_look=first,
        room=min(of.null - of.low, of.high - of.null),
        skewness=sampled_skewness(np.copysign(1, effect) * values),
    )
    return Planned(metric, effect, sd, users_for(goal, power=wanted.power, alpha=wanted.alpha))


def run(design: str, log: Log, wanted: WantedPrice, plan: Planned, *, seed: int) -> PricedRun:
    """Run one experiment on the first users of a log."""
    log = first_users(log, plan.users)
    if design == "reference":
        return _reference(log, wanted, seed=seed)
    return _watched(log, wanted, plan, seed=seed, stops=design == "stopped")


def first_users(log: Log, users: int) -> Log:
    """Return the events of the first so many users, in their order."""
    inside = log.user < users
    columns = {one.name: getattr(log, one.name)[inside] for one in fields(log) if one.name != "world"}
    return replace(log, world=replace(log.world, users=users), **columns)


def _reference(log: Log, wanted: WantedPrice, *, seed: int) -> PricedRun:
    """Compare two independent halves of the users, each asked about one slate."""
    from scipy.stats import ttest_ind

    of_a, of_b = (_ranks(log, wanted, REFERENCE_DRAWS, seed=seed, b=b) for b in (False, True))
    means = _means(log, np.where(log.user % 2 == 1, of_b, of_a))
    in_b = np.arange(means.size) % 2 == 1
    found = ttest_ind(means[in_b], means[~in_b], equal_var=False)
    verdict = Verdict.KEEP_RUNNING
    if found.pvalue <= wanted.alpha:
        verdict = Verdict.CANDIDATE_PREFERRED if found.statistic > 0 else Verdict.CONTROL_PREFERRED
    return PricedRun(verdict, means.size, log.user.size, {Way.REFERENCE: log.user.size})


def _watched(log: Log, wanted: WantedPrice, plan: Planned, *, seed: int, stops: bool) -> PricedRun:
    """Look at the readout again and again; the first verdict counts, and ends asking if the design `stops`."""
    readout = WatchedReadout(log, _values(log, wanted, plan.metric, seed=seed), wanted, plan)
    decided: Decided | None = None
    verdict, end = Verdict.KEEP_RUNNING, log.user.size
    for look, until in enumerate(np.linspace(0, log.user.size, wanted.looks + 1)[1:].round().astype(int).tolist()):
        found = readout.verdict(until)
        decided = heard(decided, read_readout(_published(found, look)))
        if decided.has_ended:
            verdict, end = found, until if stops else end
            break
    is_duel = plan.metric == DUEL_SHARE
    return PricedRun(verdict, int(np.unique(log.user[:end]).size), end, _asked(log, end, is_duel=is_duel))


def _published(verdict: Verdict, look: int) -> dict[str, object]:
    """Return what a worker reads of a readout."""
    judged = [{"candidate": "candidate", "verdict": verdict.value}]
    return {"experiment_id": "price", "config_fingerprint": "price", "produced_at": look + 1, "exploratory": False,
            "candidates": judged}  # fmt: skip


class WatchedReadout:
    """The readout of one comparison, from the values of its events."""

    def __init__(self, log: Log, values: Floats, wanted: WantedPrice, plan: Planned) -> None:
        of = METRICS[plan.metric]
        self._rule, self._null = Rule(wanted.alpha, plan.users, (of.low, of.high)), of.null
        self._user, self._differs = log.user, log.differs.astype(np.int64)
        self._total, self._metric = np.rint(values * UNIT).astype(np.int64), plan.metric
        self._minute = (np.arange(log.user.size) * (wanted.days * MINUTES_A_DAY / log.user.size)).astype(np.int64)

    def verdict(self, until: int) -> Verdict:
        """Return the verdict on the first so many events, by the readout's own rules."""
        ones = np.ones(until, np.int64)
        sums = UserSums(
            self._user[:until], self._minute[:until], ones, 0 * ones, self._total[:until], self._differs[:until], UNIT
        )
        users, rule = Users(sums, self._rule), self._rule
        primary = Effect(self._metric, self._null, users.overall(), users.triggered())
        by_activity = groups(
            users.values(), users.num_events(), alpha=rule.alpha, planned_users=rule.planned_users,
            bounds=rule.bounds, null=self._null,
        )  # fmt: skip
        interval, closed = primary.overall.interval, users.closed(MINUTES_A_DAY)
        agreeing = closed.interval if closed else None
        checks = (
            skew(users.values(), interval, null=self._null, bounds=rule.bounds, closed=agreeing),
            activity(by_activity, primary.overall, null=self._null),
        )
        on = Evidence(
            primary, rule.planned_users, None, 1, missing=0, worst_case=users.worst_case(), checks=checks
        )  # fmt: skip
        return judge(on)[0]


def _asked(log: Log, end: int, *, is_duel: bool) -> Counter[Way]:
    """Count the events by way of asking; calibrating users are asked about control until the plan's end."""
    early = np.arange(log.user.size) < end
    calibrating = _calibrating(log.world.users)[log.user]
    if is_duel:
        asks = early & (log.in_a != log.in_b).any(axis=1)  # of two orders of one set nothing is asked
        ways = {Way.DUEL: asks & ~calibrating, Way.DUEL_CONTROL: asks & calibrating}
    else:
        asks = early & log.differs
        ways = {Way.SLATES: asks}
        calibrating = calibrating & ~asks  # their control's slate was asked
        return Counter({way: int(of.sum()) for way, of in (ways | {Way.CONTROL: calibrating}).items()})
    return Counter({way: int(of.sum()) for way, of in (ways | {Way.CONTROL: calibrating & ~asks}).items()})


@cache
def _calibrating(users: int) -> Flags:
    wanted = WantedQuestions(QuestionSet.DUELS, calibration_share=CALIBRATION_SHARE)
    return np.array([wanted.of(f"u{user}").calibrating for user in range(users)])


def _values(log: Log, wanted: WantedPrice, metric: str, *, seed: int) -> Floats:
    """Return the metric of each event."""
    if metric == DUEL_SHARE:
        return duel_shares(log, _letters(log, wanted, log.in_a | log.in_b, wanted.draws, seed=(seed, 0)))
    a, b = (_ranks(log, wanted, wanted.draws, seed=seed, b=b) for b in (False, True))
    return np.where(log.differs, b - a, 0.0)  # the answer about one list is copied


def _ranks(log: Log, wanted: WantedPrice, draws: int, *, seed: int, b: bool) -> Floats:
    """Return the expected 1 / rank of the choice in one of the slates."""
    slate, offered = (log.slate_b, log.in_b) if b else (log.slate_a, log.in_a)
    letters = _letters(log, wanted, offered, draws, seed=(seed, 1 + b))
    return np.asarray((np.take_along_axis(letters, slate, axis=1) / np.arange(1, slate.shape[1] + 1)).sum(axis=1))


def _letters(log: Log, wanted: WantedPrice, offered: Flags, draws: int, *, seed: tuple[int, int]) -> Floats:
    """Return the mean of some draws, each of which errs by itself."""
    seeds = np.random.SeedSequence(seed).generate_state(draws)
    found = (wanted.engine.letters(wanted.engine.beliefs(log, seed=int(one)), offered, order=None) for one in seeds)
    return np.asarray(sum(found) / draws)


def _means(log: Log, values: Floats) -> Floats:
    """Return each user's mean; every user of a log has an event."""
    count: Ints = np.bincount(log.user, minlength=log.world.users)
    return np.asarray(np.bincount(log.user, values, log.world.users) / count)


def shift_for(wanted: WantedPrice, effect: float) -> float:
    """Return the shift of the world at which the simulated duel share is `effect` from a tie.

    Raises `ValueError` where no shift below `MAX_SHIFT` does that.
    """
    from scipy.optimize import brentq

    def missing(shift: float) -> float:
        return effect_of(replace(wanted, world=replace(wanted.world, shift=shift)), DUEL_SHARE) - effect

    return float(brentq(missing, 0.0, MAX_SHIFT, xtol=1e-4))


def is_right(verdict: Verdict, *, differ: bool) -> bool:
    """Return whether a verdict is right: the candidate where it is better, none where both are alike."""
    return verdict is Verdict.CANDIDATE_PREFERRED if differ else verdict not in FINAL
