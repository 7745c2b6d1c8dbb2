r"""Which letter a completion names, for people to read: the choice itself comes from the letters' probabilities.

    Behavior: [B]      Behavior: I would choose B      Behavior: B, the comedy      ## Behavior\n[B] Heat
    I choose [B].      **B**       in the last line, where no label stands

A wrong letter is worse than none: a text that names two, or a range of them, names none, and what it says not to take
does not count.

>>> [stated_letter(text, "Behavior") for text in ("Behavior: not [A] but [B]", "Behavior: [A] or [B]", "A comedy.")]
['B', None, None]
"""

import re
from functools import lru_cache

from worker.core.prompts.completion import label_pattern

_DRESS = " \t*_\"'`~\u201c\u201d\u2018\u2019«»>#•·-\u2013—"  # around a statement: emphasis, quotes, bullets
_OPENING, _CLOSING = "[({<【", "])}>】"
_WORDS = r"(?:the\s+)?(?:option|choice|item|letter|number)?\s*"
_BRACKETED = re.compile(
    rf"[{re.escape(_OPENING)}][\s*_\"'`]*{_WORDS}([A-Z])[\s*_\"'`]*(?:[{re.escape(_CLOSING)}.:]|$)", re.IGNORECASE
)
_RANGE = re.compile(rf"[{re.escape(_OPENING)}]\s*[A-Z]\s*[-\u2013—,/&]\s*[A-Z]\b")
_TAKING = (
    r"(?:my\s+(?:choice|pick|answer)\s+is|(?:i(?:['\u2019](?:d|ll|m))?\s+)?(?:would\s+|will\s+|am\s+going\s+to\s+)?(?:likely\s+|most\s+likely\s+)?"
    r"(?:choose|pick|select|take|want|prefer|click(?:\s+on)?|watch|read|play|buy|open|go\s+(?:with|for)))\s+"
)
_BARE = re.compile(
    rf"(?P<taking>{_TAKING})?{_WORDS}(?P<letter>[A-Z])(?![\w'\u2019])"
    r"(?=[\s*_\"'`»\u201d]*(?:$|[.,;:!?)\]}\-\u2013—(\uff08]|(?:because|since|as|for|due|over)\b))",
    re.IGNORECASE,
)
_REJECTED = re.compile(
    r"(?:\bnot|\bnever|n['\u2019]t|\binstead\s+of|\brather\s+than|\bover|\bthan)\s+(?:\w+\s+){0,3}?"
    rf"[{re.escape(_OPENING)}*_\"' ]*{_WORDS}\b([A-Z])\b[{re.escape(_CLOSING)}*_\"']*",
    re.IGNORECASE,
)
_SHORT = 80  # characters of a last line that can be a choice without a label
_READ = 400  # characters of a statement


def stated_letter(text: str, label: str) -> str | None:
    """Return the letter after the last label that stands at a line's start, else after any, else in the last line.

    `text` is an answer as `completion.answer` gives it.
    """
    at_line, anywhere = _labels(label)
    found = list(at_line.finditer(text)) or list(anywhere.finditer(text))
    if found:
        rest = text[found[-1].end() :].lstrip(" \t*_\"'`~:\uff1a>|")
        return _letter(rest[:_READ], labelled=True)
    last = text.rstrip()[-_SHORT - 1 :].rpartition("\n")[2]
    return _letter(last, labelled=False) if len(last) <= _SHORT else None


@lru_cache(maxsize=8)
def _labels(label: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return the label at a line's start, with what may stand before it, and anywhere; both with what follows it."""
    name = label_pattern(label)
    # A quoted key of JSON, a bold label, a heading whose statement stands in the line below.
    after = r"[ \t*_\"'`~\])】>]*+(?:[:\uff1a=|\u2192]|is\b|[-\u2013—]|(?<=>)|$)"
    return (
        re.compile(rf"^[^\w\n]*+(?:\d{{1,2}}[.)][^\w\n]*+)?{name}{after}", re.IGNORECASE | re.MULTILINE),
        re.compile(rf"(?<![\w]){name}[ \t*_\"'`~\])】]*+[:\uff1a]", re.IGNORECASE),
    )


def _letter(statement: str, *, labelled: bool) -> str | None:
    """Return the letter that a statement names; it ends at the next line that is not blank."""
    line = next((one for one in statement.split("\n") if one.strip(_DRESS + "[({ ")), "").strip()
    if _RANGE.search(line):
        return None
    rejected = {found.upper() for found in _REJECTED.findall(line)}
    bracketed = {found.upper() for found in _BRACKETED.findall(line)} - rejected
    if bracketed:
        return bracketed.pop() if len(bracketed) == 1 and (labelled or _is_short_of_words(line)) else None
    plain = line.lstrip(_DRESS + "[({")
    found = _BARE.match(plain)
    if found is None or found["letter"].upper() in rejected or _names_another(plain, found):
        return None
    alone = not plain[found.end() :].strip(_DRESS + ".!?)]}")
    is_upper = found["letter"].isupper() and (alone or found["letter"] != "I")  # "I, who ..." is no option
    if labelled:
        return found["letter"].upper() if is_upper or alone else None
    return found["letter"] if is_upper and (alone or found["taking"]) else None


def _names_another(plain: str, found: re.Match[str]) -> bool:
    """Say whether a second letter follows: "B and C", "B or C"."""
    return re.match(r"[\s,]*(?:and|or|&|/)\s+[\[(]?[A-Z]\b", plain[found.end() :]) is not None


def _is_short_of_words(line: str) -> bool:
    """Say whether a line without a label is a choice: "I would choose [B].", "[B]", and no sentence with a letter."""
    return (
        re.fullmatch(rf"[\s{re.escape(_DRESS)}]*(?:{_TAKING})?[^\w]*{_WORDS}[A-Z][^\w]*", line, re.IGNORECASE)
        is not None
    )
