"""Times as people write them in settings and flags: a time with its zone, or a day."""

import re
from datetime import UTC, date, datetime, time

from pydantic import AwareDatetime, TypeAdapter

from worker.core.errors import BadSettings

A_TIME = "a time with its zone, such as 2026-11-01T00:00Z, or a day, such as 2026-11-01 (midnight UTC)"
START_WORDS = ("earliest", "latest")
MAX_SEEN = 200  # characters told of a value that is wrong
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def parse_time(text: str) -> datetime:
    """Parse a time with its zone, such as 2026-11-01T00:00Z, or a day, which begins at midnight UTC.

    Raises `BadSettings`.
    """
    try:
        if is_day(text):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        if text.strip().isdecimal():
            raise ValueError(text)  # else it would be read as seconds since 1970
        return TypeAdapter(AwareDatetime).validate_python(text)
    except ValueError as error:
        raise BadSettings(f"{text[:MAX_SEEN]!r}: want {A_TIME}") from error


def is_day(text: str) -> bool:
    """Return True if a text is written as a day, without a time of day."""
    return _DAY.fullmatch(text) is not None


def start(value: object) -> object:
    """Read where a group starts: a word, a time with its zone, or a day.  Raises ValueError."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, str) or value in START_WORDS:
        return value
    try:
        return parse_time(value)
    except BadSettings:
        raise ValueError(f"want {' or '.join(START_WORDS)}, or {A_TIME}") from None
