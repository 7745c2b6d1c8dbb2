"""An Avro writer of our own that writes what a careful one refuses: texts that are no UTF-8, counts that lie."""

import struct
from random import Random
from typing import Any

from tests.support.examples import varint

TEXTS = ("", "a", "[B]", "Behavior: [A]", "x\n## History", "\u202e", "\x00", "1e999", "NaN", "\ufdfa" * 40, "é" * 300)
NUMBERS = (0, -1, 1, 255, 2**31 - 1, -(2**31), 2**53, 2**63 - 1, -(2**63), 1_767_225_600, 1_767_225_600_000)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"))
MAX_ENTRIES_MADE = 3


def encode(schema: Any, value: Any, chance: Random, *, lies: float = 0.0) -> bytes:
    """Return a value as a schema has it; what does not fit its type is made up.

    `lies` is the share of lists, maps and enums whose count or symbol is not what it should be.
    """
    return _Writer(chance, lies).write(schema, value)


class _Writer:
    def __init__(self, chance: Random, lies: float) -> None:
        self._chance, self._lies = chance, lies
        self._named: dict[str, Any] = {}

    def write(self, schema: Any, value: Any) -> bytes:
        if isinstance(schema, list):
            index = self._branch(schema, value)
            return varint(index) + self.write(schema[index], value)
        kind = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, (dict, list)):
            return self.write(kind, value)
        if kind in self._named:
            return self.write(self._named[kind], value)
        if kind in ("record", "enum", "fixed"):
            self._named[schema["name"]] = schema
        return self._of(kind, schema, value)

    def _branch(self, branches: list[Any], value: Any) -> int:
        null = [index for index, branch in enumerate(branches) if branch == "null"]
        if value is None and null:
            return null[0]
        others = [index for index in range(len(branches)) if index not in null]
        return self._chance.choice(others or null)

    def _of(self, kind: str, schema: Any, value: Any) -> bytes:  # noqa: C901, PLR0911 - one for each kind
        match kind:
            case "null":
                return b""
            case "boolean":
                many = 256 if self._chance.random() < self._lies else 2
                return bytes([value if isinstance(value, bool) else self._chance.randrange(many)])
            case "int" | "long":
                return varint(self._number(kind, value))
            case "float" | "double":
                number = value if isinstance(value, float) else self._chance.choice(FLOATS)
                return struct.pack("<f", _narrow(number)) if kind == "float" else struct.pack("<d", number)
            case "string" | "bytes":
                text = value if isinstance(value, (str, bytes)) else self._chance.choice(TEXTS)
                data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
                return varint(len(data)) + data
            case "fixed":
                return self._chance.randbytes(schema["size"])
            case "enum":
                symbols = schema["symbols"]
                if self._chance.random() < self._lies:
                    return varint(self._chance.choice(NUMBERS))
                return varint(symbols.index(value if value in symbols else self._chance.choice(symbols)))
            case "array":
                entries = value if isinstance(value, list) else [None] * self._chance.randrange(MAX_ENTRIES_MADE)
                return self._block(b"".join(self.write(schema["items"], entry) for entry in entries), len(entries))
            case "map":
                pairs = value if isinstance(value, dict) else {str(n): None for n in range(MAX_ENTRIES_MADE)}
                data = b"".join(self._of("string", "string", key) + self.write(schema["values"], entry)
                                for key, entry in pairs.items())  # fmt: skip
                return self._block(data, len(pairs))
            case "record":
                fields = value if isinstance(value, dict) else {}
                return b"".join(self.write(field["type"], fields.get(field["name"])) for field in schema["fields"])
        raise AssertionError(f"no such kind: {kind}")

    def _number(self, kind: str, value: Any) -> int:
        """Return a whole number of its kind; a liar's int may have 64 bits."""
        wide = kind == "long" or self._chance.random() < self._lies
        fits = [
            number
            for number in (value, *NUMBERS)
            if isinstance(number, int) and abs(number) < 2 ** (63 if wide else 31)
        ]
        return fits[0] if fits[0] is value else self._chance.choice(fits)

    def _block(self, data: bytes, count: int) -> bytes:
        """Return the entries of a list or map as one block; now and then with its size."""
        told = self._chance.choice(NUMBERS) if self._chance.random() < self._lies else count
        if not count and not told:
            return b"\0"
        if self._chance.random() < 0.2 and told > 0:
            return varint(-told) + varint(len(data)) + data + b"\0"
        return varint(told) + data + b"\0"


def _narrow(number: float) -> float:
    try:
        struct.pack("<f", number)
    except OverflowError:
        return float("inf")
    return number
