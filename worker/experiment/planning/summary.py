"""A plan as text for a terminal, and as the definition file to start with."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from math import ceil

from worker.experiment.definition import Definition
from worker.experiment.planning.plan import ExperimentPlan, GoalPlan, PlannedTraffic
from worker.experiment.planning.power import GoalKind
from worker.experiment.planning.variance import Spread
from worker.experiment.quality.skew import USERS_PER_SQUARE
from worker.experiment.wording import level

_TAKES = {
    GoalKind.DIFFERENCE: "to show a difference of {size:g}",
    GoalKind.NO_DIFFERENCE: "to show that a difference is less than {size:g}, if there is none",
}


def summary(plan: ExperimentPlan, traffic: PlannedTraffic) -> str:
    """Return a plan as lines of text."""
    lines = [*_needs(plan, traffic), *_pilot(plan), *_curves(plan), *_by_draws(plan)]
    return "\n".join(lines)


def _needs(plan: ExperimentPlan, traffic: PlannedTraffic) -> Iterator[str]:
    shared = f", shared by {plan.candidates} candidates" if plan.candidates > 1 else ""
    yield f"power {100 * plan.power:g} %, alpha {plan.alpha:g}{shared}, sd of the users' values {plan.sd:.4g}"
    for one in plan.goals:
        yield f"{_TAKES[one.kind].format(size=one.size)}: {one.users:,} users{_half(one)}"
    yield f"users      {plan.users:,} (planned_users)"
    if plan.unseen:
        yield "           users hardly differ: this includes the users that the check of skew needs"
    yield f"events     {plan.events:,} ({plan.events_per_user:.3g} per user)"
    rate = f" at sample_rate {traffic.sample_rate:g}" if traffic.sample_rate < 1 else ""
    yield f"days       {_number(plan.days, 'unknown without --users-per-day or --events-per-day')}{rate}"
    speed = f" at {plan.draws} draws per question" if plan.gpu_hours else ""
    yield f"GPU hours  {_number(plan.gpu_hours, 'unknown without --events-per-second')}{speed}"


def _half(one: GoalPlan) -> str:
    return f"; half of such experiments show it by {one.half_by:,}" if one.half_by else ""


def _pilot(plan: ExperimentPlan) -> Iterator[str]:
    spread = plan.pilot
    if spread is None:
        return
    yield ""
    yield f"pilot      {spread.users:,} users, {spread.events:,} events"
    yield f"sd         {spread.sd:.4g} ({level(0.05)} interval {spread.low:.4g} to {spread.high:.4g})"
    found = spread.skewness.value
    yield f"skewness   {found:+.2f}; the check of skew asks for {ceil(USERS_PER_SQUARE * found**2):,} users"
    if plan.users_low is not None and plan.users_high is not None:
        yield f"so users   {plan.users_low:,} to {plan.users_high:,}"
    yield f"variance   {_parts(spread, plan.draws)}"


def _parts(spread: Spread, draws: int) -> str:
    """Return the parts of the variance of a user's mean, in per cent."""
    whole = spread.sd**2
    if not whole:
        return "none: all users have the same value"
    drawn = (spread.of_draw or 0.0) / draws * spread.inverse_events
    parts = {
        "between users": spread.between,
        "between events of a user": None if spread.within is None else spread.within * spread.inverse_events,
        "between draws": None if spread.of_draw is None else drawn,
    }
    known = [f"{name} {value / whole:.0%}".replace("%", " %") for name, value in parts.items() if value is not None]
    unknown = [name for name, value in parts.items() if value is None]
    return "; ".join([*known, *([f"not known: {', '.join(unknown)}"] if unknown else [])])


def _curves(plan: ExperimentPlan) -> Iterator[str]:
    for one in plan.goals:
        yield ""
        yield f"probability {_TAKES[one.kind].format(size=one.size)}, by users"
        for reached in one.curve:
            bar = "#" * round(40 * reached.power)
            yield f"{reached.users:>12,}  {reached.power:4.0%} {bar}".replace("%", " %").rstrip()


def _by_draws(plan: ExperimentPlan) -> Iterator[str]:
    if not plan.by_draws:
        return
    yield ""
    yield "draws       users        days   GPU hours   GPU time"
    for cost in plan.by_draws:
        best = "  <- best" if cost.draws == plan.best_draws else ""
        days, hours = _number(cost.days, "-"), _number(cost.gpu_hours, "-")
        yield f"{cost.draws:>5}  {cost.users:>10,}  {days:>10}  {hours:>10}  {cost.relative_cost:>9.2f}{best}"


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:,.1f}"


def definition(
    plan: ExperimentPlan,
    *,
    experiment_id: str,
    start: datetime,
    control: str,
    candidates: Sequence[str],
    metric: str,
    pilot: Definition | None = None,
) -> str:
    """Return the definition of the planned experiment as YAML; what a plan cannot know is for a person to check.

    What the pilot's definition asked for stays, but for its margin where another metric is planned.
    """
    goals = {one.kind: one for one in plan.goals}
    margin = goals.get(GoalKind.NO_DIFFERENCE)
    told = " or ".join(_TAKES[one.kind].format(size=one.size) for one in plan.goals)
    lines = [
        f"# Planned {told}: power {100 * plan.power:g} %, sd {plan.sd:.4g}.",
        f"experiment_id: {json.dumps(experiment_id)}",
        f"start: {start:%Y-%m-%dT%H:%M:%SZ}      # check: events from this time on are counted",
        f"control: {json.dumps(control)}",
        f"candidates: {json.dumps(list(candidates))}",
        f"primary_metric: {metric}",
        *([f"margin: {margin.size:g}"] if margin else _margin_of(pilot, metric)),
        *(_kept(pilot) if pilot else ()),
        f"alpha: {plan.alpha:g}",
        f"planned_users: {plan.users}",
    ]
    return "\n".join(lines) + "\n"


def _margin_of(pilot: Definition | None, metric: str) -> list[str]:
    same = pilot is not None and pilot.margin is not None and pilot.primary_metric == metric
    return [f"margin: {pilot.margin:g}      # of the pilot"] if same and pilot else []


def _kept(pilot: Definition) -> Iterator[str]:
    """Yield what the pilot's definition asked for beside its metric, as far as it is not the default."""
    if pilot.guardrails:
        yield f"guardrails: {json.dumps([asdict(one) for one in pilot.guardrails])}"
    if pilot.segments:
        yield f"segments: {json.dumps(pilot.segments)}"
    if pilot.population:
        yield f"population: {json.dumps({name: dict(shares) for name, shares in pilot.population.items()})}"
    if pilot.eligible:
        yield f"eligible: {json.dumps({name: list(values) for name, values in pilot.eligible.items()})}"
    if pilot.eligible_share != 1:
        yield f"eligible_share: {pilot.eligible_share:g}"
