"""Every version of a schema reads every other, for us and for two independent judges: fastavro and Avro in Java."""

import json
from collections.abc import Iterator
from io import BytesIO
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import fastavro
import pytest

from tests.fuzz.avro_writer import encode
from tests.golden.versions import WORKING_TREE, golden, schema, versions
from tests.support.foreign import bare
from tests.support.java import jars, java, run
from worker.core.codec import avro_schemas, impression as codec
from worker.core.codec.avro_schemas import OWN

JAVA = Path(__file__).parents[1] / "golden" / "java"


class Read(NamedTuple):
    """One record of a writer's schema for a reader's."""

    name: str
    writer: str
    reader: str
    record: bytes


def judged(asked: list[Read]) -> Iterator[tuple[bool, bytes]]:
    """Yield whether Java finds a reader compatible, and the record as Java's reader has it."""
    lines = [json.dumps({"writer": one.writer, "reader": one.reader, "record": one.record.hex()}) for one in asked]
    told = run(java(jars(JAVA / "pom.xml", "avro"), str(JAVA / "Judge.java")), given="\n".join(lines).encode())
    for line in told.decode().splitlines():
        verdict, record = line.split(" ")
        yield verdict == "COMPATIBLE", bytes.fromhex(record)


def plain(record: bytes, writer: str, reader: str) -> str:
    """Return a record as fastavro resolves it: JSON, so that NaN is NaN."""
    schemas = [fastavro.parse_schema(bare(json.loads(one))) for one in (writer, reader)]
    return json.dumps(fastavro.schemaless_reader(BytesIO(record), *schemas), sort_keys=True)


def ours(one: Read) -> str:
    return json.dumps(codec.decode_plain(one.record, avro_schemas.writer_schema(one.writer), one.name), sort_keys=True)


def test_every_version_reads_every_other() -> None:
    """FULL_TRANSITIVE, and each golden record means the same to Java, to fastavro and to this worker."""
    asked = [
        Read(name, schema(writer, name), schema(reader, name), record)
        for name in OWN
        for writer, reader in product(versions(name), repeat=2)
        for record in golden(writer, name)
    ]
    assert len(asked) > 2 * len(OWN), "no released version"
    for one, (compatible, record) in zip(asked, judged(asked), strict=True):
        assert compatible
        assert plain(record, one.reader, one.reader) == plain(one.record, one.writer, one.reader)
        if one.reader == schema(WORKING_TREE, one.name):
            assert ours(one) == plain(one.record, one.writer, one.reader)


def newer(name: str) -> str:
    """Return a schema as a later version may have it: a new field in each record, a new symbol in each enum."""

    def grown(found: Any) -> Any:
        if isinstance(found, list):
            return [grown(one) for one in found]
        if not isinstance(found, dict):
            return found
        found = {key: grown(value) for key, value in found.items()}
        if found.get("type") == "enum":
            return found | {"symbols": [*found["symbols"], "NEWER"]}
        if found.get("type") == "record":
            field = {"name": "newer", "type": ["null", {"type": "array", "items": "string"}], "default": None}
            return found | {"fields": [field, *found["fields"]]}
        return found

    return json.dumps(grown(json.loads(schema(WORKING_TREE, name))))


@pytest.mark.parametrize("name", OWN)
def test_new_fields_and_unknown_symbols_are_read_as_the_java_reader_does(name: str) -> None:
    """A newer writer's record is read by today's reader, and today's by a newer one."""
    today, later = schema(WORKING_TREE, name), newer(name)
    written = [encode(json.loads(later), None, Random(number)) for number in range(20)]
    asked = [Read(name, later, today, record) for record in written]
    asked += [Read(name, today, later, record) for record in golden(WORKING_TREE, name)]
    for one, (compatible, record) in zip(asked, judged(asked), strict=True):
        assert compatible
        assert plain(record, one.reader, one.reader) == plain(one.record, one.writer, one.reader)
        if one.reader == today:
            assert ours(one) == plain(record, today, today)


def test_the_judge_can_say_no() -> None:
    today = schema(WORKING_TREE, "Outcome")
    wants_more = json.loads(today)
    wants_more["fields"].append({"name": "needed", "type": "string"})
    [(compatible, _)] = judged([Read("Outcome", today, json.dumps(wants_more), b"")])
    assert not compatible
