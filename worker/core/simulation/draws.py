"""One draw: what an engine is asked, and what it says.

A question is asked in several draws, each in its own presented order and with its own seed.  The engine sees
slots, top to bottom; `by_option` turns its probabilities back to the order of the question's options.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.core.records import Impression
from worker.core.simulation.draw_trace import UNTRACED, DrawTrace
from worker.core.simulation.questions import Question, Status

PositionProfile = tuple[float, ...]  # by slot, summing to 1: the share each gets where all options are the same


@dataclass(frozen=True, slots=True)
class Ask:
    """One draw of one question, ready for an engine.

    `prompt_ids` are the tokens of the whole prompt, empty for an engine that reads the impression itself.
    """

    ask_id: str  # names the draw in logs; a retry has the same
    impression: Impression
    question: Question
    order: tuple[int, ...]  # index into the question's options, by slot
    prompt_ids: tuple[int, ...] = ()
    seed: int | None = None
    priority: int = 0  # lower is sooner, where the engine has a queue of its own
    trace: DrawTrace = UNTRACED

    @property
    def num_slots(self) -> int:
        """How many letters are offered."""
        return len(self.order)

    def with_trace(self, trace: DrawTrace) -> "Ask":
        """Return this ask with the trace of one of its tries."""
        return replace(self, trace=trace)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more requests to an engine."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Sum, field by field."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an engine said to one ask; `slot_probabilities` is empty unless `status` is OK."""

    status: Status
    slot_probabilities: tuple[float, ...] = ()  # by slot, summing to 1
    letter_mass: float | None = None  # before renormalising; the rest is no choice
    text: str | None = None  # the rationale as written, None if the engine writes none
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)


def by_option(order: tuple[int, ...], slot_probabilities: tuple[float, ...]) -> tuple[float, ...]:
    """Turn probabilities by slot into probabilities by option.

    >>> by_option((2, 0, 1), (0.5, 0.3, 0.2))
    (0.3, 0.2, 0.5)
    """
    result = [0.0] * len(order)
    for slot, option in enumerate(order):
        result[option] = slot_probabilities[slot]
    return tuple(result)


class DrawRetry(StrEnum):
    """Why a draw is asked again; a label of the metrics."""

    TIMEOUT = "timeout"  # its deadline passed
    DIED = "died"  # the engine died while it had the draw
    AWAY = "away"  # the engine could not be reached
    WITHDRAWN = "withdrawn"  # it made room for others at a shared server


@dataclass(frozen=True, slots=True)
class EngineCard:
    """Who answers; goes into every response's provenance."""

    engine: str  # vllm, vllm-server, choice-model
    engine_version: str
    model: str
    revision: str | None
    sampling: Mapping[str, str]
    reads_prompt: bool  # False: the engine reads the impression, no prompt is built
    # What was found to run, such as the data type: told, and no part of the fingerprint unless it is in `sampling` too.
    runs: Mapping[str, str] = field(default_factory=dict)
    max_prompt_tokens: int = 0  # what leaves room for the completion; 0 where no prompt is read
    turn_end_tokens: int = 0  # of the chat template, after an assistant's text
