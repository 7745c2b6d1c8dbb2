r"""Completion text to a rationale, total: any string gives a record, never an exception and never a default choice.

The model goes on from "Thought:\nStimulus:", so its text starts inside the Stimulus section:

>>> rationale, status = parse(
...     " I was bored.\nStimulus Factors: Internal States (Boredom), Hype\nKnowledge: Two comedies.\n"
...     "Knowledge Factors: Features, Personal Relevance (Thematic)\nEvaluation: B is funnier.\n"
...     "Evaluation Style: Intuitive\nBehavior: [")
>>> rationale.stimulus, rationale.stimulus_factors, rationale.other, status.value
('I was bored.', ('Boredom',), ('Hype',), 'COMPLETE')

The choice is not read from the text: it comes from the letters' probabilities.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MAX_SECTION_CHARS = 4_000
MAX_FACTORS = 20

STIMULUS_FACTORS = (
    "Boredom", "Hunger", "Thirst", "Fatigue/Restlessness", "Emotional State", "Curiosity", "Need for Achievement",
    "Inspiration", "Time of Day", "Day of Week", "Weather", "Location", "Social Factors", "Special Occasion",
    "Notification", "Advertising", "Financial Situation", "Availability",
)  # fmt: skip
KNOWLEDGE_FACTORS = (
    "Price", "Quality", "Features", "Convenience", "Novelty", "Brand Reputation", "Personal Relevance", "Functional",
    "Thematic", "Identity-Based", "Emotional Appeal", "Time Commitment", "Risk", "Visual Presentation",
    "Recommendation Source", "Review Content/Sentiment", "Rating Score/Distribution", "Social Proof", "Past Experience",
    "User Preferences/History",
)  # fmt: skip
EVALUATION_STYLES = ("Logical", "Intuitive", "Impulsive", "Habitual")
_GROUPS = frozenset({
    "internal states", "external cues", "product/service attributes", "information source & presentation",
    "prior knowledge",
})  # fmt: skip
_LABELS = (
    "Stimulus Factors",
    "Stimulus",
    "Knowledge Factors",
    "Knowledge",
    "Evaluation Style",
    "Evaluation",
)
_HEADING = re.compile(rf"^[ \t*#]*({'|'.join(_LABELS)}|Thought|Behavior)[ \t*]*:[ \t*]*", re.MULTILINE | re.IGNORECASE)


class ParseStatus(StrEnum):
    """How much of the rationale could be read."""

    COMPLETE = "COMPLETE"
    PARTIAL = "PARTIAL"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Rationale:
    """The model's stated reason by section; a missing section is None or empty."""

    stimulus: str | None = None
    stimulus_factors: tuple[str, ...] = ()
    knowledge: str | None = None
    knowledge_factors: tuple[str, ...] = ()
    evaluation: str | None = None
    evaluation_style: str | None = None
    other: tuple[str, ...] = ()  # factors outside of the vocabularies, as written


def parse(text: str) -> tuple[Rationale, ParseStatus]:
    """Read the sections of a completion; the first one of a name wins, `Behavior` ends the text."""
    sections = _sections(text)
    stimulus, other_stimulus = _factors(sections.get("stimulus factors", ""), STIMULUS_FACTORS)
    knowledge, other_knowledge = _factors(sections.get("knowledge factors", ""), KNOWLEDGE_FACTORS)
    rationale = Rationale(
        stimulus=sections.get("stimulus") or None,
        stimulus_factors=stimulus,
        knowledge=sections.get("knowledge") or None,
        knowledge_factors=knowledge,
        evaluation=sections.get("evaluation") or None,
        evaluation_style=_style(sections.get("evaluation style", "")),
        other=(other_stimulus + other_knowledge)[:MAX_FACTORS],
    )
    return rationale, _status(sections)


def _sections(text: str) -> dict[str, str]:
    """Split at headings; what stands before the first one is the Stimulus section that the prefix began."""
    headings = list(_HEADING.finditer(text))
    starts = [("stimulus", 0)] + [(match[1].lower(), match.end()) for match in headings]
    ends = [match.start() for match in headings] + [len(text)]
    found: dict[str, str] = {}
    for (label, start), end in zip(starts, ends, strict=True):
        if label == "behavior":
            break
        section = text[start:end].strip()[:MAX_SECTION_CHARS]
        if section:
            found.setdefault(label, section)
    return found


def _factors(text: str, vocabulary: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split into known factors, in the vocabulary's spelling, and others as written.

    A factor may come back inside its group, "Internal States (Boredom)" or "Internal States: Boredom", and may hold
    a slash itself.
    """
    known: list[str] = []
    other: list[str] = []
    spelling = {factor.lower(): factor for factor in vocabulary}
    for raw in re.split(r"[,;:\n()]|\s[-*]\s", text):
        word = raw.strip(" .*-[]\"'\t")
        factor = spelling.get(word.lower())
        if factor:
            known.append(factor)
        elif word and word.lower() not in _GROUPS:
            other.append(word[:MAX_SECTION_CHARS])
    return tuple(dict.fromkeys(known))[:MAX_FACTORS], tuple(dict.fromkeys(other))[:MAX_FACTORS]


def _style(text: str) -> str | None:
    """Return the style in the vocabulary's spelling if the text starts with one, else the text."""
    plain = text.strip(" .*")
    return next((style for style in EVALUATION_STYLES if plain.lower().startswith(style.lower())), plain) or None


def _status(sections: dict[str, str]) -> ParseStatus:
    present = sum(label.lower() in sections for label in _LABELS)
    if present == len(_LABELS):
        return ParseStatus.COMPLETE
    return ParseStatus.PARTIAL if present else ParseStatus.NONE
