"""A schema's text as a tree of types, with every name, size and count in it checked.

A writer's schema comes from outside, and what reads by it trusts it.  So nothing of it is used unchecked:
sizes are whole numbers within bounds, names are Avro's names, each named type is declared once and before its
use, and no type contains itself.  What reading does not need (documentation, a writer's defaults, orders,
aliases) is left out of the tree, so it can do no harm.

    {"type": "array", "items": {"type": "fixed", "name": "F", "size": -1}}     Poison(Reason.SCHEMA, ...)
    {"type": "long", "logicalType": "timestamp-millis"}                        Type("long", logical="timestamp-millis")

Every type knows how many bytes it takes at least and how many values it holds, so that `codec.avro` can
refuse a count before it makes a single entry.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_letters, digits
from typing import Any, Final

from worker.core.errors import Poison
from worker.core.records import Reason

MAX_SCHEMA_CHARS = 256 * 1024  # of a schema and all that it references; our widest has 21,000
MAX_SCHEMA_DEPTH = 16  # nested types; the deepest of our own schemas has 7
MAX_SCHEMA_FIELDS = 400  # our own response has 118
MAX_SCHEMA_TYPES = 4_000  # branches of unions included; 400 optional fields make 1,200
MAX_SYMBOLS = 10_000  # of all enums
MAX_FIXED_BYTES = 1 << 20  # a record of Kafka is 1 MB by default
MAX_NAME_CHARS = 512
MAX_SHOWN_CHARS, MAX_SHOWN_NUMBER = 128, 10**18  # of a foreign name or number in a message
MAX_SCALE = 256  # decimal places; Connect's JDBC source writes 127 for a number of Oracle without a scale
MAX_VALUES = 70_000  # in one record, lists, maps and skipped fields included: 20 to 50 ms on a busy core (2026-11)
BYTES_PER_TYPE, BYTES_PER_SYMBOL = 3_000, 200  # of memory at most, readers included

PRIMITIVES = {"null": 0, "boolean": 1, "int": 1, "long": 1, "float": 4, "double": 8, "bytes": 1, "string": 1}  # bytes
# What Connect and Debezium name in `connect.name` where they write no `logicalType`.
CONNECT_TYPES = {
    "org.apache.kafka.connect.data.Timestamp": "timestamp-millis",
    "org.apache.kafka.connect.data.Date": "date",
    "org.apache.kafka.connect.data.Time": "time-millis",
    "org.apache.kafka.connect.data.Decimal": "decimal",
    "io.debezium.time.Timestamp": "timestamp-millis",
    "io.debezium.time.MicroTimestamp": "timestamp-micros",
    "io.debezium.time.NanoTimestamp": "timestamp-nanos",
    "io.debezium.time.Date": "date",
    "io.debezium.time.Time": "time-millis",
    "io.debezium.time.MicroTime": "time-micros",
    "io.debezium.time.NanoTime": "time-nanos",
}

_PLAIN = frozenset(ascii_letters + digits + "._-$")


class Missing:
    """The type of `NO_DEFAULT`: a default may be None."""


NO_DEFAULT: Final = Missing()


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A field of a record; the default is JSON's and counts only where the record is ours."""

    name: str
    type: "Type"
    default: object = NO_DEFAULT


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """One type.  `kind` is Avro's word, or `union`; the rest is empty where the kind has none of it."""

    kind: str
    min_bytes: int = 1  # the fewest that a value takes
    num_values: int = 1  # in one value, itself included; entries of lists and maps and branches of unions apart
    height: int = 1  # nested types, itself included
    name: str = ""  # with its namespace
    logical: str = ""
    scale: int | None = 0  # decimal places; None if what the schema says is no such number
    size: int = 0  # bytes of a fixed
    symbols: tuple[str, ...] = ()
    default: str = ""  # symbol for the ones that are unknown
    fields: tuple[Field, ...] = ()
    types: tuple["Type", ...] = ()  # branches of a union; the one type of entries of a list or map


@dataclass(frozen=True, slots=True)
class Parsed:
    """A schema's outermost type, and the most memory that the tree and its readers take, bytes."""

    root: Type
    num_bytes: int


def parse(text: str, references: Sequence[str] = (), *, keep_defaults: bool = False) -> Parsed:
    """Parse and check a schema, JSON; `references` are the schemas whose types it names, dependencies first.

    `keep_defaults` is for our own schemas: the defaults of a writer mean nothing to a reader.  Raises
    `Poison` (`Reason.SCHEMA`) with what is wrong.
    """
    num_chars = len(text) + sum(map(len, references))
    if num_chars > MAX_SCHEMA_CHARS:
        raise _refused(f"has {num_chars:,} characters with its references, want at most {MAX_SCHEMA_CHARS:,}")
    parser = _Parser(keep_defaults=keep_defaults)
    try:
        for referenced in dict.fromkeys(references):  # two schemas may reference the same third one
            parser.parse(json.loads(referenced), depth=1)
        return Parsed(parser.parse(json.loads(text), depth=1), parser.num_bytes)
    except (ValueError, RecursionError) as error:
        message = f"is not JSON: {type(error).__name__}"
        raise _refused(message) from error


