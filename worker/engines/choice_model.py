"""A multinomial-logit simulator without an LLM: the baseline that an LLM must beat, and the engine of load tests.

    utility(option) = TASTE x overlap(option, history) - POSITION x ln(1 + slot)
    P(option)       = exp(utility) / (sum of exp(utility) + exp(NO_CHOICE))

The overlap is the mean, over the option's features, of how much the user's history likes that feature: a
rating of 5 counts 1, of 1 counts -1; an entry without a rating counts 0.5, or -0.5 if the user skipped or hid the item.
Features are the words between `|`, `,` and `/` of every attribute except the title, or the parts of a JSON array,
without numbers; an item with text only has the longer words of the text.  The first 16,000 characters of an item are
read, about a hundred times the length of an ordinary one.  The probability of no choice is `1 - letter_mass`.

>>> taste = {"drama": 1.0, "horror": -1.0}
>>> [round(p, 2) for p in choice_probabilities([{"drama"}, {"horror"}], taste)[0]]
[1.0, 0.0]
"""

import asyncio
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from worker import __version__
from worker.core.attribute_lists import from_json
from worker.core.bounded_cache import BytesLru
from worker.core.prompts.prompt import Prompt
from worker.core.records import MAX_ITEMS, HistoryEntry, Impression
from worker.core.simulation.draw_trace import ModelAnswer, ModelRequest
from worker.core.simulation.draws import Ask, Drawn, EngineCard
from worker.core.simulation.questions import Status
from worker.core.steps import Steps, run
from worker.pipeline.turns import Turns
from worker.settings.groups import EngineSettings

TASTE = 3.0
POSITION = 0.15
NO_CHOICE = -1.0
_REQUEST, _ANSWER = ModelRequest(), ModelAnswer(finish_reason="stop")  # for traces
_NAMES = frozenset({"title", "name", "description", "year"})  # attributes that name an item rather than describe it
_SPLIT = re.compile(r"[|,/;]")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]{4,}")
_RATING_MIDDLE, _RATING_SPAN = 3.0, 2.0
_UNRATED = 0.5
MAX_READ = 16_000  # characters of an item's texts
MAX_FEATURES_BYTES = 64 << 20  # of the cache of features: the same items appear in many slates
_PAIR_BYTES, _KEY_BYTES = 64, 120  # of an attribute's pair, and of the key's two tuples
MEASURED_TO_COUNTED = 1.2  # of the memory that items of 3 to 11,000 features take, 2026-11
_FEATURES: BytesLru[tuple[str | None, tuple[tuple[str, str], ...]], frozenset[str]] = BytesLru(MAX_FEATURES_BYTES)
_REFUSALS = frozenset({"skip", "skipped", "hide", "hidden", "dislike", "disliked", "not read"})  # actions


def features(text: str | None, attributes: Mapping[str, str]) -> frozenset[str]:
    """Return the features of an item, as lower-case words; cached."""
    key = (text, tuple(attributes.items()))
    found = _FEATURES.get(key)
    if found is None:
        found = _features(text, attributes)
        _FEATURES.put(key, found, num_bytes=_size(text, attributes, found))
    return found


def _features(text: str | None, attributes: Mapping[str, str]) -> frozenset[str]:
    found = {
        word.strip().lower()
        for value in _read(value for name, value in attributes.items() if name not in _NAMES)
        for word in from_json(value) or _SPLIT.split(value)
        if _LETTER.search(word)
    }
    return frozenset(found or (word.lower() for word in _WORD.findall(text or "")))


def _read(values: Iterable[str]) -> Iterator[str]:
    """Yield texts up to `MAX_READ` characters in total."""
    room = MAX_READ
    for value in values:
        yield value[:room]
        room -= len(value)
        if room <= 0:
            return


def _size(text: str | None, attributes: Mapping[str, str], found: frozenset[str]) -> int:
    """Return the memory of a cache entry, bytes."""
    texts = [text or "", *attributes, *attributes.values(), *found]
    pairs = _PAIR_BYTES * len(attributes)
    counted = sum(one.__sizeof__() for one in texts) + found.__sizeof__() + pairs + _KEY_BYTES
    return int(MEASURED_TO_COUNTED * counted)


def taste(history: Sequence[HistoryEntry]) -> dict[str, float]:
    """Return how much a history likes each feature, in [-1, 1]: the mean over the entries that have it."""
    return run(tasting(history))


def tasting(history: Sequence[HistoryEntry]) -> Steps[dict[str, float]]:
    """Compute `taste` in steps, one per history entry."""
    sums: dict[str, tuple[float, int]] = {}
    for entry in history:
        yield None
        liking = _unrated(entry.action) if entry.rating is None else _liking(entry.rating)
        for feature in features(entry.item.text, entry.item.attributes):
            total, count = sums.get(feature, (0.0, 0))
            sums[feature] = (total + liking, count + 1)
    yield None
    # Shrinks each mean by one neutral entry: features with few entries count less.
    return {feature: total / (count + 1) for feature, (total, count) in sums.items()}


