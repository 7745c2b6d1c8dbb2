"""How long an event takes at a given rate: from its timestamp to its committed answer, beside the engine alone.

    engine      the engine has answered the event's last draw
    ordered     and that of every event before it in its partition: none may leave earlier
    committed   a read_committed reader has the event's last response

All on one machine and one wall clock.  Events come at random (exponential gaps), as users do.
"""

import asyncio
import random
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from worker.bench.harness.traffic import QUESTIONS_AN_EVENT
from worker.bench.model.contenders import Bench, require_sound
from worker.bench.model.engine import Noted
from worker.bench.model.load import Load
from worker.bench.model.stream import FAILURES, watch
from worker.core.codec.avro_schemas import schema_text
from worker.core.errors import Fatal
from worker.demo.independent_count import Reader
from worker.kafka import admin
from worker.runtime.answering import WorkerRun, answer_all
from worker.runtime.health_state import HealthState
from worker.settings import Settings

PERCENTILES = (50, 95, 99)
LEAD_S = 2.0  # from the start of the feed to the first event: the reader is there by then
SILENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class InputPlace:
    """Where an event stood in the input."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Times:
    """Of one event, wall clock seconds."""

    sent_s: float
    engine_s: float
    ordered_s: float
    committed_s: float


async def latency(bench: Bench, load: Load, *, rate: float, number: int, run: str) -> dict[str, float]:
    """Feed events at `rate` a second to a worker, at times that the number draws; return percentiles, milliseconds."""
    await bench.engine.forget()
    with bench.stage.run(run, empty=True) as settings:
        feed = _Feed(load, settings, rate, number)
        stop = asyncio.Event()
        seen = watch(bench.engine)
        of_worker = WorkerRun(settings=settings, engine=bench.engine, telemetry=seen, state=HealthState(), stop=stop)
        worker = asyncio.ensure_future(answer_all(of_worker, {}))
        try:
            await asyncio.to_thread(feed.run)
        finally:
            stop.set()
            await worker
    require_sound(bench.engine, len(load.draws), failed=feed.num_failed)
    return percentiles(times(feed.sent_s, bench.engine.noted, feed.places, feed.committed_s).values())


def times(
    sent_s: Mapping[str, float],
    noted: Iterable[Noted],
    places: Mapping[str, InputPlace],
    committed_s: Mapping[str, float],
) -> dict[str, Times]:
    """Put together what was seen of each event."""
    engine_s: dict[str, float] = defaultdict(float)
    for one in noted:
        engine_s[one.event_id] = max(engine_s[one.event_id], one.done_s)
    ordered_s = _ordered(engine_s, places)
    return {event: Times(sent_s[event], engine_s[event], ordered_s[event], committed_s[event]) for event in committed_s}


def percentiles(found: Iterable[Times]) -> dict[str, float]:
    """Return p50, p95 and p99 of the three latencies, and of their differences, in milliseconds."""
    rows = [(one.engine_s - one.sent_s, one.ordered_s - one.sent_s, one.committed_s - one.sent_s) for one in found]
    names = ("engine", "ordered", "committed")
    columns = dict(zip(names, np.asarray(rows).T * 1000, strict=True))
    result = {
        f"{name}_p{part}_ms": float(np.percentile(column, part))
        for name, column in columns.items()
        for part in PERCENTILES
    }
    result["p99_over_ordered_engine_ms"] = result["committed_p99_ms"] - result["ordered_p99_ms"]
    result["ordering_cost_ms"] = result["ordered_p99_ms"] - result["engine_p99_ms"]
    return result


def _ordered(engine_s: Mapping[str, float], places: Mapping[str, InputPlace]) -> dict[str, float]:
    """Return when each event could leave: not before any that stands earlier in its partition."""
    latest: dict[int, float] = defaultdict(float)
    found = {}
    for event, place in sorted(places.items(), key=lambda one: one[1].offset):
        latest[place.partition] = max(latest[place.partition], engine_s[event])
        found[event] = latest[place.partition]
    return found


class _Feed:
    """Sends events at a rate, and reads their answers in a thread beside it."""

    def __init__(self, load: Load, settings: Settings, rate: float, seed: int) -> None:
        self._events = list(load.impressions)
        self._messages = load.messages(settings.input_topics[0])
        self._settings, self._rate, self._gaps = settings, rate, random.Random(seed)
        self._left: dict[str, int] = {one.event_id: QUESTIONS_AN_EVENT for one in self._events}
        self._open = len(self._events)
        self.sent_s: dict[str, float] = {}
        self.committed_s: dict[str, float] = {}
        self.places: dict[str, InputPlace] = {}
        self.num_failed = 0

    def run(self) -> None:
        """Send everything, and wait for the last answer.  Raises `Fatal` if none comes for a while."""
        reading = threading.Thread(target=self._read, name="bench-reader")
        reading.start()
        time.sleep(LEAD_S)
        self._send()
        reading.join()
        if self._open:
            raise Fatal(f"bench: {self._open} of {len(self._events)} events were not answered within {SILENCE_S:.0f} s")

    def _send(self) -> None:
        publisher = admin.Publisher(self._settings)
        due_s = time.time()
        for event, message in zip(self._events, self._messages, strict=True):
            due_s += self._gaps.expovariate(self._rate)
            time.sleep(max(0.0, due_s - time.time()))
            self.sent_s[event.event_id] = due_s  # not when this thread came to it: it may be late, and users are not
            publisher.send(message)
        publisher.close()

    def _read(self) -> None:
        reader = Reader(self._settings.bootstrap_servers, schema_text("SimulatedResponse"))
        reader.follow(self._settings.output_topic)
        last_s = time.monotonic()
        while self._open and time.monotonic() - last_s < SILENCE_S:
            for _, value in reader.read(0.01):
                last_s = time.monotonic()
                self._take(reader.decode(value), time.time())
        reader.close()

    def _take(self, response: dict[str, object], now_s: float) -> None:
        event, source = str(response["event_id"]), response["source"]
        assert isinstance(source, dict)
        self.places[event] = InputPlace(source["partition"], source["offset"])
        self.num_failed += response["status"] in FAILURES
        self._left[event] -= 1
        if self._left[event] == 0:
            self.committed_s[event] = now_s
            self._open -= 1
