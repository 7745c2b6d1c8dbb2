"""`mirrorstream map`: foreign events as impressions; no Kafka and no vLLM needed."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import Json, group, tell
from worker.core.codec import avro_encoder
from worker.core.codec.mapping import EventMapping
from worker.core.errors import BadSettings, Poison
from worker.core.prompts import prompt
from worker.core.prompts.unshown import told, unshown
from worker.core.records import Impression
from worker.core.simulation.questions import Depths, plan
from worker.settings import mappings, prompt_profiles

app = group("Map foreign events to impressions.")

MAX_READ = 100_000  # events of a sample, most of which may be passed over


@app.command("list", epilog="Example: mirrorstream map list --json")
def list_mappings(as_json: Json = False) -> None:
    """List the mappings that ship with the package, and what their events cannot tell."""
    rows = [{"name": name, "lacks": list(mappings.load(name).lacks)} for name in mappings.names()]
    tell(rows, as_json=as_json, text="\n".join(f"{row['name']}: lacks {'; '.join(row['lacks'])}" for row in rows))


@app.command("test", epilog="Example: mirrorstream map test --mapping ga4 --sample events.jsonl")
def try_mapping(
    mapping: Annotated[str, typer.Option(help="Mapping: a name or a path.")],
    sample: Annotated[Path, typer.Option(help="Events: JSON Lines, CSV, TSV or Parquet.")],
    items: Annotated[
        Path | None, typer.Option(help="File with what is known about items that the events have by id alone.")
    ] = None,
    events: Annotated[int, typer.Option(min=1, max=1_000, help="Mapped events to show.")] = 1,
    profile: Annotated[str, typer.Option("--profile", "-p", help="Prompt profile: a name or a path.")] = "mirror-v1",
    as_json: Json = False,
) -> None:
    """Show what becomes of events: impression, prompt, what it leaves out, and what is wrong, with its place."""
    found, loaded = mappings.load(mapping), prompt_profiles.load(profile)
    rows = list(islice(_rows(found, loaded, sample, items), events))
    if not rows:
        part = found.impressions or found.outcomes
        when = part.when.expression if part and part.when else ""
        raise BadSettings(f"{sample}: `when` of mapping {mapping} is true for no event: {when}")
    lacks = [f"lacks: {one}" for one in found.lacks]
    tell({"events": rows, "lacks": list(found.lacks)}, as_json=as_json, text="\n".join([*map(_text, rows), *lacks]))
    raise typer.Exit(1 if any("problem" in row for row in rows) else 0)


@app.command("suggest", epilog="Example: mirrorstream map suggest --sample events.jsonl > mine.yaml")
def suggest_mapping(
    sample: Annotated[Path, typer.Option(help="Events: JSON Lines, CSV, TSV or Parquet.")],
    events: Annotated[int, typer.Option(min=1, max=1_000, help="Events to look at.")] = 20,
    as_json: Json = False,
) -> None:
    """Propose a mapping from the names, shapes and values of events, and say what is not sure."""
    from worker.cli import map_suggest
    from worker.offline.events import event_files

    event_files.check(sample, want="want one JSON object per line, each an event")
    found = map_suggest.suggest([event for _, event in event_files.events(sample, limit=events)])
    told = {"mapping": found.mapping, "unsure": found.unsure}
    tell(told, as_json=as_json, text=found.text().rstrip())


def _rows(
    mapping: EventMapping, profile: prompt.Profile, sample: Path, items: Path | None
) -> Iterator[dict[str, object]]:
    """Yield what becomes of each event that is not passed over."""
    from worker.offline.events import event_files, item_facts, moments  # which have numpy

    facts = item_facts.read(items, mapping) if items else {}
    event_files.check(sample, mapping.table, "want one JSON object per line, each an event")
    for place, event in event_files.events(sample, mapping.table, limit=MAX_READ):
        try:
            impression = moments.mapped(mapping, event, facts)
            outcome = mapping.outcome(event, show_names=True)
        except Poison as poison:
            yield {"event": place, "problem": str(poison)}
            continue
        if impression is not None or outcome is not None:
            shown = _shown(impression, profile) if impression else {}
            yield {"event": place, **shown, **({"outcome": _given(avro_encoder.plain(outcome))} if outcome else {})}


def _shown(impression: Impression, profile: prompt.Profile) -> dict[str, object]:
    question = plan(impression, lambda item: prompt.render_option(profile, impression, item), Depths())[0]
    built = prompt.build(profile, prompt.scene(profile, impression, 10), question.options)
    left_out = {part: told(names) for part, names in unshown(profile, impression).items()}
    return {"impression": _given(avro_encoder.plain(impression)), "prompt": built.user, "not_shown": left_out}


def _given(value: object) -> object:
    """Return plain data without the fields that have their defaults."""
    if isinstance(value, dict):
        given = {name: _given(inner) for name, inner in value.items()}
        return {name: inner for name, inner in given.items() if inner not in (None, False, "UNKNOWN", {}, [])}
    return [_given(one) for one in value] if isinstance(value, list) else value


def _text(row: dict[str, object]) -> str:
    if "problem" in row:
        return f"{row['event']}: {row['problem']}"
    lines = [f"{row['event']}:"]
    if "impression" in row:
        lines += [_json(row["impression"]), "", str(row["prompt"]).rstrip(), ""]
        left_out = row["not_shown"]
        assert isinstance(left_out, dict)
        lines += [f"not shown: {part}: {names}" for part, names in left_out.items()]
    if "outcome" in row:
        lines += ["outcome:", _json(row["outcome"])]
    return "\n".join(lines)


def _json(value: object) -> str:
    """Write JSON that people can read; what a terminal would obey, or would not show, is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
