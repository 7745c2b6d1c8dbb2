"""`mirrorstream experiment export`."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from worker.cli.options import Json, tell


class What(StrEnum):
    """The tables, as `worker.experiment.export.write.Table` names them: importing that here would slow `--help`."""

    users = "users"
    answers = "answers"


class As(StrEnum):
    """The formats, as `FileFormat` names them."""

    csv = "csv"
    parquet = "parquet"


def export(
    experiment: Annotated[str, typer.Option(help="Id of the experiment.")],
    state: Annotated[Path, typer.Option("--state", help="State file (SQLite) of a reader.")],
    to: Annotated[Path, typer.Option(help="File to write; it has ids of users, which are personal data.")],
    what: Annotated[What, typer.Option(help="One row per user and metric, or one per answer.")] = What.users,
    format_: Annotated[As | None, typer.Option("--format", help="Default: by the ending of --to.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    safe_csv: Annotated[
        bool, typer.Option("--safe-csv", help="For spreadsheets: put ' before text that could run as a formula.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Export values per user, or answers per event, as CSV or Parquet."""
    from worker.experiment.export import write

    target = write.Target(to, write.FileFormat(format_) if format_ else None, force, safe_csv)
    with Console(stderr=True).status("exporting") as status:
        done = write.export(
            state, experiment, write.Table(what), target, tell=lambda rows: status.update(f"{rows:,} rows written")
        )
    lines = [f"{done.to}: {done.rows:,} rows; user ids are personal data: protect the file"]
    if done.formula_cells and not safe_csv:
        lines.append(f"cells that could run as formulas in a spreadsheet: {done.formula_cells:,}; see --safe-csv")
    tell(asdict(done), as_json=as_json, text="\n".join(lines))