def choice_probabilities(
    slots: Sequence[Collection[str]], likes: Mapping[str, float]
) -> tuple[tuple[float, ...], float]:
    """Return the probability of each slot given that one is chosen, and the probability that one is.

    `slots` has the features of each option, in presented order; `likes` is the result of `taste`.
    """
    return _chosen([overlap(likes, found) for found in slots])


def _chosen(overlaps: Sequence[float]) -> tuple[tuple[float, ...], float]:
    """Return what `choice_probabilities` does, from the overlap of each slot."""
    weights = [math.exp(TASTE * found - _penalty(slot)) for slot, found in enumerate(overlaps)]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights), total / (total + math.exp(NO_CHOICE))


def make(settings: EngineSettings) -> "ChoiceModel":
    """Return the engine of these settings."""
    return ChoiceModel(latency_s=settings.choice_latency_s)


class ChoiceModel:
    """The engine; each draw takes `latency_s` seconds, for tests of overlap and scaling."""

    def __init__(self, *, latency_s: float = 0.0) -> None:
        self._latency_s = latency_s
        self._met: Met | None = None  # of the last impression: its draws arrive together
        self._meeting = asyncio.Lock()
        self._turns = Turns(time.monotonic)
        self.card = EngineCard(
            engine="choice-model",
            engine_version=__version__,
            model="choice-model",
            revision=None,
            sampling={"taste": str(TASTE), "position": str(POSITION), "no_choice": str(NO_CHOICE)},
            reads_prompt=False,
        )

    async def start(self) -> None:
        """Do nothing: there is nothing to load."""

    async def probe(self) -> None:
        """Do nothing: the engine is always available."""

    async def stop(self) -> None:
        """Do nothing: there is nothing to free."""

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Raise `NotImplementedError`: this engine reads no prompt."""
        raise NotImplementedError(prompt)

    def on_step(self, report: Callable[[int, int], None]) -> None:
        """Do nothing: there is no queue to report."""

    async def draw(self, ask: Ask) -> Drawn:
        """Answer after `latency_s`; a large event yields to other tasks of the event loop."""
        with ask.trace.request(_REQUEST) as span:
            if self._latency_s:
                await asyncio.sleep(self._latency_s)
            met = self._known(ask.impression) or await self._first_met(ask.impression)
            drawn = await self._turns.run(_answering(ask, met))
            span.answered(_ANSWER)
        return drawn

    async def _first_met(self, impression: Impression) -> "Met":
        """Compute the taste of an impression once; concurrent draws wait for the first."""
        async with self._meeting:
            met = self._known(impression)
            return met if met is not None else await self._turns.run(self._meet(impression))

    def answer(self, ask: Ask) -> Drawn:
        """Answer without waiting; blocks while it computes."""
        return run(_answering(ask, self._known(ask.impression) or run(self._meet(ask.impression))))

    def _known(self, impression: Impression) -> "Met | None":
        return self._met if self._met is not None and self._met.impression is impression else None

    def _meet(self, impression: Impression) -> Steps["Met"]:
        self._met = met = Met(impression, (yield from tasting(impression.past())))
        return met


@dataclass(frozen=True, slots=True)
class Met:
    """What the draws of one impression share: its taste, and how well its items meet that."""

    impression: Impression
    likes: Mapping[str, float]
    overlaps: dict[int, float] = field(default_factory=dict)  # of its items with the taste, by identity


def _answering(ask: Ask, met: Met) -> Steps[Drawn]:
    options = ask.question.options
    slots = []
    for index in ask.order:
        item = options[index].item
        known = met.overlaps.get(id(item))
        if known is None:
            known = overlap(met.likes, features(options[index].text, item.attributes))
            met.overlaps[id(item)] = known
            yield None
        slots.append(known)
    probabilities, mass = _chosen(slots)
    return Drawn(Status.OK, probabilities, letter_mass=mass, finish_reason="stop")


def overlap(likes: Mapping[str, float], found: Collection[str]) -> float:
    """Return how much a history likes an option with these features: the mean over them, 0 without any."""
    return math.fsum([likes[feature] for feature in found if feature in likes]) / (len(found) or 1)


@lru_cache(maxsize=MAX_ITEMS)
def _penalty(slot: int) -> float:
    return POSITION * math.log1p(slot)


def _unrated(action: str | None) -> float:
    return -_UNRATED if action and action.lower() in _REFUSALS else _UNRATED


def _liking(rating: float) -> float:
    """Return the liking of a rating, in [-1, 1]; clipped: another scale would overflow the utility."""
    return max(-1.0, min(1.0, (rating - _RATING_MIDDLE) / _RATING_SPAN))
