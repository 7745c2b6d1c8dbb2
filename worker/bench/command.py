"""Runs the bench: which parts, in which order, and the report."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from rich.console import Console

from worker.bench import environment
from worker.bench.harness import profile
from worker.bench.harness.processes import interruptible
from worker.bench.harness.rounds import Measured, geometric
from worker.bench.harness.traffic import QUESTIONS_AN_EVENT
from worker.bench.model import contenders as llm, random_weights, repeatability
from worker.bench.model.contenders import Bench
from worker.bench.model.latency import latency
from worker.bench.model.load import make
from worker.bench.model.stream import stream
from worker.bench.plain.contenders import WORKER
from worker.bench.plain.run import profile_plain, run_plain
from worker.bench.plain.scaling import SCALED, VOID, figures_of, run_scaling
from worker.bench.report import HEIGHT, WIDTH, BenchReport, render, save_chart, to_json
from worker.core.errors import BadSettings, Fatal, Retryable
from worker.demo.broker import embedded_broker
from worker.engines.local.vllm import on_cpu
from worker.kafka import admin
from worker.runtime import pipeline_config
from worker.settings import Settings

PLAIN = frozenset({"plain", "scaling"})  # parts without an LLM
LOADS = (50, 80)  # percent of capacity at which latency is measured
LEAST_QUESTIONS = 20  # per sequence of max_num_seqs
SEQUENCES = {"cpu": 16, "gpu": 256}  # max_num_seqs by device, if it is not set
MEDIAN = {"cpu": 32, "gpu": 128}  # length of a rationale, tokens
FLIP_DRAWS = 120
GPU_SHARE = 0.45  # of the GPU's memory, for each of two engines
NO_DEADLINE_S = 3_600.0  # a slow model is measured, not taken for a hung one

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of the command."""

    parts: frozenset[str]  # llm, latency, repeat, plain, scaling
    rounds: int
    events: int | None
    plain_events: int
    tokens: int | None  # median of a rationale
    latency_s: float
    model_shape: str | None
    peers: Path | None
    contenders: tuple[str, ...]
    profile: bool
    chart: Path | None
    as_json: bool


def run(settings: Settings, bootstrap: str | None, options: BenchOptions) -> int:
    """Run the bench and print its report; return 0."""
    if bootstrap is None and options.parts & PLAIN:
        raise BadSettings("bench: contenders without an LLM need a real Kafka; want --bootstrap HOST:PORT")
    if options.model_shape and "repeat" in options.parts:
        raise BadSettings("bench: a model with random weights never ends a rationale: want --parts without repeat")
    if options.peers and (options.peers.is_dir() or not os.access(options.peers, os.X_OK)):
        raise BadSettings(f"--peers {options.peers}: want the Python of an environment, such as .venv-peers/bin/python")
    if bootstrap:
        _check_kafka(settings, bootstrap)
    report = BenchReport(environment.machine(bootstrap))
    try:
        with interruptible():
            _measure(settings, bootstrap, options, report)
    finally:  # results from before a failure or a signal are printed, too
        if report.measured or report.figures:
            _print(report, options)
    return 0


def _check_kafka(settings: Settings, bootstrap: str) -> None:
    try:
        admin.metadata(settings.model_copy(update={"bootstrap_servers": bootstrap}))
    except Retryable as error:
        raise Fatal(f"--bootstrap: {error}; want a Kafka that answers") from error


def _measure(settings: Settings, bootstrap: str | None, options: BenchOptions, report: BenchReport) -> None:
    say = Console(stderr=True).log
    if options.profile and not profile.program():
        say("no CPU time per stage: py-spy is not on the PATH (`pip install py-spy`)")
    with ExitStack() as stack:
        servers = bootstrap or stack.enter_context(embedded_broker())
        own = stack.enter_context(_shaped(settings.model_copy(update={"bootstrap_servers": servers}), options))
        if options.parts - PLAIN:
            asyncio.run(_with_engine(own, options, report, say, embedded=bootstrap is None))
        if options.parts & PLAIN:
            _without(servers, options, report, say)


def _print(report: BenchReport, options: BenchOptions) -> None:
    if options.as_json:
        sys.stdout.write(to_json(report) + "\n")
        sys.stdout.flush()
    else:
        Console(width=WIDTH, height=HEIGHT).print(render(report))
    if options.chart:
        save_chart(report, options.chart)


async def _with_engine(
    settings: Settings, options: BenchOptions, report: BenchReport, say: Say, *, embedded: bool
) -> None:
    events = options.events or ceil(LEAST_QUESTIONS * settings.max_num_seqs / QUESTIONS_AN_EVENT)
    median = options.tokens or MEDIAN[_kind()]
    async with llm.started(settings, events=events, median=median, embedded=embedded) as bench:
        report.about |= environment.engine(bench, median, options.model_shape)
        if "llm" in options.parts:
            await _speed(bench, options, report, say)
        if options.profile and profile.program():
            await _profile(bench, report, say)
        if "latency" in options.parts:
            await _latency(bench, options, report, say)
        if "repeat" in options.parts:
            await _repeat(bench, options, report, say)


