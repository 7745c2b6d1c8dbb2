"""The command `mirrorstream`; each command is a few lines that call a part.

Exit codes: 0 done, 1 fatal, 2 settings or usage, 3 the engine will not come back, 4 fenced, 5 a client call is stuck.
"""

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from worker import __version__
from worker.cli import align, bench, dlq, evaluate, experiment, map as map_command, prompts, trace
from worker.cli.options import Bootstrap, Config, Json, Set, check_writable, group, moment, settings_of, show_help, tell
from worker.core.errors import BadSettings, MirrorstreamError, masked
from worker.core.suggestions import did_you_mean
from worker.core.topics.topic_patterns import is_pattern
from worker.system import stopping

if TYPE_CHECKING:
    from worker.settings import Settings


class Commands(TyperGroup):
    """All commands: Ctrl-C unwinds any of them, and a second one ends it at once."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Typer alone would end a stopped one without a word."""
        code = stopping.stoppable(
            lambda: super(Commands, self).invoke(ctx) or 0, signals=(signal.SIGINT,), again=stopping.end
        )
        if code:
            raise typer.Exit(code)


app = typer.Typer(
    cls=Commands, rich_markup_mode="rich", pretty_exceptions_enable=False, invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},  # of every command below, too
    help="Streaming user simulation for recommender A/B shadow tests.",
)  # fmt: skip
topics_app = group("Create topics.")
schemas_app = group("Print or register the schemas.")
app.add_typer(topics_app, name="topics")
app.add_typer(schemas_app, name="schemas")
app.add_typer(experiment.app, name="experiment")
app.add_typer(prompts.app, name="prompts")
app.add_typer(map_command.app, name="map")
app.add_typer(dlq.app, name="dlq")
app.add_typer(align.app, name="align")
app.command(epilog="Example: mirrorstream bench --bootstrap localhost:9092 --rounds 5 --chart bench.svg")(bench.bench)
app.command(epilog="Example: mirrorstream evaluate choices.jsonl --set engine=choice-model --min-skill 0.05")(
    evaluate.evaluate
)
app.command(epilog="Example: mirrorstream trace 0b5c6f9e-5a3e-4d6f-8f0c-2f6a5c1d7e90 --since 2026-11-29")(trace.trace)
console = Console(stderr=True)
DEMO_ENGINES = ("vllm", "choice-model")  # a remote server is not the demo's to start


@app.command(epilog="Example: mirrorstream run --config worker.yaml --set sample_rate=0.1")
def run(
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    until_end: Annotated[bool, typer.Option(help="Backfill: read what is there now, then exit 0.")] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="Start at this record time where nothing is committed: 2026-11-01T00:00Z, or a day."
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="With --until-end: stop before this record time, or day.")
    ] = None,
) -> None:
    """Run a worker: impressions in, simulated responses out."""
    from worker.runtime import app as worker
    from worker.runtime.answering import Backfill

    start, end = moment("--from", from_), moment("--to", to)
    extra: dict[str, Any] = {"start_from": start} if start else {}
    if end and not until_end:
        raise BadSettings("--to: needs --until-end")
    if start and end and start >= end:
        raise BadSettings(f"--from {from_} --to {to}: is an empty range")
    backfill = Backfill(until_end, end)
    raise typer.Exit(worker.run(settings_of(config, bootstrap, settings, files=True, **extra), backfill))


