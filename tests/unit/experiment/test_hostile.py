"""Whatever a writer puts into responses and outcomes: the reader goes on, and every figure is a number.

Records are made from the schemas alone, field by field: any value that Avro can carry, most of them absurd, with few
names so that they meet.
"""

import json
import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from io import BytesIO
from math import inf, isfinite, nan
from typing import Any
from urllib.parse import quote
from uuid import UUID

import fastavro
import pytest

from tests.support.experiment.made import AT_US, response
from tests.support.experiment.page_client import client
from worker.core.codec.avro_schemas import own_schema, schema_text
from worker.core.codec.impression import decode_plain
from worker.core.errors import Retryable
from worker.core.pseudonyms import pseudonym
from worker.core.records import Partition, Record
from worker.experiment.ingest import MAX_AHEAD_US, Records, Topics
from worker.experiment.report.assemble import Defaults, report
from worker.experiment.report.readout_record import record as published
from worker.experiment.store.database import State
from worker.kafka.follower import Reached

TOPICS = Topics("responses", outcomes="outcomes")
NAMES = {
    "variant": ["control", "candidate", "other"], "control_variant": ["control", "candidate"],
    "event_id": [f"e{number}" for number in range(30)], "user_id": [f"u{number}" for number in range(20)],
    "experiment_id": ["exp", "shelf", "", "exp~split"], "item_id": ["i0", "i1", "i2"],
}  # fmt: skip
TEXTS = ["", "a", "control", "\0", "\u202e", "\u00e9" * 300, "<script>", "{{ 7 * 7 }}", "%s", "9" * 70]
NUMBERS = [0.0, -0.0, 0.5, 1.0, 2.0, -1.0, 1e-320, 1e308, -1e308, nan, inf, -inf]
WHOLE = {"int": [0, 1, 2, -1, 2**31 - 1, -(2**31)], "long": [0, 1, -1, AT_US, 2**63 - 1, -(2**63)]}


