"""Designs of an experiment, and what simulated users let each of them find: a verdict, and what it asked for it.

    reference       one slate of each event, of control or of the candidate by half of the users; three draws; no
                    pairing; as many users as Welch's t-test needs, decided once, at the end
    both            the duel and both slates of each event: everything; the duel decides
    fifth           the duel, and both slates of a fifth of the users; the duel decides
    duels           the duel alone; control's slate of the calibrating users
    one-draw        the same with one draw; which options come first is a hash's, as in one of two draws
    slates          both slates of each event; the difference within the event decides
    slates-fifth    the same of a fifth of the users
    ...-stopped     the same, and asking ends once the readout has decided; calibrating users go on

All designs see the users and events of one log.  What decides is the product's: `Users` makes the estimate, `skew` and
`activity` hold it, `judge` gives the verdict, and `steering.decided` ends asking, or has it go on.  Only `reference`
has a test of its own.  A readout is looked at `looks` times; what is asked between two looks is paid for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from math import ceil, log as ln
from statistics import fmean

import numpy as np

from worker.bench.price.tokens import ONCE, REFERENCE_DRAWS, Way
from worker.bench.price.truth import Flags, Floats, Ints, Log, LogitEngine, World, duel_shares, generate
from worker.core.simulation.question_set import DUEL_SHARE, QuestionSet, WantedQuestions
from worker.core.steering.decided import FINAL, Decided, heard, read_readout
from worker.experiment.metrics import METRICS
from worker.experiment.planning.power import Goal, GoalKind, users_for
from worker.experiment.quality.activity import activity, groups
from worker.experiment.quality.skew import sampled_skewness, skew
from worker.experiment.readout import Check, Effect
from worker.experiment.report.verdict import Evidence, judge
from worker.experiment.statistics.confidence import MIN_DIFFERING, MIN_USERS, Estimate, Verdict
from worker.experiment.statistics.user_means import Rule, Users, UserSums
from worker.experiment.store.sums import UNIT

SLATE_METRIC = "reciprocal_rank"  # how high the choice stands in its own list: what a SLATE says of a ranker
REFERENCE = "reference"
SLATE_SHARE = 0.2  # of the users, in the designs with a fifth of the slates
STOPPED = "-stopped"
EFFECT_PILOTS = 10  # of pilot_users each: the effect must be known better than the sd
MAX_SHIFT = 4.0  # the candidate sees nearly all of the utility
CALIBRATION_SHARE = 0.05  # the worker's default
MINUTES_A_DAY = 1_440


@dataclass(frozen=True, slots=True)
class Design:
    """A way to ask and to decide."""

    metric: str
    questions: WantedQuestions
    draws: int | None = None  # None: as many as is wanted
    stops: bool = False

    def of(self, wanted: "WantedPrice") -> "WantedPrice":
        """Return what is wanted with the design's own draws."""
        return wanted if self.draws is None else replace(wanted, draws=self.draws)

    @property
    def is_of_duels(self) -> bool:
        """Whether the duel decides."""
        return self.metric == DUEL_SHARE

    @property
    def share(self) -> float:
        """The share of the users who have a value of the metric."""
        return 1.0 if self.is_of_duels else self.questions.slate_share


def _asks(questions: QuestionSet, slate_share: float = 1.0) -> WantedQuestions:
    return WantedQuestions(questions, slate_share, CALIBRATION_SHARE)


_TO_THE_END = {
    "both": Design(DUEL_SHARE, _asks(QuestionSet.BOTH)),
    "fifth": Design(DUEL_SHARE, _asks(QuestionSet.BOTH, SLATE_SHARE)),
    "duels": Design(DUEL_SHARE, _asks(QuestionSet.DUELS)),
    "one-draw": Design(DUEL_SHARE, _asks(QuestionSet.DUELS), draws=1),
    "slates": Design(SLATE_METRIC, _asks(QuestionSet.SLATES)),
    "slates-fifth": Design(SLATE_METRIC, _asks(QuestionSet.SLATES, SLATE_SHARE)),
}
WATCHED = {f"{name}{end}": replace(one, stops=bool(end)) for name, one in _TO_THE_END.items() for end in ("", STOPPED)}
DESIGNS = (REFERENCE, *WATCHED)


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
    users: int  # who have a value, of both arms together
    share: float = 1.0  # of the users who come, who have a value

    @property
    def coming(self) -> int:
        """The users of whom a share of that size has a value."""
        return ceil(self.users / self.share)


