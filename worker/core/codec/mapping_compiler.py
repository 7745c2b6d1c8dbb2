"""The plain data of a mapping's file, compiled: what is wrong with it is told with its place."""

from collections.abc import Callable, Mapping

from jmespath.exceptions import JMESPathError

from worker.core.codec.logical_types import Unfit
from worker.core.codec.mapping import Catalogue, EventMapping, Part, TableForm
from worker.core.codec.mapping_nodes import UNITS, Constant, Each, Fields, Hash, Node, Several, Time
from worker.core.codec.mapping_paths import Path, compiled
from worker.core.errors import BadSettings, Poison

MAX_EXPRESSIONS, MAX_EXPRESSION_CHARS = 400, 1_000
MAX_COLUMNS = 1_000
PARTS = ("impression", "outcome")
WORDS = frozenset({*PARTS, "when", "missing", "lacks", "table", "items"})
_TABLE = frozenset({"columns", "delimiter", "json", "quoted"})
_LIST_WORDS = frozenset({"each", "split", "only"})
MAX_SPLITS = 2  # the separator of entries, and that of the parts of one


def compile_mapping(name: str, content: object) -> EventMapping:
    """Return a mapping from the plain data of its file.  Raises `BadSettings` with the place of what is wrong."""
    if not isinstance(content, dict) or not any(isinstance(content.get(part), dict) for part in PARTS):
        words = "`when`, `missing`, `table`, `items` and `lacks`"
        raise BadSettings(f"mapping {name}: want a map with `impression` or `outcome`, and perhaps {words}")
    if unknown := sorted(map(str, content.keys() - WORDS)):
        raise BadSettings(f"mapping {name}: {', '.join(unknown)}: is no part of a mapping")
    compiler = _MappingCompiler(f"mapping {name}")
    when = compiler.path(content["when"], "when") if "when" in content else None
    return EventMapping(
        name,
        Part(when, compiler.record(content["impression"], "impression")) if "impression" in content else None,
        compiler.outcomes(content["outcome"], when) if "outcome" in content else None,
        frozenset(compiler.texts(content.get("missing", []), "missing")),
        tuple(compiler.texts(content.get("lacks", []), "lacks")),
        compiler.table(content.get("table", {}), "table"),
        compiler.catalogue(content["items"]) if "items" in content else None,
    )


def compile_item_ids(expression: str) -> Callable[[Mapping[str, object]], frozenset[str]]:
    """Return what reads item ids from an event: texts or numbers, one or a list.

    Raises `BadSettings` if the expression is none; what it returns raises `Poison` where it fails.

    >>> compile_item_ids("items[?clicked].id")({"items": [{"id": 7, "clicked": True}, {"id": 8}]})
    frozenset({'7'})
    """
    path = _MappingCompiler("chosen").path(expression, "expression")

    def read(event: Mapping[str, object]) -> frozenset[str]:
        try:
            found = path.search(event)
        except Unfit as unfit:
            raise Poison(unfit.reason, f"chosen: {unfit.problem}") from unfit
        listed = found if isinstance(found, list) else [found]
        return frozenset(str(one) for one in listed if isinstance(one, str | int) and not isinstance(one, bool))

    return read