class Absurd:
    """Makes values of schemas."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._types: dict[str, Any] = {}

    def records(self, number: int) -> Iterator[Record]:
        """Yield records of both topics, in Avro as a writer may send it."""
        schemas = {name: json.loads(schema_text(name)) for name in ("SimulatedResponse", "Outcome")}
        parsed = {name: fastavro.parse_schema(schema) for name, schema in schemas.items()}
        for offset in range(number):
            name = self._chance.choice(["SimulatedResponse"] * 4 + ["Outcome"])
            made = self._value(schemas[name], "")
            if name == "SimulatedResponse" and self._chance.random() < 0.9:
                self._nearly_good(made)
            stream = BytesIO()
            fastavro.schemaless_writer(stream, parsed[name], made)
            topic = TOPICS.outcomes if name == "Outcome" else TOPICS.responses
            yield Record(Partition(topic, 0), 0, offset, None, stream.getvalue())

    def _value(self, schema: Any, name: str) -> Any:
        if isinstance(schema, list):
            return self._value(self._chance.choice(schema), name)
        if isinstance(schema, dict):
            return self._made(schema, name)
        return self._value(self._types[schema], name) if schema in self._types else self._plain(schema, name)

    def _made(self, schema: dict[str, Any], name: str) -> Any:
        kind = schema["type"]
        if kind in ("record", "enum"):
            self._types[schema["name"]] = schema
        if kind == "record":
            return {field["name"]: self._value(field["type"], field["name"]) for field in schema["fields"]}
        if kind == "enum":
            return self._chance.choice(schema["symbols"])
        if kind == "array":
            return [self._value(schema["items"], name) for _ in range(self._few())]
        if kind == "map":
            return {f"k{index}": self._value(schema["values"], name) for index in range(self._few())}
        is_id = schema.get("logicalType") == "uuid"
        return str(UUID(int=self._chance.getrandbits(128))) if is_id else self._value(kind, name)

    def _often(self) -> bool:
        return self._chance.random() < 0.8

    def _few(self) -> int:
        return self._chance.choice([0, 1, 2, 2, 3])

    def _plain(self, kind: str, name: str) -> Any:
        pick = self._chance.choice
        if kind == "string":
            return pick(NAMES[name] if name in NAMES and self._chance.random() < 0.95 else TEXTS)
        if kind in WHOLE:
            return pick(WHOLE[kind])
        if kind in ("double", "float"):
            return pick([*NUMBERS, self._chance.random()])
        return {"null": None, "boolean": pick([True, False]), "bytes": b"x"}[kind]

    def _nearly_good(self, made: dict[str, Any]) -> None:
        """Give a response most of what it takes to be counted, so that what is absurd gets further."""
        num = len(made["options"])
        fair = [1 / num] * num if num else []
        made["question"] = self._chance.choice(["SLATE", "DUEL"])
        made["status"] = self._chance.choice(["OK", "OK", "OK", made["status"]])
        if made["question"] == "DUEL":
            made |= {"variant": "candidate", "control_variant": "control"}
            made["duel_share"] = self._chance.random() if self._often() else made["duel_share"]
        if self._often():
            made["occurred_at"] = AT_US + self._chance.randrange(10**12)
        for option in made["options"]:
            option["probability"] = 1 / num if self._often() else option["probability"]
        if len(made["draws"]) == 1:
            made["draws"] *= 2
        for draw in made["draws"]:
            draw["probabilities"] = fair if self._often() else [self._chance.choice(NUMBERS) for _ in range(num)]
            draw["presented_order"] = self._chance.sample(range(num), num)


def not_numbers(value: object, path: str = "") -> Iterator[str]:
    """Yield where a figure is NaN or infinite."""
    if isinstance(value, float) and not isfinite(value):
        yield f"{path} is {value}"
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from not_numbers(inner, f"{path}.{name}")
    for inner in value if isinstance(value, (list, tuple)) else ():
        yield from not_numbers(inner, path)


@pytest.mark.parametrize("seed", range(6))
def test_an_experiment_takes_whatever_avro_can_carry(seed: int) -> None:
    """No record ends the reader, and report, page, API and published readout hold finite numbers alone."""
    state = State()
    records = Records(
        state, lambda record, name: decode_plain(record.value or b"", own_schema(name), name), TOPICS,
        include_test=True,
    )  # fmt: skip
    for record in Absurd(seed).records(800):
        records.take([record], Reached({record.partition: record.offset + 1}))
    found = report(state, Defaults())
    assert list(not_numbers(asdict(found))) == []
    assert any(one.current.comparisons for one in found.readouts)
    for readout in found.readouts:
        assert list(not_numbers(published(readout, produced_at=AT_US))) == []
        pages = client(readout)
        for path in ("/", f"/experiments/{quote(readout.experiment_id or '', safe='')}", "/api/experiments"):
            assert pages.get(path).status_code < 500


def test_an_experiment_counts_a_clock_that_is_astray_and_believes_none_of_it() -> None:
    """A response and an outcome of the year 2100 close no window and open no time."""
    seen: dict[str, object] = {"outcome_id": str(UUID(int=1)), "user_id": "u0", "variant": "control"}
    made: dict[str, dict[str, object]] = {"responses": response(0, 0, duel_share=0.7), "outcomes": seen}
    state = State()
    records = Records(state, lambda record, _: json.loads(record.value or b"{}"), TOPICS)
    written_ms = AT_US // 1_000
    for offset, ahead_us in enumerate([0, MAX_AHEAD_US, MAX_AHEAD_US + 1, 74 * 365 * MAX_AHEAD_US]):
        for topic, name in (("responses", "occurred_at"), ("outcomes", "observed_at")):
            value = json.dumps(made[topic] | {name: AT_US + ahead_us, "event_id": f"e{offset}"}).encode()
            record = Record(Partition(topic, 0), 0, offset, None, value, timestamp_ms=written_ms)
            records.take([record], Reached({record.partition: offset + 1}))
    assert state.health() == {"clock_astray": 4, "outcomes": 4, "read": 4}
    (only,) = report(state, Defaults()).readouts
    assert only.current.last_occurred_at == AT_US + MAX_AHEAD_US
    assert state.db.execute("select max(observed_at) from outcome").fetchone() == (AT_US + MAX_AHEAD_US,)


def test_users_of_outcomes_are_known_by_the_pseudonyms_of_the_responses() -> None:
    """Else the state would have a user's own id beside the pseudonym, and could not forget both by one."""
    key, own = b"k" * 16, "u-1842"
    state = State()
    records = Records(state, lambda record, _: json.loads(record.value or b"{}"), TOPICS, pseudonym_key=key)
    seen = {
        "outcome_id": str(UUID(int=1)),
        "user_id": own,
        "variant": "control",
        "event_id": "e0",
        "observed_at": AT_US,
    }
    answered = response(0, 0, duel_share=0.7) | {"event_id": "e0", "user_id": pseudonym(key, own), "occurred_at": AT_US}
    for topic, made in (("responses", answered), ("outcomes", seen)):
        record = Record(Partition(topic, 0), 0, 0, None, json.dumps(made).encode(), timestamp_ms=AT_US // 1_000)
        records.take([record], Reached({record.partition: 1}))
    assert state.db.execute("select name from user").fetchall() == [(pseudonym(key, own),)]
    state.forget(pseudonym(key, own))
    for table in ("answer", "outcome"):
        assert state.db.execute(f"select count(*) from {table}").fetchone() == (0,), table  # noqa: S608 - our own names


def test_a_record_that_fails_in_a_way_that_nobody_thought_of_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The reader would end, and end again at the same record after each restart."""

    def decode(record: Record, _: str) -> dict[str, object]:
        if record.offset == 1:
            raise RecursionError("of a person called Ada")
        return response(0, record.offset, duel_share=0.7)

    with closing(State()) as state:
        records = Records(state, decode, TOPICS)
        place = Partition("responses", 0)
        records.take([Record(place, 0, at, None, b"x") for at in range(3)], Reached({place: 3}))
        assert (state.health(), state.positions()) == ({"read": 3, "unexpected": 1}, {place: 3})
        assert state.db.execute("select count(*) from answer").fetchone() == (2,)
    assert caplog.messages == ["responses[0]@1: cannot be read: RecursionError; it is left out"]


def test_nothing_is_counted_or_told_while_a_schema_cannot_be_fetched(caplog: pytest.LogCaptureFixture) -> None:
    """A batch comes again each second meanwhile, with the broken definitions and drafts before it."""

    def decode(record: Record, _: str) -> dict[str, object]:
        if record.offset == 2:
            raise Retryable("the registry does not answer")
        draft = {"experiment_id": "x", "start": 0, "control": "a", "candidates": ["b"], "state": "DRAFT"}
        return draft if record.offset else {}

    with closing(State()) as state:
        records = Records(state, decode, Topics("responses", "definitions"))
        for _ in range(3):
            with pytest.raises(Retryable):
                records.take((Record(Partition("definitions", 0), 0, at, None, b"x") for at in range(3)), Reached({}))
        assert (state.health(), caplog.messages) == ({}, [])
        records.take((Record(Partition("definitions", 0), 0, 1, None, b"x") for at in range(500)), Reached({}))
    assert len(caplog.messages) == 10  # drafts, too


def test_responses_and_outcomes_that_cannot_be_used_are_told_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Where, what was seen, what was wanted and what happens now; the bound holds over all batches."""
    good = response(0, 1, duel_share=0.7)
    slots = [{"item_id": "i", "position": 0, "variants": ["candidate"], "probability": 7.0}]
    odd: list[dict[str, object]] = [
        good | {"occurred_at": "yesterday"},
        good | {"question": "WHY"},
        good | {"control_variant": "candidate"},
        good | {"occurred_at": AT_US + 10 * 86_400_000_000},
        good | {"options": slots},
        {"outcome_id": "o"},
    ]

    def decode(record: Record, _: str) -> dict[str, object]:
        return odd[record.offset]

    def at(topic: str, offset: int, value: bytes | None = b"x") -> Record:
        return Record(Partition(topic, 0), 0, offset, None, value, timestamp_ms=AT_US // 1_000)

    with closing(State()) as state:
        records = Records(state, decode, TOPICS)
        found = [*(at("responses", number) for number in range(5)), at("outcomes", 5), at("responses", 6, None)]
        records.take(found, Reached({}))
        assert [line.split(": ", 1)[0] for line in caplog.messages] == [
            *(f"responses[0]@{number}" for number in range(5)), "outcomes[0]@5", "responses[0]@6",
        ]  # fmt: skip
        assert caplog.messages[0] == (
            "responses[0]@0: cannot be used: occurred_at: want a whole number; it is in no figure"
        )
        assert "question 'WHY', want SLATE or DUEL; it is in no figure" in caplog.messages[1]
        assert "want two variants" in caplog.messages[2]
        assert "want at most a day ahead" in caplog.messages[3]
        assert caplog.messages[4].endswith("its probabilities are no distribution; its answer counts as missing")
        assert "event_id: is missing" in caplog.messages[5]
        caplog.clear()
        for _ in range(40):
            records.take([at("responses", 1)], Reached({}))
        assert len(caplog.messages) == 9
        assert caplog.messages[-1].endswith("; further ones are only counted")
        assert state.health()["unknown_question"] == 41


def test_definitions_that_cannot_be_used_make_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    with closing(State()) as state:
        records = Records(state, lambda _, __: {"experiment_id": "x"}, Topics("responses", "definitions"))
        records.take((Record(Partition("definitions", 0), 0, at, None, b"x") for at in range(500)), Reached({}))
        assert state.health()["bad_definition"] == 500
    assert len(caplog.records) == 10
    assert caplog.messages[-1].endswith("; further ones are only counted")
    assert caplog.messages[0].startswith("definitions[0]@0: no definition: start: is missing")


def test_a_definition_whose_names_are_long_makes_a_short_line(caplog: pytest.LogCaptureFixture) -> None:
    """64 candidates of 256 characters, all told, made a line of 16,000."""
    fields = {"experiment_id": "x", "start": 0, "control": "a", "candidates": ["c" * 256] * 64}
    with closing(State()) as state:
        records = Records(state, lambda _, __: fields, Topics("responses", "definitions"))
        records.take([Record(Partition("definitions", 0), 0, 0, None, b"x")], Reached({}))
    [told] = caplog.messages
    assert len(told) < 600
    assert told.endswith("; it is left out")
