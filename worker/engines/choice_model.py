"""A multinomial-logit simulator without an LLM: the baseline that an LLM must beat, and the engine of load tests.

    utility(option) = TASTE x overlap(option, history) - POSITION x ln(1 + slot)
    P(option)       = exp(utility) / (sum of exp(utility) + exp(NO_CHOICE))

The overlap is the mean, over the option's features, of how much the user's history likes that feature: a
rating of 5 counts 1, of 1 counts -1; an entry without a rating counts 0.5, or -0.5 if the user skipped or hid the item.
Features are the words between `|`, `,` and `/` of every attribute but the title, numbers left out; a bare text has its
longer words.  The mass that goes to no choice is
`1 - letter_mass`.

>>> taste = {"drama": 1.0, "horror": -1.0}
>>> [round(p, 2) for p in choice_probabilities([{"drama"}, {"horror"}], taste)[0]]
[1.0, 0.0]
"""

import asyncio
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache

from worker import __version__
from worker.draws import Ask, Drawn, EngineCard
from worker.prompt import Prompt
from worker.questions import Status
from worker.records import HistoryEntry, Impression

TASTE = 3.0
POSITION = 0.15
NO_CHOICE = -1.0
_NAMES = frozenset({"title", "name", "description", "year"})  # attributes that name an item rather than describe it
_SPLIT = re.compile(r"[|,/;]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]{4,}")
_RATING_MIDDLE, _RATING_SPAN = 3.0, 2.0
_UNRATED = 0.5
_REFUSALS = frozenset({"skip", "skipped", "hide", "hidden", "dislike", "disliked", "not read"})  # actions


def features(text: str | None, attributes: Mapping[str, str]) -> frozenset[str]:
    """Return what an item is like, as lower-case words."""
    return _features(text, tuple(attributes.items()))


@lru_cache(maxsize=50_000)  # items come again in every slate; an entry is about 500 bytes
def _features(text: str | None, attributes: tuple[tuple[str, str], ...]) -> frozenset[str]:
    found = {
        word.strip().lower()
        for name, value in attributes
        if name not in _NAMES
        for word in _SPLIT.split(value)
        if _LETTER.search(word)
    }
    return frozenset(found or (word.lower() for word in _WORD.findall(text or "")))


def taste(history: Sequence[HistoryEntry]) -> dict[str, float]:
    """Return how much a history likes each feature, in [-1, 1]: the mean over the entries that have it."""
    sums: dict[str, tuple[float, int]] = {}
    for entry in history:
        liking = _unrated(entry.action) if entry.rating is None else _liking(entry.rating)
        for feature in features(entry.item.text, entry.item.attributes):
            total, count = sums.get(feature, (0.0, 0))
            sums[feature] = (total + liking, count + 1)
    # One more entry of no liking in each mean: what was met once is believed less than what was met often.
    return {feature: total / (count + 1) for feature, (total, count) in sums.items()}


def choice_probabilities(
    slots: Sequence[Collection[str]], likes: Mapping[str, float]
) -> tuple[tuple[float, ...], float]:
    """Return the probability of each slot given a choice, and the probability of any choice at all."""
    weights = [math.exp(_utility(likes, slot, found)) for slot, found in enumerate(slots)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights), total / (total + math.exp(NO_CHOICE))


class ChoiceModel:
    """The engine; `latency_s` makes each draw take that long, for tests of overlap and scaling."""

    def __init__(self, *, latency_s: float = 0.0) -> None:
        """Take the time that a draw shall last, seconds."""
        self._latency_s = latency_s
        self._met: tuple[Impression, dict[str, float]] | None = None  # the last one's taste: its draws come together
        self.card = EngineCard(
            engine="choice-model",
            engine_version=__version__,
            model="choice-model",
            revision=None,
            sampling={"taste": str(TASTE), "position": str(POSITION), "no_choice": str(NO_CHOICE)},
            reads_prompt=False,
        )

    async def start(self) -> None:
        """Have nothing to load."""

    async def probe(self) -> None:
        """Be there."""

    async def stop(self) -> None:
        """Have nothing to free."""

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Read no prompt; part of the protocol."""
        raise NotImplementedError(prompt)

    def on_step(self, hear: Callable[[int, int], None]) -> None:
        """Have no queue to tell of."""

    async def draw(self, ask: Ask) -> Drawn:
        """Answer at once, or after `latency_s`."""
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        return self.answer(ask)

    def answer(self, ask: Ask) -> Drawn:
        """Answer now: there is nothing to wait for."""
        options = ask.question.options
        slots = [features(options[i].text, options[i].item.attributes) for i in ask.order]
        probabilities, mass = choice_probabilities(slots, self._taste(ask.impression))
        return Drawn(Status.OK, probabilities, letter_mass=mass, finish_reason="stop")

    def _taste(self, impression: Impression) -> dict[str, float]:
        if self._met is None or self._met[0] is not impression:
            self._met = (impression, taste(impression.past()))
        return self._met[1]


def _utility(likes: Mapping[str, float], slot: int, slot_features: Collection[str]) -> float:
    overlap = math.fsum(likes.get(feature, 0.0) for feature in slot_features) / (len(slot_features) or 1)
    return TASTE * overlap - POSITION * math.log1p(slot)


def _unrated(action: str | None) -> float:
    return -_UNRATED if action and action.lower() in _REFUSALS else _UNRATED


def _liking(rating: float) -> float:
    """Return the liking of a rating; one on another scale is bounded, or its utility would overflow."""
    return max(-1.0, min(1.0, (rating - _RATING_MIDDLE) / _RATING_SPAN))
