r"""How figures and foreign text are written on the page.

Text from outside (ids, item names, the model's reasons) is escaped by the templates; what would be invisible or turn
the line round is written out here, so that it can be seen and not obeyed:

>>> visible("a\u202eb\x00")
'a⟨U+202E⟩b⟨U+0000⟩'
>>> count(12345), figure(0.5301), interval(Interval(0.5, 0.52))
('12,345', '0.530', '0.500 to 0.520')
"""

import unicodedata
from datetime import UTC, datetime

from worker.experiment.statistics.confidence import Interval

NONE = "\N{EN DASH}"
MAX_SHOWN = 4_000  # characters of one text; the reasons are bounded by settings, names from outside are not
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # controls, formats (bidi overrides too), lone surrogates, separators
_JOINERS = "\u200c\u200d"  # Persian, Indic scripts and emoji are written with them


def visible(text: str) -> str:
    """Return text in which what cannot be seen is written as its code point, and what is too long is cut."""
    shown = "".join(
        f"⟨U+{ord(c):04X}⟩" if unicodedata.category(c) in _HIDDEN and c not in _JOINERS else c for c in text[:MAX_SHOWN]
    )
    cut = len(text) - MAX_SHOWN
    return f"{shown} … ({cut:,} more characters)" if cut > 0 else shown


def paragraphs(text: str) -> list[str]:
    """Split at line breaks, which in prose are no control characters to be shown."""
    return [line for line in text.replace("\t", " ").splitlines() if line.strip()]


def figure(value: float | None) -> str:
    """Write a figure with three decimals."""
    return NONE if value is None else f"{value:.3f}"


def interval(value: Interval | None) -> str:
    """Write both ends."""
    return NONE if value is None else str(value)


def p_value(value: float | None) -> str:
    """Write a p-value, which is never nought.

    >>> p_value(0.0123), p_value(1e-9)
    ('0.012', '< 0.001')
    """
    return "< 0.001" if value is not None and value < 0.001 else figure(value)  # noqa: PLR2004 - of three decimals


def percent(value: float | None) -> str:
    """Write a share in per cent."""
    return NONE if value is None else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def points(share: float) -> str:
    """Write what is added to a share, in points.

    >>> points(0.0042), points(-0.00001)
    ('+0.42', '0.00')
    """
    written = f"{100 * share:+.2f}"
    return written if float(written) else "0.00"


def count(value: int) -> str:
    """Write a whole number in groups of three."""
    return f"{value:,}"


def words(name: str) -> str:
    """Write a name of ours as words: `duel_share` is "duel share"."""
    return name.replace("_", " ")


def capital(text: str) -> str:
    """Begin with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Begin with a capital and end with a full stop.

    >>> sentence("the interval lies above 0.5"), sentence("")
    ('The interval lies above 0.5.', '')
    """
    return f"{capital(text).rstrip('.')}." if text else ""


def moment(at_us: int) -> str:
    """Write a time as people read it.

    >>> moment(1_767_225_600_000_000), iso(1_767_225_600_000_000)
    ('2026-01-01 00:00 UTC', '2026-01-01T00:00:00Z')
    """
    at = _datetime(at_us)
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else f"{at_us:,} µs after 1970"


def iso(at_us: int) -> str:
    """Write a time as programs read it, "" for one that no calendar has."""
    at = _datetime(at_us)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else ""


def _datetime(at_us: int) -> datetime | None:
    """Return the time, or None where a producer's clock was too far astray for one."""
    try:
        return datetime.fromtimestamp(at_us // 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


FILTERS = {
    each.__name__: each
    for each in (
        visible,
        paragraphs,
        figure,
        interval,
        p_value,
        percent,
        points,
        count,
        words,
        capital,
        sentence,
        moment,
        iso,
    )
}
