"""The four steps in one work folder; each reads what the one before wrote, and goes on where it was killed.

    WORK/strong.jsonl weak.jsonl   collect      WORK/selected.jsonl                   select
    WORK/sft candidate             train        WORK/before.jsonl after.jsonl
                                                verdict.json promoted                 judge

The division into who is trained on and who is judged on is made once, by `collect`, and stands in the first line of
its files; `judge` makes the same from the same words and sees that nobody is on both sides.
"""

import asyncio
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Profile
from worker.core.prompts.rationale import ParseStatus, parse
from worker.core.seeding import digest
from worker.engines import factory
from worker.offline.align import collect as collecting, files as work_files, judging, model_card, verdict
from worker.offline.align.collect import STRONG, WEAK, Redact
from worker.offline.align.hyper_parameters import HyperParameters
from worker.offline.align.rows import RowReader
from worker.offline.align.select import By, CollectedDraw, CollectedScene, Picked, select as pick
from worker.offline.align.split import Split, SplitPart, cut, refuse_overlap
from worker.offline.align.train import CANDIDATE, Base, Training
from worker.offline.evaluate.answering import answering
from worker.offline.evaluate.asking import AskingLimits
from worker.offline.evaluate.reading import Files, ReadCounts, RealChoices
from worker.offline.evaluate.scene import RealChoice
from worker.pipeline.ports import Engine
from worker.runtime import pipeline_config
from worker.settings import Settings, prompt_profiles

INDEX = ".outcomes.sqlite"
SELECTED, BEFORE, AFTER, VERDICT, PROMOTED = (
    "selected.jsonl", "before.jsonl", "after.jsonl", "verdict.json", "promoted",
)  # fmt: skip
_FORGOTTEN = -1  # beside 0 and 1, of users who are held out
MAX_WINDOW = 256  # choices that are judged at once
MakeEngine = Callable[[Settings], Engine]
Tell = Callable[[str, int], None]  # what is done, how many of it


@dataclass(frozen=True, slots=True)
class ChoiceSource:
    """Real choices: their files, and users who shall be in nothing that is made from them."""

    files: Files
    forget: frozenset[str] = frozenset()  # user ids

    def digests(self) -> dict[str, object]:
        """Return what tells these choices apart, without any text of theirs."""
        outcomes = self.files.outcomes
        return {
            "choices": work_files.digest(self.files.path),
            "outcomes": work_files.digest(outcomes) if outcomes else None,
            "forgotten": sorted(hashed(one) for one in self.forget),
        }


