"""Reads Avro by a writer's schema into the fields of one of ours, bounded whatever schema and bytes say.

A pair of schemas becomes a chain of small functions, once (`codec.avro_readers`).  Each reads one value and
returns it with the place after it:

    writer {"type": "array", "items": "long"}      count, then as many numbers
    ours   {"type": "array", "items": "double"}    each made a float

Avro's resolution holds: fields are matched by name, those of the writer alone are skipped, those of ours
alone get their defaults, and types are widened (`codec.logical_types` lists how).  Names of records within a
record are not compared, since Connect, Flink and Spark make up their own; the outermost needs our record's
name, in any namespace.

Nothing is believed.  Each length is checked against the bytes that are left; each count too, and against the
bound of our field, before the first entry is made.  All values of a record together are counted against
`MAX_VALUES`, skipped ones too.  So one record costs no more time and memory than that many values.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from worker.core.attribute_maps import known
from worker.core.codec.avro_readers import (
    LEAVES,
    OPTIONAL,
    READ,
    SKIP,
    Read,
    Skip,
    Step,
    array_reader,
    blocks_skipper,
    bytes_reader,
    converted,
    enum_reader,
    fixed_bytes,
    fixed_reader,
    fixed_skipper,
    map_reader,
    optional_reader,
    record_reader,
    record_skipper,
    skip_bytes,
    skip_number,
    text_reader,
    union_reader,
    union_skipper,
)
from worker.core.codec.logical_types import Convert, Unfit, conversion, unfit
from worker.core.codec.schema_limits import MAX_VALUES, NO_DEFAULT, Type
from worker.core.records import Reason

SKIPPED = "(a field that only the writer has)"  # its name is foreign text


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much one of our records may hold; what is not named is bounded by `MAX_VALUES` alone."""

    entries: Mapping[str, int] = field(default_factory=dict)  # of a list, by the name of its field
    map_entries: int = MAX_VALUES  # of each map
    text_chars: int = 1 << 30  # of each text


def compile_reader(writer: Type, ours: Type, bounds: Bounds) -> Callable[[bytes], Any]:
    """Return a function that reads one record of `ours`, as `writer` wrote it, from all of the given bytes.

    The function returns a dict of our fields, and raises `Unfit` for bytes that it cannot read.  Raises
    `Unfit` at once if the two schemas fit no bytes at all.
    """
    read = _Compiler(bounds).outermost(writer, ours)
    num_left = MAX_VALUES - writer.num_values

    def read_whole(data: bytes) -> Any:
        try:
            found, end = read(data, 0, [num_left])
        except (IndexError, struct.error) as error:
            raise Unfit(Reason.AVRO, "the record ends within a value") from error
        if end < len(data):
            raise Unfit(Reason.AVRO, f"{len(data) - end:,} bytes left after the record")
        return found

    return read_whole


