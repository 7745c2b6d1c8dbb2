"""`mirrorstream experiment plan`."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import Json, tell
from worker.core.errors import BadSettings

if TYPE_CHECKING:
    from worker.experiment.metrics import Metric
    from worker.experiment.planning.plan import ExperimentPlan, PlannedTraffic, PlanWanted
    from worker.experiment.report.pilot import Pilot

Positive = 1e-9  # the least of what must be above 0

UsersPerDay = Annotated[
    float | None, typer.Option(min=Positive, help="Users per day who were not seen before, of all traffic.")
]
EventsPerDay = Annotated[float | None, typer.Option(min=Positive, help="Impressions per day, of all traffic.")]
EventsPerSecond = Annotated[
    float | None, typer.Option(min=Positive, help="Measured speed of one GPU, with --draws and all candidates.")
]
PromptCost = Annotated[
    float, typer.Option(min=0, help="GPU time of a prompt, in draws; 0: all GPU time grows with the draws.")
]
MaxDays = Annotated[
    float | None, typer.Option(min=Positive, help="Longest time for the experiment; limits the choice of draws.")
]


def plan(
    effect: Annotated[
        float | None, typer.Option(min=Positive, help="Difference to show, such as 0.02: a duel share of 52 %.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=Positive, help="Show that the difference is less than this, if there is none.")
    ] = None,
    alpha: Annotated[float, typer.Option(min=0.0001, max=0.5, help="Error probability of the experiment.")] = 0.05,
    power: Annotated[float, typer.Option(min=0.05, max=0.999, help="Probability of showing it.")] = 0.8,
    candidates: Annotated[
        int | None, typer.Option(min=1, max=100, help="Candidates, which share alpha; default: the pilot's, or 1.")
    ] = None,
    sd: Annotated[
        float | None, typer.Option(min=Positive, help="Standard deviation of the users' values; else --pilot.")
    ] = None,
    pilot: Annotated[str | None, typer.Option(help="Experiment in --state to take the variances from.")] = None,
    state: Annotated[Path | None, typer.Option("--state", help="State file (SQLite) with the pilot.")] = None,
    metric: Annotated[str, typer.Option(help="Primary metric.")] = "duel_share",
    users_per_day: UsersPerDay = None,
    events_per_day: EventsPerDay = None,
    sample_rate: Annotated[float, typer.Option(min=Positive, max=1, help="Share of users that is simulated.")] = 1.0,
    events_per_second: EventsPerSecond = None,
    draws: Annotated[
        int, typer.Option(min=1, max=64, help="Draws per question, of the pilot and of the measured speed.")
    ] = 2,
    prompt_cost: PromptCost = 0.0,
    max_days: MaxDays = None,
    write_definition: Annotated[
        Path | None, typer.Option(help="Also write a definition to start with to this new file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Plan an experiment: the users, time and GPU hours that it takes to show an effect."""
    from worker.experiment.planning.plan import PlannedTraffic, PlanWanted
    from worker.experiment.planning.summary import summary
    from worker.experiment.report import pilot as pilots

    _check(effect, margin, sd, pilot, state)
    _check_finite({
        "effect": effect, "margin": margin, "sd": sd, "alpha": alpha, "power": power, "users-per-day": users_per_day,
        "events-per-day": events_per_day, "sample-rate": sample_rate, "events-per-second": events_per_second,
        "prompt-cost": prompt_cost, "max-days": max_days,
    })  # fmt: skip
    of = _metric(metric)
    traffic = PlannedTraffic(users_per_day, events_per_day, sample_rate, events_per_second, prompt_cost, max_days)
    _check_traffic(traffic)
    _check_is_new(write_definition)
    room = _room(of, effect=effect, margin=margin, sd=sd)
    known = pilots.read(state, pilot, metric=metric, draws=draws) if pilot and state else None
    num = candidates or (len(known.candidates) if known else 1)
    found = _planned(PlanWanted(effect, margin, sd, alpha, power, num, draws, room), traffic, known)
    if write_definition:
        _write(write_definition, _definition(found, metric, pilot, known))
    tell(asdict(found), as_json=as_json, text=summary(found, traffic))


