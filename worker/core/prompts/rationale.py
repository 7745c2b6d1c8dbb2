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
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from worker.core.prompts.vocabulary import REFERENCE, SECTIONS, Words

MAX_SECTION_CHARS = 4_000
MAX_READ_CHARS = 220_000  # of a completion, 40 ms at worst: 8,192 tokens, the most there are, may be a million blanks
MAX_FACTORS = 20
_IN_LINE = 3  # labels after sentences make a text of one line a rationale; one or two may be words
_IN_OBJECT = 3  # sections in an object below other text make it the answer
_STYLE_WORDS = 6  # of a short phrase around one style, "mostly logical"
_MARKS = " \t*#_>•·-\u2013—\"'`{"  # before a label: bullets, emphasis, quotes
_AROUND = " .。*_-\u2013—•·>[]【】{}\"'“”\u2018\u2019「」`\t\r"  # around a factor or a style
_FENCE = re.compile(r"^[ \t]*+```\w*[ \t\r]*$", re.MULTILINE)
_THINK = re.compile("</?think>")
_LISTED = re.compile(r"(?:^[ \t>]*+|(?<=[\s,;]))\d{1,2}[.)][ \t]++", re.MULTILINE)  # the number of a part of a list
_TAG = re.compile(r"</?\w{1,10}/?>")
_HALF = re.compile("[\ud800-\udfff]")  # of a character, as JSON may escape it; UTF-8 has none
_QUOTE = re.compile(r"^[ \t]*+>[ \t]?", re.MULTILINE)  # of a text that is quoted as a whole
# Between two factors, and around a gloss or the factors of a group.
_BETWEEN = re.compile(
    r"(->|[,;:\n()\[\]|\u2192\uff0c\u3001\uff1b\uff1a\uff08\uff09\u3010\u3011]|(?<=\s)[-*\u2013\u2014\u2022](?=\s))"
)
_APART = frozenset(",;\uff0c、\uff1b")  # what follows is no part of a group
_AND = re.compile(r"^(?:and|or|&)\s++", re.IGNORECASE)
_JOIN = re.compile(r"/|&|\+|(?<=\s)(?:and|or)(?=\s)", re.IGNORECASE)
_SIGNS = re.compile(r"[\W_]+")
_APOSTROPHE = re.compile("['\u2019]")


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
        other=_limited(tuple(dict.fromkeys(other_stimulus + other_knowledge))),
    )
    return rationale, _status(sections)


def stated_choice(text: str, words: Words = REFERENCE) -> str | None:
    """Return the letter that the text itself names after the behavior's label, or None; only for people to read."""
    found = _choice(words.labels[-1]).search(text[:MAX_READ_CHARS])
    return next(letter for letter in found.groups() if letter).upper() if found else None


@lru_cache(maxsize=8)
def _choice(label: str) -> re.Pattern[str]:
    """Return what names a letter: "Behavior: [B]", "Behavior: I take (B)", "**Behavior:** B"."""
    colon = r"[ \t*_\"'`]*+[:\uff1a]"
    opening, closing = r"\[\u3010\uff3b(\uff08", r"\]\u3011\uff3d)\uff09.:\uff1a"
    bracketed = rf"[^\n{opening}]{{0,80}}[{opening}][ *_\"'`]*([A-Z])[ *_\"'`]*(?:[{closing}]|$)"
    bare = r"[ \t*_\"'`]*+(?:option |choice )?([A-Z])(?=[ \t*_\"'`.,}\]]*+(?:$|[:\uff1a\-\u2013\u2014]))"
    unclosed = r"[ \t]*+\n?\[([A-Z])\b"
    heading = r"[ \t*_]*+\n\s{0,3}\**[\[\u3010\uff3b]([A-Z])\b"  # the letter stands below it
    return re.compile(
        f"{_label(label)}(?:{colon}(?:{bracketed}|{bare}|{unclosed})|{heading})", re.IGNORECASE | re.MULTILINE
    )


