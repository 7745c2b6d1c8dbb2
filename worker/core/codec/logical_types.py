"""What a writer's value is for us: the time, number or text that its type and logical type say.

    writer                                               ours
    long: timestamp-millis, -micros, -nanos              microseconds since 1970 UTC; of nanoseconds, the whole ones
    long: local-timestamp-millis, -micros, -nanos        the same; a local time is taken as UTC
    int: date                                            the first microsecond of that day, UTC
    long, int without a logical type                     microseconds since 1970 UTC, as our own schemas say
    bytes, fixed: decimal                                a number; for an int or long it has to be a whole one
    int, long, float, double                             a wider number; also long as int, whose range is checked later
    string: uuid; fixed(16): uuid                        a string
    string: varchar, char (Hive's)                       a string
    bytes in UTF-8, enum                                 a string
    string                                               an enum

Anything else is refused: by its logical type if it has one that we do not know or cannot take for this field
(also a time of day for a time), else by its kind.  Fields that we do not read may have any logical type.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias
from uuid import UUID

from worker.core.codec.schema_limits import Type
from worker.core.records import Reason

Convert: TypeAlias = Callable[[Any], Any]

MAX_DECIMAL_BYTES = 128  # of the unscaled number: 300 digits, and the most that a database writes are 1,000 bits
UUID_BYTES = 16
DAY_US = 86_400_000_000

NUMBERS = {"int": "a whole number", "long": "a whole number", "float": "a number", "double": "a number"}
MICROS = frozenset({"", "timestamp-micros", "local-timestamp-micros"})
MILLIS = frozenset({"timestamp-millis", "local-timestamp-millis"})
NANOS = frozenset({"timestamp-nanos", "local-timestamp-nanos"})


class Unfit(Exception):
    """A value or type that our field does not take; it becomes a `Poison` with this reason.

    `problem` is a sentence without the place; `place` is filled in on the way up.
    """

    def __init__(self, reason: Reason, problem: str) -> None:
        super().__init__(problem)
        self.reason, self.problem = reason, problem
        self.place: list[str] = []  # outermost first: names of our fields, numbers of entries

    def again(self) -> "Unfit":
        """Return the same as new, to be raised at another place."""
        new = Unfit(self.reason, self.problem)
        new.place = self.place.copy()
        return new

    def __str__(self) -> str:
        """For people: the place and the problem."""
        return ".".join(self.place) + ": " * bool(self.place) + self.problem


def conversion(writer: Type, ours: Type) -> Convert | None:
    """Return a function that makes a writer's value ours; None if it is ours already.  Raises `Unfit`."""
    key = (writer.kind, writer.logical, ours.kind)
    if ours.logical == "timestamp-micros":
        return _to_micros(writer, ours)
    if writer.kind in ("bytes", "fixed") and writer.logical == "decimal" and ours.kind in NUMBERS:
        return _to_number(writer, whole=ours.kind in ("int", "long"))
    if key in _AS_IT_IS:
        return None
    if key not in _CONVERTED or (writer.kind == "fixed" and writer.size != UUID_BYTES):
        raise unfit(writer, ours)
    return _CONVERTED[key]


def unfit(writer: Type, ours: Type) -> Unfit:
    """Return the error for a writer's type: of its logical type if it has one."""
    wanted = NUMBERS.get(ours.kind, f"{'an' if ours.kind[0] in 'aeiou' else 'a'} {ours.kind}")
    if ours.logical == "timestamp-micros":
        wanted = "a timestamp or a date"
    if writer.logical:
        return Unfit(Reason.SCHEMA, f"the writer's logical type is {writer.logical}, of {writer.kind}; want {wanted}")
    return Unfit(Reason.AVRO, f"the writer's type is {writer.kind}, want {wanted}")


def _to_micros(writer: Type, ours: Type) -> Convert | None:
    if (writer.kind, writer.logical) == ("int", "date"):
        return lambda days: days * DAY_US
    if writer.logical in MICROS and writer.kind == ("long" if writer.logical else writer.kind):
        if writer.kind in ("int", "long"):
            return None
    elif writer.kind == "long" and writer.logical in MILLIS:
        return lambda millis: millis * 1_000
    elif writer.kind == "long" and writer.logical in NANOS:
        return lambda nanos: nanos // 1_000
    raise unfit(writer, ours)


def _to_number(writer: Type, *, whole: bool) -> Convert:
    if writer.scale is None:
        raise Unfit(Reason.SCHEMA, "the writer's decimal has a scale that is no small whole number")
    divisor, factor = 10 ** max(0, writer.scale), 10 ** max(0, -writer.scale)

    def convert(data: bytes) -> float:
        if len(data) > MAX_DECIMAL_BYTES:
            raise Unfit(Reason.LIMIT, f"a decimal of {len(data):,} bytes, want at most {MAX_DECIMAL_BYTES}")
        unscaled = int.from_bytes(data, "big", signed=True) * factor
        if whole:
            if unscaled % divisor:
                raise Unfit(Reason.INVALID, "a decimal with a fraction, want a whole number")
            return int(unscaled // divisor)
        try:
            return float(unscaled / divisor)  # to the nearest
        except OverflowError as error:
            raise Unfit(Reason.INVALID, "a decimal that is too large for a number of 64 bits") from error

    return convert


def _uuid(data: bytes) -> str:
    return str(UUID(bytes=data))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Unfit(Reason.UTF8, "a text that is not UTF-8") from error


# The writer's kind and logical type, and our kind.
_AS_IT_IS = frozenset(
    {(kind, "", kind) for kind in ("null", "boolean", "int", "long", "float", "double", "bytes", "string")}
    | {("int", "", "long"), ("long", "", "int"), ("float", "", "double"), ("double", "", "float")}
    | {
        ("enum", "", "string"),
        ("string", "uuid", "string"),
        ("string", "varchar", "string"),
        ("string", "char", "string"),
    }
)
_CONVERTED: Mapping[tuple[str, str, str], Convert] = {
    **{(whole, "", number): float for whole in ("int", "long") for number in ("float", "double")},
    ("bytes", "", "string"): _text,
    ("fixed", "uuid", "string"): _uuid,
}
