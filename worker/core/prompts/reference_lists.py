r"""The names that a system text lists: factors, their groups and styles, however the list is written.

    Stimulus Factors: [1-3 from: Internal States (Boredom, Sunk Cost)]      after a label
    The Stimulus Factors are Boredom, Hunger and Sunk Cost.                 without a colon
    - Boredom: there is nothing to do                                       a line each, or a row of a table
    Pick among boredom, hunger, sunk cost                                   without a label

A list is known by two names in it that are known; its other names are written as these are, with capitals or without.
After a label two names with capitals are a list, too.

>>> text = "The Stimulus Factors are Boredom, Hunger and Sunk Cost.\n- Price: its cost\n- Risk\n- Hype"
>>> listed(text, {"boredom", "hunger", "price", "risk"})
['Boredom', 'Hunger', 'Sunk Cost', 'Price', 'Risk', 'Hype']
"""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

MAX_WORDS = 5  # of a name; more are a sentence
_TWO = 2  # names that are known, or have capitals after a label, make a list
_LABEL = re.compile(r"(?:factors?|styles?)\b\W*", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'*_])|[\u3002\uff01\uff1f]")
_BETWEEN = re.compile(r"([(),;|\[\]{}\uff08\uff09\uff0c\u3001\uff1b\uff1a]|:(?=\s|$)|\s[\u2013\u2014-]\s)")
_COLONS = frozenset(":\uff1a")
_AND = re.compile(r"\s(?:and|or|and/or)\s")
_JOINED = re.compile(r"\s?[/&+]\s?|\s(?:and|or)\s")  # where one of the names is known
# What stands before the first name of a list: "choose one to three from Boredom".
_LEAD = re.compile(
    r"^.*(?:\b(?:from|among|are|is|as|like|e\.g\.|includ\w+|(?:one|two|three|four|any|some|all|\d)\s+of)|[=\u2192]):?\s+",
    re.IGNORECASE,
)
_INTRODUCED = re.compile(r"\b(?:from:|such as)")  # a list, also of one name
_BULLET = re.compile(r"^[ \t>]*(?:(?:[-*+\u2022\u25cf\u25aa|]|\(?\d{1,2}[.)])[ \t]+)?(?=\S)")
_GLOSS = re.compile(r"\s*(?:[:|(\uff08\uff1a\u2013\u2014]|\s-\s)(.*)")
_NO_NAMES = frozenset({"e.g", "i.e", "etc", "such as", "for example", "so on", "others"})
_AROUND = " .*_\"'\u201c\u201d`\t\r#<>"
_WORD = re.compile(r"\w")


def listed(text: str, known: Collection[str]) -> list[str]:
    """Return the names that a text lists, in order, as written; `known` are names in small letters."""
    lines = text.split("\n")
    found = [name for line in lines for sentence in _SENTENCE.split(line) for name in _in_sentence(sentence, known)]
    found += [name for block in _blocks(lines) for name in _in_block(block, known)]
    return list(dict.fromkeys(found))


def _in_sentence(sentence: str, known: Collection[str]) -> Iterator[str]:
    parts = list(_parts(sentence, known))
    if sum(part.casefold() in known for part in parts) >= _TWO:
        yield from (part for part in parts if _is_name(part, known, parts))
    elif label := _LABEL.search(sentence):
        rest = sentence[label.end() :]
        yield from _with_capitals(_parts(rest, known), at_least=1 if _INTRODUCED.search(rest) else _TWO)


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Yield lines that stand below each other with bullets of one kind, without them; each may be a name."""
    for kind, block in groupby(lines, _kind):
        if kind is not None:
            yield [_BULLET.sub("", line) for line in block]


def _kind(line: str) -> str | None:
    """Return a line's bullet, or its indentation, in which the numbers are alike; None for a blank line."""
    found = _BULLET.match(line)
    return re.sub(r"\d+[.)]", "1.", found[0].replace("(", "")) if found else None


def _in_block(block: Sequence[str], known: Collection[str]) -> Iterator[str]:
    """Yield the names at the beginnings of lines, and those that one names which is not known."""
    heads = [_plain(_GLOSS.sub("", line), known) for line in block]
    if sum(head.casefold() in known for head in heads) < _TWO:
        return
    for line, head in zip(block, heads, strict=True):
        if [*_parts(head, known)] == [head] and _is_name(head, known, heads):
            yield head
            gloss = _GLOSS.search(line)
            if gloss and head.casefold() not in known:
                yield from _with_capitals(_parts(gloss[1], known), at_least=_TWO)


def _parts(text: str, known: Collection[str]) -> Iterator[str]:
    """Yield what stands between the commas and brackets of a text, but for a label at its beginning."""
    pieces = _BETWEEN.split(text)
    for number, (piece, after) in enumerate(zip(pieces[::2], [*pieces[1::2], ""], strict=True)):
        part = _plain(piece, known)
        if part.casefold() in known or not (number == 0 and after in _COLONS):
            yield from _apart(part, known)


def _apart(part: str, known: Collection[str]) -> Iterator[str]:
    """Yield the names that "and", "&" or a slash join, if that is no name itself."""
    if part.casefold() not in known:
        names = [_plain(name, known) for name in _JOINED.split(part)]
        if not any(name.casefold() in known for name in names):
            names = [_plain(name, known) for name in _AND.split(part)]
        yield from names
    else:
        yield part


def _with_capitals(parts: Iterator[str], *, at_least: int) -> list[str]:
    names = [part for part in parts if _is_short(part) and not part[:1].islower()]
    return names if len(names) >= at_least else []


def _is_name(part: str, known: Collection[str], beside: Sequence[str]) -> bool:
    """Say whether a part of a list is a name: known, or written as those beside it that are."""
    if part.casefold() in known:
        return True
    is_small = all(one[:1].islower() for one in beside if one.casefold() in known)
    return _is_short(part) and part[:1].islower() == is_small


def _is_short(part: str) -> bool:
    """Say whether a part may be a name: words, but few, and not what an instruction says of the list."""
    is_name = bool(_WORD.search(part)) and not part[:1].isdigit() and len(part.split()) <= MAX_WORDS
    return is_name and not _LABEL.search(part)


def _plain(part: str, known: Collection[str]) -> str:
    """Return a part without signs around it, and without what leads to it."""
    plain = re.sub(r"^(?:and|or|the) ", "", part.strip(_AROUND))
    if plain.casefold() in known:
        return plain
    return "" if plain in _NO_NAMES else _LEAD.sub("", plain).strip(_AROUND)
