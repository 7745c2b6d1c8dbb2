"""4 prompt, 5 generate, 6 parse: from one decoded record to the messages of its responses.

What is asked is decided in `core.simulation.prepare`, what the answer is in
`core.simulation.response_builder`; the work on one event is done in turns with everything else in the loop.
"""

from collections.abc import Callable
from typing import Protocol

from worker.core.delivery.response_encoder import Outgoing
from worker.core.records import Message, Record
from worker.core.simulation.prepare import Prepared, preparing
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.response_builder import AskedQuestion, responding, source_of
from worker.core.steps import Steps
from worker.pipeline.asker import Asker, Ready
from worker.pipeline.config import Rules
from worker.pipeline.decoder import Decoded
from worker.pipeline.in_flight import RecordInFlight
from worker.pipeline.turns import Turns


class AnswerWatch(Protocol):
    """Who counts answers."""

    def answered(self, responses: tuple[SimulatedResponse, ...]) -> None:
        """Count an event's responses."""


class Answerer:
    """Prepares questions and answers them, one record at a time; many records overlap.

    `wall` gives seconds since 1970, for the time in each response.
    """

    def __init__(
        self,
        asker: Asker,
        watch: AnswerWatch,
        *,
        rules: Rules,
        outgoing: Outgoing,
        turns: Turns,
        wall: Callable[[], float],
    ) -> None:
        self._asker, self._watch, self._rules = asker, watch, rules
        self._outgoing, self._turns, self._wall = outgoing, turns, wall

    async def prepare(self, record: Record, decoded: Decoded) -> tuple[Prepared, ...]:
        """Return an impression's questions with their prompts."""
        return await self._turns.run(preparing(record, decoded.impression, self._rules.asking))

    async def respond(self, ready: Ready) -> tuple[Message, ...]:
        """Return one message per question, in the order of the questions.

        Raises `Poison` if the engine dies of the record twice, or if the topic cannot take one of its
        responses.
        """
        responses = await self._build(ready, await self._asker.ask_all(ready))
        self._watch.answered(responses)
        return await self._turns.run(self._encoding(ready.entry, responses))

    async def _build(self, ready: Ready, asked: list[AskedQuestion]) -> tuple[SimulatedResponse, ...]:
        impression, rules = ready.decoded.impression, self._rules
        return await self._turns.run(
            responding(
                impression,
                asked,
                rules.setup,
                source_of(ready.entry.record, ready.decoded.schema.value),
                sample_rate=rules.sampling.rate(impression.experiment_id),
                produced_at_us=int(self._wall() * 1e6),
            )
        )

    def _encoding(self, entry: RecordInFlight, responses: tuple[SimulatedResponse, ...]) -> Steps[tuple[Message, ...]]:
        """Encode an event's responses, one per step.  Raises `Poison`."""
        messages: list[Message] = []
        for response in responses:
            messages += self._outgoing.messages(entry.record, (response,), entry.trace.send(response))
            yield None
        return tuple(messages)
