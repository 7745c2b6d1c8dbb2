r"""What nobody sees in a text, and what of it scripts and emoji need all the same.

Invisible characters are dropped: they split words, hide text and turn it round.  Some have honest work, and stay there:

    joiners             before and after letters of scripts that join (Persian, Hindi, Khmer), and inside an emoji
    variation selectors one after an emoji, a sign or a Chinese character
    direction marks     in a text that has letters written from right to left
    embeddings          in pairs round letters written from right to left; overrides never
    soft hyphens        between two letters
    fillers             of Korean syllables, beside their parts
    tags                in the flags of regions, such as Scotland's

The blank of Braille is one: it stays among Braille, and is a plain blank elsewhere.

>>> shown = ("\u0645\u06cc\u200c\u062e", "\U0001f468\u200d\U0001f467", "\u2764\ufe0f", "1\ufe0f\u20e3")
>>> [drop_unseen(text) == text for text in shown]
[True, True, True, True]
>>> drop_unseen("Beha\u200bvior\u00ad: [\u200dB\ufe0f]\x00\u202e\u2800x")
'Behavior: [B] x'
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Cc control, Cf format (zero width, bidi, tags), Cs lone surrogates, Co private use, Cn unassigned.
DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# What is neither, and yet leaves no mark: variation selectors, and letters and marks that Unicode calls ignorable.
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
MAX_KEPT = 8_192  # characters of which it is kept whether they are seen; a text may hold any of a million
_JOINERS = frozenset("\u200b\u200c\u200d")
_DIRECTIONS = frozenset("\u200e\u200f\u061c")
_TO_THE_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
# Scripts whose words need joiners, or blanks without width: Arabic to Mongolian, and their later blocks.
_JOINING = re.compile(
    "[\u0620-\u06ff\u0710-\u085f\u08a0-\u1059\u1075-\u109f\u1780-\u18aa\u1900-\u1cff\ua800-\ua8ff\ua980-\uaaff\uabc0-\uabff"
    "\ufb50-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff]"
)
_VARIANTS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_VARIED = frozenset({"So", "Sm", "Sk", "Sc", "Lo"})
_KEYS = frozenset("0123456789#*\u203c\u2049\u2139\u3030\u303d")  # of key caps, and marks that are emoji too
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_MONGOLIAN_VARIANTS = frozenset("\u180b\u180c\u180d\u180e\u180f")
_BEFORE_NUMBERS = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")  # Cf, and visible
_PICTURES = re.compile("[\U0001f000-\U0001faff\U0001fc00-\U0001fffd]")  # emoji, also such as this Python does not know
BRAILLE_BLANK, _BRAILLE = "\u2800", re.compile("[\u2800-\u28ff]")
_SOFT_HYPHEN = "\u00ad"
# Each filler of Korean syllables with the parts that it stands for or beside.
_OLD_SYLLABLES = re.compile("[\u1100-\u11ff\ua960-\ua97f\ud7b0-\ud7ff]")
_FILLED = {
    "\u115f": _OLD_SYLLABLES, "\u1160": _OLD_SYLLABLES,
    "\u3164": re.compile("[\u3131-\u318e]"), "\uffa0": re.compile("[\uffa1-\uffdc]"),
}  # fmt: skip
_CONTROLS = "\u202a-\u202e\u2066-\u2069"
_EMBEDDED = re.compile(f"[\u202a\u202b]([^{_CONTROLS}\n]*+)\u202c|[\u2066-\u2068]([^{_CONTROLS}\n]*+)\u2069")
_REGION = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{3,6}\U000e007f")  # the tags of a flag


@lru_cache(maxsize=MAX_KEPT)
def is_unseen(char: str) -> bool:
    """Return True if a character leaves no mark, and is no blank."""
    if UNSEEN.match(char):
        return True
    return (
        unicodedata.category(char) in DROPPED
        and not char.isspace()
        and not (_PICTURES.match(char) or _BEFORE_NUMBERS.match(char))
    )


def drop_unseen(text: str) -> str:
    """Return the text without what nobody sees, but for what its script or its emoji need."""
    if text.replace("\n", "").isprintable() and not UNSEEN.search(text) and BRAILLE_BLANK not in text:
        return text
    return "".join(_seen(text))


def _seen(text: str) -> Iterator[str]:
    in_flags = {place for found in _REGION.finditer(text) for place in range(*found.span())}
    leftward = bool(_TO_THE_LEFT.search(text))
    in_pairs = set(_pairs(text)) if leftward else set()
    before = ""
    for place, char in enumerate(text):
        kept = char
        if char == BRAILLE_BLANK or is_unseen(char):
            after = text[place + 1 : place + 2]
            if char == BRAILLE_BLANK:
                kept = char if _BRAILLE.match(before) or _BRAILLE.match(after) else " "
            elif not (
                place in in_flags
                or place in in_pairs
                or (char in _DIRECTIONS and leftward and before not in _DIRECTIONS)
                or _is_needed(char, before, after)
            ):
                continue
        yield kept
        before = kept


def _is_needed(char: str, before: str, after: str) -> bool:
    """Return True if an invisible character does honest work between two others; `before` was kept."""
    if char in _FILLED:
        return bool(_FILLED[char].match(before) or _FILLED[char].match(after))
    if not before:
        return False
    if char == _SOFT_HYPHEN:
        return before.isalpha() and after.isalpha()
    if char in _JOINERS:
        joins = _JOINING.match(before) or (_JOINING.match(after) and not is_unseen(after))
        return bool(joins) or (char == "\u200d" and _is_picture(before) and _is_picture(after))
    if _VARIANTS.match(char):
        return before in _KEYS or unicodedata.category(before) in _VARIED or bool(_PICTURES.match(before))
    return char in _MONGOLIAN_VARIANTS and bool(_MONGOLIAN.match(before))


def _pairs(text: str) -> Iterator[int]:
    """Yield the places of embeddings and isolates that stand in pairs round what is written from right to left."""
    for found in _EMBEDDED.finditer(text):
        if _TO_THE_LEFT.search(found[1] or found[2] or ""):
            yield from (found.start(), found.end() - 1)


def _is_picture(char: str) -> bool:
    """Return True for what an emoji may be made of; a variation selector ends one of its parts."""
    return bool(char) and (
        unicodedata.category(char) in {"So", "Sk", "Sm"} or char == "\ufe0f" or bool(_PICTURES.match(char))
    )
