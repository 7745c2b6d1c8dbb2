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

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from worker.core.prompts.behavior import stated_letter
from worker.core.prompts.completion import answer, label_pattern, without_closing
from worker.core.prompts.factors import factors, key, limited, style
from worker.core.prompts.vocabulary import REFERENCE, SECTIONS, Words

MAX_SECTION_CHARS = 4_000
_IN_LINE = 3  # labels within lines, or without a colon, make a text a rationale; one or two may be words
_IN_OBJECT = 3  # sections in an object below other text make it the answer
_HALF = re.compile("[\ud800-\udfff]")  # of a character, as JSON may escape it; UTF-8 has none
_SIGNS = r"(?:[^\w\n]|_)*"  # before a label: bullets, emphasis, quotes, brackets, emoji
_NUMBER = r"(?:(?:step[ \t]+)?\(?(?:\d{1,2}|[a-z]|[ivx]{2,4})[.)、:\uff0e]|[\u2460-\u2473])"  # of a label in a list
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_KEY_NUMBER = re.compile(r"^\W*\d{1,2}[.)]\s*")
_NAMES = frozenset({"factor", "name"})  # of an object that stands for one factor
_GLOSS = r"(?:[ \t]*+[(\[][^()\[\]\n]{0,20}[)\]])?"  # how many factors are wanted
_CLOSING = r"[ \t*_~\"'`>\])\u3011]*+"
# After a label, where most of them have it: "Knowledge = x", "Knowledge - x", a row of a table, a tag.
_LOOSE = r"(?:[:\uff1a]|(?<=[ \t*_])[-\u2013\u2014]{1,2}(?=[ \t])|=>?|->|\u2192|\||(?<=>))[ \t*_~]*"
_WORD = re.compile(r"\w")
_COMMA = re.compile(r",(?=\s*[}\]])")
_EMPTY_LINES = re.compile(r"\n{4,}")  # more say nothing, and a heading is looked for at each: 0.1 s for a million


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
    sections = _sections(text, words)
    stimulus, other_stimulus = factors(sections.get("stimulus_factors", ""), words.stimulus_factors, words)
    knowledge, other_knowledge = factors(sections.get("knowledge_factors", ""), words.knowledge_factors, words)
    rationale = Rationale(
        stimulus=_prose(sections.get("stimulus")),
        stimulus_factors=stimulus,
        knowledge=_prose(sections.get("knowledge")),
        knowledge_factors=knowledge,
        evaluation=_prose(sections.get("evaluation")),
        evaluation_style=style(sections.get("evaluation_style", "")[:MAX_SECTION_CHARS], words.evaluation_styles),
        other=limited(tuple(dict.fromkeys(other_stimulus + other_knowledge))),
    )
    return rationale, _status(sections)


def stated_choice(text: str, words: Words = REFERENCE) -> str | None:
    """Return the letter that the text itself names after the behavior's label, or None; only for people to read."""
    label = words.labels[-1]
    plain = without_closing(unicodedata.normalize("NFKC", answer(text, label_pattern(label))), label_pattern(label))
    return stated_letter(plain, label)


@lru_cache(maxsize=8)
def _headings(words: Words) -> tuple[tuple[re.Pattern[str], ...], list[str]]:
    """Return what a heading looks like, with a group per label, and the sections in the order of the groups.

    At the start of a line; within one, where a label has its capital, or stands after a sentence (this pattern has the
    groups twice); and at the start of a line with something else than a colon after it.
    """
    longest_first = sorted(zip(words.labels, SECTIONS, strict=True), key=lambda pair: -len(pair[0]))
    labels = "|".join(f"({label_pattern(label)})" for label, _ in longest_first)
    # What stands before a label is no part of one, so there is nothing to try again in a long run of it (`*+`).
    signs = _SIGNS if any(not label[:1].isalnum() for label in words.labels) else _SIGNS + "+"
    bold = r"(?:(?<=\*\*[ \t])|(?<=\u3011[ \t]))(?:[-\u2013\u2014=\u2192|]+[ \t]+)?(?=\S)"
    end = rf"{_GLOSS}{_CLOSING}(?:[:\uff1a][ \t*_~]*|[ \t]*$|{bold})"
    start = rf"^{signs}(?:{_NUMBER}{signs})?(?:{labels})"
    at_lines = re.compile(start + end, re.MULTILINE | re.IGNORECASE)
    loosely = re.compile(start + _GLOSS + _CLOSING + _LOOSE, re.MULTILINE | re.IGNORECASE)
    within = rf"{_CLOSING}[:\uff1a][ \t*_~]*"
    in_lines = re.compile(
        rf"(?:^|(?<=[.!?;。)\]][ \t]))[*_]*+(?i:{labels}){within}|(?<=\s)[*_~\[\u3010]*+(?:{labels}){within}"
    )
    return (at_lines, in_lines, loosely), [name for _, name in longest_first]


