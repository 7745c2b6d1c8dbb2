"""A pipeline with fakes around it, for the tests of the loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest

from tests.support.examples import impression
from tests.support.fakes import WALL_S, FakeEngine, FakeSchemas, FakeSink, FakeSource, FakeWatch, until
from worker.core.codec import avro_schemas, framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.delivery.handover import FlushLimits, Handover
from worker.core.delivery.micro_batcher import MicroBatcher
from worker.core.delivery.response_encoder import Outgoing
from worker.core.delivery.window import Window
from worker.core.errors import Fatal
from worker.core.records import Headers, Message, Partition, User
from worker.core.simulation.prepare import Asking
from worker.core.simulation.questions import Depths
from worker.core.simulation.response_builder import Setup
from worker.core.simulation.sampling import Sampling, UserBudget
from worker.pipeline.asker import Ready
from worker.pipeline.config import Rules
from worker.pipeline.ports import Admit, Facts, at_once
from worker.runtime.telemetry import Telemetry
from worker.runtime.wiring import make_pipeline
from worker.settings import prompt_profiles

A, B = Partition("impressions", 0), Partition("impressions", 1)
IMPRESSIONS = Encoder("RecommendationImpression")
OURS = SchemaRef(
    SchemaRefKind.FINGERPRINT,
    avro_schemas.schema_fingerprint(avro_schemas.schema_text("RecommendationImpression")).hex(),
)
QUESTIONS = 3  # of the example: SLATE control, SLATE candidate, DUEL candidate
DRAWS = 2
POISON = b"not Avro"


def event(name: str = "event-0", user: str = "user", **changes: Any) -> bytes:
    """An impression as it stands in the topic."""
    return IMPRESSIONS.encode(impression(event_id=name, user=User(user), **changes))


def events(num: int) -> list[bytes]:
    return [event(f"event-{number}") for number in range(num)]


@cache
def rules() -> Rules:
    depths = Depths()
    return Rules(
        sampling=Sampling(),
        user_budget=UserBudget(0),
        setup=Setup(FakeEngine.card, None, None, DRAWS, depths, 10).with_fingerprint(),
        asking=Asking(prompt_profiles.load("mirror-v1"), depths, DRAWS, 10, seeded=True, tokenise=None),
        dead_letter_topic="impressions.dlq",
        max_message_bytes=100_000,
        question_timeout_s=2.0,
        max_draws=100,
        max_restarts=2,
        drain_timeout_s=5.0,
    )


class World:
    """A pipeline and the fakes around it; a `telemetry` watches instead of `watch`."""

    def __init__(
        self,
        max_records: int = 100,
        telemetry: Telemetry | None = None,
        facts: Facts | None = None,
        *,
        admit: Admit = at_once,
        **changes: Any,
    ) -> None:
        self.source, self.sink, self.watch, self.engine = FakeSource(), FakeSink(), FakeWatch(), FakeEngine()
        self.schemas = FakeSchemas({OURS: avro_schemas.own_schema("RecommendationImpression")})
        self.window = Window(max_records=max_records, max_bytes=1_000_000, max_tokens=1_000_000)
        self.handover = Handover(FlushLimits())
        self.stop = asyncio.Event()
        clock = asyncio.get_running_loop().time
        chosen = replace(rules(), **changes)
        self.pipeline = make_pipeline(
            source=self.source,
            engine=self.engine,
            sink=self.sink,
            schemas=self.schemas,
            watch=telemetry or self.watch,
            rules=chosen,
            outgoing=Outgoing(
                Encoder("SimulatedResponse"), "responses", chosen.max_message_bytes, frozenset({"tenant"})
            ),
            batcher=MicroBatcher[Ready](max_records=4, max_tokens=1_000, linger_s=0.02),
            window=self.window,
            admit=admit,
            handover=self.handover,
            facts=facts,
            wall=lambda: WALL_S + clock(),
            clock=clock,
        )

    async def read(
        self, *values: bytes | None, partition: Partition = A, headers: Headers = (), first: int = 0
    ) -> None:
        """Assign the partition if need be, deliver records from offset `first`, wait until they are taken on."""
        if partition not in self.source.epochs:
            self.source.assign(partition)
        taken = self.source.calls["batch_accepted"]
        self.source.read(partition, first, *values, headers=headers)
        await until(lambda: self.source.calls["batch_accepted"] > taken or bool(self.pipeline.held_up))

    async def committed(self, partition: Partition, offset: int) -> None:
        await until(lambda: self.sink.committed.get(partition, -1) >= offset)

    def offsets(self) -> list[dict[Partition, int]]:
        """The offsets of each flush, in order."""
        return [flush.offsets for flush in self.sink.flushes]


def held_by(window: Window) -> tuple[int, int]:
    """Return how many records are in flight, and their bytes."""
    num_records, num_bytes, _ = window._totals()
    return num_records, num_bytes


@asynccontextmanager
async def working(world: World | None = None, **changes: Any) -> AsyncIterator[World]:
    """Run a pipeline inside the block; at its end stop it, and nothing may be left in flight."""
    world = world or World(**changes)
    running = asyncio.create_task(world.pipeline.run(world.stop))
    await until(lambda: world.pipeline.held_up == "" or running.done())
    try:
        yield world
        world.stop.set()
        await running
        assert (world.handover.in_flight, *held_by(world.window)) == (0, 0, 0)
        assert (world.source.calls["close"], world.sink.calls["close"]) == (1, 1)
    finally:
        running.cancel()


async def failing(world: World) -> BaseException:
    """Return what ends a run that fails by itself."""
    with pytest.raises(Fatal) as caught:
        await world.pipeline.run(world.stop)
    assert world.source.calls["close"] == 1
    return caught.value


def response(message: Message) -> Mapping[str, Any]:
    """Decode a message of the output topic."""
    assert message.topic == "responses"
    assert message.value is not None
    ref, payload = framing.split(message.value, message.headers)
    assert ref.kind is SchemaRefKind.FINGERPRINT
    found = codec.decode_plain(payload, avro_schemas.own_schema("SimulatedResponse"), "SimulatedResponse")
    return cast("Mapping[str, Any]", found)


def statuses(world: World) -> Counter[str]:
    return Counter(str(response(message)["status"]) for message in world.sink.log)
