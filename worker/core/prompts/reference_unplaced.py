r"""What a copy of the reference's texts has that this project could not place: headings, option forms, factors.

The worker renders its own layout, shows options as [A], and reads factors by the profile's vocabularies.  What the
imported wording says differently is told, so that nobody has to compare two files.

>>> text = "Stimulus Factors from Internal States (Boredom, Sunk Cost)\nEvaluation Style: free\nBehavior: (A), (B)"
>>> vocabularies = {"stimulus_factors": ["Boredom"], "evaluation_styles": ["Logical"]}
>>> unplaced({"default": text}, vocabularies, ["Internal States"])
('factor Sunk Cost', 'no evaluation styles that are known', 'option form (A)')
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from worker.core.prompts.reference_lists import listed

_HEADING = re.compile(r"^#+ .*\S", re.MULTILINE)
PLACE = re.compile(r"\{\w*\}")
_ANSWER = re.compile(r"^[ \t]*Behavior:([^\n]*)", re.MULTILINE)
MAX_FORM_CHARS = 40  # of a form that is told
# Ways to name an option other than [A]: what stands before and after; where A and B do so, or 1 and 2, it is one.
_WORDS = ("Option ", "Item ", "Candidate ", "Choice ", "Answer ")
_FORMS = (("(", ")"), ("<", ">"), ("{", "}"), ("", ")"), *((word, "") for word in _WORDS))
_NUMBERED = (("[", "]"), *_FORMS)
_NAMES = ((_FORMS, "A", "B"), (_NUMBERED, "1", "2"), (_NUMBERED, "0", "1"), (_NUMBERED, "a", "b"))


def headings(layout: str) -> tuple[str, ...]:
    """Return a layout's headings, in order."""
    return tuple(_HEADING.findall(layout))


def unplaced(
    system: Mapping[str, str],
    vocabularies: Mapping[str, Sequence[str]],
    groups: Iterable[str],
    labels: Iterable[str] = (),
) -> tuple[str, ...]:
    """Return what the system texts name and the worker does not know, as words for people.

    A vocabulary of which no list names a word is told, too: its list may be written in a form that is not read.
    """
    kinds = {kind: {name.casefold() for name in names} for kind, names in vocabularies.items()}
    known = {name.casefold() for name in groups}.union(*kinds.values())
    named = [name for text in system.values() for name in listed(text, known)]
    no_factors = known.union(map(str.casefold, labels))
    found = [f"factor {name}" for name in named if name.casefold() not in no_factors]
    listed_names = {name.casefold() for name in named}
    found += [f"no {kind.replace('_', ' ')} that are known" for kind in kinds if not kinds[kind] & listed_names]
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
