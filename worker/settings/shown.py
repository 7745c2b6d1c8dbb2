"""Settings for people to see, without what may be a secret.

>>> without_secrets("sasl:secret@kafka:9092,http://me:secret@registry:8081")
'***@kafka:9092,http://***@registry:8081'
"""

import re
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

_LOGIN = re.compile(r"[^\s,/]+@")  # before an address
HIDDEN = frozenset({"sample_salt"})  # who knows it can tell which users are simulated


def shown(settings: BaseModel) -> Iterator[tuple[str, str, bool]]:
    """Yield each setting: its name, its value as text, and whether it is the default.

    Of a map, which may hold passwords, the names alone.
    """
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        is_default = value == field.get_default(call_default_factory=True)
        yield name, "***" if name in HIDDEN and not is_default else without_secrets(_text(value)), is_default


def without_secrets(text: str) -> str:
    """Return a text without the users and passwords that stand before addresses."""
    return _LOGIN.sub("***@", text)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(map(str, value))
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