def _sections(text: str, words: Words) -> dict[str, str]:
    """Split at headings; what stands before the first one is the stimulus that the prefix began."""
    labels = "|".join(map(label_pattern, words.labels))
    text = without_closing(answer(text, rf"(?:{labels})\W{{0,4}}[:\uff1a]"), labels)
    text = _EMPTY_LINES.sub("\n\n\n", text)
    from_object = _object(text, words)
    if from_object:
        return from_object
    patterns, order = _headings(words)
    headings, *others = (
        [(order[((match.lastindex or 1) - 1) % len(order)], match) for match in pattern.finditer(text)]
        for pattern in patterns
    )
    within, loosely = others  # some or all of it on one line; without colons
    num_names = len({name for name, _ in headings})
    if len({name for name, _ in within}) >= max(_IN_LINE, 1 + num_names):
        headings = within
    elif len({name for name, _ in loosely}) >= _IN_LINE + num_names:
        headings = loosely
    starts = [("stimulus", 0), *((name, match.end()) for name, match in headings)]
    ends = [match.start() for _, match in headings] + [len(text)]
    found: dict[str, str] = {}
    for (section, start), end in zip(starts, ends, strict=True):
        if section == "behavior":
            break
        content = text[start:end].strip().removesuffix("|").rstrip()
        if _WORD.search(content):  # the brace of an object that was cut off is no stimulus
            found.setdefault(section, content)
    return found


def _prose(text: str | None) -> str | None:
    """Return a section's text without the half of a pair of marks that stood around it and its label."""
    plain = (text or "")[:MAX_SECTION_CHARS].strip()
    quoted = plain.removesuffix(",")
    if len(quoted) > 1 and quoted[0] == quoted[-1] == '"' and quoted.count('"') == 2:  # noqa: PLR2004 - a pair
        return quoted[1:-1].strip() or None
    mark = next((mark for mark in ("**", "__", "~~", "`") if plain.endswith(mark)), "")
    if mark and plain.count(mark) % 2:
        plain = plain.removesuffix(mark).rstrip()
    return plain or None


def _object(text: str, words: Words) -> dict[str, str]:
    """Read a completion that is a JSON object with the labels as keys, alone or below other text; {} if it is none."""
    start = text.find("{")
    if start < 0:
        return {}
    labels = {key(label): section for label, section in zip(words.labels, SECTIONS, strict=True)}
    found: dict[str, str] = {}
    for name, value in _pairs(_json(text, start), labels):
        section = labels[name]
        plain = _HALF.sub("\ufffd", _plain(value)).strip()
        if plain and section != "behavior":
            found.setdefault(section, plain)
    is_alone = not text[:start].strip(" \t\r\n:*")
    return found if is_alone or len(found) >= _IN_OBJECT else {}


def _json(text: str, start: int) -> object:
    """Return the JSON value that begins there, also one with a comma too many or Python's quotes; None for none."""
    spellings: list[Callable[[], str]] = [lambda: text, lambda: _COMMA.sub("", text)]
    if '"' not in text:
        spellings.append(lambda: text.replace("'", '"'))
    for spelling in spellings:
        try:
            return json.JSONDecoder().raw_decode(spelling(), start)[0]
        except (ValueError, RecursionError):  # no JSON, cut short, or nested too deep to be an answer
            continue
    return None


def _pairs(content: object, labels: Mapping[str, str], depth: int = 0) -> Iterator[tuple[str, object]]:
    """Yield the sections of an object by their labels' keys, also of objects within, such as a thought."""
    if not isinstance(content, dict) or depth > _IN_OBJECT:
        return
    for name, value in content.items():
        label = key(_CAMEL.sub(" ", _KEY_NUMBER.sub("", name)))
        inside = [(f"{label} {key(part)}", inner) for part, inner in value.items()] if isinstance(value, dict) else []
        parts = [one for one in inside if one[0] in labels]
        if labels.get(label, "thought") == "thought":
            yield from _pairs(value, labels, depth + 1)
        elif parts:  # a section and its factors or style in one object
            yield from [(label, text) for part, text in inside if part not in labels][:1]
            yield from parts
        else:
            yield label, value


def _plain(value: object) -> str:
    """Return a value of a JSON object as the model would have written it in a line."""
    match value:
        case str():
            return value
        case list():
            return ", ".join(json.dumps(part, ensure_ascii=False) if isinstance(part, list) else _plain(part)
                             for part in value)  # fmt: skip
        case dict():
            return _plain_object(value)
        case None:
            return ""
        case _:
            return str(value)


def _plain_object(value: Mapping[str, object]) -> str:
    """Return a list to tick, a factor with its reason, or groups with their factors."""
    if value and all(isinstance(inner, bool) for inner in value.values()):
        return ", ".join(name for name, inner in value.items() if inner)
    named = next((inner for name, inner in value.items() if key(name) in _NAMES), None)
    if isinstance(named, str):
        return named
    return "; ".join(f"{name} ({json.dumps(inner, ensure_ascii=False).strip('[]')})" for name, inner in value.items())


def _status(sections: dict[str, str]) -> ParseStatus:
    wanted = [section for section in SECTIONS if section not in {"thought", "behavior"}]
    present = sum(section in sections for section in wanted)
    if present == len(wanted):
        return ParseStatus.COMPLETE
    return ParseStatus.PARTIAL if present else ParseStatus.NONE
