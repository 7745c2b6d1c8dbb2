"""The results of a bench: figures with intervals, goals with verdicts; as a table, as JSON and as a chart (SVG)."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from statistics import fmean

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from worker.bench.harness.profile import Cost
from worker.bench.harness.rounds import Measured, MeasuredInterval, geometric, interval, ratio, verdict
from worker.bench.plain.contenders import GUARANTEES
from worker.bench.plain.scaling import SCALED

# JSON name: the contender, and the one that it is compared with
RATIOS = {
    "ratio_to_async_engine": ("worker", "async"),
    "ratio_to_generate": ("worker", "generate"),
    "ratio_to_reference_loop": ("worker", "reference"),
    "ratio_to_barrier": ("worker", "barrier"),
    "ratio_seeded_to_unseeded": ("async", "unseeded"),
    "ratio_two_passes_to_one": ("async", "one-pass"),
    "ratio_following_to_fixed_seats": ("worker", "seats"),
    "ratio_ranked_to_unranked": ("worker", "unranked"),
    "ratio_to_bare": ("plain-worker", "bare"),
    "ratio_to_quix": ("plain-worker", "quix"),
    "ratio_to_faststream": ("plain-worker", "faststream"),
}
# First in the JSON line; null if not measured.
HEADLINES = (
    *RATIOS, "p99_over_ordered_engine_ms", "ordering_cost_ms", "second_pass_cached_share", "pair_prompt_token_share",
    "scaling_2", "scaling_4", "scaling_8",
)  # fmt: skip
# Goals on any hardware; those of `ratio_to_async_engine` depend on it.
AT_LEAST = {
    "ratio_to_reference_loop": 1.0, "ratio_to_barrier": 1.15, "ratio_to_quix": 1.0, "ratio_to_bare": 0.6,
    "second_pass_cached_share": 0.99, "scaling_2": 0.95, "scaling_4": 0.95, "scaling_8": 0.95,
}  # fmt: skip
AT_MOST = {"p99_over_ordered_engine_ms": 250.0, "pair_prompt_token_share_over_ideal": 1.05}
ASYNC_GOAL = {"gpu": 0.97, "cpu": 0.92}
WIDTH, HEIGHT = 118, 25  # with a height, Rich uses the width even if TERM is dumb
_COSTS = {
    "cpu_s_per_event": "CPU ms", "peak_bytes": "peak MiB", "prompt_tokens_computed": "computed",
    "prompt_tokens_cached": "cached",
}  # fmt: skip


@dataclass(slots=True)
class BenchReport:
    """All measurements."""

    about: dict[str, object]  # hardware, versions, settings, command
    measured: list[Measured] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)  # further figures, one value per round
    void: dict[str, str] = field(default_factory=dict)  # figures without a valid round, and why
    costs: dict[str, list[Cost]] = field(default_factory=dict)  # of our own code, by contender, most expensive first
    stages: dict[str, dict[str, float]] = field(default_factory=dict)  # by contender: CPU seconds per event by stage

    @property
    def device(self) -> str:
        """`gpu` or `cpu`."""
        return "gpu" if self.about.get("gpu") else "cpu"

    def intervals(self) -> dict[str, MeasuredInterval]:
        """Return every measured figure by its name in the JSON."""
        there = {one.contender for one in self.measured}
        found = {name: ratio(self.measured, *pair) for name, pair in RATIOS.items() if there.issuperset(pair)}
        kind = {name: geometric if name in SCALED else interval for name in self.figures}
        return found | {name: kind[name](values) for name, values in self.figures.items() if values}

    def verdicts(self) -> dict[str, tuple[str, str]]:
        """Return goal and verdict of every figure that has a goal."""
        at_least = AT_LEAST | {"ratio_to_async_engine": ASYNC_GOAL[self.device]}
        found = {}
        for name, each in self.intervals().items():
            if name in at_least:
                found[name] = (f">= {at_least[name]:g}", verdict(each, at_least=at_least[name]))
            elif name in AT_MOST:
                found[name] = (f"<= {AT_MOST[name]:g}", verdict(each, at_most=AT_MOST[name]))
        return found

    def speeds(self) -> dict[str, MeasuredInterval]:
        """Return events/s of every contender."""
        names = dict.fromkeys(one.contender for one in self.measured)
        return {name: geometric([one.events_per_s for one in self.measured if one.contender == name]) for name in names}

    def means(self) -> dict[str, dict[str, float]]:
        """Return the mean of every further figure, by contender and name."""
        found: dict[str, dict[str, float]] = {}
        for name in self.speeds():
            rows = [one.figures for one in self.measured if one.contender == name]
            found[name] = {key: fmean(row[key] for row in rows) for key in rows[0]}
        return found


def to_json(report: BenchReport) -> str:
    """Return one JSON line: the headlines, and everything else under `figures`; an infinite bound is null."""
    intervals = {name: _finite(each.to_json()) for name, each in report.intervals().items()}
    found: dict[str, object] = {name: intervals.get(name) for name in HEADLINES}
    found["void"] = report.void
    found["goals"] = {name: {"goal": goal, "verdict": said} for name, (goal, said) in report.verdicts().items()}
    found["figures"] = {
        "events_per_s": {name: _finite(each.to_json()) for name, each in report.speeds().items()},
        "by_contender": report.means(),
        "stages_cpu_s_per_event": report.stages,
        **{name: each for name, each in intervals.items() if name not in HEADLINES},
    }
    found["costs"] = {name: {cost.where: round(cost.share, 4) for cost in each} for name, each in report.costs.items()}
    found["about"] = report.about
    return json.dumps(found)


def render(report: BenchReport) -> RenderableType:
    """Return the report as tables."""
    costs = [_cost_table(name, each) for name, each in report.costs.items()]
    stages = [_stage_table(name, each) for name, each in report.stages.items()]
    tables = (_speed_table(report), _figure_table(report), *stages, *costs)
    return Group(*(part for table in tables for part in (table, Text())), *map(Text, _about(report.about)))


def save_chart(report: BenchReport, path: Path) -> None:
    """Write tables and bars as SVG."""
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=StringIO(), force_terminal=True)
    console.print(render(report))
    console.save_svg(str(path), title="mirrorstream bench")


def _speed_table(report: BenchReport) -> Table:
    names = ("contender", "events/s", "90 % interval", "", *_COSTS.values(), "delivery")
    table = Table(
        *(Column(name, no_wrap=True) for name in names), title="speed; costs and tokens per event", title_justify="left"
    )
    speeds, means = report.speeds(), report.means()
    most = max((one.middle for one in speeds.values()), default=1.0)
    num_events = {one.contender: one.events for one in report.measured}
    for name, one in speeds.items():
        costs = (_cost(means[name].get(key), key, num_events[name]) for key in _COSTS)
        bar = Bar(most, 0, one.middle, width=8)
        table.add_row(name, f"{one.middle:,.2f}", _bounds(one), bar, *costs, GUARANTEES.get(name, "-"))
    return table


def _cost(value: float | None, name: str, num_events: int) -> str:
    if value is None:
        return ""
    if name == "peak_bytes":
        return f"{value / 2**20:,.0f}"
    return f"{1000 * value:,.2f}" if name == "cpu_s_per_event" else f"{value / num_events:,.0f}"


def _figure_table(report: BenchReport) -> Table:
    table = Table(
        Column("figure", no_wrap=True),
        "value",
        "90 % interval",
        "goal",
        "verdict",
        title="figures",
        title_justify="left",
    )
    verdicts = report.verdicts()
    for name, one in report.intervals().items():
        table.add_row(name, f"{one.middle:,.3f}", _bounds(one), *verdicts.get(name, ("", "")))
    for name, why in report.void.items():
        table.add_row(name, "-", why, f">= {AT_LEAST[name]:g}" if name in AT_LEAST else "", "not resolved")
    return table


def _cost_table(contender: str, costs: list[Cost]) -> Table:
    table = Table("our own code, with its calls", "CPU", title=f"costs of {contender}", title_justify="left")
    for cost in costs:
        table.add_row(cost.where, f"{cost.share:.1%}")
    return table


def _stage_table(contender: str, stages: Mapping[str, float]) -> Table:
    table = Table("stage", "CPU ms per event", title=f"stages of {contender}, one process", title_justify="left")
    for name, cpu_s in stages.items():
        table.add_row(name, f"{1000 * cpu_s:,.3f}")
    return table


def _bounds(one: MeasuredInterval) -> str:
    return f"{one.low:,.3f} to {one.high:,.3f}" if math.isfinite(one.low) else "none for one round"


def _about(about: Mapping[str, object]) -> Iterable[str]:
    return (f"{name}: {value}" for name, value in about.items())


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
