"""`mirrorstream evaluate`."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from worker.cli.options import Config, Json, Set, settings_of, tell
from worker.core.errors import BadSettings

if TYPE_CHECKING:
    from worker.offline.evaluate.run import Arm

FIRST = "answers"  # the name of the engine that the command's own settings make
console = Console(stderr=True)


def evaluate(
    file: Annotated[
        Path, typer.Argument(help="JSON Lines, CSV, TSV or Parquet: scenes, impressions and outcomes, or events.")
    ],
    outcomes: Annotated[Path | None, typer.Option(help="File with the outcomes, if they are in another one.")] = None,
    mapping: Annotated[
        str | None, typer.Option(help="Mapping of the file's events to impressions: a name or a path.")
    ] = None,
    chosen: Annotated[
        str | None, typer.Option(help="With --mapping: JMESPath of the chosen item ids in an event; unset: outcomes.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="With --mapping: file with what is known about items that the events have by id alone."),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Another engine: a settings file, or NAME=VALUE,... changed; may be given several times."),
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(help="Parts to take out one by one: history, history:5, profile, profile.NAME, ratings, ..."),
    ] = None,
    events: Annotated[int, typer.Option(min=0, help="Maximum number of choices (0: all).")] = 0,
    out: Annotated[
        Path, typer.Option(help="Folder for answers, report.json and report.html; a second run goes on there.")
    ] = Path("evaluation"),
    min_skill: Annotated[
        float | None,
        typer.Option(help="Exit 1 unless the whole interval of the skill over chance is at least this."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first wrong line of a file.")] = False,
    config: Config = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Measure how well an engine predicts real choices; needs no Kafka."""
    from worker.core.codec.mapping_compiler import compile_item_ids
    from worker.offline import folder_lock
    from worker.offline.evaluate import report
    from worker.offline.evaluate.output_files import write_whole
    from worker.offline.evaluate.reading import Files
    from worker.offline.evaluate.run import REPORTS, evaluate as measure
    from worker.offline.events import event_files, item_facts
    from worker.settings import mappings

    if chosen is not None and mapping is None:
        raise BadSettings(
            "--chosen: needs --mapping; the choices of impressions are in outcomes, of scenes in item_pos"
        )
    if chosen is not None and outcomes is not None:
        raise BadSettings("--chosen and --outcomes: want one of them")
    if items is not None and mapping is None:
        raise BadSettings("--items: needs --mapping, which says what the fields of events mean")
    mapped = mappings.load(mapping) if mapping else None
    with event_files.ending("nothing was evaluated"):
        facts = item_facts.read(items, mapped) if items else {}
    files = Files(file, outcomes, mapped, compile_item_ids(chosen) if chosen else None, limit=events, items=facts)
    arms = list(_arms(config, settings, compare or [], ablate))
    with folder_lock.held(out, "--out", "evaluate"):
        with _bar(file.name) as progress:
            found = measure(files, arms, out=out, strict=strict, progress=progress)
        write_whole(out / REPORTS[0], json.dumps(found.as_json(), indent=1) + "\n")
        write_whole(out / REPORTS[1], report.html(found))
    problem = "" if min_skill is None else report.below(found, min_skill)
    lines = [*report.lines(found), f"report: {out / REPORTS[1]}, {out / REPORTS[0]}"]
    lines += [problem] if problem else []
    tell(found.as_json() | {"gate": problem or None}, as_json=as_json, text="\n".join(lines))
    raise typer.Exit(1 if problem or found.wrong_lines else 0)


def _arms(
    config: Path | None, assignments: list[str] | None, compare: list[str], ablate: str | None
) -> Iterator["Arm"]:
    """Yield the engine of the command's settings, those to compare it with, and one for each part to take out."""
    from worker.offline.evaluate import parts
    from worker.offline.evaluate.run import Arm

    own = settings_of(config, None, assignments, files=True)
    yield Arm(FIRST, own)
    for other in compare:
        if "=" in other:
            changed = [*(assignments or []), *_split(other)]
            yield Arm(other, settings_of(config, None, changed, files=True))
        else:
            yield Arm(Path(other).stem, settings_of(Path(other), None, None, files=True))
    for part in filter(None, (one.strip() for one in (ablate or "").split(","))):
        parts.without(part)
        yield Arm(f"without {part}", own, part)


def _split(text: str) -> Iterator[str]:
    """Yield the assignments of a text; a comma within a value stays.

    >>> list(_split("model=/m,draws=2")), list(_split("server_urls=http://a,http://b"))
    (['model=/m', 'draws=2'], ['server_urls=http://a,http://b'])
    """
    parts: list[str] = []
    for piece in text.split(","):
        if parts and not piece.partition("=")[0].replace("_", "").isalnum():
            parts[-1] += f",{piece}"
        else:
            parts.append(piece)
    yield from parts


@contextmanager
def _bar(name: str) -> Iterator[Callable[[str, int, float], None]]:
    """Show how many choices are answered, and the time that is left."""
    from rich.progress import (
        BarColumn,
        Progress,
        TaskID,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[num]:,} answered"), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def update(arm: str, num: int, share: float) -> None:
            if arm not in tasks:
                tasks[arm] = progress.add_task(f"{name}: {arm}", total=1.0, num=0)
            progress.update(tasks[arm], completed=share, num=num)

        yield update
