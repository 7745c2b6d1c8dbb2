"""What commands share: their options, the settings that these make, groups of commands, how a result is printed."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.core.errors import BadSettings
from worker.settings import Settings, is_day, load, parse_time

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="One setting, NAME=VALUE; wins over file and environment.")
]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", "-b", help="Brokers, HOST:PORT by comma.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def group(about: str) -> typer.Typer:
    """Return a group of commands; called alone it shows its help, which is no mistake and exits 0."""
    app = typer.Typer(help=about, invoke_without_command=True, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.callback()(show_help)
    return app


def show_help(context: typer.Context) -> None:
    """Show a group's help if no command follows."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)
        raise typer.Exit


def tell(result: object, *, as_json: bool, text: str | None = None) -> None:
    """Print a command's result: as one JSON document, or as `text`, which is NAME: VALUE a line if it is not given."""
    if as_json:
        typer.echo(json.dumps(result))
    elif text is not None:
        typer.echo(text)
    elif isinstance(result, Mapping):
        typer.echo("\n".join(f"{name}: {value}" for name, value in result.items()))


def settings_of(
    config: Path | None, bootstrap: str | None, assignments: list[str] | None, *, files: bool = False, **extra: Any
) -> Settings:
    """Build the settings from a command's options; `extra` wins over them.  Raises `BadSettings`.

    `files` is for a command that needs all that the settings name.
    """
    parts = [assignment.partition("=") for assignment in assignments or ()]
    problems = [f"--set {_name(part[0])}: want NAME=VALUE" for part in parts if not (part[0] and part[1])]
    overrides = {name: _value(value) for name, separator, value in parts if name and separator}
    if bootstrap:
        overrides["bootstrap_servers"] = bootstrap
    return load(config, overrides | extra, files=files, problems=problems)


def moment(option: str, text: str | None) -> datetime | None:
    """Read the time that an option gives; of a day, which begins at midnight UTC, it says so.  Raises `BadSettings`."""
    if text is None:
        return None
    try:
        found = parse_time(text)
    except BadSettings as error:
        raise BadSettings(f"{option} {error}") from error
    if is_day(text):
        typer.echo(f"{option} {text}: taken as {text}T00:00Z, midnight UTC", err=True)
    return found


def record_time(timestamp_ms: int, *, precision: str) -> str | None:
    """Return a record's time in ISO 8601, UTC, to "seconds" or "milliseconds"; None if no calendar has it.

    Any producer may write any time.
    """
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat(timespec=precision)
    except (ValueError, OverflowError, OSError):
        return None


def check_writable(option: str, path: Path | None, *, beside: Iterable[Path | None] = ()) -> None:
    """See that a result can be written before the work for it is done.  Raises `BadSettings`.

    It may be none of the files `beside`, which the command reads or keeps.
    """
    if path is None:
        return
    existed = path.exists()
    if existed and any(other is not None and other.exists() and path.samefile(other) for other in beside):
        raise BadSettings(f"{option} {path}: is a file that this command reads; want another one")
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()  # nothing is left behind where the work fails
    except OSError as error:
        raise BadSettings(f"{option} {path}: {error.strerror}; want a file that can be written") from error


def _name(text: str) -> str:
    """Return what may be told of an assignment that is none: the setting's name, if it has one."""
    return text if text in Settings.model_fields else "..."


def _value(text: str) -> Any:
    """Read lists and maps as JSON; everything else is text, which the settings turn into their own types."""
    if text[:1] in "[{" and text:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
