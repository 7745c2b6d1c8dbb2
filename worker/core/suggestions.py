"""What somebody may have meant by a name that is none.

>>> did_you_mean("grop_id", ["group_id", "model"])
'; did you mean group_id?'
>>> did_you_mean("choice", ["vllm", "choice-model"])
'; did you mean choice-model?'
>>> did_you_mean("xyz", ["group_id", "model"])
''
"""

from collections.abc import Iterable
from difflib import get_close_matches

LEAST_ALIKE = 0.75
LEAST_BEGUN = 3  # letters of a name that was only begun


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message that suggests the known name which is written most like this; "" if none is."""
    names = sorted(known)
    begun = [one for one in names if len(name) >= LEAST_BEGUN and one.startswith(name)]
    near = begun if len(begun) == 1 else get_close_matches(name, names, 1, cutoff=LEAST_ALIKE)
    return f"; did you mean {near[0]}?" if near else ""
