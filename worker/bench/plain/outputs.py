"""What came out of a contender, seen from outside: committed responses, with nothing of the worker's but the schema."""

import json
import time
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from typing import Any

import fastavro

from worker.bench.harness.processes import Contending
from worker.bench.harness.steady_stretch import Stretch
from worker.core.codec.avro_schemas import schema_text
from worker.core.errors import Fatal
from worker.demo.independent_count import Count, Key, Reader

READ_S = 0.05  # how often the count goes up
SILENCE_S = 60.0  # without any output: what is missing then stays missing, and no rate means anything
LATE_S = 0.5  # after the contender has ended: what comes now is one too many


class Outputs:
    """The committed content of one output topic."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        """Read it from its beginning."""
        self._reader = Reader(bootstrap, schema_text("SimulatedResponse"))
        self._reader.follow(topic)
        self._values: list[bytes] = []  # decoded once nothing is measured any more

    def follow(self, stretch: Stretch, *contending: Contending) -> None:
        """Read until all is there.  Raises `Fatal` if a contender ends, or nothing comes any more."""
        last_s = time.monotonic()
        while len(self._values) < stretch.total:
            if self._read():
                last_s = time.monotonic()
                stretch.saw(len(self._values), at_s=last_s, cpu_s=sum(one.cpu_s() for one in contending))
            for one in contending:
                one.raise_if_ended()
            if time.monotonic() - last_s > SILENCE_S:
                raise Fatal(f"{len(self._values)} of {stretch.total} responses came: {contending[0].told}")

    def count(self, expected: frozenset[Key]) -> Count:
        """Hold what came against what shall come, the late ones too."""
        self._read_late()
        count = Count(set(expected))
        for value in self._values:
            count.add(self._reader.decode(value))
        return count

    def comparable(self) -> dict[Key, bytes]:
        """Return every response's bytes with the times set aside, which no two runs share."""
        self._read_late()
        found = [self._reader.decode(value) for value in self._values]
        return {(one["event_id"], one["question"], one["variant"]): _timeless(one) for one in found}

    def close(self) -> None:
        """Leave."""
        self._reader.close()

    def _read(self) -> int:
        values = [value for _, value in self._reader.read(READ_S)]
        self._values += values
        return len(values)

    def _read_late(self) -> None:
        until_s = time.monotonic() + LATE_S
        while time.monotonic() < until_s:
            self._read()


def compare(found: Mapping[str, Mapping[Key, bytes]]) -> None:
    """Raise `Fatal` unless all contenders wrote the same responses."""
    first, *others = found
    for other in others:
        if missing := found[first].keys() ^ found[other].keys():
            raise Fatal(
                f"{other} and {first} answered different questions, such as {min(missing)}: nothing is measured"
            )
        different = [key for key, data in found[first].items() if found[other][key] != data]
        if different:
            raise Fatal(f"{other} and {first} wrote {len(different)} different responses, such as {min(different)}")


def _timeless(response: dict[str, Any]) -> bytes:
    stream = BytesIO()
    same = response | {"produced_at": 0, "timings": dict.fromkeys(response["timings"], 0.0)}
    fastavro.schemaless_writer(stream, _schema(), same)
    return stream.getvalue()


@cache
def _schema() -> Any:
    return fastavro.parse_schema(json.loads(schema_text("SimulatedResponse")))
