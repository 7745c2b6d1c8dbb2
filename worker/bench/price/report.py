"""The price of a verdict as tables and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from worker.bench.harness.rounds import MeasuredInterval, verdict
from worker.bench.price.designs import REFERENCE, WATCHED, WantedPrice
from worker.bench.price.simulate import (
    Results,
    idle_ratio,
    least_ratio,
    per_event,
    per_experiment,
    per_verdict,
    rate,
    verdict_ratio,
)
from worker.bench.price.tokens import Used, Way

GOAL = 0.1  # of the reference protocol's tokens for a verdict
_HOUR_S = 3_600
_MEASURES = {"processed": lambda of: of.processed, "all": lambda of: of.all}


@dataclass(frozen=True, slots=True)
class GpuSpeed:
    """Tokens per GPU second, by kind, and what an hour of it costs."""

    prefill: float
    written: float
    gpu_hour: float | None

    def seconds(self, of: Used) -> float:
        """Return the GPU seconds of tokens."""
        return of.computed / self.prefill + of.written / self.written

    def money(self, of: Used) -> float | None:
        """Return their price; None without one of an hour."""
        return None if self.gpu_hour is None else self.seconds(of) / _HOUR_S * self.gpu_hour


@dataclass(frozen=True, slots=True)
class Priced:
    """Everything that was simulated and counted."""

    wanted: WantedPrice
    results: Mapping[str, Results]
    by_way: Mapping[Way, Used]
    speed: GpuSpeed | None
    about: Mapping[str, str]


def as_json(of: Priced) -> dict[str, Any]:
    """Return everything as a value for `json.dumps`."""
    return {
        "designs": {name: _design(of, one) for name, one in of.results.items()},
        "tokens_per_event_by_way": {way.value: _tokens(of, used) for way, used in of.by_way.items()},
        "shift": of.wanted.world.shift,
        "about": dict(of.about),
    }


def _design(of: Priced, one: Results) -> dict[str, Any]:
    reference, verdicts = of.results[REFERENCE], per_verdict(one, of.by_way)
    ratios = {
        f"{what}_ratio_{name}": ratio(one, reference, of.by_way, measure)
        for what, ratio in (("verdict", verdict_ratio), ("idle", idle_ratio))
        for name, measure in _MEASURES.items()
    }
    goal = verdict(ratios["verdict_ratio_processed"], at_most=GOAL)
    return {
        "metric": one.plan.metric, "effect": one.plan.effect, "sd": one.plan.sd, "planned_users": one.plan.coming,
        "false_verdicts": rate(one.wrong()).to_json(), "right_verdicts": rate(one.right()).to_json(),
        "false_at_the_end": rate(one.wrong(last=True)).to_json(),
        "right_at_the_end": rate(one.right(last=True)).to_json(),
        "reversed_verdicts": one.reversed(),
        "users": _seen(one),
        "events": sum(ran.events for ran in one.with_effect) / len(one.with_effect),
        "per_event": _tokens(of, per_event(one.with_effect, of.by_way)),
        "per_verdict": _tokens(of, verdicts) if verdicts else None,
        "per_experiment_without_effect": _tokens(of, per_experiment(one.without, of.by_way)),
        **{name: _finite(found) for name, found in ratios.items()},
        "least_ratio_processed": _least(of, one),
        "goal": {"goal": f"verdict_ratio_processed <= {GOAL:g}", "verdict": goal},
    }  # fmt: skip


def _least(of: Priced, one: Results) -> float | None:
    """Return what no rule of stopping can beat, of a design that goes on to the end: of others users are not whole."""
    name = next(name for name, other in of.results.items() if other is one)
    if name == REFERENCE or WATCHED[name].stops:
        return None
    return least_ratio(one, of.results[REFERENCE], of.by_way, of.wanted)


def _tokens(of: Priced, used: Used) -> dict[str, float | None]:
    told: dict[str, float | None] = {
        "computed": round(used.computed, 1), "cached": round(used.cached, 1), "written": round(used.written, 1),
        "processed": round(used.processed, 1), "all": round(used.all, 1), "passes": round(used.passes, 2),
    }  # fmt: skip
    if of.speed:
        told |= {"gpu_s": of.speed.seconds(used), "money": of.speed.money(used)}
    return told


def _finite(of: MeasuredInterval) -> dict[str, float | None]:
    return {name: value if isfinite(value) else None for name, value in of.to_json().items()}


def render(of: Priced) -> RenderableType:
    """Return the tables."""
    return Group(_verdicts(of), Text(), _at_the_end(of), Text(), _prices(of), Text(), *map(Text, _about(of)))


def _table(title: str, *names: str) -> Table:
    return Table(*(Column(name, no_wrap=True) for name in names), title=title, title_justify="left")


def _verdicts(of: Priced) -> Table:
    """Return what each design's first verdicts are worth, and what one costs; A/A, then A/B."""
    names = ("design", "users", "false (95 %)", "right (95 %)", "tokens", "of reference (90 %)", "")
    table = _table("first verdicts; tokens per right one, computed and written, in thousands", *names)
    reference = of.results[REFERENCE]
    for name, one in of.results.items():
        ratio, price = verdict_ratio(one, reference, of.by_way, _MEASURES["processed"]), per_verdict(one, of.by_way)
        table.add_row(
            name, f"{_seen(one):,.0f} of {one.plan.coming:,}", _percent(rate(one.wrong())),
            _percent(rate(one.right())), f"{price.processed / 1_000:,.0f}" if price else "-", _ratio(ratio),
            verdict(ratio, at_most=GOAL),
        )  # fmt: skip
    return table


