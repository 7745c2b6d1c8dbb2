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
from functools import lru_cache

from worker.core.prompts.vocabulary import REFERENCE, SECTIONS, Words

MAX_SECTION_CHARS = 4_000
MAX_READ_CHARS = 220_000  # of a completion, 40 ms at worst: 8,192 tokens, the most there are, may be a million blanks
MAX_FACTORS = 20


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


def parse(text: str, words: Words = REFERENCE) -> tuple[Rationale, ParseStatus]:
    """Read the sections of a completion; the first one of a name wins, the behavior ends the text."""
    sections = _sections(text[:MAX_READ_CHARS], words)
    stimulus, other_stimulus = _factors(sections.get("stimulus_factors", ""), words.stimulus_factors, words)
    knowledge, other_knowledge = _factors(sections.get("knowledge_factors", ""), words.knowledge_factors, words)
    rationale = Rationale(
        stimulus=sections.get("stimulus") or None,
        stimulus_factors=stimulus,
        knowledge=sections.get("knowledge") or None,
        knowledge_factors=knowledge,
        evaluation=sections.get("evaluation") or None,
        evaluation_style=_style(sections.get("evaluation_style", ""), words.evaluation_styles),
        other=(other_stimulus + other_knowledge)[:MAX_FACTORS],
    )
    return rationale, _status(sections)


@lru_cache(maxsize=8)
def _headings(words: Words) -> tuple[re.Pattern[str], list[str]]:
    """Return what a heading looks like, with a group a label, and the sections in the order of the groups."""
    longest_first = sorted(zip(words.labels, SECTIONS, strict=True), key=lambda pair: -len(pair[0]))
    labels = "|".join(f"({re.escape(label)})" for label, _ in longest_first)
    # What stands before a label is no part of one, so there is nothing to try again in a long run of it (`*+`).
    marks = "[ \t*#]*" if any(label[:1] in " \t*#" for label in words.labels) else "[ \t*#]*+"
    heading = re.compile(rf"^{marks}(?:{labels})[ \t*]*+:[ \t*]*", re.MULTILINE | re.IGNORECASE)
    return heading, [section for _, section in longest_first]


def _sections(text: str, words: Words) -> dict[str, str]:
    """Split at headings; what stands before the first one is the stimulus that the prefix began."""
    heading, order = _headings(words)
    headings = list(heading.finditer(text))
    starts = [("stimulus", 0)] + [(order[(match.lastindex or 1) - 1], match.end()) for match in headings]
    ends = [match.start() for match in headings] + [len(text)]
    found: dict[str, str] = {}
    for (section, start), end in zip(starts, ends, strict=True):
        if section == "behavior":
            break
        content = text[start:end].strip()[:MAX_SECTION_CHARS]
        if content:
            found.setdefault(section, content)
    return found


def _factors(text: str, vocabulary: tuple[str, ...], words: Words) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split into known factors, in the vocabulary's spelling, and others as written.

    A factor may come back inside its group, "Internal States (Boredom)" or "Internal States: Boredom", and may hold
    a slash itself.
    """
    known: list[str] = []
    other: list[str] = []
    spelling = {factor.lower(): factor for factor in vocabulary}
    groups = {group.lower() for group in words.groups}
    for raw in re.split(r"[,;:\n()]|\s[-*]\s", text):
        word = raw.strip(" .*-[]\"'\t")
        factor = spelling.get(word.lower())
        if factor:
            known.append(factor)
        elif word and word.lower() not in groups:
            other.append(word[:MAX_SECTION_CHARS])
    return tuple(dict.fromkeys(known))[:MAX_FACTORS], tuple(dict.fromkeys(other))[:MAX_FACTORS]


def _style(text: str, styles: tuple[str, ...]) -> str | None:
    """Return the style in the vocabulary's spelling if the text starts with one, else the text."""
    plain = text.strip(" .*")
    return next((style for style in styles if plain.lower().startswith(style.lower())), plain) or None


def _status(sections: dict[str, str]) -> ParseStatus:
    wanted = [section for section in SECTIONS if section not in {"thought", "behavior"}]
    present = sum(section in sections for section in wanted)
    if present == len(wanted):
        return ParseStatus.COMPLETE
    return ParseStatus.PARTIAL if present else ParseStatus.NONE
