"""What an engine says of its requests to a model, for traces: one span per request.

An engine that says nothing is right, too: its draws are then no spans.

>>> with UNTRACED.request(ModelRequest(Pass.LETTERS, max_tokens=1)) as span:
...     dict(span.headers)
{}
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Pass(StrEnum):
    """Which request of a draw it is."""

    RATIONALE = "rationale"
    """Writes the rationale."""

    LETTERS = "letters"
    """Has the probabilities of the letters."""

    BOTH = "both"
    """Writes the rationale and has the letters' probabilities."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a model; None where an engine has no such parameter."""

    which: Pass | None = None  # None for an engine without passes
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What came of a request: counts of tokens, why it ended, and its texts, which are made only if they are wanted."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str | None = None
    prompt: Callable[[], str] = str
    text: Callable[[], str] = str


class RequestSpan(Protocol):
    """The span of one request."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The W3C context that the model's own spans shall join, by header; empty if nothing is traced."""

    def answered(self, answer: ModelAnswer) -> None:
        """Note the answer; a request without one has failed."""


class DrawTrace(Protocol):
    """The trace of one try of one draw."""

    def request(self, request: ModelRequest) -> AbstractContextManager[RequestSpan]:
        """Span one request; what is raised within ends it."""


@dataclass(frozen=True, slots=True)
class PassedOn:
    """A draw of which nothing is recorded; its context, if there is one, goes on to the model."""

    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, _request: ModelRequest) -> AbstractContextManager["PassedOn"]:
        """Record nothing."""
        return nullcontext(self)

    def answered(self, answer: ModelAnswer) -> None:
        """Record nothing."""


UNTRACED = PassedOn()
