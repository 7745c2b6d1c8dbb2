"""The results of `bench --tune` as a table, as JSON, and as a file of settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from worker.bench.harness.rounds import MeasuredInterval
from worker.bench.tune.candidates import Candidate
from worker.bench.tune.decide import JudgedCandidate
from worker.settings import vllm_options

CHANGES_ANSWERS = "answers have another fingerprint, and are not pooled with earlier ones"


@dataclass(frozen=True, slots=True)
class Tuned:
    """Everything that was found."""

    judged: list[JudgedCandidate]
    skipped: Mapping[str, str]  # why, by candidate
    recommended: Candidate | None
    left: list[str]  # what the time did not suffice for
    about: dict[str, str] = field(default_factory=dict)


def as_json(of: Tuned) -> dict[str, Any]:
    """Return everything as a value for `json.dumps`."""
    return {
        "candidates": {one.candidate.name: _judged(one) for one in of.judged},
        "skipped": dict(of.skipped),
        "not_measured": of.left,
        "recommended": recommended(of),
        "about": dict(of.about),
    }


def recommended(of: Tuned) -> dict[str, Any]:
    """Return the settings that are recommended, by name; {} if those of the baseline are."""
    if of.recommended is None:
        return {}
    options = {"vllm_options": dict(of.recommended.options)} if of.recommended.options else {}
    return {**of.recommended.settings, **options}


def settings_file(of: Tuned) -> str:
    """Return the recommended settings as YAML, for `--config`; what they came from stands above as comments."""
    found = recommended(of)
    notes = ["bench --tune; add these lines to your file of settings, or use it as --config.", *_about(of)]
    if not found:
        notes.append("Nothing is recommended: the settings as they are stay.")
    if of.recommended is not None and changes_answers(of.recommended):
        notes.append(f"With these {CHANGES_ANSWERS}.")
    if of.left:
        notes.append(f"Not complete: {len(of.left)} pairs were not measured; the same command goes on.")
    return "".join(f"# {line}\n" for line in notes) + yaml.safe_dump(found, sort_keys=False, allow_unicode=True)


def changes_answers(candidate: Candidate) -> bool:
    """Return True if a candidate has another configuration fingerprint than the baseline.

    >>> changes_answers(Candidate("block", "", options={"block_size": 32}))
    False
    >>> changes_answers(Candidate("dtype", "", settings={"dtype": "float32"}))
    True
    """
    return bool({"dtype", "model"} & candidate.settings.keys() or vllm_options.changing(candidate.options))


def render(of: Tuned) -> RenderableType:
    """Return the tables."""
    titles = ("setting", "speed (90 %)", "mean", "worst", "error", "flips", "shift", "verdict")
    columns = [Column(title, no_wrap=title != "verdict") for title in titles]
    table = Table(*columns, title="beside the settings as they are", title_justify="left")
    for one in of.judged:
        table.add_row(one.candidate.name, *_figures(one), one.why or "recommended")
    parts: list[RenderableType] = [table, Text()]
    parts += [Text(f"skipped: {name}: {why}") for name, why in of.skipped.items()]
    parts += [Text(f"not measured: {name}") for name in of.left]
    parts.append(Text(f"recommended: {recommended(of) or 'the settings as they are'}"))
    return Group(*parts, Text(), *map(Text, _about(of)))


def _figures(one: JudgedCandidate) -> tuple[str, ...]:
    if one.speed is None or one.effect is None:
        return ("-",) * 6
    effect = one.effect
    shares = (f"{value:.4f}" for value in (effect.mean, effect.worst, effect.error))
    return (_ratio(one.speed), *shares, f"{effect.flips:.1%}", f"{effect.shift:+.4f}")


def _judged(one: JudgedCandidate) -> dict[str, Any]:
    speed = (
        {name: value if isfinite(value) else None for name, value in one.speed.to_json().items()} if one.speed else {}
    )
    effect = {f"duel_share_{name}": value for name, value in asdict(one.effect).items()} if one.effect else {}
    return {"dimension": one.candidate.dimension, "speed": speed, **effect, "verdict": one.why or "recommended"}


def _ratio(of: MeasuredInterval) -> str:
    if not isfinite(of.low):
        return f"{of.middle:.3f} (one round)"
    return f"{of.middle:.3f} ({of.low:.3f} to {of.high:.3f})"


def _about(of: Tuned) -> list[str]:
    return [f"{name}: {value}" for name, value in of.about.items()]
