r"""What a copy of the reference's texts has that this project could not place: headings, option forms, factors.

The worker renders its own layout, shows options as [A], and reads factors by the profile's vocabularies.  What the
imported wording says differently is told, so that nobody has to compare two files.

>>> text = "Stimulus Factors: from: Internal States (Boredom, Sunk Cost)\nBehavior: (A), (B)"
>>> unplaced({"default": text}, ["Boredom"], ["Internal States"])
('factor Sunk Cost', 'option form (A)')
"""

import re
from collections.abc import Iterable, Iterator, Mapping

_HEADING = re.compile(r"^#+ .*\S", re.MULTILINE)
# "Factors: ... from: a (b, c), d" and "Style: ... such as a, b", to the end of the line or of the bracket around it.
_LIST = re.compile(r"(?:Factors|Style)\**:[^\n]*?(?:\bfrom:|\bsuch as)\s*([^\n\]]+)")
PLACE = re.compile(r"\{\w*\}")
_BETWEEN = re.compile(r"[(),;]|\s(?:and|or)\s")
_ANSWER = re.compile(r"^[ \t]*Behavior:([^\n]*)", re.MULTILINE)
MAX_FORM_CHARS = 40  # of a form that is told
_AROUND = " .*_\"'\u201c\u201d"
# Ways to name an option other than [A]: what stands before and after; where A and B do so, or 1 and 2, it is one.
_WORDS = ("Option ", "Item ", "Candidate ", "Choice ", "Answer ")
_FORMS = (("(", ")"), ("<", ">"), ("{", "}"), ("", ")"), *((word, "") for word in _WORDS))
_NUMBERED = (("[", "]"), *_FORMS)
_NAMES = ((_FORMS, "A", "B"), (_NUMBERED, "1", "2"), (_NUMBERED, "0", "1"), (_NUMBERED, "a", "b"))


def headings(layout: str) -> tuple[str, ...]:
    """Return a layout's headings, in order."""
    return tuple(_HEADING.findall(layout))


def unplaced(system: Mapping[str, str], vocabulary: Iterable[str], groups: Iterable[str]) -> tuple[str, ...]:
    """Return what the system texts name and the worker does not know, as words for people."""
    known = {name.casefold() for name in (*vocabulary, *groups)}
    named = [name for text in system.values() for name in _named(text)]
    found = [f"factor {name}" for name in named if name.casefold() not in known]
    found += [f"option form {form}" for text in system.values() for form in _other_forms(text)]
    if not any(one.startswith("option form") for one in found):
        found += list(_answer_form(system.get("default", "")))
    return tuple(dict.fromkeys(found))


def _answer_form(text: str) -> Iterator[str]:
    """Yield how a text wants the choice written, if that is not "Behavior: [X]", which is what the worker asks for."""
    forms = [found[1].strip() for found in _ANSWER.finditer(text)]
    if not forms:
        yield "no line that begins with Behavior:"
    elif not any(form.startswith("[") for form in forms):
        yield f"option form {forms[0][:MAX_FORM_CHARS]}"


def _named(text: str) -> Iterator[str]:
    """Yield the factors, groups and styles that lists in a text name."""
    for listed in _LIST.finditer(text):
        for name in _BETWEEN.split(listed[1]):
            if plain := re.sub(r"^(?:and|or) ", "", name.strip(_AROUND)):
                yield plain


def _other_forms(text: str) -> Iterator[str]:
    for forms, first, second in _NAMES:
        for before, after in forms:
            if all(_stands(before + name + after, text) for name in (first, second)):
                yield f"{before}{first}{after}"


def _stands(form: str, text: str) -> bool:
    """Say whether a form stands in a text by itself: "A)" is no part of "(A)", nor "Option A" of "Option About"."""
    return re.search(rf"(?<![\w(\[<{{]){re.escape(form)}(?!\w)", text) is not None


def unknown_layout(texts: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the headings of texts that are layouts of a message, with a place and headings, none of them `known`."""
    ours = set(known)
    layouts = [headings(text) for text in texts if PLACE.search(text)]
    return tuple(dict.fromkeys(f"heading {one}" for found in layouts if not ours & set(found) for one in found))
