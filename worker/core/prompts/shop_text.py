r"""What shops write into texts for browsers, taken out: HTML's entities and tags.

>>> plain("Bib &amp; Tucker&#39;s &quot;Best&quot; <i>Set</i><br/>Red")
'Bib & Tucker\'s "Best" Set Red'
>>> plain("a < b, <3 and R&D; Alien&sup3;")
'a < b, <3 and R&D; Alien³'

Only whole entities with their semicolon, and tags that catalogues use, are taken for HTML: "<Untitled>" is a title.
It comes before the fence, which then sees what the model would.  A ready scene stays as it is.

>>> Html().value("tags", "R&amp;B"), Html(kept=frozenset({"tags"})).value("tags", "R&amp;B")
('R&B', 'R&amp;B')
>>> Html(reads=False).text("<b>")
'<b>'
"""

import html
import re
from dataclasses import dataclass

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_INLINE = "a|abbr|b|big|em|font|i|mark|s|small|span|strong|sub|sup|u"
_BLOCK = "br|dd|div|dl|dt|h[1-6]|hr|img|li|ol|p|table|tbody|td|th|thead|tr|ul"
_TAG = re.compile(rf"(?i)</?(?:({_BLOCK})|{_INLINE})(?:\s[^<>]{{0,300}})?/?>")


@dataclass(frozen=True, slots=True)
class Html:
    """Which texts of a scene are read as HTML: all, all but the attributes `kept`, or none."""

    reads: bool = True
    kept: frozenset[str] = frozenset()

    @property
    def is_literal(self) -> bool:
        """True where values stand as the data has them, as in the reference: also their prices and their "|"."""
        return not self.reads

    def text(self, text: str) -> str:
        """Return a text as it is shown."""
        return plain(text) if self.reads else text

    def value(self, name: str, text: str) -> str:
        """Return an attribute's value as it is shown."""
        return text if name in self.kept else self.text(text)


def plain(text: str) -> str:
    """Return a text without HTML; a tag that breaks a line leaves a blank."""
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    if "<" in text:
        text = _TAG.sub(lambda tag: " " if tag[1] else "", text)
    return text