def _seen(one: Results) -> float:
    """Return the users who came until asking ended, of an experiment with an effect."""
    return sum(ran.users for ran in one.with_effect) / len(one.with_effect)


def _at_the_end(of: Priced) -> Table:
    """Return what the readout says at the end of the plan, and what else a design takes of the reference's tokens.

    "least" is what a right verdict takes by whatever rule of stopping.
    """
    names = ("design", "false (95 %)", "right (95 %)", "with cached (90 %)", "A/A (90 %)", "least")
    table = _table("verdicts at the end of the plan; further ratios to the reference protocol", *names)
    reference = of.results[REFERENCE]
    for name, one in of.results.items():
        whole = verdict_ratio(one, reference, of.by_way, _MEASURES["all"])
        idle = idle_ratio(one, reference, of.by_way, _MEASURES["processed"])
        wrong, right = rate(one.wrong(last=True)), rate(one.right(last=True))
        least = _least(of, one)
        told = "-" if least is None else f"{least:.3f}"
        table.add_row(name, _percent(wrong), _percent(right), _ratio(whole), _ratio(idle), told)
    return table


def _prices(of: Priced) -> Table:
    table = _table("tokens", "design", "per", "computed", "cached", "written", "GPU s", "money")
    for name, one in of.results.items():
        rows = {
            "event": per_event(one.with_effect, of.by_way),
            "verdict": per_verdict(one, of.by_way),
            "A/A experiment": per_experiment(one.without, of.by_way),
        }
        for per, used in rows.items():
            if used is not None:
                counts = (f"{value:,.0f}" for value in (used.computed, used.cached, used.written))
                table.add_row(name, per, *counts, *_time(of.speed, used))
    return table


def _time(speed: GpuSpeed | None, used: Used) -> tuple[str, str]:
    if speed is None:
        return "-", "-"
    money = speed.money(used)
    return f"{speed.seconds(used):,.3g}", "-" if money is None else f"{money:,.3g}"


def _ratio(of: MeasuredInterval) -> str:
    return f"{of.middle:.3f} ({of.low:.3f} to {of.high:.3f})"


def _percent(of: MeasuredInterval) -> str:
    return f"{100 * of.middle:.1f} % ({100 * of.low:.1f} to {100 * of.high:.1f})"


def _about(of: Priced) -> list[str]:
    return [f"{name}: {value}" for name, value in of.about.items()]