@dataclass(frozen=True, slots=True)
class PricedRun:
    """One experiment by one design."""

    verdict: Verdict  # the first that is final, which whoever watches acts on; keep running if there was none
    last: Verdict  # what the readout says at the end of the plan
    users: int  # who came until asking ended
    events: int
    asked: Mapping[Way, int]  # events by the way in which they were asked about


def plans(wanted: WantedPrice, designs: Sequence[str] = DESIGNS) -> dict[str, Planned]:
    """Return the plan of each of these designs."""
    log = generate(replace(wanted.world, users=wanted.pilot_users), seed=0)
    found: dict[tuple[str, int | None], Planned] = {}
    planned = {}
    for name in designs:
        if name == REFERENCE:
            planned[name] = _fixed(wanted, log)
            continue
        design = WATCHED[name]
        key = design.metric, design.draws
        if key not in found:
            found[key] = _always_valid(design.of(wanted), log, design.metric)
        planned[name] = replace(found[key], share=design.share)
    return planned


def least_users(plan: Planned, *, alpha: float, power: float) -> float:
    """Return the mean number of users below which no test has these errors, however it looks and whenever it stops.

    Of a mean of normal values with a known sd, for a side of a two-sided test (Wald 1945): the mean information that
    was collected is at least that which tells `power` from alpha / 2.

    >>> plan = Planned("duel_share", effect=0.02, sd=0.2, users=1)
    >>> round(least_users(plan, alpha=0.05, power=0.8)), round(7.85 * (0.2 / 0.02) ** 2)  # and of a test at one look
    (491, 785)
    """
    side = alpha / 2
    needed = power * ln(power / side) + (1 - power) * ln((1 - power) / (1 - side))
    return needed * 2 * (plan.sd / plan.effect) ** 2 / plan.share


def effect_of(wanted: WantedPrice, metric: str) -> float:
    """Return how far the mean user is from a tie, from one event of each of many: visits do not depend on taste."""
    world = replace(wanted.world, users=wanted.pilot_users, max_visits=1)
    logs = (generate(world, seed=seed) for seed in range(1, EFFECT_PILOTS + 1))
    return fmean(float(_values(log, wanted, metric, seed=3).mean()) for log in logs) - METRICS[metric].null


def _fixed(wanted: WantedPrice, log: Log) -> Planned:
    """Return the plan of a test at one look (two-sided; normal approximation)."""
    from scipy.special import ndtri

    a, b = (_means(log, _ranks(log, wanted, REFERENCE_DRAWS, seed=seed, b=bool(seed))) for seed in (0, 1))
    sd, effect = float(np.sqrt(a.var() + b.var())), effect_of(wanted, SLATE_METRIC)
    arm = ceil((float(ndtri(1 - wanted.alpha / 2) + ndtri(wanted.power)) * sd / effect) ** 2)
    return Planned(SLATE_METRIC, effect, sd, 2 * arm)


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


