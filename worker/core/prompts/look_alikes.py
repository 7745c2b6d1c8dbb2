r"""What a text reads as to one who looks for the prompt's structure: plain small letters, brackets, colons and "#".

An attack need not use the characters of the prompt: "\uff3b\u0412\uff3d" reads as "[B]".  So structure is looked for in
the reading of a text, and broken in the text itself, which otherwise stays as it came.

>>> reading = read("\uff3b\u0412\u200b\u0301\uff3d 1\u00bd")
>>> reading.text, reading.place(0, 1), reading.place(2, 3)
('[b] 11\u20442', (0, 1), (4, 5))
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from worker.core.prompts.unseen import BRAILLE_BLANK, is_unseen

# Square brackets in all widths, and those that are square but for a detail: lenticular, tortoise shell, ceiling.
OPENING = (
    "[\uff3b\ufe47\u3010\ufe3b\u3014\ufe39\ufe5d\u3016\ufe17\u3018\u301a\u2045\u2308\u230a"
    "\u23a1\u23a3\u2772\u27e6\u27ec\u298b\u298d\u298f\u2997\u2e22\u2e24\u2e55\u2e57"
)
CLOSING = (
    "]\uff3d\ufe48\u3011\ufe3c\u3015\ufe3a\ufe5e\u3017\ufe18\u3019\u301b\u2046\u2309\u230b"
    "\u23a4\u23a6\u2773\u27e7\u27ed\u298c\u298e\u2990\u2998\u2e23\u2e25\u2e56\u2e58"
)
# Of Unicode's confusables (UTS 39), with what is made of colons: Ethiopic and mathematical signs.
COLONS = (
    ":\uff1a\ufe55\ufe13\ufe30\u2236\u2237\u2a74\u02d0\u02f8\ua789\u0589\u05c3\u0703\u0704\u1361\u1365\u1366\u16ec"
    "\u1803\u1804\u1809\u205a\u205d\u2254\ua4fd\u0903\u0a83"
)
HASHES = "#\uff03\ufe5f\u266f\u2317"
# Letters of other scripts that look like one of A to Z, small or capital: Unicode's confusables (UTS 39, version 15),
# of scripts that are written from left to right in letters of this kind.
_LETTERS = {
    "a": "ɑΑαАаᎪᗅꓮ𐊠𖽀",
    "b": "ƄΒВЬᏏᏴᑲᖯᗷꓐꞴ𐊂𐊡𐌁",
    "c": "ΣςСсᏟᴄⲤⲥꓚꮯ𐊢𐌂𐐕𐐽𐔜",
    "d": "ԁᎠᏧᑯᗞᗪꓒꓓ",
    "e": "ΕЕеҽᎬⴹꓰꬲ𐊆𑢦𑢮",
    "f": "ϜքᖴẝꓝꞘꞙꬵ𐊇𐊥𐔥𑢢𑣂",
    "g": "ƍɡԌցᏀᏳᶃꓖ",
    "h": "ΗНһհᎻᏂᕼⲎꓧ𐋏",
    "i": "ıɩɪιіӏᎥꙇꭵ𑣃",
    "j": "ͿϳЈјᎫᒍꓙꞲ",
    "k": "ΚКᏦᛕⲔꓗ𐔘",
    "l": "ƖǀΙІӀᏞᒪᛁⲒⳐⵏꓡꓲ𐊊𐌉𐐛𐔦𑢣𑢲𖼖𖼨",
    "m": "ΜϺМᎷᗰᛖⲘꓟ𐊰𐌑",
    "n": "ΝոռⲚꓠ𐔓",
    "o": "ΟοσОоՕօჿᴏᴑⲞⲟⵔꓳꬽ𐊒𐊫𐐄𐐬𐓂𐓪𐔖𑢵𑣈𑣗",
    "p": "ΡρРрᏢᑭⲢⲣꓑ𐊕",
    "q": "ԛգզⵕ",
    "r": "ƦгᎡᏒᖇᴦⲅꓣꭇꭈꮁ𐒴𖼵",
    "s": "ƽЅѕՏᏕᏚꓢꜱꮪ𐊖𐐠𐑈𑣁𖼺",
    "t": "ΤТᎢⲦꓔ𐊗𐊱𐌕𑢼𖼊",
    "u": "ʋυՍսᑌᴜꓴꞟꭎꭒ𐓎𐓶𑢸𑣘𖽂",
    "v": "νѴѵᏙᐯᴠⴸꓦꮩ𐔝𑢠𑣀𖼈",
    "w": "ɯѡԜԝաᎳᏔᴡꓪꮃ",
    "x": "ΧХхᕁᕽᚷⲬⵝꓫꞳ𐊐𐊴𐌗𐔧",
    "y": "ɣʏΥγУуҮүყᎩᎽᶌỿⲨꓬꭚ𐊲𑢤𑣜𖽃",
    "z": "ΖᏃᴢꓜꮓ𑢩𑣄",
}  # fmt: skip
# Letters in a sign: negative circled, negative squared, and regional indicators, each from A on.
_SIGNED = (0x1F150, 0x1F170, 0x1F1E6)
_SMALL_CAPITAL = "LATIN LETTER SMALL CAPITAL "
_READ_AS = {
    **{look_alike: letter for letter, many in _LETTERS.items() for look_alike in many},
    **{chr(first + number): chr(ord("a") + number) for first in _SIGNED for number in range(26)},
    **dict.fromkeys(OPENING, "["),
    **dict.fromkeys(CLOSING, "]"),
    **dict.fromkeys(COLONS, ":"),
    **dict.fromkeys(HASHES, "#"),
    BRAILLE_BLANK: " ",
    "\u20e3": ")",  # the frame of a key cap: its number stands apart as "1)" does
}
_BREAKS = frozenset("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
_MARKS = frozenset({"Mn", "Me"})
MAX_READ_AS = 8  # characters that one character reads as: a ligature of Arabic is 18, and none of them is structure
MAX_KEPT = 8_192  # characters whose reading is kept; an attacker has a million to choose from
# What a text needs for any structure: one without is not read.
STRUCTURAL = re.compile(f"[{re.escape(OPENING + COLONS + HASHES)}]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text reads as, and which character of it each character of the reading comes from."""

    text: str
    origin: Sequence[int]

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the text of a piece of the reading, which is not empty."""
        return self.origin[start], self.origin[end - 1] + 1


def read(text: str) -> Reading:
    """Return what a text reads as: small letters, without accents, marks and what cannot be seen."""
    if text.isascii():
        return Reading(text.lower(), range(len(text)))
    pieces = [_read_as(char) for char in text]
    origin = [place for place, piece in enumerate(pieces) for _ in piece]
    return Reading("".join(pieces), origin)


@lru_cache(maxsize=MAX_KEPT)
def _read_as(char: str) -> str:
    if char in _READ_AS:
        return _READ_AS[char]
    if char.isspace():
        return "\n" if char in _BREAKS else " "
    if is_unseen(char):
        return ""
    name = unicodedata.name(char, "")
    if name.startswith(_SMALL_CAPITAL) and len(name) == len(_SMALL_CAPITAL) + 1:
        return name[-1].lower()
    if _is_numbered(char):
        return f"{unicodedata.numeric(char):.0f})"
    parts = (part for part in unicodedata.normalize("NFKD", char) if unicodedata.category(part) not in _MARKS)
    return "".join(_READ_AS.get(part, part) for part in parts).lower()[:MAX_READ_AS]


def _is_numbered(char: str) -> bool:
    """Return True for a number with a frame of its own, which sets it apart as a bracket does: "\u2460", "\u2776"."""
    if unicodedata.category(char) != "No" or not unicodedata.numeric(char, 0.5).is_integer():
        return False
    form = unicodedata.decomposition(char)
    return not form or form.startswith("<circle>")
