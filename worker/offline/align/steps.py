"""The first three steps in one work folder; each reads what the one before wrote, and goes on where it was killed.

    WORK/strong.jsonl weak.jsonl   collect      WORK/selected.jsonl                   select
    WORK/sft candidate             train        (before.jsonl after.jsonl
                                                verdict.json promoted                 `judging`)

The division into who is trained on and who is judged on is made once, by `collect`, and stands in the first line of
its files; `judging` makes the same from the same words and sees that nobody is on both sides.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings
from worker.core.prompts.prompt import Profile
from worker.core.prompts.rationale import ParseStatus, parse
from worker.engines import factory
from worker.offline.align import choice_source, collect as collecting, files as work_files
from worker.offline.align.choice_source import ChoiceSource, ChoicesRead, UnknownUser, hashed, unknown_hashes
from worker.offline.align.collect import STRONG, WEAK, Redact
from worker.offline.align.files import INDEX, SELECTED
from worker.offline.align.hyper_parameters import HyperParameters
from worker.offline.align.rows import RowReader
from worker.offline.align.select import By, CollectedDraw, CollectedScene, Picked, select as pick
from worker.offline.align.split import Split, SplitPart, cut
from worker.offline.align.train import Base, Training
from worker.offline.evaluate.answering import answering
from worker.offline.evaluate.reading import ReadCounts, RealChoices
from worker.offline.evaluate.scene import RealChoice
from worker.pipeline.ports import Engine
from worker.runtime import pipeline_config
from worker.settings import Settings, prompt_profiles

MakeEngine = Callable[[Settings], Engine]
Tell = Callable[[str, int], None]  # what is done, how many of it


@dataclass(frozen=True, slots=True)
class Division:
    """How the choices are divided; see `split`."""

    held_out_users: float = 0.2
    later_share: float = 0.2
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What `collect` found; statuses are of draws."""

    read: ChoicesRead
    statuses: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Selected:
    """What `select` wrote; `left_out` counts scenes."""

    scenes: int
    pairs: int  # scenes with a rejected draw
    left_out: Mapping[str, int]
    unknown: tuple[UnknownUser, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """What `train` read and made: rows, what was left out, the steps of both stages."""

    rows: int
    left_out: Mapping[str, int]
    steps: Mapping[str, int]
    unknown: tuple[UnknownUser, ...]


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
    split = Split(division.salt, division.held_out_users, None)
    seen = choice_source.look_through(choices, source, split)
    split = replace(split, cut_us=cut(seen.times, division.later_share))
    found = choice_source.read(seen, split, choices.counts)
    if not found.parts.get(SplitPart.TRAIN):
        raise BadSettings(_nothing(source.files.path, choices.counts, found.parts))
    statuses = {}
    for arm in (STRONG, WEAK):
        header = {
            **source.digests(),
            "unknown": sorted(hashed(one.user_id) for one in found.unknown),
            "split": asdict(split),
            "settings": answering(arms[arm]),
            "prompt": prompt_profiles.load(arms[arm].prompt_profile).sha256,
            "redact": redact_name,
        }
        wanted = (one for one in choices if source.part(split, one) is SplitPart.TRAIN)
        if not work_files.is_whole(work / f"{arm}.jsonl", header):
            asyncio.run(_collect(work, arm, arms[arm], wanted, header=header, redact=redact, make=make, tell=tell))
        statuses[arm] = collecting.statuses(work / f"{arm}.jsonl")
    return Collected(found, statuses)


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
    try:
        await engine.start()
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


def _nothing(path: Path, counts: ReadCounts, parts: Mapping[str, int]) -> str:
    told = ", ".join(f"{number:,} {why}" for why, number in counts.left_out.items()) or "none left out"
    first = f"; first: {counts.told[0]}" if counts.told else ""
    used = sum(parts.values())
    of = f"{counts.choices:,} choices, {used:,} of them not forgotten"
    return f"{path}: no choice is left to train on ({of}; {told}){first}"


def select(work: Path, *, by: By, keep: int, seed: int, forget: frozenset[str] = frozenset()) -> Selected:
    """Write what is trained on."""
    header, strong = work_files.read(work / f"{STRONG}.jsonl", "collect")
    other, weak = work_files.read(work / f"{WEAK}.jsonl", "collect")
    for name in ("choices", "outcomes", "forgotten", "split", "redact"):
        if header.get(name) != other.get(name):
            raise BadSettings(f"{work}: strong.jsonl and weak.jsonl differ in {name}; run `mirrorstream align collect`")
    gone = {hashed(one) for one in forget}
    users, domains = set[str](), set[str]()
    scenes = []  # without their texts, which are read again for those that are picked
    left_out: Counter[str] = Counter()
    for mine, theirs in zip_longest(strong, weak):
        if mine is None or theirs is None or mine["digest"] != theirs["digest"]:
            raise BadSettings(f"{work}: strong.jsonl and weak.jsonl are of different scenes; run collect again")
        users.add(mine["user"])
        domains.add(mine["domain"])
        if mine["user"] in gone:
            left_out["forgotten"] += 1
            continue
        scenes.append(_scene(mine, theirs))
    picked, more = pick(scenes, by=by, keep=keep, seed=seed)
    left_out += more
    if not picked:
        raise BadSettings(f"{work}: no scene is left to train on ({_listed(left_out)}); nothing was written")
    unknown = unknown_hashes(forget, users, domains, _left_out(header))
    told = {**{name: header[name] for name in ("choices", "outcomes", "split", "prompt", "settings")},
            **_forgotten(header, gone, unknown), "by": by, "keep": keep, "seed": seed,
            "left_out": dict(left_out)}  # fmt: skip
    chosen = iter(picked)  # in the order of the file
    wanted = next(chosen, None)
    with work_files.Growing(work / SELECTED, told, anew=True) as file:  # in a moment, unlike what costs time
        both = (work_files.read(work / f"{arm}.jsonl", "collect")[1] for arm in (STRONG, WEAK))
        for line, theirs in zip(*both, strict=True):
            if wanted is not None and line["digest"] == wanted.scene.name:
                file.append([_line(line, theirs, wanted)], sync=False)
                wanted = next(chosen, None)
        file.append([])
        file.finish()
    return Selected(len(picked), sum(one.rejected is not None for one in picked), left_out, unknown)


def _left_out(header: Mapping[str, Any]) -> frozenset[str]:
    """Return the hashes of users whom an earlier step has left out."""
    return frozenset(header["forgotten"]) - frozenset(header.get("unknown", ()))


def _forgotten(
    header: Mapping[str, Any], gone: frozenset[str] | set[str], unknown: Sequence[UnknownUser]
) -> dict[str, list[str]]:
    """Return the users to forget of the steps so far, and those of them of whom no step has found anything."""
    every = {*header["forgotten"], *gone}
    found = _left_out(header) | gone - {hashed(one.user_id) for one in unknown}
    return {"forgotten": sorted(every), "unknown": sorted(every - found)}


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
) -> Trained:
    """Train on `selected.jsonl`, without the rows that are too long."""
    path = work / SELECTED
    header, lines = work_files.read(path, "select")
    if header["prompt"] != profile.sha256:
        raise BadSettings(f"{path}: was collected with another prompt profile than {profile.name}; want that one")
    gone = {hashed(one) for one in forget}
    every = list(lines)
    kept = [line for line in every if line["user"] not in gone]
    unknown = unknown_hashes(
        forget, (line["user"] for line in every), (line["domain"] for line in every), _left_out(header)
    )
    reader = RowReader(str(base.folder), profile.stop)
    rows, left_out = reader.rows(kept, hyper.max_length)
    left_out += Counter(forgotten=len(every) - len(kept))
    if not rows:
        fits = f"no scene fits max_length={hyper.max_length} tokens ({_listed(left_out)})"
        raise BadSettings(f"{path}: {fits}; nothing was trained")
    identity = {
        "selected": work_files.digest(path),
        "hyper_parameters": hyper.model_dump(mode="json"),
        "weights": base.digests(),
        "base": base.model,
        **_forgotten(header, gone, unknown),
        "prompt": header["prompt"],
    }
    return Trained(
        len(rows), left_out, Training(work, base, hyper, identity, tell).run(rows, reader.tokenizer), unknown
    )


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {why}" for why, number in counts.items()) or "none left out"