class PricedExperiment:
    """One log, asked and read by one design after the other; what several of them read alike is read once."""

    def __init__(self, log: Log, wanted: WantedPrice, planned: Mapping[str, Planned], *, seed: int) -> None:
        self._log, self._wanted, self._planned, self._seed = log, wanted, planned, seed
        self._watched: dict[tuple[object, ...], _Watched] = {}

    def run(self, name: str) -> PricedRun:
        """Run the experiment by a design, on as many users as its plan has."""
        plan = self._planned[name]
        if name == REFERENCE:
            return _reference(first_users(self._log, plan.coming), self._wanted, seed=self._seed)
        return self._of(name).run(WATCHED[name])

    def values(self, name: str) -> Floats:
        """Return the metric of each event of the plan's users; 0 of users who have none."""
        return self._of(name).values

    def _of(self, name: str) -> "_Watched":
        design = WATCHED[name]
        key = design.metric, design.draws, design.share
        if key not in self._watched:
            self._watched[key] = _Watched(self._log, design, self._wanted, self._planned[name], seed=self._seed)
        return self._watched[key]


def first_users(log: Log, users: int) -> Log:
    """Return the events of the first so many users, in their order."""
    return _only(log, log.user < users)


def _only(log: Log, inside: Flags) -> Log:
    """Return some of the events, in their order."""
    columns = {one.name: getattr(log, one.name)[inside] for one in fields(log) if one.name != "world"}
    return replace(log, **columns)


def _reference(log: Log, wanted: WantedPrice, *, seed: int) -> PricedRun:
    """Compare two independent halves of the users, each asked about one slate."""
    from scipy.stats import ttest_ind

    of_a, of_b = (_ranks(log, wanted, REFERENCE_DRAWS, seed=seed, b=b) for b in (False, True))
    user, index = np.unique(log.user, return_inverse=True)
    means = _by_user(index, np.where(log.user % 2 == 1, of_b, of_a))
    in_b = user % 2 == 1
    found = ttest_ind(means[in_b], means[~in_b], equal_var=False)
    verdict = Verdict.KEEP_RUNNING
    if found.pvalue <= wanted.alpha:
        verdict = Verdict.CANDIDATE_PREFERRED if found.statistic > 0 else Verdict.CONTROL_PREFERRED
    return PricedRun(verdict, verdict, means.size, log.user.size, {Way.REFERENCE: log.user.size})


class _Watched:
    """A log as designs read it that have the same users, metric and draws."""

    def __init__(self, log: Log, design: Design, wanted: WantedPrice, plan: Planned, *, seed: int) -> None:
        self._log = log = first_users(log, plan.coming)
        size = log.user.size
        self._looks = np.linspace(0, size, wanted.looks + 1)[1:].round().astype(int).tolist()
        asked = design.of(wanted)
        self._has_value = design.is_of_duels | _hashed(design.questions, plan.coming)["slates"][log.user]
        sampled = _only(log, self._has_value)
        self.values = np.zeros(size)
        self.values[self._has_value] = _values(sampled, asked, plan.metric, seed=seed)
        self._readout = WatchedReadout(log, self.values, asked, plan)
        self._whole: dict[int, Verdict] = {}  # by look, of everything until then

    def run(self, design: Design) -> PricedRun:
        """Look at the readout again and again, to the end of the plan; asking ends, and goes on, if the design stops.

        What the calibrating users answer after the verdict is read too, as in the product.
        """
        log = self._log
        calibrating = _hashed(design.questions, int(log.user.max()) + 1)["calibrating"][log.user]
        asked, is_open = np.zeros(log.user.size, bool), np.zeros(log.user.size, bool)
        decided: Decided | None = None
        verdicts, begin = [], 0
        for look, until in enumerate(self._looks):
            has_ended = design.stops and decided is not None and decided.has_ended
            asked[begin:until] = calibrating[begin:until] if has_ended else True
            is_open[begin:until] = not has_ended
            verdicts.append(self._verdict(look, until, asked))
            decided = heard(decided, read_readout(_published(verdicts[-1], look)))
            begin = until
        first = next((one for one in verdicts if one.value in FINAL), Verdict.KEEP_RUNNING)
        users = int(np.unique(log.user[is_open]).size)
        return PricedRun(first, verdicts[-1], users, int(is_open.sum()), _asked(log, asked, design))

    def _verdict(self, look: int, until: int, asked: Flags) -> Verdict:
        """Return the verdict at a look, on what was asked until then."""
        if not asked[:until].all():
            return self._readout.verdict(np.flatnonzero(asked[:until] & self._has_value[:until]))
        if look not in self._whole:
            self._whole[look] = self._readout.verdict(np.flatnonzero(self._has_value[:until]))
        return self._whole[look]


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

    def verdict(self, events: Ints) -> Verdict:
        """Return the verdict on some events, by their places in the log, by the readout's own rules."""
        ones = np.ones(events.size, np.int64)
        sums = UserSums(
            self._user[events], self._minute[events], ones, 0 * ones, self._total[events], self._differs[events], UNIT
        )
        users, rule = Users(sums, self._rule), self._rule
        overall = users.overall()
        if self._judged(overall, overall) is Verdict.KEEP_RUNNING:
            return Verdict.KEEP_RUNNING  # the checks only delay a verdict, and take most of the time
        by_activity = groups(
            users.values(), users.num_events(), alpha=rule.alpha, planned_users=rule.planned_users,
            bounds=rule.bounds, null=self._null,
        )  # fmt: skip
        closed = users.closed(MINUTES_A_DAY)
        agreeing = closed.interval if closed else None
        checks = (
            skew(users.values(), overall.interval, null=self._null, bounds=rule.bounds, closed=agreeing),
            activity(by_activity, overall, null=self._null),
        )
        return self._judged(overall, users.triggered(), checks)

    def _judged(self, overall: Estimate, triggered: Estimate, checks: Sequence[Check] = ()) -> Verdict:
        primary = Effect(self._metric, self._null, overall, triggered)
        on = Evidence(primary, self._rule.planned_users, None, 1, missing=0, worst_case=None, checks=checks)
        return judge(on)[0]


