"""`mirrorstream align`: a model of your own users from their real choices, in four steps."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console

from worker.cli.options import Bootstrap, Config, Json, Set, group, moment, settings_of, tell
from worker.core.errors import BadSettings, ExitCode

if TYPE_CHECKING:
    from worker.offline.align.choice_source import ChoicesRead, UnknownUser

app = group("Make a model of your own users from their real choices: collect, select, train, judge.")
Choices = Annotated[
    Path, typer.Argument(metavar="FILE", help="JSON Lines of impressions and outcomes, or scenes of the reference.")
]
Work = Annotated[Path, typer.Option(help="Folder of this alignment: all four steps read and write here.")]
Outcomes = Annotated[Path | None, typer.Option(help="File of the outcomes, if they are in another one.")]
Mapped = Annotated[str | None, typer.Option(help="Mapping of foreign events to impressions: a name or a path.")]
Forget = Annotated[
    list[str] | None,
    typer.Option(help="User id to leave out (of a scene: DATASET/ID); repeat for more, or @FILE, one per line."),
]
_MAX_UNKNOWN = 20  # lines
console = Console(stderr=True)


@app.command(
    epilog="Example: mirrorstream align collect choices.jsonl --strong strong.yaml --weak weak.yaml --draws 10"
)
def collect(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="JSON Lines of impressions and outcomes, or scenes of the reference."),
    ] = None,
    work: Work = Path("align"),
    strong: Annotated[Path | None, typer.Option(help="YAML file of settings of the strong engine.")] = None,
    weak: Annotated[Path | None, typer.Option(help="YAML file of settings of the weak engine.")] = None,
    set_strong: Annotated[list[str] | None, typer.Option(help="One setting of the strong engine, NAME=VALUE.")] = None,
    set_weak: Annotated[list[str] | None, typer.Option(help="One setting of the weak engine, NAME=VALUE.")] = None,
    draws: Annotated[int, typer.Option(min=1, max=64, help="Draws per scene and engine.")] = 10,
    held_out_users: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the users who are judged on, never trained on.")
    ] = 0.2,
    later_share: Annotated[
        float, typer.Option(min=0.01, max=0.9, help="Share of the choices, the latest, that are judged on.")
    ] = 0.2,
    salt: Annotated[str, typer.Option(help="Salt that changes which users are held out.")] = "",
    outcomes: Outcomes = None,
    mapping: Mapped = None,
    outcomes_topic: Annotated[
        str | None,
        typer.Option(help="Instead of FILE: read the input topics and this one, and write WORK/choices.jsonl."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="With --outcomes-topic: only records since this time, or day.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="With --outcomes-topic: only impressions written before this time, or day; topics are read to the end."
        ),
    ] = None,
    config: Config = None,
    bootstrap: Bootstrap = None,
    settings: Set = None,
    forget: Forget = None,
    redact: Annotated[
        str | None, typer.Option(help="Python function MODULE:NAME, text to text, applied to prompts and rationales.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End at the first wrong line of a file.")] = False,
    as_json: Json = False,
) -> None:
    """Step 1: ask a strong and a weak engine about real choices."""
    from worker.offline import folder_lock
    from worker.offline.align import steps

    arms = {"strong": settings_of(strong, None, set_strong, files=True, draws=draws),
            "weak": settings_of(weak, None, set_weak, files=True, draws=draws)}  # fmt: skip
    division = steps.Division(held_out_users, later_share, salt)
    of_topics, of_files = {"--since": since, "--until": until}, {"--outcomes": outcomes, "--mapping": mapping}
    _check_inputs(file, outcomes_topic, of_topics=of_topics, of_files=of_files)
    text, told, gone = list[str](), dict[str, Any](), frozenset[str]()
    time = None if outcomes_topic is None else _topic_time(outcomes_topic, since, until)
    hook = _hook(redact)
    with folder_lock.held(work, "--work", "align collect"):
        if time is not None:
            file, text, told, gone = _from_topics(work, settings_of(config, bootstrap, settings), time, forget)
        assert file is not None
        found = steps.collect(
            work, _source(file, outcomes, mapping, forget, gone), arms, division, redact=hook,
            redact_name=redact or "", strict=strict, tell=_progress(),
        )  # fmt: skip
    text += [
        *_read_lines(found.read),
        *(f"{arm}: {_listed(statuses)} draws" for arm, statuses in found.statuses.items()),
    ]
    told |= _read_fields(found.read) | {"statuses": dict(found.statuses)}
    tell(told, as_json=as_json, text="\n".join([*text, *found.read.wrong, *_unknown_lines(found.read.unknown)]))
    raise typer.Exit(_code(found.read.unknown))


@app.command(epilog="Example: mirrorstream align select --by uncertainty --keep 10000")
def select(
    work: Work = Path("align"),
    by: Annotated[str, typer.Option(help="uncertainty (the reference's), accuracy, ifd or random.")] = "uncertainty",
    keep: Annotated[int, typer.Option(min=0, help="Maximum number of scenes (0: all).")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of random choices.")] = 0,
    forget: Forget = None,
    as_json: Json = False,
) -> None:
    """Step 2: choose the scenes that teach most, and in each a draw to prefer and one to avoid."""
    from worker.core.suggestions import did_you_mean
    from worker.offline.align import steps
    from worker.offline.align.select import By

    if by not in set(By):
        raise BadSettings(f"--by {by}: want {', '.join(By)}{did_you_mean(by, list(By))}")
    with _alone(work, "select"):
        found = steps.select(work, by=By(by), keep=keep, seed=seed, forget=_forgotten(forget))
    text = [f"selected: {found.scenes:,} scenes, {found.pairs:,} with a rejected draw"]
    text += [f"left out, {why}: {number:,}" for why, number in sorted(found.left_out.items())]
    told = {"scenes": found.scenes, "pairs": found.pairs, "left_out": dict(found.left_out)}
    told["unknown"] = _ids(found.unknown)
    tell(told, as_json=as_json, text="\n".join([*text, *_unknown_lines(found.unknown)]))
    raise typer.Exit(_code(found.unknown))


@app.command(epilog="Example: mirrorstream align train --base Qwen2.5-3B-Instruct --hyper-parameters lora.yaml")
def train(
    base: Annotated[str, typer.Option(help="Model to begin with: mirror-tiny, or a folder with *.safetensors.")],
    work: Work = Path("align"),
    adapter: Annotated[Path | None, typer.Option(help="LoRA adapter of this base to go on with.")] = None,
    hyper_parameters: Annotated[str, typer.Option(help="YAML file, or reference.")] = "reference",
    prompt_profile: Annotated[str, typer.Option(help="Prompt profile of the collected draws.")] = "mirror-v1",
    forget: Forget = None,
    as_json: Json = False,
) -> None:
    """Step 3: supervised fine-tuning, then direct preference optimisation."""
    from worker.offline.align import hyper_parameters as hyper, processes, steps
    from worker.offline.align.train import Base
    from worker.settings import prompt_profiles

    with _alone(work, "train") if processes.is_first() else nullcontext():
        found = steps.train(
            work, Base(base, adapter), hyper.load(hyper_parameters), profile=prompt_profiles.load(prompt_profile),
            forget=_forgotten(forget), tell=_steps(),
        )  # fmt: skip
    text = [f"rows: {found.rows:,}", *(f"left out, {why}: {number:,}" for why, number in found.left_out.items())]
    text += [f"{stage}: {number:,} steps" for stage, number in found.steps.items()]
    told = {"rows": found.rows, "left_out": dict(found.left_out), "steps": dict(found.steps)}
    told["unknown"] = _ids(found.unknown)
    if not processes.is_first():  # the first has the result, and a launcher ends it as soon as another one fails
        return
    candidate = f"candidate: {work / 'candidate'}"
    tell(told, as_json=as_json, text="\n".join([*text, candidate, *_unknown_lines(found.unknown)]))
    raise typer.Exit(_code(found.unknown))


@app.command(epilog="Example: mirrorstream align judge choices.jsonl --config worker.yaml --licence Apache-2.0")
def judge(
    file: Choices,
    work: Work = Path("align"),
    outcomes: Outcomes = None,
    mapping: Mapped = None,
    forget: Forget = None,
    licence: Annotated[str, typer.Option(help="Licence of the base model, one line of the model card.")] = "",
    config: Config = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Step 4: ask base and candidate about users and days that were not trained on; promote what is surely better."""
    from dataclasses import asdict

    from worker.offline.align import judging
    from worker.offline.align.verdict import told as told_change

    with _alone(work, "judge"):
        judged = judging.judge(
            work, _source(file, outcomes, mapping, forget), settings_of(config, None, settings, files=True),
            licence=licence, tell=_progress(),
        )  # fmt: skip
    found, read = judged.verdict, judged.read
    text = [
        *_read_lines(read),
        *read.wrong,
        f"judged on: {found.choices:,} choices of {found.users:,} users",
        f"probability of the real choice: {told_change(found.probability_of_choice)}; uniform {found.uniform:.3f}",
        f"skill over equal chances: {told_change(found.skill)}",
        f"log loss: {told_change(found.log_loss)}",
        f"questions answered: {told_change(found.answered)}",
        *(f"not promoted: {why}" for why in found.reasons),
    ]
    if found.promoted:
        text.append(f"promoted: {work / 'promoted'}")
    text += _unknown_lines(read.unknown)
    tell(asdict(found) | _read_fields(read), as_json=as_json, text="\n".join(text))
    raise typer.Exit(_code(read.unknown) if found.promoted else ExitCode.FATAL)


