"""One evaluation: choices of a file, answered by one engine or several, judged and compared.

    choices  ->  answers-1.jsonl  (settings of the command)      ->  figures
             ->  answers-2.jsonl  (--compare)                    ->  figures, and the difference on the same choices
             ->  answers-without-history.jsonl  (--ablate)       ->  the difference: what the part is worth

Everything that costs time is in the files of answers: a run that was killed is run again with the same words, and goes
on where it was.  An engine whose answers are all there is not started.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path

import worker
from worker.core.errors import BadSettings
from worker.engines import factory
from worker.experiment.real_clicks.calibration import INTERVAL
from worker.offline.evaluate import output_files, parts
from worker.offline.evaluate.answering import answering
from worker.offline.evaluate.answers import Answered, AnswerFile, answers
from worker.offline.evaluate.asking import AskingLimits, Interview
from worker.offline.evaluate.figures import ArmFigures, FigureValue, differences, figures
from worker.offline.evaluate.reading import Files, ReadCounts, RealChoices
from worker.offline.evaluate.scene import RealChoice
from worker.offline.evaluate.table import AnswerTable, paired, table
from worker.pipeline.ports import Engine
from worker.runtime import pipeline_config
from worker.settings import Settings, prompt_profiles

log = logging.getLogger(__name__)

REPORTS = ("report.json", "report.html")
INDEX = "outcomes.sqlite"  # in the folder of an evaluation, while it reads
MAX_WINDOW = 512  # choices at once: of an engine without a limit of its own


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to be asked: settings, and a part of the question that is taken out."""

    name: str
    settings: Settings
    without: str = ""

    @property
    def file_name(self) -> str:
        """The name of its file of answers, without the ending."""
        return "".join(sign if sign.isalnum() or sign in "-._" else "-" for sign in self.name)[:80]

    def digest(self) -> str:
        """Return a hash of all that changes its answers."""
        told = answering(self.settings)
        told["prompt"] = prompt_profiles.load(self.settings.prompt_profile).sha256
        return sha256(json.dumps([told, self.without], sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class JudgedArm:
    """One arm with its figures; `header` is that of its file of answers."""

    name: str
    without: str
    header: dict[str, object]
    figures: ArmFigures


@dataclass(frozen=True, slots=True)
class Difference:
    """One arm minus the first one, on the choices that both have answered."""

    name: str
    against: str
    without: str  # the part that is taken out; "" for another model or prompt
    choices: int
    users: int
    figures: dict[str, FigureValue]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found; `as_json` is what the report's file has."""

    source: str
    choices: int
    left_out: dict[str, int]
    wrong_lines: int
    first_wrong: tuple[str, ...]
    history_not_checked: int  # choices with entries of the history that have no time
    arms: tuple[JudgedArm, ...]
    differences: tuple[Difference, ...]
    release: str = worker.__version__
    interval: str = INTERVAL

    def as_json(self) -> dict[str, object]:
        """Return this as a value for `json.dumps`; a figure that is not available is None, never NaN."""
        return asdict(self)


Progress = Callable[[str, int, float], None]  # arm, answers so far, share of the file that was read


def evaluate(
    files: Files, arms: Sequence[Arm], *, out: Path, strict: bool = False, progress: Progress = lambda *_: None
) -> Evaluation:
    """Ask all arms about all choices, and judge them; answers are kept in the folder `out`, which may have some.

    Raises `BadSettings` for files, settings or a folder that do not fit, `Fatal` if an engine cannot be had.
    """
    _check(arms)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"--out {out}: {error.strerror}; want a folder, or none yet") from error
    paths = [out / f"{arm.file_name}.jsonl" for arm in arms]
    for path in (*paths, *(out / name for name in REPORTS)):
        output_files.check(path)
    depth = min(arm.settings.slate_depth for arm in arms)
    choices = RealChoices(replace(files, depth=depth), index=out / INDEX, strict=strict)
    headers = asyncio.run(_ask_all(choices, list(zip(arms, paths, strict=True)), progress))
    counts = choices.counts
    if not counts.choices:
        first = f"; first: {counts.told[0]}" if counts.told else ""
        told = ", ".join(f"{number:,} {why}" for why, number in counts.left_out.items()) or "it has no impression"
        raise BadSettings(f"{files.path}: has no real choice to evaluate on ({told}){first}")
    tables = [table(answers(path)) for path in paths]
    return _judged(files, counts, arms, headers, tables)


def _check(arms: Sequence[Arm]) -> None:
    for arm in arms:
        if arm.settings.position_debias:
            raise BadSettings("position_debias: evaluate judges answers as the model gives them; want false")
    names = [arm.file_name for arm in arms]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise BadSettings(f"{', '.join(doubled)}: names two evaluations; want different names")


async def _ask_all(
    choices: RealChoices, arms: Sequence[tuple[Arm, Path]], progress: Progress
) -> list[dict[str, object]]:
    """Complete the answers of all arms; return the headers of their files."""
    headers: list[dict[str, object]] = []
    running: tuple[Settings, Engine] | None = None
    with ExitStack() as opened:
        held = [
            opened.enter_context(AnswerFile(path, {"arm": arm.name, "settings": arm.digest()})) for arm, path in arms
        ]
        try:
            for (arm, _), file in zip(arms, held, strict=True):
                if not file.is_done:
                    if running is not None and running[0] != arm.settings:
                        await running[1].stop()
                        running = None
                    if running is None:
                        engine = factory.make(arm.settings)
                        running = (arm.settings, engine)
                        await engine.start()
                await _ask(choices, arm, file, running[1] if running else None, progress)
                headers.append(dict(file.header))
        finally:
            if running is not None:
                await running[1].stop()
    return headers


async def _ask(choices: RealChoices, arm: Arm, file: AnswerFile, engine: Engine | None, progress: Progress) -> None:
    """Complete the answers of one arm, or see that they are those of these choices."""
    number = 0

    def on_answer(answer: Answered) -> None:
        nonlocal number
        file.append(answer)
        number += 1
        progress(arm.name, number, choices.share)

    if not file.is_done:
        assert engine is not None
        file.begin(_header(arm, engine))
    if file.cut_bytes:
        log.warning("%s: its last answer was half written and is asked again", arm.name)
    left = _after(choices, file)
    if file.is_done:
        for choice in left:
            raise BadSettings(
                f"{choice.place}: has been added since {arm.name} was asked; want another folder by --out"
            )
        return
    assert engine is not None
    number = file.num_kept
    asking, limits = pipeline_config.asking(arm.settings, engine), _limits(arm.settings, engine)
    await Interview(engine, asking, limits, on_answer).ask(_changed(left, arm))
    if number:  # of a file without a choice there is nothing to go on with
        file.finish(number)


def _after(choices: RealChoices, file: AnswerFile) -> Iterator[RealChoice]:
    """Yield the choices that have no answer yet.  Raises `BadSettings` if those before are not what was asked."""
    found = iter(choices)
    for line, digest in file.kept():
        choice = next(found, None)
        if choice is None or (choice.line, choice.digest) != (line, digest):
            place = choice.place if choice else "the file's end"
            raise BadSettings(f"{place}: is not what was asked before (line {line}); want another folder by --out")
    yield from found


def _changed(choices: Iterator[RealChoice], arm: Arm) -> Iterator[RealChoice]:
    if not arm.without:
        yield from choices
        return
    change = parts.without(arm.without)
    for choice in choices:
        parts.refuse_texts(arm.without, choice.impression, choice.place)
        yield replace(choice, impression=change(choice.impression))


def _header(arm: Arm, engine: Engine) -> dict[str, object]:
    """Return who answers, for the file and for the report; of the same settings it is always the same."""
    setup = pipeline_config.setup(arm.settings, engine, {})
    card = setup.card
    return {
        "arm": arm.name,
        "settings": arm.digest(),
        "without": arm.without,
        "engine": card.engine,
        "engine_version": card.engine_version,
        "model": card.model,
        "revision": card.revision,
        "prompt_profile": setup.prompt_profile,
        "prompt_sha256": setup.prompt_sha256,
        "sampling": dict(card.sampling),
        "draws": setup.draws,
        "history_limit": setup.history_limit,
        "slate_depth": setup.depths.slate,
        "config_fingerprint": setup.config_fingerprint,
    }


def _limits(settings: Settings, engine: Engine) -> AskingLimits:
    draws = pipeline_config.max_draws(settings, engine)
    window = max(1, min(MAX_WINDOW, draws // settings.draws))
    return AskingLimits(window, settings.question_timeout_s, settings.max_engine_restarts)


def _judged(
    files: Files,
    counts: ReadCounts,
    arms: Sequence[Arm],
    headers: Sequence[dict[str, object]],
    tables: Sequence[AnswerTable],
) -> Evaluation:
    return Evaluation(
        source=files.path.name,
        choices=counts.choices,
        left_out=dict(sorted(counts.left_out.items())),
        wrong_lines=counts.wrong,
        first_wrong=tuple(counts.told),
        history_not_checked=counts.history_not_checked,
        arms=tuple(
            JudgedArm(arm.name, arm.without, header, figures(found))
            for arm, header, found in zip(arms, headers, tables, strict=True)
        ),
        differences=tuple(
            _difference(arm, arms[0], *paired(found, tables[0]))
            for arm, found in zip(arms[1:], tables[1:], strict=True)
        ),
    )


def _difference(arm: Arm, first: Arm, mine: AnswerTable, theirs: AnswerTable) -> Difference:
    users = len(set(mine.slates.user.tolist()))
    return Difference(arm.name, first.name, arm.without, mine.size, users, differences(mine, theirs))
