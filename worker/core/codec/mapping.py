r"""Foreign events to impressions and outcomes, by a mapping: a tree of JMESPath expressions with the shape of ours.

    when: event_name == 'view_item_list'              other events are no impressions
    missing: ["(not set)"]                            texts that stand for nothing
    impression:
      event_id: {hash: [user_pseudo_id, event_timestamp]}
      occurred_at: {from: event_timestamp, unit: us}
      user: {user_id: "user_id || user_pseudo_id"}
      slates:
        - variant: {value: control}
          items: {each: items, item_id: item_id, attributes: {name: item_name}}
    outcome:
      when: event_name == 'select_item'               default: the events that are impressions
      outcome_id: ...

A text is an expression.  A map is a record of the same fields, unless it has one of four words: `value` is a constant,
`hash` an id made of the values of expressions, `from` with `unit` or `format` a time, and `each` a list: the fields
beside it are read from each of the entries.  A list is a list.  What an expression does not find is missing, and a
record of which nothing is found is missing too.

The expressions come from whoever runs the worker, the events from anybody.  JMESPath has no loops, no variables and no
functions of one's own, and an expression sees no more than the entry that it is given, so its work grows with the
event; the event is bounded before (`codec.json_reader`), and so are the entries of `each`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.core.codec import impression as codec, json_reader
from worker.core.codec.json_reader import JsonRules
from worker.core.codec.logical_types import Unfit
from worker.core.codec.mapping_nodes import Fields, apply, source
from worker.core.codec.mapping_paths import Path
from worker.core.errors import Poison
from worker.core.outcomes import Outcome
from worker.core.records import Impression, Reason

IMPRESSION, OUTCOME = "RecommendationImpression", "Outcome"
_PLACE = re.compile(r"[\w.]+")
_RULES, _TELLING_RULES = JsonRules(), JsonRules(show_names=True)
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """What one kind of our records is read from; `when` is None for every event."""

    when: Path | None
    root: Fields


@dataclass(frozen=True, slots=True)
class TableForm:
    """How a file of rows is read: `columns` are the names in a file without a first line of them, else empty."""

    columns: tuple[str, ...] = ()
    delimiter: str = ""  # "" for what the file's ending says
    quoted: bool = True  # False: a quote is a character as any other
    json: tuple[str, ...] = ()  # columns whose cells are JSON objects


@dataclass(frozen=True, slots=True)
class Catalogue:
    """How a row of a file of items becomes the id, text and attributes of one."""

    table: TableForm
    root: Fields


@dataclass(frozen=True, slots=True)
class EventMapping:
    """A mapping, compiled; one of both parts is there.  `lacks` says in words what its events cannot tell."""

    name: str
    impressions: Part | None
    outcomes: Part | None
    missing: frozenset[str] = _NONE
    lacks: tuple[str, ...] = ()
    table: TableForm = field(default_factory=TableForm)
    items: Catalogue | None = None

    def decode(self, text: bytes, *, show_names: bool = False) -> Impression | None:
        """Return the impression of an event in JSON; None for one that is passed over.

        Raises `Poison` as `codec.decode_json` does, and says where in the event a value comes from.
        """
        return self.impression(json_reader.parse_bytes(text), show_names=show_names)

    def impression(self, event: Mapping[str, object], *, show_names: bool = False) -> Impression | None:
        """Do the same with a parsed event."""
        plain = self.plain(event, show_names=show_names)
        return None if plain is None else self.valid(plain, show_names=show_names)

    def plain(self, event: Mapping[str, object], *, show_names: bool = False) -> Mapping[str, object] | None:
        """Return the fields of an event's impression, which is not validated; None for one that is passed over."""
        return self._fields(self.impressions, event, IMPRESSION, show_names=show_names)

    def valid(self, plain: Mapping[str, object], *, show_names: bool = False) -> Impression:
        """Return the impression of its fields.  Raises `Poison`."""
        assert self.impressions is not None
        try:
            return codec.impression(plain, show_names=show_names)
        except Poison as poison:
            raise self._with_source(poison, self.impressions) from poison

    def row(self, text: bytes) -> Mapping[str, object]:
        """Return the event of a row, whose columns the mapping names, such as a message of Snowplow's enriched stream.

        Raises `Poison`: `UTF8`, `LIMIT`, `JSON` for a cell that should be JSON, `INVALID` for another number of cells.
        """
        if len(text) > json_reader.MAX_CHARS:
            raise Poison(Reason.LIMIT, f"{len(text):,} bytes in one row, want at most {json_reader.MAX_CHARS:,}")
        try:
            cells = text.decode().rstrip("\r\n").split(self.table.delimiter or "\t")
        except UnicodeDecodeError as error:
            raise Poison(Reason.UTF8, f"byte {error.start:,}: is not UTF-8") from error
        columns = self.table.columns
        if len(cells) != len(columns):
            raise Poison(Reason.INVALID, f"has {len(cells):,} cells, want {len(columns):,}")
        event: dict[str, object] = dict(zip(columns, cells, strict=True))
        for name in self.table.json:
            if cell := event.get(name):
                event[name] = json_reader.parse(str(cell))
        return event

    def outcome(self, event: Mapping[str, object], *, show_names: bool = False) -> Outcome | None:
        """Return the outcome of a parsed event; None for one that has none.  Raises `Poison`."""
        plain = self._fields(self.outcomes, event, OUTCOME, show_names=show_names)
        if plain is None or self.outcomes is None:
            return None
        try:
            return codec.outcome(plain)
        except Poison as poison:
            raise self._with_source(poison, self.outcomes) from poison

    def outcome_fields(self, text: bytes) -> Mapping[str, object] | None:
        """Return the fields of the outcome of an event in JSON; None for one that has none.  Raises `Poison`."""
        return self._fields(self.outcomes, json_reader.parse_bytes(text), OUTCOME, show_names=False)

    def _fields(
        self, part: Part | None, event: Mapping[str, object], name: str, *, show_names: bool
    ) -> Mapping[str, object] | None:
        if part is None or (part.when is not None and not _is_meant(part.when, event)):
            return None
        try:
            found = apply(part.root, event, self.missing)
        except Unfit as error:
            raise Poison(error.reason, str(error)) from error
        try:
            return json_reader.fields(found or {}, name, _TELLING_RULES if show_names else _RULES)
        except Poison as poison:
            raise self._with_source(poison, part) from poison

    @staticmethod
    def _with_source(poison: Poison, part: Part) -> Poison:
        """Put what the first place of a problem was read from behind it."""
        problem = str(poison)
        place = _PLACE.match(problem)
        read_from = source(part.root, place[0].split(".")) if place else ""
        return Poison(poison.reason, f"{problem} (from {read_from})") if read_from else poison


def _is_meant(when: Path, event: object) -> bool:
    try:
        return bool(when.search(event))
    except Unfit as error:
        raise Poison(error.reason, f"when: {error}") from error
