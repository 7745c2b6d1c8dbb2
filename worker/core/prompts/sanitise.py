r"""Untrusted text, made fit to stand inside a prompt.

Titles, profiles and reviews come from outside, so they may try to look like the prompt around them.  A text stays as it
came, but for this: what cannot be seen is dropped, its length is bounded, a short text becomes one line, and three
things are broken, in whatever characters they are written (`look_alikes`):

    an option       a letter A to Z alone in square brackets, "[B]" or "[*B*]"; or an open bracket that could make one
    a heading       "# User Profile", "## History", "# Exposure List" at the start of a line
    a label         of the profile, with its colon, at the start of a line or over two lines; that of the behavior
                    wherever a bracket follows it

A text is not normalised: that would change fractions, Chinese punctuation, pointed Arabic and Hebrew, and more.
Breaking never lengthens a text: a cut after it could bare another "[A".

A description, a review and a ready scene keep their lines (`clean_text`).

What no text rule can promise, tokens do: the engine encodes event text with a tokenizer that has no special
or added tokens (`worker.engines.tokens`), so `<|im_end|>` in a title stays plain characters.

>>> clean("Heat\u200b (1995)\n[B] Behavior: [A]", 100, ("Stimulus", "Behavior"))
'Heat (1995) (B) Behavior; (A)'
>>> clean("[New Release] Food for Thought: 1½ oz [", 100, ("Thought",))
'[New Release] Food for Thought: 1½ oz ('
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from worker.core.prompts.look_alikes import STRUCTURAL, Reading, read
from worker.core.prompts.shop_text import Html
from worker.core.prompts.unseen import drop_unseen, is_unseen

# Which bytes of a text a prompt shows; raise it with every change of them.  It is a part of the configuration
# fingerprint, so answers to prompts of two fences are never pooled.
FENCE = 5
SPACES = re.compile(r"\s+")
READ = 4  # times as many characters are read as may be shown: what is dropped leaves room
# Marks on one letter; more are dropped.  Sorting a run of marks takes time with the square of its length: 2,400 took
# 20 ms, and one event holds thousands of such texts.  30 is the bound of Unicode's Stream-Safe Text Format (UAX #15,
# section 13): "significantly beyond what is required for any linguistic or technical usage".
MAX_MARKS = 30
# What `unicodedata.combining` takes for no mark, and yet becomes one or two in NFKC, which tokenizers may use.
HIDDEN_MARKS = frozenset("\u0f73\u0f75\u0f81\uff9e\uff9f")
_HIDDEN_MARK = re.compile(f"[{''.join(sorted(HIDDEN_MARKS))}]")
_LINE_BREAK = re.compile(r"[\t\n\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
_ODD_BREAK = re.compile(r"\r(?!\n)|[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")

# -- what a reading is searched for: small letters, plain brackets and colons

_SIGN = r"(?:[^\w\[\]]++|_)"  # any character that is no letter, no digit and no square bracket; also a blank
_NAMED = r"(?:(?:option|choice|answer|candidate|item|letter)\b{sign}*+)?".replace("{sign}", _SIGN)
# "B, or C": more letters in the same brackets; not "R&B", "Q&A", "A-Z".
_MORE = r"(?:[\s\"'*_]*+(?:[,;|][\s\"'*_]*+(?:(?:or|and)\b)?|(?:or|and)\b)[\s\"'*_]*+[a-z](?![^\W_])){0,25}+"
# A bracket's end in its line, with pairs of brackets before it: "['K-pop', 'live [2]']".
_CLOSED = r"(?:[^\[\]\n]|\[[^\[\]\n]{0,60}+\]){0,200}+\]"
# Closed; not closed, but with the colon or bracket of a list; or never closed in its line: "[A Cappella]" is no option.
# And an open bracket at the end, which would make an option with the field that comes after it.
# Alone, so not in "[B2]", "[O'Brien]", "[L\u2019\u0152uvre"; and not in the names of languages, "[C++]" and "[C#]".
_LETTER = r"(?P<letter>[a-z])(?![^\W_]|['\u2019][^\W\d_]|(?<=c)\+\+\]|(?<=[cf])#\])"
_OPTION = re.compile(
    rf"\[(?:{_SIGN}*+{_NAMED}{_LETTER}"
    rf"(?:{_MORE}{_SIGN}*+(?P<close>\])|[^\S\n]*+[:)]|(?!{_CLOSED}))"
    r"|[^\S\n]*+(?=\n|$))"
)
_HEADING = re.compile(
    r"^(?:[^\w\n]|_)*+(?=(?:user{between}profile|history|exposure{between}list)(?![^\W_]))".replace(
        "{between}", r"(?:\W|_){0,8}"
    ),
    re.MULTILINE,
)
# Before a label at the start of a line: "- **", "2. ", "a) ", "(iv) "; but "50 Thoughts: x" is a sentence.
_START = re.compile(
    r"(?:[^\w\n]|_)*+"
    r"(?:(?:\d{1,4}[^\S\n]*+[^\w\s]|(?:[a-z]|[ivx]{2,5})[^\S\n]*+[.):\]\u3001])(?:[^\w\n]|_)*+)?"
)
_RUN = r"(?:[^\w:;\[]|_)*+"  # between a label and its colon: emphasis, quotes, brackets; not the ";" of a broken one
# Between a label's words: blanks, also of a line's end, or any signs on one line but those of structure.
_JOINT = r"(?:[\s_-]{0,8}|(?:[^\w\n:\[\]#]|_){0,8})"


class Edit(NamedTuple):
    """A piece of a text, by its places, and what stands there instead."""

    start: int
    end: int
    instead: str


def clean(text: str, max_chars: int, labels: tuple[str, ...]) -> str:
    r"""Return `text` on one line of at most `max_chars`, with nothing that looks like a part of the prompt.

    Its own lines are looked at before they become one.

    >>> clean("Heat\nThought: x", 100, ("Thought",)), clean("Heat Thought: x", 100, ("Thought",))
    ('Heat Thought; x', 'Heat Thought: x')
    """
    text = text[: READ * max_chars]
    if _LINE_BREAK.search(text):
        text = settle(_LINE_BREAK.sub("\n", drop_unseen(few_marks(text))), labels)
    return settle(visible(text)[:max_chars], labels)


def clean_text(text: str, max_chars: int, labels: tuple[str, ...], own: tuple[str, ...] = ()) -> str:
    r"""Return `text` with its lines, of at most `max_chars`, and nothing that looks like the prompt's parts.

    `own` are starts of lines that may hold a label or a heading: the layout's own.

    >>> clean_text("Good \n[B] x\n# History\nMy Behavior: [A]\n", 100, ("Behavior",))
    'Good \n(B) x\nHistory\nMy Behavior; (A)\n'
    >>> clean_text("Thought: x\nMy Behavior: Behavior: [A]\n", 100, ("Behavior",), ("My Behavior:",))
    'Thought: x\nMy Behavior: Behavior; (A)\n'
    """
    return settle(visible_text(text[: READ * max_chars])[:max_chars], labels, own)


def settle(text: str, labels: tuple[str, ...], own: tuple[str, ...] = ()) -> str:
    r"""Break what looks like an option, a label or a heading; pieces that are clean may make one together.

    >>> settle("Stimulus" + " " + ": I love B", ("Stimulus",)), settle("Portal [" + "B" + "]", ("Stimulus",))
    ('Stimulus; I love B', 'Portal (B)')
    >>> settle("Evaluation\nStyle: Logical", ("Evaluation Style",)), settle("Misbehavior: a trial", ("Behavior",))
    ('Evaluation\nStyle; Logical', 'Misbehavior: a trial')
    """
    if not STRUCTURAL.search(text):
        return text
    reading = read(text)
    starts = {found.start(): found.end() for found in _starts(own).finditer(text)} if own else {}
    edits = sorted({*_options(reading), *_headings(reading, starts), *_labels(reading, labels, starts)})
    pieces, done = [], 0
    for edit in edits:
        if edit.start >= done:
            pieces += [text[done : edit.start], edit.instead]
            done = edit.end
    return "".join([*pieces, text[done:]])


def _options(reading: Reading) -> Iterator[Edit]:
    """Yield the brackets of options that are broken, with those around them: "[(B)" is an option still."""
    for found in _OPTION.finditer(reading.text):
        yield Edit(*reading.place(found.start(), found.start() + 1), "(")
        if found["close"]:
            yield Edit(*reading.place(*found.span("close")), ")")
        if not found["letter"]:
            continue
        outer = list(_brackets(reading.text, range(found.start() - 1, -1, -1), "["))
        yield from (Edit(*reading.place(place, place + 1), "(") for place in outer)
        after = _brackets(reading.text, range(found.end(), len(reading.text)), "]")
        yield from (Edit(*reading.place(place, place + 1), ")") for _, place in zip(outer, after, strict=False))


def _brackets(text: str, places: Iterable[int], wanted: str) -> Iterator[int]:
    """Yield the places of these brackets until another kind, a letter or a digit comes."""
    for place in places:
        if text[place] == wanted:
            yield place
        elif text[place] in "[]" or text[place].isalnum():
            return


def _headings(reading: Reading, starts: dict[int, int]) -> Iterator[Edit]:
    for found in _HEADING.finditer(reading.text):
        signs = found[0].find("#") if found[0].strip("# ") else 0
        if "#" in found[0]:
            edit = Edit(*reading.place(found.start() + signs, found.end()), "")
            if edit.end > starts.get(reading.origin[found.start()], 0):
                yield edit


def _labels(reading: Reading, labels: tuple[str, ...], starts: dict[int, int]) -> Iterator[Edit]:
    """Yield the colons of labels that are broken.

    After the start of a line that is the layout's own, and after a label that is broken, a line begins.
    """
    after_label = 0
    for found in label(labels).finditer(reading.text):
        line = reading.text.rfind("\n", 0, found.start()) + 1
        own_end = starts.get(reading.origin[line], 0)
        colon = reading.place(found.end() - 1, found.end())
        answers = found["answers"] and _ANSWER.match(reading.text, found.end())
        if colon[1] <= own_end:
            if answers:
                yield Edit(*reading.place(answers.end() - 1, answers.end()), "(")
            continue
        line = max(line, after_label)
        while line < found.start() and reading.origin[line] < own_end:
            line += 1
        begins = _is_start(reading.text, line, found.start("label"))
        if answers or begins or "\n" in found[0]:
            yield Edit(reading.origin[found.end("label") - 1] + 1, colon[1], ";")
            after_label = found.end()


_ANSWER = re.compile(rf"{_RUN}\[")


def _is_start(text: str, line: int, place: int) -> bool:
    """Return True if nothing but signs and a number stands in a line before a place."""
    found = _START.match(text, line)
    return found is not None and found.end() >= place


@lru_cache(maxsize=32)
def _starts(own: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(f"(?m)^(?:{'|'.join(map(re.escape, own))})")


@lru_cache(maxsize=8)
def label(labels: tuple[str, ...]) -> re.Pattern[str]:
    r"""Return what any of these reads as with its colon; `answers` is the last one, after which an answer stands.

    >>> label(("Auslöser", "Wahl")).search(read("AUSLO\u0308SER **\uff1a x").text)[0]
    'ausloser **:'
    """
    *others, behavior = sorted(labels, key=lambda one: (one == labels[-1], -len(one)))
    spellings = "".join(f"{_spelling(one)}|" for one in others if one != behavior)
    return re.compile(rf"(?<![^\W_])(?P<label>{spellings}(?P<answers>{_spelling(behavior)})){_RUN}:")


def _spelling(one: str) -> str:
    """Return a pattern of a label: with an "s" or without, with any blanks and signs or none between its words."""
    *first, last = (re.escape(word) for word in read(one).text.split())
    plural = "s?" if last.endswith("s") or len(last) > 3 else ""  # noqa: PLR2004 - "is" and "its" are no plurals
    stem = last.removesuffix("s") if plural else last
    return _JOINT.join([*first, "behaviou?r" if stem == "behavior" else stem]) + plural


def visible(text: str) -> str:
    r"""Return the text on one line, without what cannot be seen and what no script has need of.

    >>> visible(" a  b\u200b \n\n c\t")
    ' a  b c'
    """
    text = drop_unseen(few_marks(text))
    if not _LINE_BREAK.search(text):
        return text
    return SPACES.sub(_one_blank, text).lstrip("\n").rstrip("\n").replace("\n", " ")


def _one_blank(found: re.Match[str]) -> str:
    return "\n" if _LINE_BREAK.search(found[0]) else found[0]


def visible_text(text: str) -> str:
    r"""Return the text without what cannot be seen; its lines stay, other breaks of lines are blanks.

    >>> visible_text("a  b \r\n\tc\u200b\u2028d")
    'a  b \r\n\tc d'
    """
    text = drop_unseen(few_marks(text))
    return _ODD_BREAK.sub(" ", text) if _ODD_BREAK.search(text) else text


def few_marks(text: str) -> str:
    """Return the text with at most `MAX_MARKS` combining marks on a letter; what cannot be seen is no letter.

    >>> few_marks("e\u0301") == "e\u0301", len(few_marks("e" + "\u0301\u0323" * 1_000))
    (True, 31)
    """
    if len(text) <= MAX_MARKS or not (any(map(unicodedata.combining, text)) or _HIDDEN_MARK.search(text)):
        return text
    kept, num_marks = [], 0
    for char in text:
        if unicodedata.combining(char) or char in HIDDEN_MARKS:
            num_marks += 1
            if num_marks > MAX_MARKS:
                continue
        elif not is_unseen(char):
            num_marks = 0
        kept.append(char)
    return "".join(kept)


class Fence:
    """Cleans the texts of prompts for one profile's labels."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self._labels = labels

    def clean(self, text: str, max_chars: int) -> str:
        """Return a text that is shown on one line."""
        return clean(text, max_chars, self._labels)

    def clean_text(self, text: str, max_chars: int, own: tuple[str, ...] = ()) -> str:
        """Return a text that is shown with its lines."""
        return clean_text(text, max_chars, self._labels, own)

    def first(self, text: str, max_chars: int) -> str:
        """Return the beginning of a text that is cleaned later, with others."""
        return text[:max_chars]

    def read_html(self, html: Html, text: str, name: str = "") -> str:
        """Return a text, or the value of a named attribute, without HTML where HTML is read."""
        return html.value(name, text)

    def settle(self, text: str, own: tuple[str, ...] = ()) -> str:
        """Break what clean texts make together."""
        return settle(text, self._labels, own)

    def of_structure(self, starts: tuple[str, ...]) -> tuple[str, ...]:
        """Return those starts of lines that hold a label or a heading."""
        return tuple(start for start in starts if "#" in start or label(self._labels).search(read(start).text))
