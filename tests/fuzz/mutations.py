"""Inputs that are nearly valid: byte strings made of valid messages, and events whose schema has another structure."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.avro_writer import FLOATS, NUMBERS, TEXTS, encode
from tests.fuzz.chain import WRITERS
from tests.support.examples import HOSTILE, varint, wild_impression
from tests.support.foreign import OWN_TEXT
from worker.core.codec import avro_encoder

KINDS = (
    "null", "boolean", "int", "long", "float", "double", "bytes", "string",
    {"type": "array", "items": "string"}, {"type": "map", "values": "long"},
    ["null", "string"], ["long", "string", "null"],
    {"type": "long", "logicalType": "timestamp-millis"}, {"type": "bytes", "logicalType": "decimal", "precision": 9},
)  # fmt: skip
MORE_ENTRIES = 0.5  # share of the changes of an object that add entries
COPIES = (1, 30, 300, 3_000)  # of an entry of a list
ENTRIES = (1, 30, 300)  # more of an object; a list may copy it 3,000 times
JUNK = tuple(text.encode("utf-8", "surrogatepass") for text in HOSTILE)


def plain_impression(chance: Random) -> dict[str, Any]:
    """Return a valid event of any shape, with hostile texts, as plain data."""
    texts = [chance.choice((*HOSTILE, "Heat", "中文，电影")) for _ in range(3)]
    found = avro_encoder.plain(wild_impression(texts, chance))
    assert isinstance(found, dict)
    return found


# -- bytes


def messages(chance: Random) -> list[bytes]:
    """Return a valid message of each writer, framed."""
    event = plain_impression(chance)
    in_ms = event | {"occurred_at": event["occurred_at"] // 1_000}
    rated = deepcopy(event)
    for entry in rated["user"]["history"]:
        entry["rating"] = b"\x05"  # a decimal
    written = {1: event, 2: in_ms, 3: rated}
    by_id = [
        b"\0" + number.to_bytes(4, "big") + encode(json.loads(text), written.get(number, event), chance)
        for number, text in WRITERS.items()
    ]
    return [avro_encoder.Encoder("RecommendationImpression").encode(event), *by_id]


def byte_strings(
    chance: Random, number: int, valid_messages: Callable[[Random], list[bytes]] = messages
) -> Iterator[bytes]:
    """Yield byte strings, most of them a valid message with one to eight changes, one in fifty of them random."""
    valid: list[bytes] = []
    for index in range(number):
        if index % 500 == 0:
            valid = valid_messages(chance)
        if chance.random() < 0.02:
            yield chance.choice((b"", valid[0][:10], b"\0\0\0\0\1")) + chance.randbytes(chance.randrange(200))
            continue
        data = bytearray(chance.choice(valid))
        for _ in range(chance.randint(1, 8)):
            _change(data, chance, valid)
        yield bytes(data)


def _change(data: bytearray, chance: Random, valid: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(7):
        case 0:  # one bit
            if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
        case 1:  # the end is missing
            del data[at:]
        case 2:  # some bytes are missing
            del data[at : at + chance.randint(1, 8)]
        case 3:  # some come twice
            data[at:at] = data[at : at + chance.randint(1, 64)]
        case 4:  # a length or a count that lies
            data[at : at + 1] = varint(chance.choice(NUMBERS))
        case 5:  # a text that means something
            data[at:at] = chance.choice(JUNK)
        case 6:  # the end of another message
            other = chance.choice(valid)
            data[at:] = other[chance.randrange(len(other)) :]


# -- structure


class Event(NamedTuple):
    """A writer's schema, JSON, and one payload of it."""

    schema: str
    payload: bytes


def events(chance: Random, number: int) -> Iterator[Event]:
    """Yield events whose schema or values have none to three changes of structure."""
    for _ in range(number):
        schema, value = json.loads(OWN_TEXT), plain_impression(chance)
        for _ in range(chance.randrange(4)):
            if chance.random() < 0.5:
                _change_schema(schema, chance)
            else:
                change_value(value, chance)
        yield Event(json.dumps(schema), encode(schema, value, chance, lies=chance.choice((0.0, 0.0, 0.02))))


def _change_schema(schema: Any, chance: Random) -> None:
    fields = chance.choice(list(_records(schema)))["fields"]
    at = chance.randrange(len(fields)) if fields else 0
    match chance.randrange(5):
        case 0:  # one that we do not know
            name = chance.choice(("theirs", "Slates", "user_id2"))
            fields.insert(at, {"name": name, "type": deepcopy(chance.choice(KINDS))})
        case 1 if fields:  # one that we want is missing
            del fields[at]
        case 2 if fields:  # of another type
            fields[at] = {"name": fields[at]["name"], "type": deepcopy(chance.choice(KINDS))}
        case 3 if fields:  # under another name
            fields[at] = fields[at] | {"name": fields[at]["name"] + "_"}
        case 4:  # in another order
            chance.shuffle(fields)


def change_value(value: Any, chance: Random) -> None:
    """Change one value, or the entries of a list or map."""
    found = list(places(value))
    holder, key = chance.choice(found)
    if isinstance(holder[key], list) and holder[key]:
        _change_list(holder[key], chance)
    elif isinstance(holder[key], dict) and chance.random() < MORE_ENTRIES:
        holder[key].update({f"name{number}": "x" for number in range(chance.choice(ENTRIES))})
    else:
        holder[key] = junk_value(chance)


def junk_value(chance: Random) -> Any:
    """Return a value that few fields want."""
    return chance.choice((
        None, chance.choice(TEXTS), chance.choice(HOSTILE), chance.choice(NUMBERS), chance.choice(FLOATS),
        chance.randbytes(5), [], {}, "x" * chance.choice((300, 20_000)),
    ))  # fmt: skip


def _change_list(entries: list[Any], chance: Random) -> None:
    match chance.randrange(3):
        case 0:
            entries.clear()
        case 1:
            entries.extend(deepcopy(chance.choice(entries)) for _ in range(chance.choice(COPIES)))
        case 2:
            chance.shuffle(entries)


def _records(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, list):
        for branch in schema:
            yield from _records(branch)
    elif isinstance(schema, dict):
        if schema["type"] == "record":
            yield schema
        for inner in (*schema.get("fields", ()), schema.get("items"), schema.get("values"), schema["type"]):
            yield from _records(inner)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of a value: its holder, and its key or index there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from places(inner)
