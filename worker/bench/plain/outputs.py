"""The output of a contender seen from outside: committed responses; uses the worker's schema only."""

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

READ_S = 0.05  # between two updates of the count
SILENCE_S = 60.0  # without any output: the rest is taken as missing, and no rate is valid
LATE_S = 0.5  # after the contender has ended, to catch duplicates


class Outputs:
    """The committed records of one output topic, from its beginning."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._reader = Reader(bootstrap, schema_text("SimulatedResponse"))
        self._reader.follow(topic)
        self._values: list[bytes] = []  # decoded after the measurement

    def follow(self, stretch: Stretch, *contending: Contending) -> None:
        """Read until all outputs are there.  Raises `Fatal` if a contender ends or is silent."""
        last_s = time.monotonic()
        while len(self._values) < stretch.total:
            if self._read():
                last_s = time.monotonic()
                stretch.saw(len(self._values), at_s=last_s, cpu_s=sum(one.cpu_s() for one in contending))
            for one in contending:
                one.raise_if_ended()
            if time.monotonic() - last_s > SILENCE_S:
                raise Fatal(
                    f"{len(self._values)} of {stretch.total} responses arrived: {contending[0].command_and_log}"
                )

    def count(self, expected: frozenset[Key]) -> Count:
        """Return the count of expected, missing and duplicate responses, late ones included."""
        self._read_late()
        count = Count(set(expected))
        for value in self._values:
            count.add(self._reader.decode(value))
        return count

    def comparable(self) -> dict[Key, bytes]:
        """Return the bytes of every response without times, which differ between runs."""
        self._read_late()
        found = [self._reader.decode(value) for value in self._values]
        return {(one["event_id"], one["question"], one["variant"]): _timeless(one) for one in found}

    def close(self) -> None:
        """Close the reader."""
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
            raise Fatal(f"{other} and {first} answered different questions, such as {min(missing)}; the bench stops")
        different = [key for key, data in found[first].items() if found[other][key] != data]
        if different:
            raise Fatal(
                f"{other} and {first} wrote {len(different)} different responses, such as {min(different)};"
                " the bench stops"
            )


def _timeless(response: dict[str, Any]) -> bytes:
    stream = BytesIO()
    same = response | {"produced_at": 0, "timings": dict.fromkeys(response["timings"], 0.0)}
    fastavro.schemaless_writer(stream, _schema(), same)
    return stream.getvalue()


@cache
def _schema() -> Any:
    return fastavro.parse_schema(json.loads(schema_text("SimulatedResponse")))
