"""Step 4, judge: both models are asked about choices of users and days that were not trained on.

    base, candidate  ->  before.jsonl, after.jsonl  ->  verdict.json  ->  promoted/ with its card, or why not

The answers are those of `mirrorstream evaluate`, by the same interview, with the settings of the command.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings
from worker.core.simulation.prepare import Asking
from worker.engines import factory
from worker.engines.model_files import model_path, snapshot, weights_digest
from worker.offline.align import choice_source, files as work_files, line_forms, model_card, verdict
from worker.offline.align.choice_source import ChoiceSource, ChoicesRead
from worker.offline.align.files import INDEX, SELECTED, Growing, read
from worker.offline.align.split import Split, SplitPart, refuse_overlap
from worker.offline.align.train import ABOUT, CANDIDATE
from worker.offline.evaluate import output_files
from worker.offline.evaluate.answering import answering
from worker.offline.evaluate.answers import Answered, answers_of
from worker.offline.evaluate.asking import AskingLimits, Interview
from worker.offline.evaluate.reading import RealChoices
from worker.offline.evaluate.scene import RealChoice
from worker.offline.evaluate.table import AnswerTable, table
from worker.pipeline.ports import Engine
from worker.runtime import pipeline_config
from worker.settings import Settings, prompt_profiles

BEFORE, AFTER, VERDICT, PROMOTED = "before.jsonl", "after.jsonl", "verdict.json", "promoted"
MAX_WINDOW = 256  # choices that are judged at once
_TRAIN_AGAIN = "delete the file and run `mirrorstream align train` again"
MakeEngine = Callable[[Settings], Engine]
Tell = Callable[[str, int], None]  # what is done, how many of it


@dataclass(frozen=True, slots=True)
class JudgedModels:
    """The verdict, and what was found in the choices that it is of."""

    verdict: verdict.Judgement
    read: ChoicesRead


def judge(
    work: Path,
    source: ChoiceSource,
    settings: Settings,
    *,
    licence: str,
    make: MakeEngine = factory.make,
    tell: Tell = lambda *_: None,
) -> JudgedModels:
    """Ask the base of `settings` and the candidate; promote it if it is surely better.  Raises `BadSettings`."""
    header, lines = work_files.read(work / SELECTED, "select")
    candidate = work / CANDIDATE
    about = _about(candidate)
    if about["selected"] != work_files.digest(work / SELECTED):
        raise BadSettings(f"{candidate}: was trained on another {SELECTED} than the one beside it; run train again")
    _refuse_other_base(settings, about, candidate)
    output_files.check(work / VERDICT)
    work_files.check_folder(work / PROMOTED)
    split = Split(**header["split"])
    trained = [(line["user"], line["at"]) for line in lines]
    choices = RealChoices(replace(source.files, depth=settings.slate_depth), index=work / INDEX)
    found = choice_source.read(choice_source.look_through(choices, source, split), split, choices.counts)
    if not found.parts.get(SplitPart.JUDGE):
        raise BadSettings(_nothing(source.files.path, found))
    own = source.digests()
    for name, asked in ((BEFORE, settings), (AFTER, _with_candidate(settings, candidate))):
        told = {**own, "split": asdict(split), "settings": answering(asked), "prompt": about["prompt"],
                "weights": about["identity"] if name == AFTER else about["weights"]["base"]}  # fmt: skip
        wanted = (one for one in choices if source.part(split, one) is SplitPart.JUDGE)
        if not work_files.is_whole(work / name, told):
            asyncio.run(_ask(work / name, asked, wanted, header=told, make=make, tell=tell))
    judged = users_and_times(work / BEFORE)
    refuse_overlap(frozenset(user for user, _ in trained), max(at for _, at in trained), judged, split)
    outcome = verdict.judge(answers(work / BEFORE), answers(work / AFTER))
    changed = [name for name in ("choices", "outcomes") if own[name] != header[name]]
    if not outcome.promoted:
        with output_files.writing(work / PROMOTED, "the verdict was not written"):
            work_files.remove(work / PROMOTED)  # before the verdict: a kill between them must not leave it to be used
    work_files.write_whole(work / VERDICT, {"newer_files": changed, **_told(found), **asdict(outcome)})
    if outcome.promoted:
        window = (min(at for _, at in trained), max(at for _, at in trained), max(at for _, at in judged))
        model_card.promote(
            candidate, work / PROMOTED, outcome,
            about=about, selected=header, scenes=len(trained), window_us=window, licence=licence,
        )  # fmt: skip
    return JudgedModels(outcome, found)


def _told(found: ChoicesRead) -> dict[str, object]:
    """Return what of a reading stands in the verdict: counts, for no user is named in a file."""
    counts = {"parts": dict(found.parts), "left_out": dict(found.left_out)}
    return counts | {"history_not_checked": found.history_not_checked}


def _nothing(path: Path, found: ChoicesRead) -> str:
    listed = {**found.parts, **found.left_out}
    told = ", ".join(f"{number:,} {name}" for name, number in listed.items()) or "it has none"
    first = f"; first: {found.wrong[0]}" if found.wrong else ""
    return f"{path}: no choice of a held-out user on a later day ({told}){first}; nothing was judged"


def _about(candidate: Path) -> dict[str, Any]:
    """Return what `train` noted of the candidate.  Raises `BadSettings`, or `Fatal` for a note of another form."""
    place = candidate / ABOUT
    if not place.is_file():
        raise BadSettings(f"{candidate}: is not there; run `mirrorstream align train` first")
    found = work_files.read_note(place, again=_TRAIN_AGAIN)
    line_forms.check_note(place, found, again=_TRAIN_AGAIN)
    return found


def _refuse_other_base(settings: Settings, about: Mapping[str, Any], candidate: Path) -> None:
    """See that "before" is what was trained, asked with the words of the training.  Raises `BadSettings`."""
    wants = f"want what {candidate} was trained"
    if settings.engine != "vllm":
        raise BadSettings(f"engine={settings.engine}: judge loads base and candidate itself; want engine=vllm")
    profile = prompt_profiles.load(settings.prompt_profile)
    if profile.sha256 != about["prompt"]:
        raise BadSettings(
            f"prompt_profile {settings.prompt_profile}: is {profile.sha256[:12]}, {wants} with, {about['prompt'][:12]};"
            " nothing was judged"
        )
    folder = snapshot(str(model_path(settings.model)), settings.revision)
    adapter = weights_digest(settings.lora) if settings.lora else ""
    wanted = about["weights"]
    for name, place, seen, want in (
        ("model", settings.model, weights_digest(folder), wanted["base"]),
        ("lora", settings.lora, adapter, wanted.get("adapter", "")),
    ):
        if seen != want:
            raise BadSettings(
                f"{name} {place or '(none)'}: has weights {seen or '(none)'}, {wants} from, {want or '(none)'}"
                f" (base {about['base']}); nothing was judged"
            )


def _with_candidate(settings: Settings, candidate: Path) -> Settings:
    """Return the settings that load the candidate: a folder of weights, or an adapter of the same model."""
    if (candidate / "adapter_config.json").is_file():
        return settings.model_copy(update={"lora": candidate})
    return settings.model_copy(update={"model": str(candidate), "lora": None, "revision": None})


async def _ask(
    path: Path,
    settings: Settings,
    choices: Iterator[RealChoice],
    *,
    header: dict[str, object],
    make: MakeEngine,
    tell: Tell,
) -> None:
    engine = make(settings)
    window = max(1, min(MAX_WINDOW, settings.max_num_seqs // settings.draws))
    limits = AskingLimits(window, settings.question_timeout_s, settings.max_engine_restarts)
    try:
        await engine.start()
        asking = pipeline_config.asking(settings, engine)
        await ask(engine, asking, choices, path, header=header, limits=limits, tell=lambda done: tell(path.stem, done))
    finally:
        await engine.stop()


async def ask(
    engine: Engine,
    asking: Asking,
    choices: Iterable[RealChoice],
    path: Path,
    *,
    header: dict[str, object],
    limits: AskingLimits,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Complete a file of answers with a started engine.  Raises `BadSettings` for a file of something else."""
    with Growing(path, header) as file:
        if file.is_done:
            return
        left = _left(choices, (str(one["digest"]) for one in file.kept()), path)
        number = file.num_kept

        def on_answer(answer: Answered) -> None:
            nonlocal number
            file.append([asdict(answer)])
            number += 1
            tell(number)

        await Interview(engine, asking, limits, on_answer).ask(left)
        file.finish()


def answers(path: Path) -> AnswerTable:
    """Return what a model said, as the verdict reads it."""
    return table(answers_of(read(path, "judge")[1]))


def users_and_times(path: Path) -> list[tuple[str, int]]:
    """Return the user's hash and the time of each choice."""
    return [(str(line["user"]), int(line["at"])) for line in read(path, "judge")[1]]


def _left(choices: Iterable[RealChoice], kept: Iterable[str], path: Path) -> Iterator[RealChoice]:
    """Yield the choices without an answer.  Raises `BadSettings` if those before are not what was asked."""
    found = iter(choices)
    for digest in kept:
        one = next(found, None)
        if one is None or one.digest != digest:
            raise BadSettings(f"{path}: has answers to other choices; want another --work folder, or delete it")
    yield from found
