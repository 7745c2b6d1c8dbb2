"""Factors and styles of a rationale in the vocabulary's spelling, however a model writes them; others as written."""

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from worker.core.prompts.vocabulary import Words

MAX_FACTORS = 20
MAX_FACTORS_CHARS = 16_000  # of one section, a thousand factors; each is looked at
_STYLE_WORDS, _STYLE_CHARS = 6, 200  # of a short phrase around one style, "mostly logical"
_NOT = frozenset({"not", "less", "no", "rather"})
_AROUND = " .。*_-\u2013—•·<>()[]【】{}\"'\u201c\u201d\u2018\u2019«»「」`~\t\r"  # around a factor or a style
# The number or letter of a part of a list.
_LISTED = re.compile(
    r"(?:^[ \t>]*+|(?<=[\s,;]))(?:\(\d{1,2}\)|\d{1,2}[.)\uff0e]|[①-⑳]|(?<![(\w])[a-z]\))[ \t]*+(?=\D)", re.MULTILINE
)
# Between two factors, and around a gloss or the factors of a group.
_BETWEEN = re.compile(
    r"(->|[,;:\n()\[\]<>|\u2192\uff0c\u3001\uff1b\uff1a\uff08\uff09\u3010\u3011·•—]|(?<=\s)[-*\u2013+](?=\s))"
)
_APART = frozenset(",;\uff0c、\uff1b")  # what follows is no part of a group
_AND = re.compile(r"^(?:and|or|&|as well as|plus)\s++", re.IGNORECASE)
_JOIN = re.compile(r"and/or|/|&|\+|(?<=\s)(?:and|or|plus|as\s+well\s+as)(?=\s)|\.(?=\s)", re.IGNORECASE)
# What may stand before a factor, and is no part of it: "also", "mainly", "a bit of".
_LEAD = re.compile(
    r"^(?:(?:the|an?|my|some|also|then|even|mainly|mostly|primarily|partly|finally|lastly|especially|particularly|perhaps"
    r"|maybe|(?:a\s+)?(?:bit|lot|sense|feeling)\s+of)\s++)+",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:no|not|never|without|lack(?:s|ing)?|less|little|non)\b|n['\u2019]t\b", re.IGNORECASE)
_SIGNS = re.compile(r"[\W_]+")
_APOSTROPHE = re.compile("['\u2019]")


def key(text: str) -> str:
    """Return what two spellings of one name share: letter case, plurals, blanks and signs do not count."""
    plain = _APOSTROPHE.sub("", unicodedata.normalize("NFKC", text)).replace("&", " and ").lower()
    return " ".join(word.removesuffix("s") for word in _SIGNS.sub(" ", plain).split())


@lru_cache(maxsize=8)
def _spellings(words: Words) -> dict[str, str]:
    """Return each factor by its key, one with a slash by each of its halves too."""
    every = words.stimulus_factors + words.knowledge_factors
    halves = {key(half): factor for factor in every if "/" in factor for half in factor.split("/")}
    return halves | {key(factor): factor for factor in every}


def factors(text: str, vocabulary: tuple[str, ...], words: Words) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split into known factors, in the vocabulary's spelling, and others as written.

    A factor may come back inside its group, "Internal States (Boredom)" or "Internal States: Boredom", and may hold
    a slash itself; factors may be joined with "and", "&" or a slash.  A factor of the other section and a group that
    names no factor are among the others.
    """
    spelling, groups = _spellings(words), {key(group) for group in words.groups}
    named: list[str] = []
    group = ""  # one that named no factor yet
    pieces = _BETWEEN.split(_LISTED.sub("\n", text[:MAX_FACTORS_CHARS]))
    for raw, after in zip(pieces[::2], [*pieces[1::2], ","], strict=True):
        word = _AND.sub("", raw.strip(_AROUND)).strip(_AROUND)
        if not any(map(str.isalpha, word)):  # nothing, or a weight, "60%"
            if group and after in _APART:
                named, group = [*named, group], ""
            continue
        parts = _joined(word, spelling, groups)
        if group and key(parts[0]) in groups:
            named.append(group)
        group = ""
        *before, last = parts
        named.extend(before)
        if key(last) in groups and after not in _APART:
            group = last
        else:
            named.append(last)
    unique = dict.fromkeys([*named, group] if group else named)
    known = tuple(name for name in unique if name in vocabulary)
    return known[:MAX_FACTORS], tuple(name for name in unique if name not in vocabulary)


def _joined(word: str, spelling: Mapping[str, str], groups: Collection[str]) -> list[str]:
    """Return the factors and groups that stand in a word with "and", "&" or a slash between; the word if none does.

    A group before one of its factors, "Internal States/Boredom", says nothing more.
    """
    for whole in (key(word), key(_LEAD.sub("", word))):
        if whole in spelling or whole in groups:
            return [spelling.get(whole, word)]
    parts = [part.strip(_AROUND) for part in _JOIN.split(word)]
    keys = [key(_LEAD.sub("", part)) for part in parts]
    if not any(one in spelling or one in groups for one in keys):
        return _said(word, spelling) or [word]
    found = [spelling.get(one, part) for one, part in zip(keys, parts, strict=True) if part]
    named = [one for one in found if key(one) not in groups]
    return named if any(key(one) in spelling for one in named) else found


def _said(phrase: str, spelling: Mapping[str, str]) -> list[str]:
    """Return the factors that a phrase says in their own spelling: "I felt Boredom all day"; none of a denial.

    A name of its own, "Price Sensitivity", is no phrase.
    """
    if not any(word[:1].islower() for word in phrase.split()) or _NEGATED.search(phrase):
        return []
    return list(dict.fromkeys(_names(frozenset(spelling.values())).findall(phrase)))


@lru_cache(maxsize=8)
def _names(factors_named: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(factors_named, key=lambda name: (-len(name), name))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])")


def limited(others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts that fit; the last one says how many were dropped."""
    if len(others) <= MAX_FACTORS:
        return others
    return (*others[: MAX_FACTORS - 1], f"and {len(others) - MAX_FACTORS + 1} more")


def style(text: str, styles: tuple[str, ...]) -> str | None:
    """Return the style, in the vocabulary's spelling, that the text starts with or that a phrase has; else the text.

    >>> [style(text, ("Logical", "Intuitive")) for text in ('"logical", as ever', "Mostly logical.", "not logical")]
    ['Logical', 'Logical', 'not logical']
    """
    plain = text.strip(_AROUND)
    said = unicodedata.normalize("NFKC", plain[:_STYLE_CHARS]).lower()
    spoken = [word.strip(_AROUND + ",;:") for word in said.split()]
    if len(spoken) > _STYLE_WORDS:
        return next((one for one in styles if said.startswith(one.lower())), plain) or None
    named = [one for one in styles if not {one.lower(), f"{one.lower()}ly"}.isdisjoint(spoken)]
    is_said = len(named) == 1 and _NOT.isdisjoint(spoken[: 1 + _place(named[0], spoken)])
    starting = [one for one in styles if said.startswith(one.lower())] if len(named) <= 1 else []
    return named[0] if is_said else next(iter(starting), plain) or None


def _place(style: str, spoken: Sequence[str]) -> int:
    return next(place for place, word in enumerate(spoken) if word.startswith(style.lower()))
