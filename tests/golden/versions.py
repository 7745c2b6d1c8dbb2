"""Released schemas and golden records, one folder a version: NAME.avsc, and NAME.hex with one record a line."""

import json
from pathlib import Path
from random import Random

from tests.fuzz.avro_writer import encode
from worker.core.codec.avro_schemas import OWN, schema_text

FOLDER = Path(__file__).parent
WORKING_TREE = ""
NUM_RECORDS = 3


def versions(name: str) -> list[str]:
    """Return the released versions that have a schema, oldest first, and the working tree."""
    released = sorted(one.parent.name for one in FOLDER.glob(f"*/{name}.avsc"))
    return [*released, WORKING_TREE]


def schema(version: str, name: str) -> str:
    """Return a schema as a version had it, JSON."""
    return schema_text(name) if version == WORKING_TREE else (FOLDER / version / f"{name}.avsc").read_text()


def golden(version: str, name: str) -> list[bytes]:
    """Return what a version wrote, once and for all; of the working tree, what it would write."""
    if version == WORKING_TREE:
        return [encode(json.loads(schema_text(name)), None, Random(number)) for number in range(NUM_RECORDS)]
    return [bytes.fromhex(line) for line in (FOLDER / version / f"{name}.hex").read_text().split()]


def keep(version: str) -> None:
    """Write the working tree's schemas and records as a version; it must be new."""
    folder = FOLDER / version
    folder.mkdir()
    for name in OWN:
        (folder / f"{name}.avsc").write_text(schema_text(name))
        lines = [record.hex() for record in golden(WORKING_TREE, name)]
        (folder / f"{name}.hex").write_text("\n".join(lines) + "\n")
