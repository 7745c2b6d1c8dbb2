"""One record through decode, validate, render, parse, respond and encode, as a worker would, with each step timed."""

import json
from dataclasses import dataclass
from functools import partial
from time import thread_time
from typing import Any

from tests.support.examples import record
from tests.support.foreign import OWN_TEXT, schema_with
from worker.core.codec import avro_schemas, framing, impression as codec
from worker.core.codec.avro_encoder import Encoder
from worker.core.codec.avro_schemas import Schema
from worker.core.codec.input_forms import InputForm
from worker.core.delivery.response_encoder import Outgoing
from worker.core.errors import Poison
from worker.core.prompts.prompt import Prompt
from worker.core.records import Impression, Reason, Record
from worker.core.simulation.draws import Ask, Drawn, EngineCard
from worker.core.simulation.prepare import Asking, Prepared, preparing
from worker.core.simulation.questions import Depths, Status
from worker.core.simulation.response_builder import AskedQuestion, Setup, responding, source_of
from worker.core.steps import Steps
from worker.settings.prompt_profiles import load

ANSWERED = "answered"
MAX_PROMPT_TOKENS = 4_000
MAX_MESSAGE_BYTES = 1_000_000  # Kafka's default of a topic

# A field that only the writer has.
_JUNK = {"type": "map", "values": ["null", "bytes", {"type": "array", "items": "long"}]}
THEIRS = {"name": "theirs", "type": _JUNK}
# What the writers behind some registry ids write: our schema, and our schema with one field of another type.
WRITERS: dict[int, str] = {
    1: OWN_TEXT,
    2: schema_with("occurred_at", {"type": "long", "logicalType": "timestamp-millis"}),
    3: schema_with("user.history.rating", ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9}]),
    4: schema_with("domain", "string"),
    5: schema_with("slates.items.position", "long"),
    6: json.dumps(json.loads(OWN_TEXT) | {"fields": [THEIRS, *json.loads(OWN_TEXT)["fields"]]}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a record: `ANSWERED` or a dead letter's reason; the longest step and all of them, CPU seconds."""

    outcome: str
    longest_s: float
    total_s: float


class Chain:
    """Plays records; anything but an answer or a `Poison` leaves `play` as the error that it is.

    `form` is the format, by default Avro with the schemas of `WRITERS`.
    """

    def __init__(self, form: InputForm | None = None) -> None:
        self._form = form
        self._profile = load("mirror-v1")
        self._asking = Asking(
            self._profile, Depths(), 2, 10, seeded=True, tokenise=_tokenise, max_prompt_tokens=MAX_PROMPT_TOKENS
        )
        card = EngineCard("fuzz", "1", "fuzz", None, {}, reads_prompt=True)
        self._setup = Setup(card, "mirror-v1", "5f", 2, Depths(), 10).with_fingerprint()
        self._out = Outgoing(Encoder("SimulatedResponse"), "responses", MAX_MESSAGE_BYTES, frozenset({"traceparent"}))
        self._schemas: dict[tuple[str, str], Schema] = {
            ("id", str(number)): avro_schemas.writer_schema(text) for number, text in WRITERS.items()
        }
        own = avro_schemas.schema_fingerprint(OWN_TEXT).hex()
        self._schemas["fingerprint", own] = avro_schemas.own_schema("RecommendationImpression")

    def play(self, value: bytes, schema: Schema | None = None) -> Played:
        """Play one record; `schema` is its writer's, by default the one that its framing names."""
        timed = _Timed()
        try:
            decoded = timed(lambda: self._decode(value, schema))
            timed.steps(self._answering(record(value), decoded, timed))
        except Poison as poison:
            refused = poison
        else:
            return Played(ANSWERED, timed.longest_s, timed.total_s)
        assert str(refused), "a dead letter without a word"
        return Played(refused.reason, timed.longest_s, timed.total_s)

    def _decode(self, value: bytes, schema: Schema | None) -> Impression:
        if self._form is not None:
            found = self._form.read(value, (), None)[1]
            assert found is not None
            return found
        ref, payload = framing.split(value, ())
        writer = self._schemas.get((ref.kind, ref.value)) if schema is None else schema
        if writer is None:
            raise Poison(Reason.SCHEMA, "no such schema")
        return codec.decode(payload, writer)

    def _answering(self, one: Record, impression: Impression, timed: "_Timed") -> Steps[None]:
        prepared = yield from preparing(one, impression, self._asking)
        text = (one.value or b"").decode("utf-8", "replace")  # the model may write anything, too
        asked = [AskedQuestion(each.question, _drawn(each, text), _orders(each), each.flags) for each in prepared]
        responses = yield from responding(
            impression, asked, self._setup, source_of(one, "1"), sample_rate=1.0, produced_at_us=0
        )
        messages = timed(partial(self._out.messages, one, responses, {}))
        assert len(messages) == len(prepared)
        assert all(message.num_bytes <= MAX_MESSAGE_BYTES for message in messages)


class _Timed:
    """Sums the CPU time of steps, and keeps the longest."""

    def __init__(self) -> None:
        self.longest_s = self.total_s = 0.0

    def __call__(self, do: Any) -> Any:
        start_s = thread_time()
        try:
            return do()
        finally:
            self._add(thread_time() - start_s)

    def steps(self, steps: Steps[None]) -> None:
        """Do all of some work, step by step; a call that may be made in another thread is no step of the loop."""
        answer: Any = None
        while True:
            start_s = thread_time()
            try:
                call = steps.send(answer)
            except StopIteration:
                return
            finally:
                self._add(thread_time() - start_s)
            answer = call() if call else None

    def _add(self, seconds: float) -> None:
        self.longest_s = max(self.longest_s, seconds)
        self.total_s += seconds


def _tokenise(prompt: Prompt) -> tuple[int, ...]:
    return tuple(map(len, f"{prompt.system} {prompt.user} {prompt.prefix}".split()))


def _orders(one: Prepared) -> tuple[tuple[int, ...], ...]:
    return tuple(ask.order for ask in one.asks)


def _drawn(one: Prepared, text: str) -> tuple[Drawn, ...]:
    return tuple(one.refused or _answer(ask, text) for ask in one.asks)


def _answer(ask: Ask, text: str) -> Drawn:
    return Drawn(Status.OK, (1.0 / ask.num_slots,) * ask.num_slots, letter_mass=0.9, text=text, finish_reason="stop")