class _Parser:
    """What one schema and its references have declared so far."""

    def __init__(self, *, keep_defaults: bool) -> None:
        self._keep_defaults = keep_defaults
        self._named: dict[str, Type] = {}
        self._open: set[str] = set()  # records whose fields are being parsed
        self._num_types = self._num_fields = self._num_symbols = 0

    @property
    def num_bytes(self) -> int:
        return self._num_types * BYTES_PER_TYPE + self._num_symbols * BYTES_PER_SYMBOL

    def parse(self, schema: Any, *, depth: int, namespace: str = "") -> Type:
        if depth > MAX_SCHEMA_DEPTH:
            raise _refused(f"is nested deeper than {MAX_SCHEMA_DEPTH}")
        self._num_types += 1
        if self._num_types > MAX_SCHEMA_TYPES:
            raise _refused(f"has more than {MAX_SCHEMA_TYPES:,} types")
        found = self._parse(schema, depth, namespace)
        if found.height > MAX_SCHEMA_DEPTH:  # by a name, which has no depth of its own
            raise _refused(f"is nested deeper than {MAX_SCHEMA_DEPTH}")
        if found.num_values > MAX_VALUES:
            raise _refused(f"has a type of more than {MAX_VALUES:,} values")
        return found

    def _parse(self, schema: Any, depth: int, namespace: str) -> Type:  # noqa: PLR0911 - one for each form
        if isinstance(schema, list):
            return self._union(schema, depth, namespace)
        if isinstance(schema, str):
            return self._by_name(schema, namespace)
        if not isinstance(schema, dict):
            raise _refused(f"has {_json_word(schema)} where a type is wanted")
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._union(kind, depth, namespace)
        if isinstance(kind, dict):  # {"type": {"type": "long"}}, which some libraries write
            outer = {key: value for key, value in schema.items() if key != "type"}
            return self.parse({**outer, **kind}, depth=depth + 1, namespace=namespace)
        if not isinstance(kind, str):
            raise _refused(f"has {_json_word(kind)} as a type")
        if kind in PRIMITIVES:
            return Type(kind, PRIMITIVES[kind], logical=_logical(schema), scale=_scale(schema))
        if kind in ("array", "map"):
            return self._collection(kind, schema, depth, namespace)
        if kind in ("record", "error", "enum", "fixed"):
            return self._declaration(kind, schema, depth, namespace)
        return self._by_name(kind, namespace)

    def _union(self, branches: list[Any], depth: int, namespace: str) -> Type:
        types = tuple(self.parse(branch, depth=depth + 1, namespace=namespace) for branch in branches)
        if not types:
            raise _refused("has a union without branches")
        told = [branch.name or branch.kind for branch in types]
        if "union" in told or len(set(told)) < len(told):
            raise _refused("has a union in a union, or a union with one type twice")
        return Type("union", height=1 + max(branch.height for branch in types), types=types)

    def _by_name(self, name: str, namespace: str) -> Type:
        if name in PRIMITIVES:
            return Type(name, PRIMITIVES[name])
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named and full not in self._open:
            full = name  # as in Java: without a namespace, where there is none of that name within it
        if full in self._open:
            raise _refused("is recursive, which no decoder can bound")
        if full not in self._named:
            raise _refused(f"names a type that neither it nor its references declare: {_shown(full)}")
        found = self._named[full]
        if not found.min_bytes:  # two of these in a record, two of those in the next: 2**n values in no bytes
            raise _refused("uses a type of no bytes more than once")
        return found

    def _collection(self, kind: str, schema: dict[str, Any], depth: int, namespace: str) -> Type:
        word = "items" if kind == "array" else "values"
        if word not in schema:
            raise _refused(f"has {'an array' if kind == 'array' else 'a map'} without {word}")
        entry = self.parse(schema[word], depth=depth + 1, namespace=namespace)
        if kind == "array" and not entry.min_bytes:
            raise _refused("has an array of items that take no bytes")
        return Type(kind, height=1 + entry.height, logical=_logical(schema), types=(entry,))

    def _declaration(self, kind: str, schema: dict[str, Any], depth: int, namespace: str) -> Type:
        full = _full_name(schema, namespace)
        if full in self._named or full in self._open:
            raise _refused(f"declares {_shown(full)} more than once")
        if kind == "enum":
            found = self._enum(full, schema)
        elif kind == "fixed":
            size = schema.get("size")
            if type(size) is not int or not 0 <= size <= MAX_FIXED_BYTES:  # True is an int
                raise _refused(f"has a fixed of {_json_word(size)} bytes, want a whole number to {MAX_FIXED_BYTES:,}")
            found = Type(kind, size, name=full, logical=_logical(schema), scale=_scale(schema), size=size)
        else:
            self._open.add(full)
            found = self._record(full, schema, depth)
            self._open.discard(full)
        self._named[full] = found
        return found

    def _enum(self, full: str, schema: dict[str, Any]) -> Type:
        symbols = schema.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(map(_is_name, symbols)):
            raise _refused("has an enum whose symbols are no list of names")
        self._num_symbols += len(symbols)
        if len(set(symbols)) < len(symbols) or self._num_symbols > MAX_SYMBOLS:
            raise _refused(f"has an enum with one symbol twice, or more than {MAX_SYMBOLS:,} symbols")
        default = schema.get("default")
        known = default if isinstance(default, str) and default in symbols else ""
        return Type("enum", name=full, logical=_logical(schema), symbols=tuple(symbols), default=known)

    def _record(self, full: str, schema: dict[str, Any], depth: int) -> Type:
        listed = schema.get("fields")
        if not isinstance(listed, list):
            raise _refused("has a record whose fields are no list")
        self._num_fields += len(listed)
        if self._num_fields > MAX_SCHEMA_FIELDS:
            raise _refused(f"has more than {MAX_SCHEMA_FIELDS} fields")
        fields = tuple(self._field(field, depth, full.rpartition(".")[0]) for field in listed)
        if len({field.name for field in fields}) < len(fields):
            raise _refused("has a record with one field twice")
        return Type(
            "record",
            sum(field.type.min_bytes for field in fields),
            num_values=1 + sum(field.type.num_values for field in fields),
            height=1 + max((field.type.height for field in fields), default=0),
            name=full,
            logical=_logical(schema),
            fields=fields,
        )

    def _field(self, field: Any, depth: int, namespace: str) -> Field:
        if not isinstance(field, dict) or "type" not in field or not _is_name(field.get("name")):
            raise _refused("has a field without a type or without a name that Avro allows")
        found = self.parse(field["type"], depth=depth + 1, namespace=namespace)
        default = field.get("default", NO_DEFAULT) if self._keep_defaults else NO_DEFAULT
        return Field(field["name"], found, default)


