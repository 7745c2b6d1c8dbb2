"""What every contender without an LLM does with a record: the worker's own steps, one after the other.

    bytes -> decode, validate -> questions -> choice model -> responses -> bytes

Nothing here waits, so a loop of any framework can call it.  It knows no Kafka client, because the other frameworks
bring their own.  What a contender adds around it is what is measured.
"""

import asyncio
import time

from worker.core.codec import framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.avro_schemas import own_schema, schema_fingerprint, schema_text
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.delivery.response_encoder import Outgoing
from worker.core.errors import Poison
from worker.core.records import Message, Reason, Record
from worker.core.simulation.draws import PositionProfile
from worker.core.simulation.prepare import Asking, Prepared, prepare
from worker.core.simulation.response_builder import AskedQuestion, respond, source_of
from worker.engines.choice_model import ChoiceModel
from worker.runtime import pipeline_config, position_profile
from worker.settings import Settings

_INPUT = "RecommendationImpression"


class Handler:
    """Answers records as a worker with default settings does, bytes in, messages out."""

    def __init__(self, output_topic: str) -> None:
        """Take where the answers go; must not be called inside a running loop."""
        settings = Settings.model_construct()  # the defaults alone: the environment is not every contender's
        self._engine = ChoiceModel()
        self._asking = pipeline_config.asking(settings, self._engine)
        positions = asyncio.run(_positions(settings, self._engine, self._asking))
        self._setup = pipeline_config.setup(settings, self._engine, positions)
        self._outgoing = Outgoing(
            Encoder("SimulatedResponse"), output_topic, settings.max_message_bytes, frozenset(settings.pass_headers)
        )
        self._writer = SchemaRef(SchemaRefKind.FINGERPRINT, schema_fingerprint(schema_text(_INPUT)).hex())

    def answer(self, record: Record) -> tuple[Message, ...]:
        """Return a record's responses, ready to be produced.  Raises `Poison`."""
        ref, payload = framing.split(record.value or b"", record.headers)
        if ref != self._writer:
            raise Poison(Reason.SCHEMA, "the bench writes our own schema, and no other")
        impression = codec.decode(payload, own_schema(_INPUT))
        responses = respond(
            impression,
            [self._ask(one) for one in prepare(record, impression, self._asking)],
            self._setup,
            source_of(record, ref.value),
            sample_rate=1.0,
            produced_at_us=int(time.time() * 1e6),
        )
        return self._outgoing.messages(record, responses, {})

    def _ask(self, one: Prepared) -> AskedQuestion:
        drawn = tuple(self._engine.answer(ask) for ask in one.asks)
        return AskedQuestion(one.question, drawn, tuple(ask.order for ask in one.asks), one.flags)


async def _positions(settings: Settings, engine: ChoiceModel, asking: Asking) -> dict[int, PositionProfile]:
    """Measure what a worker measures when it starts; each of its responses carries it."""
    found: dict[int, PositionProfile] = {}
    timeout_s = settings.question_timeout_s
    await position_profile.at_start(engine, asking, debias=False, timeout_s=timeout_s, report=found.update)
    return found