def _alone(work: Path, step: str) -> AbstractContextManager[None]:
    """Keep other commands out of a work folder; one that is not there has nothing to keep, and the step will say so."""
    from worker.offline import folder_lock

    return folder_lock.held(work, "--work", f"align {step}") if work.is_dir() else nullcontext()


def _read_lines(read: "ChoicesRead") -> list[str]:
    """Return what a step found in the choices, without the mistakes."""
    found = [f"{part}: {number:,} choices" for part, number in read.parts.items()]
    found += [f"left out, {why}: {number:,}" for why, number in read.left_out.items()]
    if read.history_not_checked:
        found.append(f"history has no times, so later entries would not be seen: {read.history_not_checked:,} choices")
    return found


def _read_fields(read: "ChoicesRead") -> dict[str, Any]:
    return {
        "parts": dict(read.parts),
        "left_out": dict(read.left_out),
        "first_wrong": list(read.wrong),
        "history_not_checked": read.history_not_checked,
        "unknown": _ids(read.unknown),
    }


def _code(unknown: "Sequence[UnknownUser]") -> ExitCode:
    """Return how a step ends that did all it was asked for, but for users of whom nothing was found."""
    return ExitCode.UNKNOWN_USER if unknown else ExitCode.DONE


def _ids(unknown: "Sequence[UnknownUser]") -> list[str]:
    return [one.user_id for one in unknown]


