"""What every contender is asked: the same events, prompts, seeds, draws, and lengths of rationales.

Lengths are forced (`min_tokens = max_tokens`, `ignore_eos`), or a faster contender could be one that writes less.
`lengths.json` holds 1,000 of them: the quantiles of a lognormal distribution with a median of 128 tokens and a 95th
percentile of 1.8 times that, shuffled; which one a draw gets depends on its event, question and order alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.core import seeding
from worker.core.codec.avro_encoder import Encoder
from worker.core.records import Impression, Message, Partition, Record
from worker.core.simulation.draws import Ask
from worker.core.simulation.prepare import Asking, prepare
from worker.demo import scenes

LENGTHS: tuple[int, ...] = tuple(json.loads((Path(__file__).parent / "lengths.json").read_text(encoding="utf-8")))
MEDIAN = 128  # tokens, of the list
MIN_TOKENS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """The events of one round, and every draw of each, in the order of the input."""

    impressions: tuple[Impression, ...]
    asks: tuple[tuple[Ask, ...], ...]

    @property
    def draws(self) -> list[Ask]:
        """All draws of all events."""
        return [ask for asks in self.asks for ask in asks]

    def messages(self, topic: str) -> list[Message]:
        """Return the events as they come in, keyed by user."""
        return messages(self.impressions, topic)


@dataclass(frozen=True, slots=True)
class Lengths:
    """How many tokens each draw writes; `median` scales the list."""

    median: int

    def of(self, ask: Ask) -> int:
        """Return the length of one draw's rationale."""
        at = seeding.seed(ask.impression.event_id, ask.question.name, str(ask.order)) % len(LENGTHS)
        return max(MIN_TOKENS, round(LENGTHS[at] * self.median / MEDIAN))


def make(asking: Asking, *, events: int, seed: int = 1) -> Load:
    """Make the load of one round."""
    impressions = tuple(scenes.impressions(seed, num_users=events, events_per_user=1))
    return Load(impressions, tuple(make_asks(number, one, asking) for number, one in enumerate(impressions)))


def messages(impressions: Sequence[Impression], topic: str) -> list[Message]:
    """Return impressions as messages without a schema registry."""
    encode = Encoder("RecommendationImpression").encode
    return [Message(topic, one.user.user_id.encode(), encode(one)) for one in impressions]


def make_asks(number: int, impression: Impression, asking: Asking) -> tuple[Ask, ...]:
    """Return all draws of one event, ranked by its number."""
    record = Record(Partition("bench", 0), number, 0, None, None)
    asks = (ask for question in prepare(record, impression, asking) for ask in question.asks)
    return tuple(replace(ask, priority=number) for ask in asks)
