"""Options that commands share, and the settings that they make."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.errors import BadSettings
from worker.settings import Settings, load

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="One setting, NAME=VALUE; wins over file and environment.")
]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", "-b", help="Brokers, HOST:PORT by comma.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def settings_of(config: Path | None, bootstrap: str | None, assignments: list[str] | None, **extra: Any) -> Settings:
    """Build the settings from a command's options; `extra` wins over them.  Raises `BadSettings`."""
    overrides: dict[str, Any] = {}
    for assignment in assignments or ():
        name, separator, value = assignment.partition("=")
        if not separator:
            message = f"--set {assignment}: want NAME=VALUE"
            raise BadSettings(message)
        overrides[name] = _value(value)
    if bootstrap:
        overrides["bootstrap_servers"] = bootstrap
    return load(config, overrides | extra)


def _value(text: str) -> Any:
    """Read lists and maps as JSON; everything else is text, which the settings turn into their own types."""
    if text[:1] in "[{" and text:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
