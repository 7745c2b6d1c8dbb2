"""`mirrorstream experiment`."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from worker.cli import experiment_backtest, experiment_export, experiment_plan
from worker.cli.options import Bootstrap, Config, Json, Set, check_writable, group, settings_of, tell
from worker.core.errors import BadSettings
from worker.experiment.statistics.confidence import PLANNED_USERS

if TYPE_CHECKING:
    from worker.experiment.service import Options, Webhook
    from worker.settings import Settings

app = group("Define, report and serve experiments.")
app.command("export", epilog="Example: mirrorstream experiment export --experiment demo --state demo.db --to demo.csv")(
    experiment_export.export
)

Definitions = Annotated[
    list[Path] | None, typer.Option("--definition", "-d", help="YAML file of an experiment; repeat for several.")
]
Topic = Annotated[
    str | None,
    typer.Option(help="Compacted topic of ExperimentDefinition records; default: experiments_topic, or experiments."),
]
Outcomes = Annotated[str, typer.Option(help="Topic of real outcomes, if it is there.")]
StateFile = Annotated[
    Path | None, typer.Option("--state", help="SQLite file to continue from; unset: read everything.")
]
Alpha = Annotated[float, typer.Option(min=0.0001, max=0.5, help="Without a definition: error probability.")]
Planned = Annotated[
    int, typer.Option(min=100, help="Without a definition: planned number of users; see `experiment plan`.")
]
Test = Annotated[bool, typer.Option("--include-test", help="Include traffic marked is_test.")]


@app.command("report", epilog="Example: mirrorstream experiment report --experiment demo --json")
def report(
    experiment: Annotated[str | None, typer.Option(help="Only this experiment.")] = None,
    definition: Definitions = None,
    definitions_topic: Topic = None,
    outcomes_topic: Outcomes = "outcomes",
    state: StateFile = None,
    alpha: Alpha = 0.05,
    planned_users: Planned = PLANNED_USERS,
    include_test: Test = False,
    readouts_topic: Annotated[str, typer.Option(help="Topic to publish ExperimentReadout records to.")] = "",
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="FINGERPRINT FINGERPRINT", help="Two configurations on the same events of --experiment."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write all pages to one HTML file.")] = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Report which variant simulated users prefer, from the responses topic."""
    from worker.experiment import service
    from worker.experiment.page import document
    from worker.experiment.report.terminal import render, render_configurations

    where = settings_of(config, bootstrap, settings)
    options = _options(
        definition, _topic(definitions_topic, where), outcomes_topic, state,
        alpha=alpha, planned_users=planned_users, include_test=include_test,
    )  # fmt: skip
    if html and compare:
        raise BadSettings("--html: cannot be used with --compare, which has no page")
    check_writable("--html", html, beside=(state,))
    check_writable("--state", state)
    if compare:
        if experiment is None:
            raise BadSettings(
                "--compare: needs --experiment, because configurations are compared within one experiment"
            )
        both = service.compare(where, options, experiment, compare)
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in both]))
        else:
            Console().print(render_configurations(both, *compare))
        return
    found = service.report(where, options, experiment=experiment)
    if readouts_topic:
        service.publish(where, found, topic=readouts_topic)
    if html:
        html.write_text(document.render(found, written_at=time.time_ns() // 1_000), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    else:
        Console().print(render(found))


app.command(
    "plan", epilog="Example: mirrorstream experiment plan --effect 0.02 --pilot home-ranker-6 --state shelf.db"
)(experiment_plan.plan)


@app.command("placebo", epilog="Example: mirrorstream experiment placebo home-ranker-7 --share 0.02")
def placebo(
    experiment: Annotated[str, typer.Argument(help="Id of the experiment.")],
    share: Annotated[float, typer.Option(min=0.0001, max=1, help="Share of its users.")] = 0.02,
    topic: Annotated[
        str | None, typer.Option(help="Input topic to write them to; needed with a mapping.", show_default="the same")
    ] = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Add placebo impressions to an input topic: comparisons whose result is known in advance."""
    from worker.experiment.plant_placebos import plant

    with Console(stderr=True).status("reading impressions") as status:
        found = plant(settings_of(config, bootstrap, settings), experiment, share=share, placebos_topic=topic,
                      tell=lambda number: status.update(f"{number:,} impressions read"))  # fmt: skip
    lines = []
    for name in sorted({*found.sent, *found.present}):
        present = f", {found.present[name]:,} were there already" if name in found.present else ""
        lines.append(f"{name}: {found.sent.get(name, 0):,} added{present}")
    nothing = f"nothing added: no impression of {experiment} has a sampled user and two items in control"
    answer = {"planted": dict(found.sent), "present": dict(found.present)}
    tell(answer, as_json=as_json, text="\n".join(lines or [nothing]))


@app.command("serve", epilog="Example: mirrorstream experiment serve --definition shelf.yaml --state shelf.db")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; default: this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 picks a free one.")] = 8090,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token that readers must send.")] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Serve other machines without a token.")
    ] = False,
    definition: Definitions = None,
    definitions_topic: Topic = None,
    outcomes_topic: Outcomes = "outcomes",
    state: StateFile = None,
    alpha: Alpha = 0.05,
    planned_users: Planned = PLANNED_USERS,
    include_test: Test = False,
    on_verdict_change: Annotated[
        str | None,
        typer.Option(metavar="URL", help="POST JSON there when a verdict changes; @FILE reads the URL from a file."),
    ] = None,
    readouts_topic: Annotated[
        str, typer.Option(help="Topic to publish ExperimentReadout records to: a changed verdict at once.")
    ] = "",
    readouts_interval_s: Annotated[
        float,
        typer.Option("--readouts-interval-s", min=1, help="Seconds between readouts whose figures alone changed."),
    ] = 60.0,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
) -> None:
    """Serve a read-only web page of experiments that follows the topics."""
    from worker.experiment import service
    from worker.experiment.page import serving
    from worker.experiment.webhook.deliveries import Outbound

    where = settings_of(config, bootstrap, settings)
    options = _options(
        definition, _topic(definitions_topic, where), outcomes_topic, state,
        alpha=alpha, planned_users=planned_users, include_test=include_test,
    )  # fmt: skip
    token = _word("--token-file", token_file) if token_file else None
    webhook = _webhook(on_verdict_change)
    check_writable("--state", state)
    readouts = service.Readouts(readouts_topic, readouts_interval_s) if readouts_topic else None
    with service.live(where, options, webhook, readouts) as source:
        counts = Outbound(webhook.counts if webhook else None, readouts.counts if readouts else None)
        serving.serve(source, host=host, port=port, token=token, anonymous=allow_anonymous, deliveries=counts)


app.command("backtest", epilog="Example: mirrorstream experiment backtest --real real.csv --state finished.db")(
    experiment_backtest.backtest
)


@app.command("define", epilog="Example: mirrorstream experiment define shelf.yaml --dry-run")
def define(
    file: Annotated[Path, typer.Argument(help="YAML file of an experiment.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file and publish nothing; no Kafka is needed.")
    ] = False,
    definitions_topic: Topic = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Define an experiment before its data: check the file and publish it to the definitions topic."""
    from worker.experiment import service, wording
    from worker.experiment.definition import load

    if dry_run:
        found = load(file)
        text = f"{found.experiment_id}: would be defined as {found.key}; nothing was published"
    else:
        where = settings_of(config, bootstrap, settings)
        found = service.define(where, file, topic=_topic(definitions_topic, where))
        text = f"{found.experiment_id}: defined as {found.key}; a change of what figures depend on starts a new epoch"
    text += "; it is a DRAFT, which readers leave out" if found.is_draft else ""
    about = wording.margin(found)
    told = {"experiment_id": found.experiment_id, "key": found.key, "dry_run": dry_run, "margin": about}
    tell(told, as_json=as_json, text=f"{text}\n{about}")


@app.command("rebuild", epilog="Example: mirrorstream experiment rebuild --state shelf.db")
def rebuild(
    state: Annotated[Path, typer.Option("--state", help="SQLite file to rebuild from the topics.")],
    definition: Definitions = None,
    definitions_topic: Topic = None,
    outcomes_topic: Outcomes = "outcomes",
    include_test: Test = False,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Empty a state file and read the topics again.  Definitions and forgotten users are kept."""
    from worker.experiment import service

    where = settings_of(config, bootstrap, settings)
    options = _options(definition, _topic(definitions_topic, where), outcomes_topic, state, include_test=include_test)
    check_writable("--state", state)
    found = service.rebuild(where, options)
    num_read = found.data_health.get("read", 0)
    tell({"state": str(state), "responses": num_read}, as_json=as_json, text=f"{state}: {num_read:,} responses read")


@app.command("forget", epilog="Example: mirrorstream experiment forget u-1842 --state shelf.db")
def forget(
    user: Annotated[str, typer.Argument(help="Id of the user, as in the impressions.")],
    state: Annotated[Path, typer.Option("--state", help="State file (SQLite) of a reader.")],
    pseudonym_key_file: Annotated[
        Path | None, typer.Option(help="File with the secret of `pseudonym_key_file`, if the workers have one.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Delete all data of a user from the state, and refuse it in future."""
    from worker.experiment import service

    gone = service.forget(service.Options(state=state), user, pseudonym_key_file=pseudonym_key_file)
    text = f"{state}: {gone:,} answers deleted; data of this user is refused from now on"
    tell({"state": str(state), "deleted": gone}, as_json=as_json, text=text)


def _webhook(text: str | None) -> "Webhook | None":
    """Return the webhook of an address, or of a file with one: every process of the machine can read arguments."""
    from worker.experiment.service import Webhook
    from worker.experiment.webhook.sender import Sender

    if text is None:
        return None
    option = "--on-verdict-change"
    return Webhook(Sender(_word(option, Path(text[1:])) if text.startswith("@") else text))


def _word(option: str, path: Path) -> str:
    """Return the one word of a file: a token, or an address."""
    try:
        word = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise BadSettings(f"{option} {path}: {error.strerror}; want a file with one word") from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{option} {path}: is not ASCII text; want one word") from error
    if not word or any(character.isspace() for character in word):
        raise BadSettings(f"{option} {path}: want one word without spaces")
    return word


def _topic(given: str | None, settings: "Settings") -> str:
    """Return the topic of definitions: the one that workers follow, unless another is given; "" reads none."""
    return (settings.experiments_topic or "experiments") if given is None else given


def _options(
    definition: list[Path] | None,
    definitions_topic: str,
    outcomes_topic: str,
    state: Path | None,
    *,
    alpha: float = 0.05,
    planned_users: int = PLANNED_USERS,
    include_test: bool = False,
) -> "Options":
    from worker.experiment import service
    from worker.experiment.definition import load
    from worker.experiment.report import assemble

    defaults = assemble.Defaults(alpha, planned_users)
    return service.Options(
        tuple(map(load, definition or ())), definitions_topic, outcomes_topic, state, include_test, defaults
    )