class _MappingCompiler:
    """Makes nodes of what a file has, and counts them."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._num_paths = 0

    def record(self, content: object, place: str) -> Fields:
        root = self.node(content, place)
        if not isinstance(root, Fields):
            raise self._bad(place, "want a record of its fields")
        return root

    def outcomes(self, content: object, when: Path | None) -> Part:
        if not isinstance(content, dict):
            raise self._bad("outcome", "want a record of its fields")
        fields = {name: one for name, one in content.items() if name != "when"}
        own = self.path(content["when"], "outcome.when") if "when" in content else when
        return Part(own, self.record(fields, "outcome"))

    def table(self, content: object, place: str) -> TableForm:
        if not isinstance(content, dict) or content.keys() - _TABLE:
            raise self._bad(place, f"want a map of {', '.join(sorted(_TABLE))}")
        columns, delimiter = self.texts(content.get("columns", []), f"{place}.columns"), content.get("delimiter", "")
        if len(set(columns)) < len(columns) or len(columns) > MAX_COLUMNS:
            raise self._bad(f"{place}.columns", f"want at most {MAX_COLUMNS:,} names, each once")
        if not isinstance(delimiter, str):
            raise self._bad(f"{place}.delimiter", "want text")
        as_json = self.texts(content.get("json", []), f"{place}.json")
        return TableForm(tuple(columns), delimiter, bool(content.get("quoted", True)), tuple(as_json))

    def catalogue(self, content: object) -> Catalogue:
        if not isinstance(content, dict) or "item_id" not in content:
            raise self._bad("items", "want item_id, and text or attributes")
        fields = {name: one for name, one in content.items() if name != "table"}
        return Catalogue(self.table(content.get("table", {}), "items.table"), self.record(fields, "items"))

    def node(self, content: object, place: str) -> Node:  # noqa: PLR0911 - one for each kind
        if isinstance(content, str):
            return self.path(content, place)
        if isinstance(content, list):
            return Several(tuple(self.node(one, f"{place}.{number}") for number, one in enumerate(content)))
        if not isinstance(content, dict) or not content:
            raise self._bad(place, "want an expression, a map or a list; a constant is {value: ...}")
        if content.keys() == {"value"}:  # beside others it is the field of that name, which items and actions have
            return Constant(content["value"])
        if "hash" in content:
            self._only(content, {"hash"}, place)
            return Hash(tuple(self.path(one, place) for one in self.texts(content["hash"], place)))
        if "from" in content:
            return self._time(content, place)
        if "each" in content:
            return self._each(content, place)
        return self._fields(content, place)

    def _fields(self, content: Mapping[object, object], place: str) -> Fields:
        return Fields({str(name): self.node(one, f"{place}.{name}") for name, one in content.items()})

    def _time(self, content: Mapping[object, object], place: str) -> Time:
        self._only(content, {"from", "unit", "format"}, place)
        unit, form = content.get("unit", "us"), content.get("format", "")
        if unit not in UNITS:
            raise self._bad(place, f"unit {unit}: want one of {', '.join(UNITS)}")
        if not isinstance(form, str):
            raise self._bad(place, "format: want text, such as %Y-%m-%d")
        return Time(self.path(content["from"], place), str(unit), form)

    def _each(self, content: Mapping[object, object], place: str) -> Each:
        split = self.texts(content.get("split", []), f"{place}.split")
        if len(split) > MAX_SPLITS or not all(split):
            raise self._bad(f"{place}.split", "want the separator of entries, and perhaps that of the parts of one")
        fields = self._fields({name: one for name, one in content.items() if name not in _LIST_WORDS}, place)
        only = self.path(content["only"], f"{place}.only") if "only" in content else None
        newest = place.endswith(".history")
        return Each(self.path(content["each"], place), fields, newest=newest, split=tuple(split), only=only)

    def path(self, expression: object, place: str) -> Path:
        self._num_paths += 1
        if self._num_paths > MAX_EXPRESSIONS:
            raise self._bad(place, f"more than {MAX_EXPRESSIONS} expressions")
        if not isinstance(expression, str) or not 0 < len(expression) <= MAX_EXPRESSION_CHARS:
            raise self._bad(place, f"want an expression of at most {MAX_EXPRESSION_CHARS:,} characters")
        try:
            return compiled(expression)
        except JMESPathError as error:
            raise self._bad(place, f"{expression}: is no JMESPath: {str(error).splitlines()[0]}") from error

    def texts(self, content: object, place: str) -> list[str]:
        if not isinstance(content, list) or not all(isinstance(one, str) for one in content):
            raise self._bad(place, "want a list of texts")
        return content

    def _only(self, content: Mapping[object, object], words: set[str], place: str) -> None:
        if other := sorted(map(str, content.keys() - words)):
            raise self._bad(place, f"{', '.join(other)}: cannot stand beside {' and '.join(sorted(words))}")

    def _bad(self, place: str, problem: str) -> BadSettings:
        return BadSettings(f"{self._where}: {place}: {problem}")
