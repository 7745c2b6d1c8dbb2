"""What the lines of a step's files must be: a checksum tells that a line is whole, not that a step wrote it.

    strong.jsonl weak.jsonl     a scene with its draws
    selected.jsonl              a scene with the draws to learn from
    before.jsonl after.jsonl    an answer, as `evaluate.answers` has it
    candidate/align.json        what was trained, and on what

A letter is an index into lists, and a probability goes into sums: a letter of -1 would teach another option, and a NaN
would order scenes by chance.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from worker.core.prompts.prompt import Prompt
from worker.core.records import MAX_TIME_US
from worker.offline.align.split import Split
from worker.offline.evaluate.answers import ANSWERED
from worker.offline.evaluate.signed_lines import check_form

_EXACT = ConfigDict(extra="forbid")
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Slot = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, config=_EXACT)
class _Prompt(Prompt):
    pass


@dataclass(frozen=True, slots=True, config=_EXACT)
class _Split(Split):
    pass


@dataclass(frozen=True, slots=True)
class _DrawLine:
    status: str
    text: str | None
    p: list[Probability]
    mass: Finite | None
    letter: Slot | None


@dataclass(frozen=True, slots=True)
class _Taught:
    text: str
    letter: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """What lines of both kinds of scenes have."""

    line: int
    digest: str
    user: str
    domain: str
    at: Annotated[int, Field(ge=0, le=MAX_TIME_US)]
    options: Slot


@dataclass(frozen=True, slots=True, kw_only=True)
class _Collected(_Scene):
    chosen: list[Slot]
    prompt: _Prompt | None
    draws: list[_DrawLine]

    @model_validator(mode="after")
    def _slots(self) -> Self:
        letters = [one.letter for one in self.draws if one.letter is not None]
        if any(slot >= self.options for slot in [*self.chosen, *letters]):
            raise ValueError("want slots below the number of options")
        if any(one.p and (len(one.p) != self.options or one.letter is None) for one in self.draws):
            raise ValueError("want a letter and a probability for each option, or none")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selected(_Scene):
    prompt: _Prompt
    score: Finite
    chosen: _Taught
    rejected: _Taught | None

    @model_validator(mode="after")
    def _slots(self) -> Self:
        if any(one is not None and one.letter >= self.options for one in (self.chosen, self.rejected)):
            raise ValueError("want letters below the number of options")
        return self


@dataclass(frozen=True, slots=True)
class _Header:
    choices: str
    outcomes: str | None
    forgotten: list[str]
    split: _Split
    prompt: str
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Weights:
    base: str
    adapter: str = ""


@dataclass(frozen=True, slots=True)
class _Lora:
    rank: int


@dataclass(frozen=True, slots=True)
class _Hyper:
    name: str
    method: str
    lora: _Lora


@dataclass(frozen=True, slots=True)
class _Note:
    """What `judge` and the model card read of it."""

    base: str
    base_digest: str
    forgotten: list[str]
    hyper_parameters: _Hyper
    identity: str
    prompt: str
    selected: str
    weights: _Weights
    unknown: list[str] = field(default_factory=list)


_HEADER, _NOTE = TypeAdapter[Any](_Header), TypeAdapter[Any](_Note)
_COLLECTED, _SELECTED = TypeAdapter[Any](_Collected), TypeAdapter[Any](_Selected)
_LINES = {
    "strong.jsonl": _COLLECTED, "weak.jsonl": _COLLECTED, "selected.jsonl": _SELECTED,
    "before.jsonl": ANSWERED, "after.jsonl": ANSWERED,
}  # fmt: skip


def checked(path: Path, lines: Iterator[dict[str, Any]], *, again: str) -> Iterator[dict[str, Any]]:
    """Yield the lines behind the first one of a step's file.  Raises `Fatal` at one of another form.

    `again` says what to do then.
    """
    form = _LINES.get(path.name)
    for number, line in enumerate(lines, 2):
        if form is not None:
            check_form(form, line, f"{path}, line {number}", again=again)
        yield line


def check_header(path: Path, header: Mapping[str, Any], *, again: str) -> None:
    """Raise `Fatal` for a first line of another form; that of answers is compared with what is wanted."""
    if _LINES.get(path.name, ANSWERED) is not ANSWERED:
        check_form(_HEADER, header, f"{path}, line 1", again=again)


def check_note(path: Path, note: Mapping[str, Any], *, again: str) -> None:
    """Raise `Fatal` for a candidate's note of another form."""
    check_form(_NOTE, note, str(path), again=again)
