"""`mirrorstream prompts`: what the model is shown, and how its answer is read; no Kafka and no vLLM needed."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import yaml

from worker.cli.options import Json, group, moment, tell
from worker.core.codec import avro_encoder, impression as codec, json_reader
from worker.core.errors import BadSettings, Poison
from worker.core.prompts import prompt, reference_import
from worker.core.prompts.rationale import parse, stated_choice
from worker.core.prompts.unshown import told, unshown
from worker.core.records import MAX_TIME_US, MAX_YEAR, MIN_TIME_US, MIN_YEAR, Impression
from worker.core.simulation.questions import Depths, Kind, Question, plan, presented_order
from worker.settings import prompt_profiles

app = group("Inspect prompts and how completions are parsed.")

ProfileName = Annotated[str, typer.Option("--profile", "-p", help="Prompt profile: a name or a path.")]


@app.command("list", epilog="Example: mirrorstream prompts list --json")
def list_profiles(as_json: Json = False) -> None:
    """List the profiles that ship with the package and their hashes; as JSON also the attributes of each domain."""
    found = [prompt_profiles.load(name) for name in prompt_profiles.names()]
    rows = [
        {
            "name": profile.name,
            "sha256": profile.sha256,
            "domains": {domain: prompt.attributes(layout) for domain, layout in profile.domains.items()},
        }
        for profile in found
    ]
    tell(rows, as_json=as_json, text="\n".join(f"{row['name']} {row['sha256']}" for row in rows))


@app.command(epilog="Example: mirrorstream prompts show mirror-v1")
def show(name: Annotated[str, typer.Argument(help="Prompt profile: a name or a path.")], as_json: Json = False) -> None:
    """Print a profile's system text."""
    profile = prompt_profiles.load(name)
    texts = (f"[{mode}]\n{text}\n" for mode, text in profile.system.items())
    tell({"name": profile.name, "sha256": profile.sha256, "system": dict(profile.system)}, as_json=as_json,
         text="\n".join(texts))  # fmt: skip


