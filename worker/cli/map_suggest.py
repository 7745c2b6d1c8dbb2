"""A mapping proposed from a few events: what their names, shapes and values look like, and what is not sure.

    {"event": "list_shown", "ts": 1793491200000, "uid": 7, "shelf": {"films": [{"sku": 1, "title": "Heat"}]}}
        ->  occurred_at: {from: ts, unit: ms}, user.user_id: uid, items: {each: shelf.films, item_id: sku, ...}

It only looks at names that are in common use, and at values; whoever knows the events has the last word.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import yaml

from worker.core.prompts.unshown import looks_like_id

MAX_PATHS = 2_000  # fields of all events
MAX_LEVELS = 8
MAX_OTHERS = 5  # lists that are told beside the one that is taken
NESTED, NAMELESS = 6, 20  # points less of a list within another list's objects, and of objects without name and id
# Names as they are without case and signs, best first.
KIND = ("eventname", "eventtype", "event", "type", "action", "kind")
EVENT_ID = ("eventid", "messageid", "insertid", "impressionid", "viewid", "uuid", "id", "view")
REQUEST_ID = ("requestid", "recommendationid", "recid", "traceid")
TIME = ("occurredat", "eventtimestamp", "timestamp", "eventtime", "originaltimestamp", "derivedtstamp", "time", "ts",
        "timems", "createdat", "collectortstamp", "shownat", "at")  # fmt: skip
USER = ("userid", "user", "uid", "customerid", "memberid", "reviewerid", "readerid", "viewerid", "accountid",
        "customer", "member")  # fmt: skip
DEVICE = ("anonymousid", "deviceid", "userpseudoid", "domainuserid", "visitorid", "sessionid", "session", "clientid")
ITEM_ID = ("itemid", "productid", "id", "sku", "asin", "videoid", "newsid", "movieid", "articleid", "contentid")
NAME = ("title", "name", "itemname", "productname", "headline", "movietitle")
ATTRIBUTES = {"category": ("category", "itemcategory", "productcategory", "genre", "section"), "price": ("price",),
              "currency": ("currency",), "genres": ("genres",), "description": ("description", "abstract")}  # fmt: skip
EXPERIMENT = ("experimentid", "experiment", "testid", "abtest", "test")
SHADOW = re.compile("shadow|candidate|challenger")  # in the name of a list that was not shown
_ID = re.compile(r"(?=\D*\d)[^\s,;|]{1,64}")  # of an item in a list that has nothing else: a genre has no digits
_UNITS = (("s", 3.1e7, 4.2e9), ("ms", 3.1e10, 4.2e12), ("us", 3.1e13, 4.2e15), ("ns", 3.1e16, 4.2e18))  # 1971 to 2103
_PER_S = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
RECENT_S, YEAR_S = 1_000_000_000, 400 * 86_400  # of a number that is a time, whatever its name
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(slots=True)
class Suggestion:
    """A mapping as the plain data of its file, and sentences about what is not sure."""

    mapping: dict[str, Any]
    unsure: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the mapping's file; what is not sure stands at its top."""
        notes = "".join(f"# Not sure: {one}\n" for one in self.unsure)
        return notes + yaml.safe_dump(self.mapping, sort_keys=False, allow_unicode=True, width=110)


def suggest(events: Sequence[Mapping[str, Any]]) -> Suggestion:
    """Return a mapping of events, of which there should be about twenty."""
    found = Suggestion({})
    shown, items = _shown(events, found)
    kind = _when(events, shown, found) if items else ""
    if kind:
        found.mapping["when"] = kind
    found.mapping["missing"] = ["", "null", "N/A", "(not set)"]
    paths = dict(_paths(shown))
    impression: dict[str, Any] = {}
    time = _time(paths, found)
    impression["event_id"] = _event_id(paths, time, found)
    if request := _best(paths, REQUEST_ID):
        impression["request_id"] = request
    else:
        found.unsure.append("request_id: no field looks like the id of a request, by which slates are joined")
    impression["occurred_at"] = time
    slate: dict[str, Any] = {"variant": {"value": "control"}, "role": {"value": "CONTROL"}, "shown": {"value": True}}
    domain, slate["items"] = _items(paths, shown, items, found)
    impression["domain"] = {"value": domain}
    if experiment := _best(paths, EXPERIMENT):
        impression["experiment"] = {"experiment_id": experiment}
    impression["user"] = _user(paths, found)
    impression["slates"] = [slate]
    found.mapping["impression"] = impression
    found.unsure.append("slates: only the shown slate is here; add the candidate's, if the events have it")
    return found