def _label(label: str) -> str:
    """Return a pattern of a label: blanks or underscores between its words, with or without a plural's s."""
    *first, last = label.split(" ")
    parts = [re.escape(word) for word in (*first, last.removesuffix("s") if first else last)]
    plain = "[ \t_-]{1,3}".join(parts) + ("s?" if first else "")
    return "Behaviou?r" if label == "Behavior" else plain


@lru_cache(maxsize=8)
def _headings(words: Words) -> tuple[re.Pattern[str], re.Pattern[str], list[str]]:
    """Return what a heading looks like, at the start of a line and after a sentence, with a group per label.

    And the sections in the order of the groups.
    """
    longest_first = sorted(zip(words.labels, SECTIONS, strict=True), key=lambda pair: -len(pair[0]))
    labels = "|".join(f"({_label(label)})" for label, _ in longest_first)
    # What stands before a label is no part of one, so there is nothing to try again in a long run of it (`*+`).
    possessive = "" if any(label[:1] in _MARKS for label in words.labels) else "+"
    marks = rf"[{re.escape(_MARKS)}]*{possessive}(?:\(?\d{{1,2}}[.)、][{re.escape(_MARKS)}]*{possessive})?"
    end = "[ \t*_\"'`]*+(?:[:\uff1a][ \t*_]*|$)"
    order = [name for _, name in longest_first]
    at_lines = re.compile(rf"^{marks}(?:{labels}){end}", re.MULTILINE | re.IGNORECASE)
    after_sentences = re.compile(
        rf"(?:^|(?<=[.!?;。)\]][ \t]))[*_]*+(?:{labels})[*_]*+[:\uff1a][ \t*_]*", re.IGNORECASE
    )
    return at_lines, after_sentences, order


def _sections(text: str, words: Words) -> dict[str, str]:
    """Split at headings; what stands before the first one is the stimulus that the prefix began."""
    thought, _, answer = text.rpartition("</think>")  # a model that thinks aloud first: the answer counts
    text = _FENCE.sub("", _THINK.sub("", answer if answer.strip() else thought))
    if text.lstrip().startswith(">"):
        text = _QUOTE.sub("", text)
    from_object = _object(text, words)
    if from_object:
        return from_object
    at_lines, after_sentences, order = _headings(words)
    headings = list(at_lines.finditer(text))
    if not any(match.start() for match in headings):  # all of it on one line
        found_in_line = list(after_sentences.finditer(text))
        headings = found_in_line if len(found_in_line) >= _IN_LINE else headings
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


def _object(text: str, words: Words) -> dict[str, str]:
    """Read a completion that is a JSON object with the labels as keys, alone or below other text; {} if it is none."""
    start = text.find("{")
    if start < 0:
        return {}
    sections = {_key(label): section for label, section in zip(words.labels, SECTIONS, strict=True)}
    found: dict[str, str] = {}
    try:
        content, _ = json.JSONDecoder().raw_decode(text, start)
        thought = next((value for name, value in content.items() if sections.get(_key(name)) == "thought"), None)
        for name, value in [*content.items(), *(thought.items() if isinstance(thought, dict) else ())]:
            section = sections.get(_key(name), "behavior")
            plain = _HALF.sub("\ufffd", _plain(value)).strip()[:MAX_SECTION_CHARS]
            if plain and section != "behavior":
                found.setdefault(section, plain)
    except (ValueError, RecursionError):  # no JSON, cut short, or nested too deep to be an answer
        return {}
    is_alone = not text[:start].strip(" \t\r\n:*")
    return found if is_alone or len(found) >= _IN_OBJECT else {}


def _plain(value: object) -> str:
    """Return a value of a JSON object as the model would have written it in a line."""
    match value:
        case str():
            return value
        case list():
            return ", ".join(json.dumps(part, ensure_ascii=False) if isinstance(part, list) else _plain(part)
                             for part in value)  # fmt: skip
        case dict():
            return "; ".join(f"{name} ({json.dumps(inner, ensure_ascii=False).strip('[]')})"
                             for name, inner in value.items())  # fmt: skip
        case None:
            return ""
        case _:
            return str(value)