@app.command(epilog="Example: mirrorstream prompts render --impression impression.json --duel candidate")
def render(
    impression: Annotated[Path, typer.Option(help="JSON file of one impression.")],
    profile: ProfileName = "mirror-v1",
    variant: Annotated[str | None, typer.Option(help="The SLATE question of this variant; default: the first.")] = None,
    duel: Annotated[str | None, typer.Option(help="The DUEL question of this candidate.")] = None,
    mode: Annotated[str, typer.Option(help="default or direct.")] = "default",
    draw: Annotated[
        int, typer.Option(min=0, help="Draw whose order is shown: 0, 2, ... by a hash; 1, 3, ... reversed.")
    ] = 0,
    at: Annotated[
        str | None, typer.Option(help="Show the prompt as of this time, such as 2026-11-01T00:00Z, or a day.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the chat messages of one question as JSON; what a response would be flagged with goes to standard error."""
    found = _read(impression)
    if asked_at := moment("--at", at):
        at_us = int(asked_at.timestamp() * 1e6)
        if not MIN_TIME_US <= at_us <= MAX_TIME_US:
            raise BadSettings(f"--at {at}: want a time from {MIN_YEAR} to {MAX_YEAR}")
        found = replace(found, occurred_at=at_us)
    loaded = prompt_profiles.load(profile)
    if mode not in loaded.system:
        raise BadSettings(f"--mode {mode}: want one of {', '.join(loaded.system)}")
    question = _question(plan(found, lambda item: prompt.render_option(loaded, found, item), Depths()), variant, duel)
    order = presented_order(found.event_id, draw, question.options, given=found.given_order)
    options = [question.options[index] for index in order]
    shared = prompt.scene(loaded, found, 10)
    built = prompt.build(loaded, shared, options, mode=mode)
    _note(loaded, found, question, shared)
    roles = ("system", "user", "assistant")
    texts = (built.system, built.user, built.prefix)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    tell(messages, as_json=as_json, text=json.dumps(messages, ensure_ascii=False, indent=2))


@app.command("import", epilog="Example: mirrorstream prompts import template.py --out reference.yaml")
def import_profile(
    file: Annotated[Path, typer.Argument(help="A local copy of the reference's generator/template.py; never run.")],
    out: Annotated[Path, typer.Option(help="Where the profile is written; use it as prompt_profile.")],
    as_json: Json = False,
) -> None:
    """Write a profile with the wording that the reference model was trained with."""
    ours = yaml.safe_load(prompt_profiles.text("mirror-v1"))
    try:
        if out.exists() and out.samefile(file):
            raise BadSettings("--out is the file itself")
        imported = reference_import.convert(file.read_bytes(), ours)
        new = out.with_name(f".{out.name}.new")
        new.write_bytes(imported.content)
        new.rename(out)
    except OSError as error:
        raise BadSettings(f"{error.filename or out}: {error.strerror}") from error
    except BadSettings as error:
        raise BadSettings(f"{file}: {error}") from error
    sha256 = prompt_profiles.load(str(out.resolve())).sha256
    found = {"profile": str(out), "sha256": sha256, "origin": imported.origin, "unplaced": list(imported.unplaced)}
    tell(found, as_json=as_json, text=f"{out}: {sha256}, from {imported.origin}")


@app.command("parse", epilog="Example: mirrorstream prompts parse --options 5 < completion.txt")
def parse_completion(
    options: Annotated[int, typer.Option(min=1, max=26, help="How many options were offered.")],
    profile: ProfileName = "mirror-v1",
    as_json: Json = False,
) -> None:
    """Read a completion on standard input and print the parsed record as JSON.

    The text goes on after "Stimulus:", where the model began; COMPLETE means that all six sections are there. The
    worker takes its choice from the letters' probabilities; `behavior` is only what the text says.
    """
    text, words = _completion(), prompt_profiles.load(profile).words
    rationale, status = parse(text, words)
    said = stated_choice(text, words)
    behavior = said if said and ord(said) - ord("A") < options else None
    record = {"rationale": avro_encoder.plain(rationale), "parse_status": status.value, "behavior": behavior}
    tell(record, as_json=as_json, text=json.dumps(record, ensure_ascii=False))


def _completion() -> str:
    if sys.stdin is None:  # closed
        raise BadSettings("standard input is closed; want a completion there")
    try:
        return sys.stdin.buffer.read().decode("utf-8", "replace")
    except OSError as error:
        raise BadSettings(f"standard input: {error.strerror}; want a completion there") from error


def _read(path: Path) -> Impression:
    try:
        content = json_reader.parse(path.read_text(encoding="utf-8-sig"))
        return codec.impression(
            json_reader.fields(content, "RecommendationImpression", json_reader.FILE_RULES), show_names=True
        )
    except OSError as error:
        raise BadSettings(f"{path}: {error.strerror}; want a JSON file of one impression") from error
    except UnicodeDecodeError as error:
        raise BadSettings(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start:,}") from error
    except Poison as poison:
        if "Extra data" in str(poison):
            raise BadSettings(
                f"{path}: holds more than one JSON value; want one impression (head -1 {shlex.quote(str(path))})"
            ) from poison
        raise BadSettings(f"{path}: {poison}") from poison


def _note(profile: prompt.Profile, impression: Impression, question: Question, shared: prompt.Scene) -> None:
    """Print what does not show in the prompt."""
    flags = shared.flags.union(*(prompt.option_flags(profile, impression, one.item) for one in question.options))
    late = sum((entry.occurred_at or 0) >= impression.occurred_at for entry in impression.user.history)
    if question.status:
        typer.echo(f"status {question.status}: the worker would not ask this", err=True)
    if flags:
        typer.echo(f"flags: {', '.join(sorted(flags))}", err=True)
    for part, names in unshown(profile, impression).items():
        typer.echo(f"not shown, the layout has no place for it: {part}: {told(names)}", err=True)
    if late:
        typer.echo(f"{late} history entries are not before the impression and are not shown", err=True)


def _question(questions: tuple[Question, ...], variant: str | None, duel: str | None) -> Question:
    if variant is not None and duel is not None:
        raise BadSettings("--variant and --duel: want one of them")
    kind, wanted = (Kind.DUEL, duel) if duel is not None else (Kind.SLATE, variant)
    for question in questions:
        if question.kind is kind and wanted in (None, question.variant):
            return question
    there = ", ".join(question.name for question in questions)
    raise BadSettings(f"{kind}:{wanted}: is no question of this impression; there are {there}")