@dataclass(frozen=True, slots=True)
class Division:
    """How the choices are divided; see `split`."""

    held_out_users: float = 0.2
    later_share: float = 0.2
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` found; counts are of choices, statuses of draws."""

    parts: Mapping[str, int]
    left_out: Mapping[str, int]
    wrong: tuple[str, ...]
    statuses: Mapping[str, Mapping[str, int]]


def hashed(user_id: str) -> str:
    """Return what stands for a user in every file: no id is written."""
    return digest("user", user_id).hex()


def collect(
    work: Path,
    source: ChoiceSource,
    arms: Mapping[str, Settings],
    division: Division,
    *,
    redact: Redact | None = None,
    redact_name: str = "",
    strict: bool = False,
    make: MakeEngine = factory.make,
    tell: Tell = lambda *_: None,
) -> Collected:
    """Ask the strong and the weak engine about the training part.  Raises `BadSettings`, or as an engine does."""
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSettings(f"--work {work}: {error.strerror}; want a folder, or none yet") from error
    strong = arms[STRONG]
    collecting.refuse_without_rationales(STRONG, reads_prompt=strong.engine != "choice-model", mode=strong.mode)
    if strong.prompt_profile != arms[WEAK].prompt_profile:
        raise BadSettings("strong and weak: have different prompt profiles; want one, the one that is to be trained")
    choices = RealChoices(replace(source.files, depth=strong.slate_depth), index=work / INDEX, strict=strict)
    split, parts = _divide(choices, source, division)
    if not parts[SplitPart.TRAIN]:
        raise BadSettings(_nothing(source.files.path, choices.counts, parts))
    counts, statuses = choices.counts, {}
    for arm in (STRONG, WEAK):
        header = {
            **source.digests(),
            "split": asdict(split),
            "settings": answering(arms[arm]),
            "prompt": prompt_profiles.load(arms[arm].prompt_profile).sha256,
            "redact": redact_name,
        }
        wanted = (one for one in choices if _part(split, one, source) is SplitPart.TRAIN)
        if not _is_whole(work / f"{arm}.jsonl", header):
            asyncio.run(_collect(work, arm, arms[arm], wanted, header=header, redact=redact, make=make, tell=tell))
        statuses[arm] = collecting.statuses(work / f"{arm}.jsonl")
    return Collected(
        {str(part): number for part, number in parts.items()},
        dict(sorted(counts.left_out.items())),
        tuple(counts.told),
        statuses,
    )


def _is_whole(path: Path, header: Mapping[str, object]) -> bool:
    """Return True for a file that is done, and is of this run.  Raises `BadSettings` for one of another."""
    if not path.is_file():
        return False
    with work_files.Growing(path, header):
        return True


async def _collect(
    work: Path,
    arm: str,
    settings: Settings,
    choices: Iterator[RealChoice],
    *,
    header: dict[str, object],
    redact: Redact | None,
    make: MakeEngine,
    tell: Tell,
) -> None:
    engine = make(settings)
    await engine.start()
    try:
        await collecting.collect(
            arm,
            engine,
            pipeline_config.asking(settings, engine),
            choices,
            work / f"{arm}.jsonl",
            header=header,
            depth=settings.slate_depth,
            limits=collecting.CollectLimits(settings.question_timeout_s),
            redact=redact,
            tell=lambda number: tell(arm, number),
        )
    finally:
        await engine.stop()


def _divide(choices: RealChoices, source: ChoiceSource, division: Division) -> tuple[Split, Counter[SplitPart]]:
    """Read the choices once, for the cut between days and the sizes of the parts: nine bytes are kept of each."""
    split, times, held_out = Split(division.salt, division.held_out_users, None), array("q"), array("b")
    for one in choices:
        user = one.impression.user.user_id
        times.append(one.impression.occurred_at)
        held_out.append(_FORGOTTEN if user in source.forget else split.holds_out(user))
    split = replace(split, cut_us=cut(times, division.later_share))
    known = zip(held_out, times, strict=True)
    return split, Counter(split.part_of(bool(held), at) for held, at in known if held != _FORGOTTEN)


def _part(split: Split, one: RealChoice, source: ChoiceSource) -> SplitPart:
    user = one.impression.user.user_id
    return SplitPart.UNUSED if user in source.forget else split.part(user, one.impression.occurred_at)


def _nothing(path: Path, counts: ReadCounts, parts: Mapping[SplitPart, int]) -> str:
    told = ", ".join(f"{number:,} {why}" for why, number in counts.left_out.items()) or "none left out"
    first = f"; first: {counts.told[0]}" if counts.told else ""
    used = sum(parts.values())
    of = f"{counts.choices:,} choices, {used:,} of them not forgotten"
    return f"{path}: no choice is left to train on ({of}; {told}){first}"


def select(
    work: Path, *, by: By, keep: int, seed: int, forget: frozenset[str] = frozenset()
) -> tuple[int, int, Counter[str]]:
    """Write what is trained on; return how many scenes, how many with a rejected draw, and what was left out."""
    header, strong = work_files.read(work / f"{STRONG}.jsonl", "collect")
    other, weak = work_files.read(work / f"{WEAK}.jsonl", "collect")
    for name in ("choices", "outcomes", "forgotten", "split", "redact"):
        if header.get(name) != other.get(name):
            raise BadSettings(f"{work}: strong.jsonl and weak.jsonl differ in {name}; run `mirrorstream align collect`")
    gone = {hashed(one) for one in forget}
    scenes = []  # without their texts, which are read again for those that are picked
    left_out: Counter[str] = Counter()
    for mine, theirs in zip(strong, weak, strict=True):
        if mine["digest"] != theirs["digest"]:
            raise BadSettings(f"{work}: strong.jsonl and weak.jsonl are of different scenes; run collect again")
        if mine["user"] in gone:
            left_out["forgotten"] += 1
            continue
        scenes.append(_scene(mine, theirs))
    picked, more = pick(scenes, by=by, keep=keep, seed=seed)
    left_out += more
    if not picked:
        raise BadSettings(f"{work}: no scene is left to train on ({_listed(left_out)}); nothing was written")
    told = {**{name: header[name] for name in ("choices", "outcomes", "split", "prompt", "settings")},
            "forgotten": sorted({*header["forgotten"], *gone}), "by": by, "keep": keep, "seed": seed,
            "left_out": dict(left_out)}  # fmt: skip
    path = work / SELECTED
    for old in (path, path.with_name(path.name + work_files.PART)):
        old.unlink(missing_ok=True)  # made anew in a moment, unlike what costs time
    chosen = iter(picked)  # in the order of the file
    wanted = next(chosen, None)
    with work_files.Growing(path, told) as file:
        both = (work_files.read(work / f"{arm}.jsonl", "collect")[1] for arm in (STRONG, WEAK))
        for line, theirs in zip(*both, strict=True):
            if wanted is not None and line["digest"] == wanted.scene.name:
                file.append([_line(line, theirs, wanted)], sync=False)
                wanted = next(chosen, None)
        file.append([])
        file.finish()
    return len(picked), sum(one.rejected is not None for one in picked), left_out


def _scene(strong: Mapping[str, Any], weak: Mapping[str, Any]) -> CollectedScene:
    return CollectedScene(
        strong["digest"], strong["domain"], strong["options"], frozenset(strong["chosen"]),
        _draws(strong), _draws(weak),
    )  # fmt: skip


def _draws(line: Mapping[str, Any]) -> tuple[CollectedDraw, ...]:
    return tuple(
        CollectedDraw(
            tuple(one["p"]), one["letter"],
            is_complete=bool(one["text"]) and parse(one["text"])[1] is ParseStatus.COMPLETE,
        )
        for one in line["draws"]
    )  # fmt: skip


def _line(strong: Mapping[str, Any], weak: Mapping[str, Any], picked: Picked) -> dict[str, object]:
    draws = [*strong["draws"], *weak["draws"]]

    def answer(number: int) -> dict[str, object]:
        return {name: draws[number][name] for name in ("text", "letter")}

    same = {name: strong[name] for name in ("line", "digest", "user", "domain", "at", "options", "prompt")}
    return {**same, "score": picked.score, "chosen": answer(picked.chosen),
            "rejected": None if picked.rejected is None else answer(picked.rejected)}  # fmt: skip


def train(
    work: Path,
    base: Base,
    hyper: HyperParameters,
    *,
    profile: Profile,
    forget: frozenset[str] = frozenset(),
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> tuple[int, Counter[str], dict[str, int]]:
    """Train on `selected.jsonl`; return how many rows, what was left out, and the steps of both stages."""
    path = work / SELECTED
    header, lines = work_files.read(path, "select")
    if header["prompt"] != profile.sha256:
        raise BadSettings(f"{path}: was collected with another prompt profile than {profile.name}; want that one")
    gone = {hashed(one) for one in forget}
    kept = [line for line in lines if line["user"] not in gone]
    reader = RowReader(str(base.folder), profile.stop)
    rows, left_out = reader.rows(kept, hyper.max_length)
    if not rows:
        raise BadSettings(f"{path}: no scene fits max_length={hyper.max_length} tokens; nothing was trained")
    identity = {
        "selected": work_files.digest(path),
        "hyper_parameters": hyper.model_dump(mode="json"),
        "weights": base.digests(),
        "base": base.model,
        "forgotten": sorted({*header["forgotten"], *gone}),
        "prompt": header["prompt"],
    }
    return len(rows), left_out, Training(work, base, hyper, identity, tell).run(rows, reader.tokenizer)


def judge(
    work: Path,
    source: ChoiceSource,
    settings: Settings,
    *,
    licence: str,
    make: MakeEngine = factory.make,
    tell: Tell = lambda *_: None,
) -> verdict.Judgement:
    """Ask the base of `settings` and the candidate; promote it if it is surely better.  Raises `BadSettings`."""
    header, lines = work_files.read(work / SELECTED, "select")
    candidate = work / CANDIDATE
    about = _about(candidate)
    if about["selected"] != work_files.digest(work / SELECTED):
        raise BadSettings(f"{candidate}: was trained on another {SELECTED} than the one beside it; run train again")
    own = source.digests()
    changed = [name for name in ("choices", "outcomes") if own[name] != header[name]]
    split = Split(**header["split"])
    trained = [(line["user"], line["at"]) for line in lines]
    choices = RealChoices(replace(source.files, depth=settings.slate_depth), index=work / INDEX)
    for path, found in ((BEFORE, settings), (AFTER, _with_candidate(settings, candidate))):
        told = {**own, "split": asdict(split), "settings": answering(found),
                "weights": about["identity"] if path == AFTER else about["weights"]["base"]}  # fmt: skip
        wanted = (one for one in choices if _part(split, one, source) is SplitPart.JUDGE)
        if not _is_whole(work / path, told):
            asyncio.run(_ask(work / path, found, wanted, header=told, make=make, tell=tell))
    judged = judging.users_and_times(work / BEFORE)
    refuse_overlap(frozenset(user for user, _ in trained), max(at for _, at in trained), judged, split)
    if not judged:
        raise BadSettings(f"{source.files.path}: no choice of a held-out user on a later day; nothing was judged")
    found_verdict = verdict.judge(judging.answers(work / BEFORE), judging.answers(work / AFTER))
    window = (min(at for _, at in trained), max(at for _, at in trained), max(at for _, at in judged))
    told_verdict = {"newer_files": changed, **asdict(found_verdict)}
    work_files.write_whole(work / VERDICT, told_verdict)
    if found_verdict.promoted:
        model_card.promote(
            candidate,
            work / PROMOTED,
            found_verdict,
            selected=header,
            scenes=len(trained),
            window_us=window,
            licence=licence,
        )
    else:
        work_files.clear(work / PROMOTED)
    return found_verdict


def _about(candidate: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((candidate / "align.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSettings(f"{candidate}: is not there; run `mirrorstream align train` first") from error
    return found


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
    await engine.start()
    window = max(1, min(MAX_WINDOW, settings.max_num_seqs // settings.draws))
    limits = AskingLimits(window, settings.question_timeout_s, settings.max_engine_restarts)
    try:
        asking = pipeline_config.asking(settings, engine)
        await judging.ask(
            engine, asking, choices, path, header=header, limits=limits, tell=lambda number: tell(path.stem, number)
        )
    finally:
        await engine.stop()


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {why}" for why, number in counts.items()) or "none left out"
