"""4 prompt, 5 generate, 6 parse: from one decoded record to the messages of its responses.

What is asked is decided in `core.simulation.prepare`, what the answer is in
`core.simulation.response_builder`; the work on one event is done in turns with everything else in the loop.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from worker.core.delivery.response_encoder import Outgoing
from worker.core.prompts.unshown import told, unshown
from worker.core.records import Impression, Message, Partition, Record
from worker.core.simulation.prepare import Prepared, preparing
from worker.core.simulation.privacy import Published, publishing
from worker.core.simulation.response import SimulatedResponse
from worker.core.simulation.response_builder import AskedQuestion, responding, source_of
from worker.core.steps import Steps
from worker.pipeline.asker import Asker, Ready
from worker.pipeline.config import Rules
from worker.pipeline.decoder import Decoded
from worker.pipeline.in_flight import RecordInFlight
from worker.pipeline.turns import Turns

log = logging.getLogger(__name__)

MAX_LOOKED_AT = 1_000  # impressions whose attributes are compared with the layout
MAX_TOLD = 20  # log lines about them


Paid = Callable[[Partition, Impression, int], None]  # is called with what an event has cost, in tokens


class AnswerWatch(Protocol):
    """Who counts answers."""

    def answered(self, responses: tuple[SimulatedResponse, ...]) -> None:
        """Count an event's responses."""

    def redacted(self, num: int, num_failed: int) -> None:
        """Count texts that were changed, and those that were removed because the redactor failed."""


class Answerer:
    """Prepares questions and answers them, one record at a time; many records overlap.

    `paid` is called with the tokens of each event; `wall` gives seconds since 1970, for the time in each response.
    """

    def __init__(
        self,
        asker: Asker,
        watch: AnswerWatch,
        *,
        rules: Rules,
        outgoing: Outgoing,
        turns: Turns,
        paid: Paid,
        wall: Callable[[], float],
    ) -> None:
        self._asker, self._watch, self._rules = asker, watch, rules
        self._outgoing, self._turns, self._paid, self._wall = outgoing, turns, paid, wall
        self._num_looked_at = self._num_told = 0
        self._has_told_of_redactor = False
        self._unshown: set[tuple[str, str]] = set()  # attributes without a place, by domain, that were logged

    async def prepare(self, record: Record, decoded: Decoded) -> tuple[Prepared, ...]:
        """Return an impression's questions with their prompts."""
        looks = self._num_looked_at < MAX_LOOKED_AT and self._num_told < MAX_TOLD
        if looks and self._rules.asking.tokenise is not None:
            self._num_looked_at += 1
            self._log_unshown(decoded.impression)
        prepared = await self._turns.run(preparing(record, decoded.impression, decoded.plan.asking))
        return tuple(replace(one, flags=one.flags | decoded.later.flags(one.question)) for one in prepared)

    def _log_unshown(self, impression: Impression) -> None:
        """Log attributes that the prompt does not show, each once: whoever sends them believes that it does."""
        for part, names in unshown(self._rules.asking.profile, impression).items():
            domain = f"{impression.domain} {part}"
            if new := {name for name in names if (domain, name) not in self._unshown}:
                self._unshown |= {(domain, name) for name in new}
                self._num_told += 1
                log.warning(
                    "%s: the prompt has no place for %s; the page Domains lists what is shown", domain, told(new)
                )

    async def respond(self, ready: Ready) -> tuple[Message, ...]:
        """Return one message per question, in the order of the questions.

        Raises `Poison` if the engine dies of the record twice, or if the topic cannot take one of its
        responses.
        """
        responses = await self._build(ready, await self._asker.ask_all(ready))
        self._watch.answered(responses)
        self._paid(ready.entry.record.partition, ready.decoded.impression, tokens_of(responses))
        return await self._turns.run(self._encoding(ready.entry, responses))

    async def _build(self, ready: Ready, asked: list[AskedQuestion]) -> tuple[SimulatedResponse, ...]:
        impression, schema, plan = ready.decoded.impression, ready.decoded.schema, ready.decoded.plan
        return await self._turns.run(
            responding(
                impression,
                asked,
                plan.setup,
                source_of(ready.entry.record, schema.value if schema else None),
                sample_rate=plan.sample_rate,
                produced_at_us=int(self._wall() * 1e6),
            )
        )

    def _encoding(self, entry: RecordInFlight, responses: tuple[SimulatedResponse, ...]) -> Steps[tuple[Message, ...]]:
        """Encode an event's responses, one per step.  Raises `Poison`."""
        messages: list[Message] = []
        for response in responses:
            published = yield from publishing(response, self._rules.privacy)
            self._count(published)
            messages += self._outgoing.messages(entry.record, (published.response,), entry.trace.send(response))
            yield None
        return tuple(messages)

    def _count(self, published: Published) -> None:
        if published.num_redacted or published.num_failed:
            self._watch.redacted(published.num_redacted, published.num_failed)
        if published.num_failed and not self._has_told_of_redactor:
            self._has_told_of_redactor = True
            log.warning(
                "the redactor failed on a rationale (%s): that text is removed; further ones are counted only",
                published.error,
            )


def tokens_of(responses: Iterable[SimulatedResponse]) -> int:
    """Return the tokens that an event has cost, read and written; a copied answer costs none."""
    spent = [one.usage for one in responses if one.copied_from is None]
    return sum(usage.prompt_tokens + usage.completion_tokens for usage in spent)
