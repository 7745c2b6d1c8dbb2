"""The processing of a record in every contender without an LLM: the worker's own steps, in sequence.

    bytes -> decode, validate -> questions -> choice model -> responses -> bytes

Nothing here waits, so the loop of any framework can call it.  It uses no Kafka client, because the other frameworks
have their own.  The bench measures what each contender adds to this.
"""

import asyncio
import time

from worker.core.codec import framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.avro_schemas import own_schema, schema_fingerprint, schema_text
from worker.core.codec.framing import SchemaRef, SchemaRefKind
from worker.core.delivery.response_encoder import Outgoing
from worker.core.errors import Poison
from worker.core.records import Impression, Message, Reason, Record
from worker.core.simulation.draws import PositionProfile
from worker.core.simulation.prepare import Asking, Prepared, prepare
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.response_builder import AskedQuestion, respond, source_of
from worker.engines.choice_model import ChoiceModel
from worker.runtime import pipeline_config, position_profile
from worker.settings import Settings

_INPUT = "RecommendationImpression"


class Handler:
    """Answers records as a worker with default settings does, bytes in, messages out.

    Must not be created inside a running event loop.
    """

    def __init__(self, output_topic: str) -> None:
        settings = Settings.model_construct()  # the defaults only: not every contender has this environment
        self._engine = ChoiceModel()
        self._asking = pipeline_config.asking(settings, self._engine)
        positions = asyncio.run(_positions(settings, self._engine, self._asking))
        self._setup = pipeline_config.setup(settings, self._engine, positions)
        self._outgoing = Outgoing(
            Encoder("SimulatedResponse"), output_topic, settings.max_message_bytes, frozenset(settings.pass_headers)
        )
        self._writer = SchemaRef(SchemaRefKind.FINGERPRINT, schema_fingerprint(schema_text(_INPUT)).hex())

    def answer(self, record: Record) -> tuple[Message, ...]:
        """Return the responses of a record, ready to be produced.  Raises `Poison`."""
        ref, payload = framing.split(record.value or b"", record.headers)
        if ref != self._writer:
            raise Poison(Reason.SCHEMA, "the bench reads only records with our own schema")
        responses = self.responses(record, codec.decode(payload, own_schema(_INPUT)), ref.value)
        return self._outgoing.messages(record, responses, {})

    def responses(self, record: Record, impression: Impression, schema: str) -> tuple[SimulatedResponse, ...]:
        """Return the responses to a decoded record; `schema` is the value of its schema's reference."""
        return respond(
            impression,
            [self._ask(one) for one in prepare(record, impression, self._asking)],
            self._setup,
            source_of(record, schema),
            sample_rate=1.0,
            produced_at_us=int(time.time() * 1e6),
        )

    def _ask(self, one: Prepared) -> AskedQuestion:
        drawn = tuple(self._engine.answer(ask) for ask in one.asks)
        return AskedQuestion(one.question, drawn, tuple(ask.order for ask in one.asks), one.flags)


async def _positions(settings: Settings, engine: ChoiceModel, asking: Asking) -> dict[int, PositionProfile]:
    """Measure the position profile as a worker does when it starts; it is part of each response."""
    found: dict[int, PositionProfile] = {}
    timeout_s = settings.question_timeout_s
    await position_profile.at_start(engine, asking, debias=False, timeout_s=timeout_s, report=found.update)
    return found