def _key(text: str) -> str:
    """Return what two spellings of one name share: letter case, plurals, blanks and signs do not count."""
    plain = _APOSTROPHE.sub("", text).replace("&", " and ").lower()
    return " ".join(word.removesuffix("s") for word in _SIGNS.sub(" ", plain).split())


@lru_cache(maxsize=8)
def _spellings(words: Words) -> dict[str, str]:
    """Return each factor by its key, one with a slash by each of its halves too."""
    every = words.stimulus_factors + words.knowledge_factors
    halves = {_key(half): factor for factor in every if "/" in factor for half in factor.split("/")}
    return halves | {_key(factor): factor for factor in every}


def _factors(text: str, vocabulary: tuple[str, ...], words: Words) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split into known factors, in the vocabulary's spelling, and others as written.

    A factor may come back inside its group, "Internal States (Boredom)" or "Internal States: Boredom", and may hold
    a slash itself; factors may be joined with "and", "&" or a slash.  A factor of the other section and a group that
    names no factor are among the others.
    """
    named: list[str] = []
    groups = {_key(group) for group in words.groups}
    group = ""
    pieces = _BETWEEN.split(_LISTED.sub("\n", _TAG.sub("", text)))
    for raw, after in zip(pieces[::2], [*pieces[1::2], ","], strict=True):
        word = _AND.sub("", raw.strip(_AROUND)).strip(_AROUND)
        if not word:
            if group and after in _APART:
                named, group = [*named, group], ""
            continue
        if group and _key(word) in groups:
            named.append(group)
        group = ""
        if _key(word) not in groups:
            named.extend(_joined(word, _spellings(words)))
        elif after in _APART:
            named.append(word)
        else:
            group = word
    unique = dict.fromkeys([*named, group] if group else named)
    known = tuple(name for name in unique if name in vocabulary)
    return known[:MAX_FACTORS], tuple(name for name in unique if name not in vocabulary)


def _joined(word: str, spelling: dict[str, str]) -> list[str]:
    """Return the factors that stand in a word with "and", "&" or a slash between them; the word if there is none."""
    if _key(word) in spelling:
        return [spelling[_key(word)]]
    parts = _JOIN.split(word)
    if not any(_key(part) in spelling for part in parts):
        return [word]
    return [spelling.get(_key(part), part.strip()) for part in parts if part.strip()]


def _limited(others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts that fit; the last one says how many were dropped."""
    if len(others) <= MAX_FACTORS:
        return others
    return (*others[: MAX_FACTORS - 1], f"and {len(others) - MAX_FACTORS + 1} more")


def _style(text: str, styles: tuple[str, ...]) -> str | None:
    """Return the style, in the vocabulary's spelling, that the text starts with or that a phrase has; else the text.

    >>> [_style(text, ("Logical", "Intuitive")) for text in ('"logical", as ever', "Mostly logical.", "not logical")]
    ['Logical', 'Logical', 'not logical']
    """
    plain = text.strip(_AROUND)
    said = plain.lower()
    named = [style for style in styles if said.startswith(style.lower())]
    spoken = said.split()
    if not named and len(spoken) <= _STYLE_WORDS and not {"not", "less", "no", "rather"} & set(spoken):
        named = [style for style in styles if style.lower() in (word.strip(_AROUND + ",;:") for word in spoken)]
        named = named if len(named) == 1 else []
    return next(iter(named), plain) or None


def _status(sections: dict[str, str]) -> ParseStatus:
    wanted = [section for section in SECTIONS if section not in {"thought", "behavior"}]
    present = sum(section in sections for section in wanted)
    if present == len(wanted):
        return ParseStatus.COMPLETE
    return ParseStatus.PARTIAL if present else ParseStatus.NONE
