"""Protobuf schemas: our own, as `schemas/*.proto` has it, and writers', from descriptors that are checked first.

    a descriptor set file (`protoc --descriptor_set_out`)     the messages of the settings
    a registry's answers for `format=serialized`              a file descriptor, base64, and those that it imports

A descriptor comes from outside: its size, messages, fields, symbols and nesting are bounded before Google's library
makes types of it.  Types may contain themselves; what is bounded then is each message (`codec.protobuf_reader`).
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from worker.core.errors import Poison
from worker.core.records import Reason

OWN_MESSAGE = "mirrorstream.v1.RecommendationImpression"
MAX_DESCRIPTOR_BYTES = 1 << 20  # of a schema and all that it imports; ours has 4,000
MAX_TYPES, MAX_SYMBOLS = 4_000, 10_000  # messages, fields and methods; enums and their symbols
MAX_NESTED = 16  # messages declared within messages
MAX_NAME_CHARS = 512  # of a package, and of each name: the library stores each of all names in full, with its package
MAX_INDEXES = MAX_NESTED
BYTES_PER_TYPE = 3_000  # of memory at most, what reads it included
_WELL_KNOWN = {
    one.DESCRIPTOR.name: one.DESCRIPTOR.serialized_pb
    for one in (
        any_pb2, descriptor_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ProtobufSchema:
    """A writer's types; `names` are those of its own file, by their indexes there.

    `num_bytes` is the most memory that it takes, for caches.  `max_fields` is the number of fields of the widest type:
    an empty message of it takes that much.  `unchecked` are the files whose texts may be no UTF-8.  `plans` are made
    when a message needs them, by type.
    """

    pool: DescriptorPool
    names: dict[tuple[int, ...], str]
    num_bytes: int
    max_fields: int
    unchecked: frozenset[str]
    plans: dict[str, Any] = field(default_factory=dict)

    def name_at(self, indexes: tuple[int, ...]) -> str:
        """Return the full name of the type that a message says it has.  Raises `Poison` (`SCHEMA`)."""
        if indexes not in self.names:
            raise Poison(Reason.SCHEMA, f"writer schema has no message {'.'.join(map(str, indexes))}")
        return self.names[indexes]

    def type_of(self, name: str) -> Any:
        """Return the class of a message type by its full name.  Raises `Poison` (`SCHEMA`)."""
        try:
            return GetMessageClass(self.pool.FindMessageTypeByName(name))
        except KeyError as error:
            raise Poison(Reason.SCHEMA, f"the descriptors have no message {_shown(name)}") from error


def is_well_known(kind: Any) -> bool:
    """Say whether a message type is Google's own, such as `google.protobuf.Timestamp`."""
    return kind.file.name in _WELL_KNOWN


def from_registry(root: str, imports: Iterable[tuple[str, str]] = ()) -> ProtobufSchema:
    """Return a writer's schema from base64 texts of file descriptors; `imports` are (name, text), dependencies first.

    Raises `Poison` (`SCHEMA`) if it is none, or larger than the bounds.
    """
    named = dict(imports)
    if len(root) + sum(map(len, named.values())) > 2 * MAX_DESCRIPTOR_BYTES:
        raise _refused(f"has more than {MAX_DESCRIPTOR_BYTES:,} bytes with its imports")
    found = []
    for name, text in [*named.items(), ("", root)]:
        file = descriptor_pb2.FileDescriptorProto()
        _parse(file, _bytes(text))
        # A registry may give every schema one name; imports are found by the name that they are imported by.
        file.name = name or "mirrorstream-root.proto"
        found.append(file)
    return _schema(found, root=found[-1])


def from_descriptor_set(data: bytes) -> ProtobufSchema:
    """Return the types of a file that `protoc --include_imports --descriptor_set_out` has written.

    Raises `Poison` (`SCHEMA`).
    """
    if len(data) > MAX_DESCRIPTOR_BYTES:
        raise _refused(f"has more than {MAX_DESCRIPTOR_BYTES:,} bytes with its imports")
    found = descriptor_pb2.FileDescriptorSet()
    _parse(found, data)
    if not found.file:
        raise _refused("has no file; want what `protoc --include_imports --descriptor_set_out=FILE` writes")
    return _schema(list(found.file), root=found.file[-1])


@cache
def own() -> ProtobufSchema:
    """Return our own types."""
    return from_descriptor_set(_shipped("desc"))


def own_text() -> str:
    """Return the `.proto` file of our own types."""
    return _shipped("proto").decode()


def _shipped(ending: str) -> bytes:
    name = f"RecommendationImpression.{ending}"
    packaged = files("worker") / "_schemas" / name
    if packaged.is_file():
        return packaged.read_bytes()
    return (Path(str(files("worker"))).parent / "schemas" / name).read_bytes()  # in a checkout


