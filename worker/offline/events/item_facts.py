r"""What a file says about items, joined to events that have their ids alone: `--items FILE`, in memory.

    news.tsv: N1 \t sports \t Five facts about ...   ->   {"N1": {"attributes": {"title": ..., "category": ...}}}

A file that the setting `items_file` takes is taken here, too: columns that are no field of an item are attributes.
The event's own fields win: an item that has text or attributes is left as it is.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from worker.core.codec import json_reader
from worker.core.codec.logical_types import Unfit
from worker.core.codec.mapping import Catalogue, EventMapping, TableForm
from worker.core.codec.mapping_nodes import apply
from worker.core.errors import BadSettings, Poison
from worker.core.joining.facts import FactKind
from worker.core.joining.rows import nested, without_id
from worker.core.records import Reason
from worker.offline.events import event_files
from worker.offline.events.event_files import OnBad, raising

MAX_FACTS = 2_000_000  # items, all in memory: about 1 KB each
Facts = Mapping[str, Mapping[str, object]]  # by the item's id: `text` and `attributes`, what there is of both
NO_ITEMS: Facts = {}
WANT = "want one item per line, with item_id and text or attributes"


def read(path: Path, mapping: EventMapping | None, *, on_bad: OnBad = raising) -> Facts:
    """Read a file of items by the mapping's `items`; without one, its rows have the fields of `ItemFacts`.

    An item that stands twice is what its last row says.  `on_bad` gets what is wrong with a row; without it the first
    one raises `BadSettings`, as a file that cannot be read does.
    """
    catalogue = mapping.items if mapping else None
    table = catalogue.table if catalogue else TableForm()
    event_files.check(path, table, WANT)
    is_flat = catalogue is None and not event_files.is_lines(path, table)
    found: dict[str, Mapping[str, object]] = {}
    for place, row in event_files.events(path, table, on_bad=on_bad):
        try:
            plain = nested(_filled(row), FactKind.ITEMS) if is_flat else row
            item = dict(_item(plain, catalogue, mapping.missing if mapping else frozenset()))
            name = item.pop("item_id", None)
            if not isinstance(name, str) or not name:
                raise Poison(Reason.INVALID, without_id(row, FactKind.ITEMS) or "has no item_id")
        except (Poison, Unfit) as problem:
            on_bad(BadSettings(f"{place}: {problem}; {WANT}"))
            continue
        found[name] = item
        if len(found) > MAX_FACTS:
            raise BadSettings(f"{path}: more than {MAX_FACTS:,} items, which are held in memory")
    return found


def _filled(row: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in row.items() if value not in (None, "")}


def _item(row: Mapping[str, object], catalogue: Catalogue | None, missing: frozenset[str]) -> Mapping[str, object]:
    if catalogue is not None:
        return json_reader.fields(apply(catalogue.root, row, missing) or {}, "HistoryItem", json_reader.FILE_RULES)
    found = dict(json_reader.fields(row, FactKind.ITEMS.schema, json_reader.FILE_RULES))
    found.pop("valid_from", None)  # one version of an item is held here
    return {name: value for name, value in found.items() if value is not None}


def with_facts(plain: Mapping[str, object], facts: Facts) -> Mapping[str, object]:
    """Return the fields of an impression with what is known about items that it has without text and attributes.

    What is of another form is left to validation.
    """
    if not facts:
        return plain
    user, slates = plain.get("user"), plain.get("slates")
    found = dict(plain)
    if isinstance(slates, list):
        found["slates"] = [_with_items(slate, facts) for slate in slates]
    if isinstance(user, Mapping) and isinstance(user.get("history"), list):
        found["user"] = {**user, "history": [_with_item(entry, facts) for entry in user["history"]]}
    return found


def _with_items(slate: object, facts: Facts) -> object:
    items = slate.get("items") if isinstance(slate, Mapping) else None
    if not isinstance(slate, Mapping) or not isinstance(items, Iterable):
        return slate
    return {**slate, "items": [_known(item, facts) for item in items]}


def _with_item(entry: object, facts: Facts) -> object:
    return {**entry, "item": _known(entry.get("item"), facts)} if isinstance(entry, Mapping) else entry


def _known(item: object, facts: Facts) -> object:
    if not isinstance(item, Mapping) or item.get("text") or item.get("attributes"):
        return item
    return {**item, **facts.get(str(item.get("item_id")), {})}