def _paths(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each field that is no list or object, by its expression, with its values."""
    values: dict[str, list[Any]] = {}

    def visit(value: Any, path: str, level: int) -> None:
        if isinstance(value, Mapping) and level < MAX_LEVELS:
            for name, inner in value.items():
                visit(inner, f"{path}.{quoted(name)}" if path else quoted(name), level + 1)
        elif not isinstance(value, Mapping | list) and value not in (None, "") and len(values) < MAX_PATHS:
            values.setdefault(path, []).append(value)

    for event in events:
        visit(event, "", 0)
    yield from values.items()


def _lists(value: Any, path: str = "", level: int = 0) -> Iterator[tuple[str, list[Any]]]:
    """Yield each list of objects, or of two and more ids, by its expression; lists within lists are taken together."""
    if isinstance(value, list):
        are_objects = bool(value) and all(isinstance(one, Mapping) for one in value)
        if are_objects or _are_ids(value):
            yield path, value
        if value and level < MAX_LEVELS and all(isinstance(one, list) for one in value):
            yield from _lists([inner for one in value for inner in one], f"{path}[]", level + 1)
        for name in dict.fromkeys(name for one in value for name in one) if are_objects and level < MAX_LEVELS else ():
            if inner := [one[name] for one in value if isinstance(one.get(name), list)]:
                yield from _lists(inner, f"{path}[].{quoted(name)}", level + 1)
    elif isinstance(value, Mapping) and level < MAX_LEVELS:
        for name, inner in value.items():
            yield from _lists(inner, f"{path}.{quoted(name)}" if path else quoted(name), level + 1)


def _are_ids(values: Sequence[Any]) -> bool:
    """Return True for two or more different ids, which is a list of items without their texts."""
    names = [str(one) for one in values if isinstance(one, int | str) and not isinstance(one, bool)]
    return len(set(names)) == len(values) > 1 and all(map(_ID.fullmatch, names))


def quoted(name: str) -> str:
    """Return a name as JMESPath has it.

    >>> quoted("user_id"), quoted("$insert_id")
    ('user_id', '"$insert_id"')
    """
    return name if _PLAIN.fullmatch(name) else json.dumps(name)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().partition(":")[0])  # RecBole has the type behind a colon


def _last(path: str) -> str:
    return _plain(path.rpartition(".")[2])


def _owned(path: str) -> str:
    """Return the name of a field, a nested `id` with its owner in front: `user.id` is a user's, not the event's.

    >>> _owned("user.id"), _owned("reader.contact.id"), _owned("id"), _owned("user.name")
    ('userid', 'contactid', 'id', 'name')
    """
    owner, _, name = path.rpartition(".")
    return _last(owner) + _plain(name) if owner and _plain(name) == "id" else _plain(name)


def _best(paths: Mapping[str, Sequence[Any]], names: Sequence[str], *, called: Callable[[str], str] = _last) -> str:
    """Return the field whose name stands first in a list, the least nested one of it; "" for none."""
    fitting = [path for path in paths if called(path) in names]
    return min(fitting, key=lambda path: (names.index(called(path)), path.count("."), path), default="")


def _all_of(paths: Mapping[str, Sequence[Any]], names: Sequence[str], wanted: int) -> str:
    """Return the best field, with the next ones behind it as long as some entries have none of those before."""
    rest, chosen, num = dict(paths), list[str](), 0
    while num < wanted and (path := _best(rest, names)):
        chosen.append(path)
        num += len(rest.pop(path))
    return " || ".join(chosen)


def _shown(events: Sequence[Mapping[str, Any]], found: Suggestion) -> tuple[list[Mapping[str, Any]], str]:
    """Return the events that have the list of items, and where it is; all of them and "" if none has."""
    scores = Counter[str]()
    for event in events:
        for path, entries in _lists(event):
            names = {_plain(name) for name in entries[0]} if isinstance(entries[0], Mapping) else set()
            scores[path] += 10 * bool(names & {*NAME}) + 5 * bool(names & {*ITEM_ID}) + min(len(entries), 4)
            scores[path] -= 3 * bool(SHADOW.search(path.lower())) + NESTED * path.count("[].")
            scores[path] -= NAMELESS * (isinstance(entries[0], Mapping) and not names & {*NAME, *ITEM_ID})
    if not scores:
        return list(events), ""
    (best, _), *others = scores.most_common(1 + MAX_OTHERS)
    if others:
        told = ", ".join(path for path, _ in others)
        found.unsure.append(f"slates: {best} is taken for the list that was shown; there are others: {told}")
    return [event for event in events if best in dict(_lists(event))], best


def _when(events: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]], found: Suggestion) -> str:
    paths, all_paths = dict(_paths(shown)), dict(_paths(events))
    kinds = {path: set(map(str, values)) for path, values in paths.items() if _last(path) in KIND}
    for name in KIND:
        for path, values in kinds.items():
            if _last(path) == name and len(values) == 1 and path.count(".") <= 1:
                others = set(map(str, all_paths[path])) - values
                if not others and len(events) > 1:
                    found.unsure.append(f"when: all events of the sample have this {path}")
                [value] = values
                return f"{path} == '{value.replace(chr(39), chr(92) + chr(39))}'"
    if len(shown) < len(events):
        found.unsure.append("when: no field says which events show a list; those without one are dead letters")
    return ""


def _time(paths: Mapping[str, Sequence[Any]], found: Suggestion) -> dict[str, str]:
    for path in sorted(paths, key=lambda one: (TIME.index(_last(one)) if _last(one) in TIME else 99, one.count("."))):
        if _last(path) in TIME and (unit := time_unit(paths[path])):
            if unit == "utc":
                found.unsure.append(f"occurred_at: {path} has no zone and is taken as UTC")
            return {"from": path, "unit": unit}
    for path, values in sorted(paths.items(), key=lambda one: (one[0].count("."), one[0])):
        if _are_recent(values) and (unit := time_unit(values)):
            found.unsure.append(f"occurred_at: {path} is taken by its values alone")
            return {"from": path, "unit": unit}
    found.unsure.append("occurred_at: no field looks like a time")
    return {"from": "occurred_at", "unit": "us"}


def _are_recent(values: Sequence[Any]) -> bool:
    """Return True for whole numbers that may be times of one sample: after 2001, within about a year of each other.

    >>> _are_recent([1793491200, 1793491260]), _are_recent([1026454421, 1893491260]), _are_recent([7, 8])
    (True, False, False)
    """
    numbers = [one for one in values if type(one) is int]
    if len(numbers) < len(values) or min(numbers) < RECENT_S:
        return False
    unit = _unit(numbers[0])
    return unit in _PER_S and max(numbers) - min(numbers) < YEAR_S * _PER_S[unit]


def time_unit(values: Sequence[Any]) -> str:
    """Return the unit that all values are in, as a mapping has it; "" if they are no times.

    >>> [time_unit([one]) for one in (1793491200, "1793491200000", "2026-11-01 00:00:00", "2026-11-01T00:00:00Z", "x")]
    ['s', 'ms', 'utc', 'us', '']
    """
    units = {_unit(value) for value in values}
    return units.pop() if len(units) == 1 else "utc" if units == {"utc", "us"} else ""


def _unit(value: Any) -> str:
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return ""
    except (TypeError, ValueError):
        try:
            return "utc" if datetime.fromisoformat(str(value)).tzinfo is None else "us"
        except ValueError:
            return ""
    return next((unit for unit, least, most in _UNITS if least <= number <= most), "")


def _event_id(paths: Mapping[str, Sequence[Any]], time: Mapping[str, str], found: Suggestion) -> object:
    if path := _best(paths, EVENT_ID, called=_owned):
        if len(set(map(str, paths[path]))) == len(paths[path]):
            return path
        found.unsure.append(f"event_id: {path} stands more than once in the sample")
    who = [one for one in _who(paths) if one][:1]
    found.unsure.append("event_id: no field is an id of the event; this hash is one if a user has one event at a time")
    return {"hash": [*who, time["from"]]}


def _who(paths: Mapping[str, Sequence[Any]]) -> tuple[str, str]:
    """Return the fields of the user's id and of the device's, "" for none."""
    return _best(paths, USER, called=_owned), _best(paths, DEVICE, called=_owned)


def _user(paths: Mapping[str, Sequence[Any]], found: Suggestion) -> dict[str, Any]:
    user, device = _who(paths)
    if not user and not device:
        found.unsure.append("user.user_id: no field looks like the id of a user")
        return {"user_id": "user_id"}
    if user and device:
        return {"user_id": f"{user} || {device}", "id_kind": f"{user} && 'USER' || 'DEVICE'"}
    kind = "USER" if user else "SESSION" if "session" in _owned(device) else "DEVICE"
    return {"user_id": user or device, "id_kind": {"value": kind}}


def _items(
    paths: Mapping[str, Sequence[Any]], shown: Sequence[Mapping[str, Any]], each: str, found: Suggestion
) -> tuple[str, object]:
    """Return the domain and the items of the slate."""
    entries: list[Any] = []
    if each and not isinstance(dict(_lists(shown[0]))[each][0], Mapping):
        found.unsure.append(f"items: {each} has ids alone; --items FILE, or the setting items_file, says what they are")
        found.unsure.append("domain: generic, since there are no attributes; the page Domains has the others")
        return "generic", {"each": each, "item_id": "@"}
    if each:
        entries = [one for event in shown for one in dict(_lists(event)).get(each, ())]
        fields: Mapping[str, Sequence[Any]] = dict(_paths(entries))
    else:
        found.unsure.append("slates: no field is a list of items, so a slate has one item, that of the event")
        fields = paths
    entries_wanted = len(entries) if each else len(shown)
    item_id = _all_of(fields, [name for name in ITEM_ID if each or name != "id"], entries_wanted)
    if not item_id:
        found.unsure.append("items: no field looks like the id of an item")
    attributes = _attributes(fields, found)
    prices = "price" in attributes or "currency" in attributes
    domain = "products" if prices else "movies" if "genres" in attributes else "generic"
    found.unsure.append(f"domain: {domain} by the names of attributes; the page Domains has the others")
    if domain == "movies":
        attributes = {"title" if name == "name" else name: one for name, one in attributes.items()}
    content: dict[str, Any] = {"item_id": item_id or "item_id", "attributes": attributes}
    if not attributes:
        found.unsure.append("items: no field is a text that a simulated user can judge; --items FILE joins a catalogue")
        del content["attributes"]
    return domain, {"each": each, **content} if each else [content]


def _attributes(fields: Mapping[str, Sequence[Any]], found: Suggestion) -> dict[str, str]:
    attributes = {}
    for name, names in {"name": NAME, **ATTRIBUTES}.items():
        path = _best(fields, names)
        if path and name == "name" and all(looks_like_id(str(value), numbers=True) for value in fields[path]):
            found.unsure.append(f"items: {path} looks like ids, which a simulated user cannot judge")
        elif path:
            attributes[name] = path
    return attributes
