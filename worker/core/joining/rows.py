"""A flat row of CSV or Parquet in the shape of the records: other columns are attributes, or a profile.

>>> nested({"item_id": "i7", "title": "Heat", "genres": ["Crime", "Drama"]}, FactKind.ITEMS)
{'item_id': 'i7', 'attributes': {'title': 'Heat', 'genres': ['Crime', 'Drama']}}
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from worker.core.codec import json_reader
from worker.core.errors import Poison
from worker.core.joining.facts import FactKind

Row = Mapping[str, object]

MAX_NAMES, MAX_NAME_CHARS = 5, 80  # of columns that are told
MAX_TIME_DIGITS = 20  # of microseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN = {
    FactKind.ITEMS: ("item_id", "valid_from", "text", "attributes"),
    FactKind.USERS: ("user_id", "valid_from", "profile_text", "profile", "history"),
}
_REST = {FactKind.ITEMS: "attributes", FactKind.USERS: "profile"}  # where other columns go


def nested(row: Row, kind: FactKind) -> Row:
    """Return a flat row in the shape of the records: other columns are attributes, or parts of the profile."""
    own: dict[str, object] = {name: _value(row[name]) for name in _OWN[kind] if row.get(name) is not None}
    since = own.get("valid_from")
    if isinstance(since, str) and since.isdecimal() and len(since) <= MAX_TIME_DIGITS:
        own["valid_from"] = int(since)
    for name in ("attributes", "profile", "history"):  # a CSV has them as JSON, Parquet may have lists of pairs
        if isinstance(own.get(name), str):
            own[name] = _json(str(own[name]))
        elif name != "history" and isinstance(own.get(name), list):
            own[name] = _pairs(own[name])
    rest = {name: _value(value) for name, value in row.items() if name not in _OWN[kind] and value is not None}
    if rest:
        place = _REST[kind]
        given = own.get(place, {})
        own[place] = {**rest, **given} if isinstance(given, Mapping) else given  # which is refused
    return own


def without_id(row: Row, kind: FactKind) -> str:
    """Return what is wrong with a row that has no id: the names that it has instead; "" for a row with one.

    >>> without_id({"item_id": None, "sku": "a", "label": "b"}, FactKind.ITEMS)
    'has no item_id, but sku, label'
    """
    name = _OWN[kind][0]
    if row.get(name) not in (None, ""):
        return ""
    others = [ascii(str(one))[1:-1][:MAX_NAME_CHARS] for one in row if one != name][:MAX_NAMES]
    return f"has no {name}" + f", but {', '.join(others)}" * bool(others)


def _pairs(value: object) -> object:
    """Return a map that Parquet gives as a list of pairs; anything else as it is, which validation refuses."""
    try:
        return {str(name): one for name, one in value} if isinstance(value, list) else value
    except (TypeError, ValueError):
        return value


def _json(text: str) -> object:
    """Return the JSON of a cell, bounded as that of a message is; text that is none is left to be refused."""
    try:
        return json_reader.parse_value(text)
    except Poison:
        return text


def _value(value: object) -> object:
    """Return a value as JSON has it; a time is in microseconds, and one without a zone is left to be refused."""
    if isinstance(value, datetime):
        return (value - _EPOCH) // (datetime.resolution) if value.tzinfo else value.isoformat()
    if isinstance(value, Mapping):
        return {str(name): _value(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_value(one) for one in value]
    return value
