"""Redactors by name: `off`, `patterns`, or what an installed package offers as an entry point of `GROUP`.

Such an entry point names a function that takes a text and returns what may be published of it.
"""

from importlib.metadata import entry_points
from typing import Any

from worker.core.errors import BadSettings
from worker.core.simulation.privacy import Redactor, redacted
from worker.core.suggestions import did_you_mean

GROUP = "mirrorstream.redactors"
OFF, PATTERNS = "off", "patterns"


def names() -> list[str]:
    """Return the names that there are."""
    return [OFF, PATTERNS, *sorted(point.name for point in entry_points(group=GROUP))]


def load(name: str) -> Redactor | None:
    """Return a redactor; None for `off`.  Raises `BadSettings` for one that is not there or cannot be imported."""
    if name == OFF:
        return None
    if name == PATTERNS:
        return redacted
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        known = names()
        raise BadSettings(
            f"redactor: {name}; want one of {', '.join(known)}, or an entry point of the group {GROUP} of an"
            f" installed package{did_you_mean(name, known)}"
        )
    try:
        redactor: Any = found[0].load()
    except Exception as error:  # of somebody else's package
        raise BadSettings(f"redactor: {name}: {found[0].value} cannot be imported ({error})") from error
    if not callable(redactor):
        raise BadSettings(f"redactor: {name}: {found[0].value} is no function; want one of a text that returns a text")
    chosen: Redactor = redactor
    return chosen