async def _speed(bench: Bench, options: BenchOptions, report: BenchReport, say: Say) -> None:
    try:
        await llm.run_rounds(bench, report.measured, rounds=options.rounds, contenders=options.contenders, say=say)
    finally:
        ours = [one.figures for one in report.measured if one.contender == "worker"]
        for name in llm.CACHE_FIGURES if ours else ():
            report.figures[name] = [figures[name] for figures in ours]
        report.about["roofline"] = environment.ceiling(bench, report, options.model_shape)


async def _profile(bench: Bench, report: BenchReport, say: Say) -> None:
    await bench.engine.forget()
    with profile.sampling(os.getpid()) as stacks:
        streamed = await stream(bench.stage, bench.engine, "profile", [os.getpid()])
    _weigh(report, "worker", stacks, streamed.cpu_s / len(bench.load.asks))
    say("profile of the worker with the LLM: done")


def _weigh(report: BenchReport, contender: str, stacks: list[str], cpu_s_per_event: float) -> None:
    report.costs[contender] = profile.largest(profile.costs(stacks))
    report.stages[contender] = {stage: share * cpu_s_per_event for stage, share in profile.stages(stacks).items()}


async def _latency(bench: Bench, options: BenchOptions, report: BenchReport, say: Say) -> None:
    asking, capacity = pipeline_config.asking(bench.settings, bench.engine), report.speeds().get("worker")
    if capacity is None:  # not in the report: it belongs to no round, so no ratio may use it
        alone: list[Measured] = []
        await llm.run_rounds(bench, alone, rounds=1, contenders=("worker",), say=say)
        capacity = geometric([one.events_per_s for one in alone])
    for percent in LOADS:
        rate = capacity.middle * percent / 100
        load = make(asking, events=max(10, round(rate * options.latency_s)), seed=2)
        for number in range(options.rounds):
            found = await latency(bench, load, rate=rate, number=number, run=f"latency-{percent}-{number}")
            say(f"latency at {percent} %, round {number + 1}: committed p99 {found['committed_p99_ms']:.0f} ms")
            for name, value in found.items():
                report.figures.setdefault(f"{name}_at_{percent}", []).append(value)
    for name in ("p99_over_ordered_engine_ms", "ordering_cost_ms"):
        report.figures[name] = report.figures.pop(f"{name}_at_{LOADS[-1]}")


async def _repeat(bench: Bench, options: BenchOptions, report: BenchReport, say: Say) -> None:
    for _ in range(options.rounds):
        for name, value in (await repeatability.flips(bench.engine, bench.load.draws[:FLIP_DRAWS])).items():
            report.figures.setdefault(name, []).append(value)
    say("flips: done")
    found = await repeatability.equal_variants(bench.settings, bench.engine, experiments=20, users=40)
    report.figures |= {name: [value] for name, value in found.items()}


def _without(bootstrap: str, options: BenchOptions, report: BenchReport, say: Say) -> None:
    if "plain" in options.parts:
        run_plain(
            bootstrap,
            report.measured,
            events=options.plain_events,
            rounds=options.rounds,
            peers=options.peers,
            say=say,
        )
        if options.profile and profile.program():
            _weigh(report, WORKER, *profile_plain(bootstrap, events=options.plain_events))
    if "scaling" in options.parts:
        scaled: list[Measured] = []
        try:
            run_scaling(bootstrap, scaled, rounds=options.rounds, say=say)
        finally:
            report.figures |= figures_of(scaled)
            report.void |= {name: VOID for name in SCALED if scaled and not report.figures[name]}


@contextmanager
def _shaped(settings: Settings, options: BenchOptions) -> Iterator[Settings]:
    """Yield the settings of the bench's engine: sized for the device, with random weights if requested."""
    update: dict[str, Any] = {"question_timeout_s": NO_DEADLINE_S}
    if settings.max_num_seqs == Settings.model_fields["max_num_seqs"].default:
        update["max_num_seqs"] = SEQUENCES[_kind()]
    if _kind() == "gpu":  # shared by two engines: the worker's and the offline one
        update["vllm_options"] = {"gpu_memory_utilization": GPU_SHARE} | settings.vllm_options
    if options.model_shape is None:
        yield settings.model_copy(update=update)
        return
    if options.model_shape not in random_weights.SHAPES:
        raise BadSettings(f"--model-shape {options.model_shape}: want {' or '.join(random_weights.SHAPES)}")
    with random_weights.shaped(options.model_shape) as folder:
        vllm_options = {"load_format": "dummy"} | update.get("vllm_options", settings.vllm_options)
        yield settings.model_copy(update=update | {"model": str(folder), "vllm_options": vllm_options})


def _kind() -> str:
    return "cpu" if on_cpu() else "gpu"
