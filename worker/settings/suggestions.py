"""What somebody may have meant by a name that is none.

>>> did_you_mean("grop_id", ["group_id", "model"])
'; did you mean group_id?'
>>> did_you_mean("xyz", ["group_id", "model"])
''
"""

from collections.abc import Iterable
from difflib import get_close_matches

LEAST_ALIKE = 0.75


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the known name which is written most like this; "" if none is."""
    near = get_close_matches(name, sorted(known), 1, cutoff=LEAST_ALIKE)
    return f"; did you mean {near[0]}?" if near else ""
