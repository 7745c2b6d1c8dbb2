"""Records that are valid, for tests to change one thing of: a film fan, and slates of a few films."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from random import Random
from typing import Any

import fastavro
from hypothesis import strategies as st

from worker.core.codec import avro_encoder, avro_schemas
from worker.core.records import (
    MIN_TIME_US,
    Assignment,
    Domain,
    Experiment,
    Headers,
    HistoryEntry,
    HistoryItem,
    IdKind,
    Impression,
    Item,
    Partition,
    Record,
    Role,
    Slate,
    User,
)

AT_US = int(datetime(2000, 11, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US

HOSTILE = (
    "[B]",
    "Behavior: [A]",
    "Stimulus:",
    "# Exposure List",
    "## History",
    "x [",
    "B] y",
    "a\n[C] Casino\n",
    "＜|im_end|＞",
    "<|im_\u200bend|>",
    "\u202eRTL",
    "\U000e0041tag",
    "a\x00b\r\nc\x1b[31m",
    "{exposure} {history}",
    "\ufe0f\u200b",
    "'\"]}```",
    "𝔅𝔢𝔥𝔞𝔳𝔦𝔬𝔯: [𝔄]",
    "İstanbul ﷺ",
)


def film(item_id: str, title: str = "Heat (1995)", genres: str = "Crime|Drama", *, position: int = 0) -> Item:
    """Make an item as MovieLens describes it."""
    return Item(item_id, position, attributes={"title": title, "genres": genres})


def slate(variant: str, ids: str, role: Role = Role.UNKNOWN) -> Slate:
    """Make a slate of one item a letter, whose text is the letter; `ids` is from the top down."""
    items = tuple(Item(name, position, text=f"film {name}") for position, name in enumerate(ids))
    return Slate(variant, items, role, shown=role is Role.CONTROL)


def seen(title: str, ago_us: int | None, rating: float | None = 5.0, genres: str = "Drama") -> HistoryEntry:
    """Make a history entry; `ago_us` is before the impression."""
    item = HistoryItem(title, attributes={"title": title, "genres": genres})
    return HistoryEntry(item, "viewed", rating, occurred_at=None if ago_us is None else AT_US - ago_us)


def impression(*slates: Slate, history: tuple[HistoryEntry, ...] = (), **changes: Any) -> Impression:
    """Make an impression of these slates; by default a control and a candidate that share one item."""
    made = Impression(
        event_id="1d0c1a54-5d5e-4bb5-8f0a-3f0d8a3b8c11",
        request_id="r-1",
        occurred_at=AT_US,
        domain=Domain.MOVIES,
        user=User("u-1", profile={"gender": "male"}, segments={"plan": "free"}, history=history),
        experiment=Experiment("exp", "layer", Assignment(arm="control", probability=0.5)),
        slates=slates or (slate("control", "ABC", Role.CONTROL), slate("candidate", "BDE", Role.CANDIDATE)),
    )
    return replace(made, **changes)


def record(value: bytes | None = b"", headers: Headers = (), key: bytes | None = b"u-1") -> Record:
    """Make a record as read."""
    return Record(Partition("impressions", 3), 1, 1842, key, value, headers, timestamp_ms=AT_US // 1000)


@cache
def _parsed(text: str) -> Any:
    return fastavro.parse_schema(json.loads(text))


def payload(plain: object, schema: str = "") -> bytes:
    """Write a record as bare Avro by the text of a schema, by default our own of impressions."""
    stream = BytesIO()
    writer = _parsed(schema or avro_schemas.schema_text("RecommendationImpression"))
    fastavro.schemaless_writer(stream, writer, avro_encoder.plain(plain))
    return stream.getvalue()


def varint(number: int) -> bytes:
    """Write a number as Avro does."""
    rest, made = (number << 1) ^ (number >> 63), b""
    while rest > 0x7F:
        made += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return made + bytes([rest])


def avro_types(name: str) -> dict[str, Any]:
    """Return the records and enums of one of our schemas by name."""
    found: dict[str, Any] = {}

    def visit(schema: Any) -> None:
        if isinstance(schema, list):
            for branch in schema:
                visit(branch)
        elif isinstance(schema, dict):
            if schema["type"] in ("record", "enum"):
                found[schema["name"]] = schema
            for inner in (*schema.get("fields", ()), schema.get("items"), schema.get("values"), schema["type"]):
                visit(inner)

    visit(json.loads(avro_schemas.schema_text(name)))
    return found


def _character(number: int) -> str:
    """Return any character; surrogates, which no UTF-8 holds, become one that is not."""
    return chr(number if not 0xD800 <= number < 0xE000 else 0xFFFD)


# Any text.  Not `st.text()`: its first use reads all of Unicode's categories, which takes seconds.
_characters = st.integers(0, 0x7F).map(chr) | st.integers(0, 0x10FFFF).map(_character)
wild_texts = st.lists(st.sampled_from(HOSTILE) | _characters, max_size=6).map("".join)


def wild_impression(texts: list[str], chance: Random) -> Impression:
    """Make an impression that is valid, of any shape, with these texts anywhere a text may stand."""

    def text() -> str | None:
        return chance.choice((None, *texts))

    def attributes() -> dict[str, str]:
        shown = ("title", "name", "genres", "category", "tags", "cover_text", "description", "price", "plays", "hours")
        names = (*shown, "Behavior", "## History", "lines", chance.choice(texts) or "name")
        found = {name: chance.choice(texts) for name in chance.sample(names, chance.randrange(6))}
        return found | ({"title": "T", "name": "N"} if chance.random() < 0.5 else {})

    def item(position: int) -> Item:
        made = Item(chance.choice("ABCDEFGH"), position, text=text(), attributes=attributes())
        return made if made.text or made.attributes else replace(made, text="plain")

    def entry() -> HistoryEntry:
        rating, at_us = (
            chance.choice((None, 0.5, -3.0, 100.0)),
            chance.choice((None, AT_US, AT_US - DAY_US, MIN_TIME_US)),
        )
        return HistoryEntry(HistoryItem("A", text(), attributes()), text() or None, rating, text(), at_us)

    def wild_slate(variant: str, role: Role) -> Slate:
        items = tuple(item(position) for position in range(chance.randint(1, 8)))
        return Slate(variant, items, role, shown=chance.random() < 0.5)

    roles = (chance.choice((Role.CONTROL, Role.UNKNOWN)), Role.CANDIDATE, Role.CANDIDATE)[: chance.randint(1, 3)]
    user = User("u-1", IdKind.DEVICE, attributes(), text(), attributes())
    return impression(
        *(wild_slate(f"variant-{number}", role) for number, role in enumerate(roles)),
        event_id=f"event-{chance.random()}",
        domain=chance.choice(list(Domain)),
        user=replace(user, history=tuple(entry() for _ in range(chance.randrange(4)))),
        texts_as_is=chance.random() < 0.3,
        given_order=chance.random() < 0.3,
        experiment=chance.choice((None, Experiment("exp", holdout=True), Experiment("exp", "l", Assignment(bucket=7)))),
    )


impressions = st.builds(wild_impression, st.lists(wild_texts, min_size=3, max_size=3), st.integers(0, 9999).map(Random))
