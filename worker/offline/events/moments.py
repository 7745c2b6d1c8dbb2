"""What the row of a file is: an impression, an outcome or both.

{"event_id": "e1", "user": {...}, "slates": [...], ...}                                 an impression
{"outcome_id": "o1", "event_id": "e1", "variant": "control", "actions": [...], ...}     an outcome
{"event_name": "view_item_list", ...}                                                   by a mapping
"""

from collections.abc import Mapping

from worker.core.codec import impression as codec, json_reader
from worker.core.codec.avro_encoder import JsonEncoder, plain
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.mapping import EventMapping
from worker.core.errors import Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression
from worker.offline.events.item_facts import NO_ITEMS, Facts, with_facts

OF_OUTCOMES = frozenset({"outcome_id", "observed_at"})  # an impression has neither

_JSON = JsonEncoder()
_NOT_ON_THE_WIRE = frozenset({"texts_as_is", "given_order"})  # what the worker itself notes on an impression

Moment = tuple[Impression | None, Outcome | None]  # one of both at least


def is_outcome(content: Mapping[str, object]) -> bool:
    """Say whether one of our own records is an outcome."""
    return content.get("slates") is None and any(content.get(name) is not None for name in OF_OUTCOMES)


def own(content: Mapping[str, object], rules: JsonRules, items: Facts = NO_ITEMS) -> Moment:
    """Read one of our own records, with what is known about its items.  Raises `Poison`.

    Null is a field that is not there: in one file of Parquet each row has the fields of both kinds.
    """
    given = {name: value for name, value in content.items() if value is not None}
    if is_outcome(given):
        return None, codec.outcome(json_reader.fields(given, "Outcome", rules))
    plain = json_reader.fields(given, "RecommendationImpression", rules)
    return codec.impression(with_facts(plain, items), show_names=True), None


def ids_only(poison: Poison) -> Impression | None:
    """Return the impression that lacks nothing but texts of its items, None for any other problem."""
    found = poison if isinstance(poison, codec.IdsOnly) else poison.__cause__  # a mapping adds its place
    return found.found if isinstance(found, codec.IdsOnly) else None


def mapped(mapping: EventMapping, event: Mapping[str, object], items: Facts) -> Impression | None:
    """Return the impression of an event with what is known about its items, None for one that is passed over.

    Raises `Poison` with the place.
    """
    plain = mapping.plain(event, show_names=True)
    return None if plain is None else mapping.valid(with_facts(plain, items), show_names=True)


def row(record: Impression | Outcome) -> bytes:
    """Return one of our own records as a line of JSON, which `own` reads."""
    return _JSON.encode({name: value for name, value in _fields(record).items() if name not in _NOT_ON_THE_WIRE})


def _fields(record: Impression | Outcome) -> Mapping[str, object]:
    found = plain(record)
    assert isinstance(found, dict)
    return found
