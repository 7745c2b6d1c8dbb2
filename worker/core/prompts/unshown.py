"""Which attributes of an event its prompt does not show, and which texts no reader could judge.

A layout has places for some attributes and no others: `brand` of a product goes to the readout, but the model never
sees it.  Whoever maps events should know; `prompts render`, `check --sample` and the worker's log say it.
"""

import re
from collections.abc import Iterable, Mapping

from worker.core.prompts.attribute_values import OURS, also_shown
from worker.core.prompts.prompt import Profile, fitting
from worker.core.prompts.template import names
from worker.core.records import Impression

_PRINTABLE = re.compile(r"[\w.:-]{1,60}", re.ASCII)
MAX_NAMED = 10
# Digits alone, hexadecimal digits (also a UUID's), or letters mixed with digits: no blank in any of them.
_ID = re.compile(r"\d+|(?=.*\d)[0-9a-fA-F-]{8,}|(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_+/=-]{10,}")
_NUMBER = re.compile(r"[\d.,]+")


def unshown(profile: Profile, impression: Impression) -> dict[str, set[str]]:
    """Return the names of attributes that have no place in the prompt, of the profile, the items and the history.

    An item with a text of its own shows that instead of its attributes, which is no mistake.
    """
    user, found = impression.user, {"profile": set[str](), "items": set[str](), "history": set[str]()}
    if user.profile and user.profile_text is None:
        template = profile.layout(impression.domain).profile
        if names(template) & user.profile.keys():
            found["profile"] = _left(user.profile, template)
    for item in (item for slate in impression.slates for item in slate.items if not item.text):
        found["items"] |= _left(item.attributes, fitting(profile, impression.domain, item.attributes).exposure)
    for past in (entry.item for entry in user.history if not entry.item.text):
        layout = fitting(profile, impression.domain, past.attributes)
        found["history"] |= _left(past.attributes, f"{layout.item}\n{layout.history}")
    return {part: left for part, left in found.items() if left}


def _left(attributes: Mapping[str, str], template: str) -> set[str]:
    shown = names(template)
    return set() if "lines" in shown else attributes.keys() - (shown - OURS) - also_shown(template)


def told(unshown_names: Iterable[str]) -> str:
    """Return names for people; those that are no plain words, which may be anybody's text, are counted.

    >>> told(["color", "brand", "anna@example.org"])
    'brand, color and 1 other'
    """
    every = sorted(unshown_names)
    named = [name for name in every if _PRINTABLE.fullmatch(name)][:MAX_NAMED]
    rest = len(every) - len(named)
    others = f"{rest} other{'s' if rest > 1 else ''}" if rest else ""
    return " and ".join(filter(None, (", ".join(named), others)))


def looks_like_id(text: str, *, numbers: bool) -> bool:
    """Return True for an id or a hash, which says nothing to a reader; `numbers`: bare numbers, too.

    >>> [looks_like_id(text, numbers=True) for text in ("b3d9a0c4", "17282", "B07XJ8C8F5", "Heat", "Fargo (1996)")]
    [True, True, True, False, False]
    """
    return bool(_ID.fullmatch(text.strip())) and (numbers or not _NUMBER.fullmatch(text.strip()))
