"""A plan: from what an experiment is to show, to users, events, days, GPU hours and draws.

    what is wanted  ->  users by goal  ->  the most of them: planned_users  ->  events, days, GPU hours

With several candidates alpha is shared, and each is asked about on the same events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from worker.experiment.planning.power import Goal, GoalKind, power_at, users_for
from worker.experiment.planning.variance import Spread
from worker.experiment.quality.skew import NO_SKEWNESS
from worker.experiment.statistics.confidence import EVEN, MIN_DIFFERING, MIN_USERS

DRAWS = (2, 4, 8, 16, 32, 64)  # even, so that every order has its reverse; the setting ends at 64
CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5)  # of the planned users
_SECONDS_AN_HOUR = 3_600


@dataclass(frozen=True, slots=True)
class PlannedTraffic:
    """What comes, and how fast it is answered; None where it is not known.

    `users_per_day` are users who were not seen before, of all traffic; `prompt_cost` is in draws.
    """

    users_per_day: float | None = None
    events_per_day: float | None = None
    sample_rate: float = 1.0
    events_per_second: float | None = None  # of one GPU, with the draws of the plan
    prompt_cost: float = 0.0
    max_days: float | None = None


@dataclass(frozen=True, slots=True)
class PlanWanted:
    """What an experiment is to show, with which errors."""

    effect: float | None
    margin: float | None
    sd: float | None  # None: the pilot's
    alpha: float = 0.05
    power: float = 0.8
    candidates: int = 1
    draws: int = 2  # of the pilot, and of the measured speed
    room: float = EVEN  # from a tie to the metric's nearest bound, the duel share's unless told; infinite without one


@dataclass(frozen=True, slots=True)
class PowerBy:
    """The probability of having shown a goal by a number of users."""

    users: int
    power: float


@dataclass(frozen=True, slots=True)
class GoalPlan:
    """What it takes to show one goal, and what the whole plan gives it."""

    kind: GoalKind
    size: float
    users: int
    half_by: int | None  # users by whom half of such experiments have shown it; None beyond the curve
    curve: tuple[PowerBy, ...]


@dataclass(frozen=True, slots=True)
class DrawsCost:
    """What so many draws per question cost for the wanted power."""

    draws: int
    sd: float
    users: int
    events: int
    days: float | None
    gpu_hours: float | None  # None without a measured speed
    relative_cost: float  # GPU time, 1 for the draws of the plan


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """What an experiment needs.  `users` is its `planned_users`."""

    alpha: float
    power: float
    candidates: int
    sd: float
    users: int
    users_low: int | None  # at the ends of the interval of the pilot's sd
    users_high: int | None
    events: int
    events_per_user: float
    days: float | None
    gpu_hours: float | None
    draws: int
    goals: tuple[GoalPlan, ...]
    unseen: bool = False  # users hardly differ, so the check of skew asks for more
    by_draws: tuple[DrawsCost, ...] = ()
    best_draws: int | None = None  # None without a pilot that has pairs of draws
    pilot: Spread | None = None


def plan(wanted: PlanWanted, traffic: PlannedTraffic, pilot: Spread | None = None) -> ExperimentPlan:
    """Return what an experiment needs.  Raises `ValueError` where it takes more users than there are."""
    events_per_user = _events_per_user(traffic, pilot)
    sd = wanted.sd if wanted.sd is not None else _sd(wanted, pilot, events_per_user, wanted.draws)
    first = max(MIN_USERS, ceil(MIN_DIFFERING / pilot.differing)) if pilot and pilot.differing else MIN_USERS
    goals = _goals(wanted, sd, first, pilot)
    users = [users_for(goal, power=wanted.power, alpha=wanted.alpha) for goal in goals]
    planned = max(users)
    now = _cost(wanted.draws, sd, planned, events_per_user, traffic, was=wanted.draws)
    ends = _ends(wanted, goals, pilot)
    by_draws = tuple(_by_draws(wanted, traffic, pilot, goals, events_per_user))
    return ExperimentPlan(
        alpha=wanted.alpha,
        power=wanted.power,
        candidates=wanted.candidates,
        sd=sd,
        users=planned,
        users_low=ends[0] if ends else None,
        users_high=ends[1] if ends else None,
        events=now.events,
        events_per_user=events_per_user,
        days=now.days,
        gpu_hours=now.gpu_hours,
        draws=wanted.draws,
        goals=tuple(_shows(goal, number, planned, wanted.alpha) for goal, number in zip(goals, users, strict=True)),
        unseen=any(goal.unseen for goal in goals),
        by_draws=by_draws,
        best_draws=_best(by_draws, traffic.max_days),
        pilot=pilot,
    )


def _goals(wanted: PlanWanted, sd: float, first_look: int, pilot: Spread | None) -> list[Goal]:
    skewness = pilot.skewness if pilot else NO_SKEWNESS
    skewness = replace(skewness, value=abs(skewness.value))  # few who care make it, on the side of the difference
    sizes = {GoalKind.DIFFERENCE: wanted.effect, GoalKind.NO_DIFFERENCE: wanted.margin}
    return [
        Goal(
            kind,
            size,
            sd,
            candidates=wanted.candidates,
            first_look=first_look,
            room=wanted.room,
            skewness=skewness,
        )
        for kind, size in sizes.items()
        if size is not None
    ]


def _sd(wanted: PlanWanted, pilot: Spread | None, events_per_user: float, draws: int) -> float:
    if pilot is None:
        raise ValueError("no standard deviation and no pilot")
    return pilot.sd_at(draws=draws, was=wanted.draws, events_per_user=events_per_user)


def _events_per_user(traffic: PlannedTraffic, pilot: Spread | None) -> float:
    """Return the events of a user over the experiment: as stated, else as in the pilot, else one."""
    if traffic.users_per_day and traffic.events_per_day:
        return max(1.0, traffic.events_per_day / traffic.users_per_day)
    return pilot.events_per_user if pilot else 1.0


def _shows(goal: Goal, users: int, planned: int, alpha: float) -> GoalPlan:
    at = [max(goal.first_look, ceil(share * planned)) for share in CURVE]
    at = sorted(set(at))
    powers = power_at(goal, at, planned_users=planned, alpha=alpha)
    half = next((number for number, power in zip(at, powers, strict=True) if power >= 0.5), None)  # noqa: PLR2004 - half
    if half is not None and half > at[0]:
        half = _between(goal, at[at.index(half) - 1], half, planned, alpha)
    return GoalPlan(goal.kind, goal.size, users, half, tuple(map(PowerBy, at, powers)))


def _between(goal: Goal, low: int, high: int, planned: int, alpha: float) -> int:
    """Return the first of the users after `low`, up to `high`, by whom half have shown a goal."""
    steps = sorted({low + (high - low) * k // 32 for k in range(1, 33)})
    powers = power_at(goal, steps, planned_users=planned, alpha=alpha)
    return next((users for users, power in zip(steps, powers, strict=True) if power >= 0.5), high)  # noqa: PLR2004 - half


def _ends(wanted: PlanWanted, goals: Sequence[Goal], pilot: Spread | None) -> tuple[int, int] | None:
    """Return the users that the ends of the interval of a pilot's standard deviation take."""
    if pilot is None or wanted.sd is not None or not pilot.sd:
        return None
    low, high = (
        max(
            users_for(replace(goal, sd=goal.sd * end / pilot.sd), power=wanted.power, alpha=wanted.alpha)
            for goal in goals
        )
        for end in (pilot.low, pilot.high)
    )
    return low, high