def _asked(log: Log, asked: Flags, design: Design) -> Counter[Way]:
    """Count the events by way of asking; equal slates are asked of calibrating users alone, and so is control's."""
    of_user = _hashed(design.questions, int(log.user.max()) + 1)
    duels, slates, calibrating = (asked & of_user[name][log.user] for name in ("duels", "slates", "calibrating"))
    duels = duels & (log.in_a != log.in_b).any(axis=1)  # of two orders of one set nothing is asked
    slates = slates & log.differs
    control = calibrating & ~slates  # else their control's slate was asked
    ways = {
        Way.DUEL_SLATES: duels & slates, Way.DUEL_CONTROL: duels & control, Way.DUEL: duels & ~slates & ~control,
        Way.SLATES: slates & ~duels, Way.CONTROL: control & ~duels,
    }  # fmt: skip
    return Counter({ONCE.get(way, way) if design.draws == 1 else way: int(of.sum()) for way, of in ways.items()})


@cache
def _hashed(questions: WantedQuestions, users: int) -> dict[str, Flags]:
    """Return what each user is asked, by the product's hash."""
    each = [questions.of(f"u{user}") for user in range(users)]
    return {name: np.array([getattr(one, name) for one in each]) for name in ("duels", "slates", "calibrating")}


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
    """Return the mean of some draws, each of which errs by itself; an odd one has the order of the one before reversed.

    The order is a hash's in the worker: each of an event is as likely as its reverse, whatever the rankers do.
    """
    seeds = [int(one) for one in np.random.SeedSequence(seed).generate_state(draws)]
    found = np.zeros(offered.shape)
    for draw, one in enumerate(seeds):
        order = None
        if wanted.engine.last_slot:
            order = np.random.default_rng((seeds[draw - draw % 2], 1)).random(offered.shape)
            order = 1 - order if draw % 2 else order
        found += wanted.engine.letters(wanted.engine.beliefs(log, seed=one), offered, order=order)
    return found / draws


def _means(log: Log, values: Floats) -> Floats:
    """Return each user's mean; every user of a log has an event."""
    return _by_user(log.user, values)


def _by_user(user: Ints, values: Floats) -> Floats:
    return np.asarray(np.bincount(user, values) / np.bincount(user))


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