def _unknown_lines(unknown: "Sequence[UnknownUser]") -> list[str]:
    """Return the users to forget of whom nothing was found, as many as a person reads."""
    more = [f"--forget: {len(unknown) - _MAX_UNKNOWN:,} more are in no choice; --json has all"]
    return [*map(str, unknown[:_MAX_UNKNOWN]), *(more if len(unknown) > _MAX_UNKNOWN else ())]


def _check_inputs(
    file: Path | None, topic: str | None, *, of_topics: Mapping[str, object], of_files: Mapping[str, object]
) -> None:
    """See that choices come from one place.  Raises `BadSettings`."""
    if (file is None) == (topic is None):
        raise BadSettings("collect: want FILE, or --outcomes-topic to read the topics, one of them")
    stray = of_topics if topic is None else of_files
    if given := [name for name, value in stray.items() if value is not None]:
        what = "the topics, by --outcomes-topic" if topic is None else "FILE; the settings say it for topics"
        raise BadSettings(f"{', '.join(given)}: is for {what}")


def _from_topics(
    work: Path, settings: Any, time: Any, forget: list[str] | None
) -> tuple[Path, list[str], dict[str, Any], frozenset[str]]:
    """Write the choices of topics to a file.

    Return that, what to say of them as lines and as JSON, and the hashes of users who were left out.
    """
    from dataclasses import asdict

    from worker.offline.align import topic_choices

    read = topic_choices.write(work, settings, time, forget=_forgotten(forget), tell=_progress())
    file = work / topic_choices.FILE
    text = [f"{file}: {read.impressions:,} impressions, {read.outcomes:,} outcomes"]
    text += [f"left out of the topics, {why}: {number:,}" for why, number in sorted(read.left_out.items())]
    topics = {name: value for name, value in asdict(read).items() if name != "gone"}
    return file, [*text, *read.told], {"topics": topics}, frozenset(read.gone)


def _topic_time(topic: str, since: str | None, until: str | None) -> Any:
    from worker.offline.align.topic_choices import TopicTime

    first, end = moment("--since", since), moment("--until", until)
    return TopicTime(topic, *(int(one.timestamp() * 1000) if one else 0 for one in (first, end)))


def _source(
    file: Path,
    outcomes: Path | None,
    mapping: str | None,
    forget: list[str] | None,
    gone: frozenset[str] = frozenset(),
) -> Any:
    from worker.offline.align.choice_source import ChoiceSource
    from worker.offline.evaluate.reading import Files
    from worker.settings import mappings

    mapped = mappings.load(mapping) if mapping else None
    return ChoiceSource(Files(file, outcomes=outcomes, mapping=mapped), _forgotten(forget), gone)


def _forgotten(forget: list[str] | None) -> frozenset[str]:
    """Return the user ids of `--forget`; @FILE has one per line."""
    found: set[str] = set()
    for one in forget or ():
        if not one.startswith("@"):
            found.add(one)
            continue
        try:
            text = Path(one[1:]).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise BadSettings(f"--forget {one}: {why}; want a file with one user id per line") from error
        found.update(filter(None, map(str.strip, text.splitlines())))
    return frozenset(found)


def _hook(name: str | None) -> Callable[[str], str] | None:
    """Return the function that takes out of a text what shall not be learned."""
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadSettings(f"--redact {name}: {error}; want MODULE:FUNCTION, on PYTHONPATH") from error
    if not callable(found):
        raise BadSettings(f"--redact {name}: is no function; want one that takes a text and returns one")
    return cast("Callable[[str], str]", found)


def _progress() -> Callable[[str, int], None]:
    """Return what says on a terminal how far a step is; silent in a pipe."""

    def say(what: str, number: int) -> None:
        if console.is_terminal:
            console.print(f"\r{what}: {number:,} choices", end="", highlight=False)

    return say


def _steps() -> Callable[[str, int, int], None]:
    from worker.offline.align import processes

    def say(stage: str, at: int, of: int) -> None:
        if console.is_terminal and processes.is_first():
            console.print(f"\r{stage}: step {at:,} of {of:,}", end="", highlight=False)

    return say


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items()))