class _Compiler:
    """Makes readers and skippers, one for each pair of types: a type may be named in many places."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._text = text_reader(bounds.text_chars)
        self._readers: dict[tuple[Type, Type, str], Read | Unfit] = {}
        self._skippers: dict[Type, Skip] = {}

    def outermost(self, writer: Type, ours: Type) -> Read:
        """Return the reader of a whole record; topics of many types have a union of records."""
        if writer.kind == "union":
            return union_reader([_lazy(partial(self.outermost, branch, ours), branch) for branch in writer.types])
        want = _simple(ours.name)
        if writer.kind != "record" or _simple(writer.name) != want:
            raise Unfit(Reason.AVRO, f"the writer's schema is of {writer.name or writer.kind}, want {want}")
        return self.reader(writer, ours, "")

    def reader(self, writer: Type, ours: Type, name: str) -> Read:
        """Return the reader of a writer's type as ours; `name` is of the field of ours.  Raises `Unfit`."""
        key = (writer, ours, name)
        if key not in self._readers:
            try:
                self._readers[key] = self._make(writer, ours, name)
            except Unfit as error:
                self._readers[key] = error
        found = self._readers[key]
        if isinstance(found, Unfit):
            raise found.again()
        return found

    def _make(self, writer: Type, ours: Type, name: str) -> Read:  # noqa: PLR0911 - one for each kind
        if writer.kind == "union":
            branches = [_lazy(partial(self.reader, branch, ours, name), branch) for branch in writer.types]
            if _is_optional(writer, ours):
                return optional_reader(branches[1][0])
            return union_reader(branches)
        if ours.kind == "union":
            return self.reader(writer, _branch_for(writer, ours), name)
        if writer.logical and ours.kind in ("record", "array", "map", "enum"):
            raise unfit(writer, ours)
        match writer.kind, ours.kind:
            case (("record" | "error"), "record"):
                return self._record(writer, ours)
            case "array", "array":
                [entry] = writer.types
                read = self.reader(entry, ours.types[0], "")
                return array_reader(entry, read, self._bounds.entries.get(name, MAX_VALUES))
            case "map", "map":
                return self._map(writer.types[0], ours.types[0])
            case (("enum" | "string"), "enum"):
                return converted(self._leaf(writer), _known_symbol(ours))
        convert = conversion(writer, ours)
        return self._leaf(writer) if convert is None else converted(self._leaf(writer), convert)

    def _map(self, entry: Type, ours: Type) -> Read:
        """Return the reader of a map; an entry that is null where ours are none has no value."""
        nullable = entry.kind == "union" and any(branch.kind == "null" for branch in entry.types)
        if not nullable or ours.kind == "union":
            return map_reader(entry, self.reader(entry, ours, ""), self._text, self._bounds.map_entries)
        read = self.reader(entry, Type("union", types=(Type("null"), ours)), "")
        return converted(map_reader(entry, read, self._text, self._bounds.map_entries), known)

    def _leaf(self, writer: Type) -> Read:
        match writer.kind:
            case "string":
                return self._text
            case "bytes":
                return bytes_reader(4 * self._bounds.text_chars)
            case "fixed":
                return fixed_reader(writer.size)
            case "enum":
                return enum_reader(writer.symbols)
        return LEAVES[writer.kind]

    def _record(self, writer: Type, ours: Type) -> Read:
        wanted = {each.name: each for each in ours.fields}
        steps: list[Step] = []
        for theirs in writer.fields:
            name = theirs.name
            if name not in wanted:
                steps.append((SKIPPED, SKIP, self.skipper(theirs.type)))
                continue
            try:
                how = OPTIONAL if _is_optional(theirs.type, wanted[name].type) else READ
                steps.append((name, how, self.reader(theirs.type, wanted[name].type, name)))
            except Unfit as error:
                error.place.insert(0, name)
                raise
        there = {each.name for each in writer.fields}
        if absent := [n for n, each in wanted.items() if n not in there and each.default is NO_DEFAULT]:
            raise Unfit(Reason.AVRO, f"the writer's record has no field {absent[0]}, which has no default")
        template = {n: None if each.default is NO_DEFAULT else each.default for n, each in wanted.items()}
        return record_reader(template, tuple(steps))

    def skipper(self, writer: Type) -> Skip:
        """Return what passes over a value of a field that only the writer has."""
        if writer not in self._skippers:
            self._skippers[writer] = self._make_skipper(writer)
        return self._skippers[writer]

    def _make_skipper(self, writer: Type) -> Skip:  # noqa: PLR0911 - one for each kind
        match writer.kind:
            case "null":
                return lambda _data, at, _left: at
            case "boolean" | "float" | "double" | "fixed":
                return fixed_skipper(fixed_bytes(writer))
            case "string" | "bytes":
                return skip_bytes
            case "union":
                return union_skipper([(self.skipper(branch), branch.num_values) for branch in writer.types])
            case "record" | "error":
                return record_skipper([self.skipper(each.type) for each in writer.fields])
            case "array" | "map":
                [entry] = writer.types
                return blocks_skipper(entry, self.skipper(entry), is_map=writer.kind == "map")
        return skip_number  # int, long, enum


def _lazy(make: Callable[[], Read], branch: Type) -> tuple[Read, int]:
    """Return the reader of a union's branch and its values; a branch that does not fit is refused once it comes."""
    try:
        return make(), branch.num_values
    except Unfit as error:
        refused = error

        def refuse(_data: bytes, _at: int, _left: list[int]) -> tuple[Any, int]:
            raise refused.again()

        return refuse, 1


def _branch_for(writer: Type, ours: Type) -> Type:
    """Return the branch of our union that takes a writer's type; ours are of null and one more."""
    for branch in ours.types:
        if (branch.kind == "null") == (writer.kind == "null"):
            return branch
    raise unfit(writer, ours.types[0])


def _is_optional(writer: Type, ours: Type) -> bool:
    """Whether this is what nearly all writers write for an optional field: null, or a type that is one value."""
    if writer.kind != "union" or ours.kind != "union" or all(branch.kind != "null" for branch in ours.types):
        return False
    return [branch.kind == "null" for branch in writer.types] == [True, False] and writer.types[1].num_values == 1


def _known_symbol(ours: Type) -> Convert:
    symbols = frozenset(ours.symbols)
    return lambda symbol: symbol if symbol in symbols else ours.default


def _simple(name: str) -> str:
    return name.rpartition(".")[2]