@app.command(epilog="Example: mirrorstream check --config worker.yaml")
def check(
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    position_profile: Annotated[
        bool, typer.Option("--position-profile", help="Also measure how much the model likes each slot.")
    ] = False,
    sample: Annotated[
        Path | None, typer.Option(help="JSON Lines of impressions: are they valid, and what of them is not shown.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check settings, Kafka, topics, registry and engine; each line says ok or what to do."""
    from worker.cli.check import run_all

    results, out = [], Console()
    found = settings_of(config, bootstrap, settings)
    for result in run_all(found, position_profile=position_profile, sample=sample):
        results.append(result)
        mark = "[red]FAIL[/]" if not result.ok else "[yellow]warn[/]" if result.warning else "[green]ok  [/]"
        if not as_json:  # each as soon as it is known: the engine may take minutes
            out.print(f"{mark} {result.what}: {escape(result.detail)}", highlight=False)
    if as_json:
        tell([asdict(result) for result in results], as_json=True)
    raise typer.Exit(0 if all(result.ok for result in results) else 1)


@app.command(epilog="Example: mirrorstream demo --events 200 --engine choice-model --json")
def demo(
    events: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Impressions to simulate; default: as many as two minutes allow."),
    ] = None,
    engine: Annotated[str, typer.Option(help="vllm or choice-model.")] = "vllm",
    bootstrap: Bootstrap = None,
    seed: Annotated[int, typer.Option(help="Seed of users and films.")] = 1,
    as_json: Json = False,
) -> None:
    """Run everything on this machine: a broker (or a real Kafka: --bootstrap), sample traffic, a worker, the result."""
    if engine not in DEMO_ENGINES:
        raise BadSettings(f"--engine {engine}: want {' or '.join(DEMO_ENGINES)}{did_you_mean(engine, DEMO_ENGINES)}")
    from worker.demo.run import run as show_all

    raise typer.Exit(show_all(events=events, engine=engine, bootstrap=bootstrap, seed=seed, as_json=as_json))


@app.command(epilog="Example: mirrorstream replay --movielens ml-latest-small --events 2000 --rate 100")
def replay(
    file: Annotated[
        Path | None,
        typer.Argument(help="JSON Lines, CSV, TSV or Parquet of impressions and outcomes."),
    ] = None,
    movielens: Annotated[
        Path | None, typer.Option(help="MovieLens folder; exercises the pipeline, no evidence.")
    ] = None,
    finished_tests: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with a row per arm of finished A/B tests; needs --personas.")
    ] = None,
    personas: Annotated[Path | None, typer.Option(help="JSON Lines of users who answer --finished-tests.")] = None,
    users: Annotated[int, typer.Option(min=0, help="Users per finished test (0: all personas).")] = 0,
    real_to: Annotated[
        Path | None,
        typer.Option(help="CSV to write the real lift of each finished test to, for `experiment backtest`."),
    ] = None,
    events: Annotated[int, typer.Option(min=0, help="Maximum number of records (0: all).")] = 0,
    mapping: Annotated[
        str | None, typer.Option(help="Mapping of the file's events to impressions: a name or a path.")
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="File with what is known about items that the events have by id alone.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first wrong line of a file.")] = False,
    number_positions: Annotated[
        bool, typer.Option("--number-positions", help="Number the items of each slate by their order in the file.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0, help="Messages per second; 0 sends as fast as Kafka accepts them.")] = 0,
    outcomes_topic: Annotated[
        str | None, typer.Option(help="Topic for the outcomes of the source; unset: they are not sent.")
    ] = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Send impressions of a file to the input topic, and outcomes to theirs."""
    from worker.cli.replay import FinishedFiles, replay as send, source

    if sum(one is not None for one in (file, movielens, finished_tests)) != 1:
        raise BadSettings("replay: want a file of events or --movielens FOLDER or --finished-tests FILE, one of them")
    if (finished_tests is None) != (personas is None):
        raise BadSettings("replay: --finished-tests and --personas need each other")
    if finished_tests is None and (users or real_to):
        raise BadSettings("replay: --users and --real-to need --finished-tests")
    if (number_positions or mapping or items) and file is None:
        raise BadSettings("replay: --number-positions, --mapping and --items need a file of events")
    finished = FinishedFiles(finished_tests, personas, users, real_to) if finished_tests and personas else None
    found = settings_of(config, bootstrap, settings)
    check_writable("--real-to", real_to, beside=(file, finished_tests, personas))
    from worker.settings import mappings

    mapped = mappings.load(mapping) if mapping else None
    moments = source(
        file, movielens, finished, limit=events, number_positions=number_positions, mapping=mapped, items=items,
        joined_later=bool(found.items_topic or found.items_file), strict=strict,
    )  # fmt: skip
    summary = send(found, moments, rate=rate, outcomes_topic=outcomes_topic, console=console)
    first = moments.bad
    tell(summary, as_json=as_json, text="\n".join([*_lines(summary, but="first_wrong"), *first]))
    raise typer.Exit(1 if moments.num_bad else 0)


def _lines(summary: Mapping[str, object], *, but: str) -> list[str]:
    return [f"{name}: {value}" for name, value in summary.items() if name != but]


@topics_app.command("create", epilog="Example: mirrorstream topics create --partitions 12 --replication 3")
def topics_create(
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of each topic.")] = 12,
    replication: Annotated[int, typer.Option(help="Replicas; -1 is the broker's default.")] = -1,
    outcomes_topic: Annotated[str, typer.Option(help="Topic of real outcomes.")] = "outcomes",
    definitions_topic: Annotated[
        str | None, typer.Option(help="Topic of definitions; default: experiments_topic, or experiments.")
    ] = None,
    readouts_topic: Annotated[str | None, typer.Option(help="Topic of readouts; default: readouts_topic.")] = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing."""
    from worker.kafka import admin, rights

    found = settings_of(config, bootstrap, settings)
    names = [topic for topic in found.input_topics if not is_pattern(topic)]
    facts = rights.fact_topics(found)
    names += [found.output_topic, found.dead_letter_topic, outcomes_topic, *facts]
    compacted = _compacted(found, definitions_topic, readouts_topic)
    topics = dict.fromkeys(names, partitions) | dict.fromkeys(compacted, 1)
    made = admin.create(found, topics, compacted=[*compacted, *facts], replication=replication)
    there = admin.partitions(found)
    rows = [{"topic": name, "created": name in made, "partitions": there.get(name, topics[name])} for name in topics]
    lines = (
        f"{row['topic']}: {'created' if row['created'] else 'is there'}, {row['partitions']} partitions" for row in rows
    )
    tell(rows, as_json=as_json, text="\n".join(lines))


def _compacted(settings: "Settings", definitions: str | None = None, readouts: str | None = None) -> dict[str, str]:
    """Return the topics with one record per experiment, those that a reader has of its own too: schemas by topic."""
    ours, told = settings.experiments_topic or "experiments", settings.readouts_topic
    return dict.fromkeys([ours, definitions or ours], "ExperimentDefinition") | dict.fromkeys(
        [told, readouts or told], "ExperimentReadout"
    )


@schemas_app.command(
    "register", epilog="Example: mirrorstream schemas register --set schema_registry_url=http://localhost:8081"
)
def schemas_register(
    config: Config = None, bootstrap: Bootstrap = None, settings: Set = None, as_json: Json = False
) -> None:
    """Register the schemas of all topics, with compatibility FULL_TRANSITIVE."""
    from worker.kafka import registry

    found = settings_of(config, bootstrap, settings)
    if found.schema_registry_url is None:
        raise BadSettings("schema_registry_url: is not set; where shall the schemas go?")
    inputs = found.input_topics if found.input_format == "avro" else []  # JSON needs none of ours
    subjects = {f"{topic}-value": "RecommendationImpression" for topic in inputs if not is_pattern(topic)}
    subjects |= {f"{found.output_topic}-value": "SimulatedResponse", "outcomes-value": "Outcome"}
    subjects |= {f"{topic}-value": name for topic, name in _compacted(found).items()}
    facts = ((found.items_topic, "ItemFacts"), (found.users_topic, "UserFacts")) if inputs else ()
    subjects |= {f"{topic}-value": name for topic, name in facts if topic}
    done = registry.register(found.schema_registry_url, found.registry_access, subjects)
    tell(done.ids, as_json=as_json, text="\n".join(f"{subject}: id {number}" for subject, number in done.ids.items()))
    if done.without_compatibility:
        typer.echo(
            f"compatibility of {', '.join(done.without_compatibility)}: this registry has no call that sets it, and "
            "keeps its own; want FULL_TRANSITIVE, or what is nearest to it there",
            err=True,
        )


@schemas_app.command("show", epilog="Example: mirrorstream schemas show RecommendationImpression > impression.avsc")
def schemas_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Record, such as Outcome.")],
    proto: Annotated[bool, typer.Option("--proto", help="The .proto file of RecommendationImpression.")] = False,
) -> None:
    """Print a schema, which producers and readers need: JSON, or a .proto file."""
    from worker.core.codec.avro_schemas import OWN, schema_text

    if proto and name == "RecommendationImpression":
        from worker.core.codec.protobuf_schemas import own_text

        typer.echo(own_text(), nl=False)
        return
    if proto:
        raise BadSettings(f"{name}: has no .proto file, RecommendationImpression has")
    if name not in OWN:
        raise BadSettings(f"{name}: is no schema{did_you_mean(name, OWN)}; want one of {', '.join(OWN)}")
    typer.echo(schema_text(name), nl=False)


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback acts on it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Streaming user simulation for recommender A/B shadow tests."""
    show_help(context)


def main() -> None:
    """Run the command; our own errors are one message and an exit code, never a traceback."""
    try:
        app()
    except MirrorstreamError as error:
        console.print(f"[red]error:[/] {escape(masked(str(error)))}", highlight=False)
        sys.exit(getattr(error, "exit_code", 1))
    except OSError as error:  # a reader that went away is typer's: it ends without a word
        from worker.offline.evaluate.output_files import FULL

        if error.errno not in FULL:
            raise
        if sys.stdout is not None:  # what is still in its buffer would fail again at the end, with a traceback
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        place = f"{error.filename}: " if error.filename else ""  # none of what was open already
        console.print(f"[red]error:[/] {escape(place)}{error.strerror}: not everything was written", highlight=False)
        sys.exit(1)
    except Exception as error:
        from worker.kafka import error_text

        if not error_text.is_of_client(error):
            raise
        console.print(f"[red]error:[/] Kafka: {escape(masked(error_text.explain(error)))}", highlight=False)
        sys.exit(1)
