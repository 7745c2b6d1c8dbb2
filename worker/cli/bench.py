"""`mirrorstream bench`."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import Bootstrap, Config, Json, Set, check_writable, settings_of
from worker.core.errors import BadSettings

PARTS = ("llm", "latency", "repeat", "plain", "scaling")
DIMENSIONS = (
    "sequences", "block", "dtype", "prefill", "cache", "graphs", "kv", "weights", "speculation", "parallel",
)  # fmt: skip

Parts = Annotated[
    str | None,
    typer.Option(help=f"Parts, of {', '.join(PARTS)}; the last two need --bootstrap. Default: all that can run."),
]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds; in each all contenders take a turn.")]
Events = Annotated[int | None, typer.Option(min=1, help="Events in the LLM parts; default: 20 questions per seat.")]
PlainEvents = Annotated[int, typer.Option(min=100, help="Events in the parts without an LLM.")]
Tokens = Annotated[int | None, typer.Option(min=4, help="Median length of a rationale.")]
LatencySeconds = Annotated[
    float, typer.Option(min=1, max=3_600, help="Seconds of traffic that latency is measured on.")
]
ModelShape = Annotated[
    str | None, typer.Option(help="qwen2.5-3b: that architecture with random weights; nothing is downloaded.")
]
LoadFormat = Annotated[str | None, typer.Option(help="dummy: states the random weights of --model-shape explicitly.")]
Peers = Annotated[Path | None, typer.Option(help="Python of the environment with Quix Streams and FastStream.")]
Contenders = Annotated[str | None, typer.Option(help="Contenders in the LLM parts, comma-separated; default: all.")]
Profile = Annotated[bool, typer.Option(help="Also measure CPU per stage with py-spy.")]
Chart = Annotated[Path | None, typer.Option(help="Write the report as SVG.")]
Tune = Annotated[
    Path | None, typer.Option(help="Try what vLLM offers, each beside the settings as they are, and write a file.")
]
TuneOnly = Annotated[str | None, typer.Option(help=f"Only these, of {', '.join(DIMENSIONS)}. Default: all.")]
TuneWeights = Annotated[
    list[Path] | None, typer.Option(help="A folder with the same model in other weights, such as AWQ.")
]
TuneLimitSeconds = Annotated[float, typer.Option(min=1, help="Seconds that one engine may take in all.")]
TuneMinutes = Annotated[
    float | None, typer.Option(min=0.1, help="Begin nothing more after that time; the same command goes on.")
]


def bench(
    parts: Parts = None,
    rounds: Rounds = 5,
    events: Events = None,
    plain_events: PlainEvents = 20_000,
    tokens: Tokens = None,
    latency_s: LatencySeconds = 30,
    model_shape: ModelShape = None,
    load_format: LoadFormat = None,
    peers: Peers = None,
    contenders: Contenders = None,
    profile: Profile = True,
    chart: Chart = None,
    tune: Tune = None,
    tune_only: TuneOnly = None,
    tune_weights: TuneWeights = None,
    tune_limit_s: TuneLimitSeconds = 900,
    tune_minutes: TuneMinutes = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Measure the worker beside its engine, simpler loops and other frameworks: one run, one table."""
    from worker.bench import command
    from worker.bench.model import contenders as llm

    if load_format not in {None, "dummy"} or (load_format and not model_shape):
        raise BadSettings(f"--load-format {load_format}: want dummy, and --model-shape beside it")
    check_writable("--chart", chart)
    found = settings_of(config, bootstrap, settings)
    if tune is not None:
        from worker.bench.tune import run as tuning

        check_writable("--tune", tune, beside=[config])
        wanted = tuning.TuneOptions(
            file=tune,
            only=_some(tune_only, DIMENSIONS, "--tune-only"),
            weights=tuple(tune_weights or ()),
            rounds=rounds,
            events=events,
            tokens=tokens,
            model_shape=model_shape,
            limit_s=tune_limit_s,
            minutes=tune_minutes,
            as_json=as_json,
        )
        raise typer.Exit(tuning.run(found, wanted))
    options = command.BenchOptions(
        parts=_some(parts, PARTS, "--parts") if parts is not None else _that_can(bootstrap, model_shape),
        rounds=rounds,
        events=events,
        plain_events=plain_events,
        tokens=tokens,
        latency_s=latency_s,
        model_shape=model_shape,
        peers=peers,
        contenders=tuple(one for one in llm.CONTENDERS if one in _some(contenders, llm.CONTENDERS, "--contenders")),
        profile=profile,
        chart=chart,
        as_json=as_json,
    )
    raise typer.Exit(command.run(found, bootstrap, options))


def _that_can(bootstrap: str | None, model_shape: str | None) -> frozenset[str]:
    """Return the parts that have what they take: a real Kafka, a model that ends its rationales."""
    without = {"plain", "scaling"} if bootstrap is None else set()
    return frozenset(PARTS) - without - ({"repeat"} if model_shape else set())


def _some(text: str | None, known: tuple[str, ...], option: str) -> frozenset[str]:
    """Read names by comma; all that are known if nothing is said."""
    names = frozenset(known if text is None else filter(None, text.split(",")))
    if not names or names - set(known):
        raise BadSettings(f"{option} {text}: want {', '.join(known)}")
    return names