def _by_draws(
    wanted: PlanWanted, traffic: PlannedTraffic, pilot: Spread | None, goals: Sequence[Goal], events_per_user: float
) -> list[DrawsCost]:
    """Return what each number of draws costs; nothing where it is not known what draws do."""
    if pilot is None or wanted.sd is not None or pilot.of_draw is None:
        return []
    found = []
    for draws in sorted({*DRAWS, wanted.draws}):
        sd = _sd(wanted, pilot, events_per_user, draws)
        users = max(users_for(replace(goal, sd=sd), power=wanted.power, alpha=wanted.alpha) for goal in goals)
        found.append(_cost(draws, sd, users, events_per_user, traffic, was=wanted.draws))
    one = next(cost for cost in found if cost.draws == wanted.draws).relative_cost
    return [replace(cost, relative_cost=cost.relative_cost / one) for cost in found]


def _cost(draws: int, sd: float, users: int, events_per_user: float, traffic: PlannedTraffic, *, was: int) -> DrawsCost:
    """Return what draws cost; the speed was measured with `was` of them."""
    events = ceil(users * events_per_user)
    slower = (traffic.prompt_cost + draws) / (traffic.prompt_cost + was)
    speed = traffic.events_per_second
    per_day = traffic.users_per_day or (traffic.events_per_day or 0.0) / events_per_user
    return DrawsCost(
        draws=draws,
        sd=sd,
        users=users,
        events=events,
        days=users / (per_day * traffic.sample_rate) if per_day else None,
        gpu_hours=events * slower / speed / _SECONDS_AN_HOUR if speed else None,
        relative_cost=events * slower,
    )


def _best(by_draws: Sequence[DrawsCost], max_days: float | None) -> int | None:
    """Return the draws with the least GPU time, of those that are done in time; if none is, those done first."""
    known = [cost for cost in by_draws if cost.draws % 2 == 0]
    if not known:
        return None
    if max_days is None:
        return min(known, key=lambda cost: cost.relative_cost).draws
    in_time = [cost for cost in known if cost.days is not None and cost.days <= max_days]
    if in_time:
        return min(in_time, key=lambda cost: cost.relative_cost).draws
    return min(known, key=lambda cost: cost.users).draws