def is_descriptor(text: str) -> bool:
    """Say whether a registry's text is a file descriptor in base64, and not a `.proto` file."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    try:
        descriptor_pb2.FileDescriptorProto.FromString(data)
    except DecodeError:
        return False
    return True


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("is no file descriptor in base64") from error


def _parse(into: Any, data: bytes) -> None:
    try:
        into.ParseFromString(data)
    except DecodeError as error:
        raise _refused("is no descriptor") from error


def _schema(found: Sequence[Any], *, root: Any) -> ProtobufSchema:
    given = {file.name: file for file in found}
    counted = [_counted(file) for file in found]
    num_types, num_symbols = sum(types for types, _ in counted), sum(symbols for _, symbols in counted)
    if num_types > MAX_TYPES:
        raise _too_many()
    if num_symbols > MAX_SYMBOLS:
        raise _refused(f"has {num_symbols:,} symbols, want at most {MAX_SYMBOLS:,}")
    for file in found:
        _strip(file)
    pool = DescriptorPool()
    added: set[str] = set()
    try:
        for file in found:
            _add(file.name, given, pool, added, depth=0)
    # What the library says of a descriptor that cannot be is a TypeError; a name that is no UTF-8 is a ValueError.
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused("has descriptors that do not fit together") from error
    names: dict[tuple[int, ...], str] = {}
    _named(root.message_type, root.package, (), names)
    num_bytes = num_types * BYTES_PER_TYPE + 2 * sum(file.ByteSize() for file in found)
    max_fields = max((len(one.field) for one in _messages(found)), default=0)
    return ProtobufSchema(pool, names, num_bytes, max_fields, frozenset(_unchecked(found)))


def _unchecked(found: Iterable[Any]) -> Iterator[str]:
    return (file.name for file in found if file.syntax != "proto3")  # which alone demands UTF-8 everywhere


def _strip(file: Any) -> None:
    """Remove what nothing is read of, and costs: extensions above all.

    The library reads an extension as a message of its type.  Counting passes over its bytes, for the descriptor of the
    message that is extended does not have it.
    """
    file.ClearField("source_code_info")
    file.ClearField("extension")
    for one in _messages([file]):
        one.ClearField("extension")


def _messages(files: Iterable[Any]) -> Iterator[Any]:
    """Yield all messages of files, the outer ones first."""
    level = [one for file in files for one in file.message_type]
    while level:
        yield from level
        level = [inner for one in level for inner in one.nested_type]


def _add(name: str, given: dict[str, Any], pool: DescriptorPool, added: set[str], *, depth: int) -> None:
    """Add a file to the pool after those that it imports."""
    if name in added:
        return
    added.add(name)  # at once: files that import each other are refused by the pool
    if name in _WELL_KNOWN:  # ours, whatever is given: they are read by their fields
        pool.AddSerializedFile(_WELL_KNOWN[name])
        return
    if name not in given:
        raise _refused(f"imports {_shown(name)}, which is not given")
    if depth > MAX_NESTED:
        raise _refused(f"imports more than {MAX_NESTED} files deep")
    for imported in given[name].dependency:
        _add(imported, given, pool, added, depth=depth + 1)
    pool.AddSerializedFile(given[name].SerializeToString())


def _counted(file: Any) -> tuple[int, int]:
    """Return the number of messages, fields and methods of a file, and of symbols.  Raises `Poison` if it is too deep.

    A file that is well known counts as any other.  Raises `Poison`, too, if a name is too long.

    Of no list more is looked at than may be: 300,000 empty messages, 800 kB, took 3.5 s.
    """
    num_types = len(file.extension) + sum(1 + len(one.method) for one in islice(file.service, MAX_TYPES + 1))
    num_symbols = sum(1 + len(one.value) for one in islice(file.enum_type, MAX_SYMBOLS + 1))
    level, depth = list(islice(file.message_type, MAX_TYPES + 1)), 0
    while level:
        depth += 1
        if depth > MAX_NESTED:
            raise _refused(f"declares messages more than {MAX_NESTED} deep")
        if num_types + len(level) > MAX_TYPES:
            raise _too_many()
        num_types += sum(1 + len(one.field) + len(one.extension) + len(one.oneof_decl) for one in level)
        enums = (enum for one in level for enum in one.enum_type)
        num_symbols += sum(1 + len(enum.value) for enum in islice(enums, MAX_SYMBOLS + 1))
        level = list(islice((inner for one in level for inner in one.nested_type), MAX_TYPES + 1))
    if num_types <= MAX_TYPES and num_symbols <= MAX_SYMBOLS:  # else it is refused
        _check_names(file)
    return num_types, num_symbols


def _check_names(file: Any) -> None:
    """Raise `Poison` if a name is too long; with the bound on depth, the full ones are bounded, too."""
    found = [file.package, *(one.name for one in (*file.service, *file.extension))]
    found += [method.name for one in file.service for method in one.method]
    enums = list(file.enum_type)
    for one in _messages([file]):
        found += [one.name, *(each.name for each in (*one.field, *one.oneof_decl, *one.extension))]
        enums += one.enum_type
    found += [name for enum in enums for name in (enum.name, *(value.name for value in enum.value))]
    if (longest := max(map(len, found))) > MAX_NAME_CHARS:
        raise _refused(f"has a name of {longest:,} characters, want at most {MAX_NAME_CHARS}")


def _named(messages: Sequence[Any], within: str, at: tuple[int, ...], names: dict[tuple[int, ...], str]) -> None:
    for index, one in enumerate(messages):
        full = f"{within}.{one.name}" if within else one.name
        names[*at, index] = full
        _named(one.nested_type, full, (*at, index), names)


def _shown(name: str) -> str:
    return ascii(name)[1:-1][:128]


def _too_many() -> Poison:
    return _refused(f"has more than {MAX_TYPES:,} messages and fields")


def _refused(problem: str) -> Poison:
    return Poison(Reason.SCHEMA, f"Protobuf schema {problem}")