def _full_name(schema: dict[str, Any], namespace: str) -> str:
    name, own = schema.get("name"), schema.get("namespace")
    if own is None:  # Connect writes null for none
        own = namespace
    if not isinstance(name, str) or not isinstance(own, str):
        raise _refused("has a name or a namespace that is no string")
    space, _, simple = name.rpartition(".") if "." in name else (own, "", name)
    # Java checks no namespace, and once wrote `Outer$` for classes within a class.
    if not _is_name(simple) or not all(_is_name(part.replace("$", "_")) for part in space.split(".") if space):
        raise _refused("has a name or a namespace that Avro does not allow")
    if simple in PRIMITIVES:
        raise _refused(f"declares a type with the name of a primitive one, {simple}")
    return f"{space}.{simple}" if space else simple


def _is_name(name: object) -> bool:
    """Whether Avro takes this as a name: letters, digits and underscores; as in Java, letters of any script."""
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS:
        return False
    return name.replace("_", "a").isalnum() and not name[0].isdigit()


def _logical(schema: dict[str, Any]) -> str:
    logical = schema.get("logicalType")
    if logical is None:
        named = schema.get("connect.name")
        return CONNECT_TYPES.get(named, "") if isinstance(named, str) else ""
    return _shown(logical)


def _scale(schema: dict[str, Any]) -> int | None:
    scale = schema.get("scale")
    if scale is None and isinstance(parameters := schema.get("connect.parameters"), dict):
        scale = parameters.get("scale")  # a string there
        if isinstance(scale, str) and len(scale) < 5 and scale.removeprefix("-").isdecimal():  # noqa: PLR2004 - digits
            scale = int(scale)
    if scale is None:
        return 0
    return scale if type(scale) is int and abs(scale) <= MAX_SCALE else None


def _shown(name: object) -> str:
    """Return a foreign name as it is, if it is short and plain enough to stand in a message."""
    plain = isinstance(name, str) and 0 < len(name) <= MAX_SHOWN_CHARS and all(c in _PLAIN for c in name)
    return str(name) if plain else "(an odd name)"


def _json_word(value: object) -> str:
    """Return a whole number as it is, where it is short, and the kind of anything else."""
    if type(value) is int and abs(value) < MAX_SHOWN_NUMBER:
        return str(value)
    return "null" if value is None else f"a {type(value).__name__}"


def _refused(problem: str) -> Poison:
    return Poison(Reason.SCHEMA, f"writer schema {problem}")