def _check(effect: float | None, margin: float | None, sd: float | None, pilot: str | None, state: Path | None) -> None:
    """Refuse options that make no plan."""
    if effect is None and margin is None:
        raise BadSettings("want --effect (a difference to show), --margin (less than this makes no difference) or both")
    if (pilot is None) != (state is None):
        raise BadSettings("--pilot and --state: want both; --pilot names an experiment in the state file of a reader")
    if sd is None and pilot is None:
        raise BadSettings("want --sd, or --pilot and --state: users' duel shares have a standard deviation below 0.5")


def _check_finite(values: Mapping[str, float | None]) -> None:
    """Refuse inf and nan, which no range excludes."""
    for name, value in values.items():
        if value is not None and not isfinite(value):
            raise BadSettings(f"--{name} {value}: want a number")


def _metric(name: str) -> "Metric":
    from worker.core.suggestions import did_you_mean
    from worker.experiment.metrics import METRICS

    if name not in METRICS:
        raise BadSettings(f"--metric {name}: want one of {', '.join(METRICS)}{did_you_mean(name, METRICS)}")
    return METRICS[name]


def _check_traffic(traffic: "PlannedTraffic") -> None:
    """Refuse traffic that makes no plan."""
    users, events = traffic.users_per_day, traffic.events_per_day
    if traffic.max_days is not None and users is None and events is None:
        raise BadSettings("--max-days: needs --users-per-day or --events-per-day")
    if users is not None and events is not None and users > events:
        raise BadSettings(f"--users-per-day {users:g}: more than --events-per-day {events:g}, and each user has one")


def _check_is_new(definition: Path | None) -> None:
    if definition and definition.exists():
        raise BadSettings(f"--write-definition {definition}: is there already; want the name of a new file")


def _room(metric: "Metric", *, effect: float | None, margin: float | None, sd: float | None) -> float:
    """Return how far a metric can be from a tie on either side.  Raises `BadSettings` for what it cannot be."""
    room = min(metric.null - metric.low, metric.high - metric.null)
    for name, size in (("--effect", effect), ("--margin", margin)):
        if size is not None and size >= room:
            raise BadSettings(f"{name} {size:g}: the metric differs from a tie by {room:g} at most; want less")
    if sd is not None and sd > (metric.high - metric.low) / 2:
        raise BadSettings(f"--sd {sd:g}: its values spread by {(metric.high - metric.low) / 2:g} at most; want less")
    return room


def _planned(wanted: "PlanWanted", traffic: "PlannedTraffic", pilot: "Pilot | None") -> "ExperimentPlan":
    """Return the plan.  Raises `BadSettings` where it takes too many users, or too long."""
    from worker.experiment.planning.plan import plan

    try:
        found = plan(wanted, traffic, pilot.spread if pilot else None)
    except ValueError as error:
        raise BadSettings(f"--effect, --margin: {error}; want a larger one") from error
    longest = traffic.max_days
    if longest is not None and pilot is None and found.days is not None and found.days > longest:
        raise BadSettings(
            f"--max-days {longest:g}: it takes {found.days:.3g} days; want more time or traffic, or a larger --effect;"
            " with --pilot, more draws per question may save users"
        )
    return found


def _definition(found: "ExperimentPlan", metric: str, pilot: str | None, known: "Pilot | None") -> str:
    """Return the definition to start with; `pilot` names the experiment that `known` is of."""
    from worker.experiment.planning import summary

    control, names = _names(known, found.candidates)
    return summary.definition(
        found,
        experiment_id=f"{pilot or 'experiment'}-planned",
        start=_tomorrow(),
        control=control,
        candidates=names,
        metric=metric,
        pilot=known.form if known else None,
    )


def _write(definition: Path, text: str) -> None:
    try:
        definition.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadSettings(f"--write-definition {definition}: {error.strerror}; want a new file") from error


def _names(pilot: "Pilot | None", number: int) -> tuple[str, list[str]]:
    """Return the names of control and the candidates: the pilot's, if it had as many."""
    if pilot and len(pilot.candidates) == number:
        return pilot.control, list(pilot.candidates)
    numbered = ["candidate"] if number == 1 else [f"candidate-{n}" for n in range(1, number + 1)]
    return (pilot.control if pilot else "control"), numbered


def _tomorrow() -> datetime:
    """Return the next midnight UTC: a definition is published before its data."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
