"""Which of many problems of one kind get a line in the log: the first ones; all of them are counted elsewhere.

A topic may hold a million records that cannot be used.  Somebody has to see which they are and why, and a log of a
million lines shows nobody anything.
"""

from collections import Counter

MAX_LINES = 10  # of one kind


class FirstLines:
    """Remembers how many problems of each kind there were.

    >>> lines = FirstLines(2)
    >>> [lines.line(f"row {number}: is no text") for number in (3, 7, 9)]
    ['row 3: is no text', 'row 7: is no text; further ones are only counted', None]
    >>> lines.num
    3
    """

    def __init__(self, most: int = MAX_LINES) -> None:
        """`most` is the number of lines of one kind."""
        self._most, self._found = most, Counter[str]()

    @property
    def num(self) -> int:
        """How many problems there were, of all kinds."""
        return self._found.total()

    def line(self, text: str, kind: str = "") -> str | None:
        """Return the line to log of one more problem of a kind, None where it is only counted."""
        self._found[kind] += 1
        if self._found[kind] > self._most:
            return None
        return text if self._found[kind] < self._most else f"{text}; further ones are only counted"
