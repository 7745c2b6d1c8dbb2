"""The tokens of each way of asking about one event, from real prompts: rendered, tokenised and cached as in the worker.

    REFERENCE   one slate, three draws, in the reference's order
    SLATES      both slates              CONTROL        control's slate alone
    DUEL        both slates merged       DUEL_CONTROL   a duel, and control's slate of a calibrating user
    DUEL_SLATES all three                ..._ONCE       the same in one draw

A draw is two passes.  A token of a prompt is computed unless the prefix cache has it: an ideal one, in whole blocks,
which holds what stood in earlier prompts (`model.prefix_cache`), and in the second pass all of the first.  How long
rationales are is not measured: their lengths are those of the bench, by `model.load.Lengths`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from worker.bench.model.load import Lengths, make_asks
from worker.bench.model.prefix_cache import allowed, ideal_computed
from worker.core.prompts.prompt import Profile
from worker.core.records import Impression
from worker.core.simulation.draws import Ask
from worker.core.simulation.prepare import Asking
from worker.core.simulation.question_set import QuestionSet, WantedQuestions
from worker.core.simulation.questions import Depths
from worker.demo import scenes
from worker.engines.tokens import Tokens

BLOCK = 16  # tokens of a block of the cache, vLLM's default
REFERENCE_DRAWS = 3  # `repeat_times` of the reference's evaluation
MAX_PROMPT_TOKENS = 7_158  # of 8,192, less the longest rationale


class Way(StrEnum):
    """A way of asking about one event."""

    REFERENCE = "reference"
    SLATES = "slates"
    CONTROL = "control"
    DUEL = "duel"
    DUEL_CONTROL = "duel and control"
    DUEL_SLATES = "duel and slates"
    CONTROL_ONCE = "control, one draw"
    DUEL_ONCE = "duel, one draw"
    DUEL_CONTROL_ONCE = "duel and control, one draw"


ONCE = {
    Way.DUEL: Way.DUEL_ONCE, Way.DUEL_CONTROL: Way.DUEL_CONTROL_ONCE, Way.CONTROL: Way.CONTROL_ONCE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens, means over events or sums."""

    computed: float = 0.0  # prompt tokens that the cache has not
    cached: float = 0.0
    written: float = 0.0
    passes: float = 0.0

    @property
    def processed(self) -> float:
        """What a GPU works on: computed and written."""
        return self.computed + self.written

    @property
    def all(self) -> float:
        """What an API without a discount for cached tokens would bill."""
        return self.processed + self.cached

    def __add__(self, other: "Used") -> "Used":
        """Return the sum."""
        return Used(
            self.computed + other.computed,
            self.cached + other.cached,
            self.written + other.written,
            self.passes + other.passes,
        )

    def times(self, factor: float) -> "Used":
        """Return so many times this."""
        return Used(factor * self.computed, factor * self.cached, factor * self.written, factor * self.passes)


def measured(
    tokens: Tokens, profile: Profile, *, events: int, slate: int, draws: int, median: int, seed: int = 1
) -> dict[Way, Used]:
    """Return the mean over `events` generated events of each way, with slates of `slate` items.

    `median` is that of the length of a rationale.
    """
    impressions = list(scenes.impressions(seed, num_users=events, events_per_user=1, slate_size=slate))
    stop = len(tokens.encode(f"\n{profile.stop}"))
    asking = Asking(
        profile, Depths(), draws, history_limit=10, seeded=True, tokenise=tokens.chat,
        max_prompt_tokens=MAX_PROMPT_TOKENS, wanted=WantedQuestions(QuestionSet.DUELS, calibration_share=0.0),
    )  # fmt: skip
    alone = replace(asking, wanted=WantedQuestions(QuestionSet.SLATES))
    both = replace(asking, wanted=WantedQuestions(QuestionSet.DUELS, calibration_share=1.0))
    reference = replace(alone, reference=True, draws=REFERENCE_DRAWS)
    all_three = replace(asking, wanted=WantedQuestions(QuestionSet.BOTH))
    ways = {
        Way.DUEL: asking, Way.DUEL_CONTROL: both, Way.DUEL_SLATES: all_three, Way.SLATES: alone, Way.CONTROL: alone,
        Way.REFERENCE: reference,
    }  # fmt: skip
    ways |= {once: replace(ways[way], draws=1) for way, once in ONCE.items()}
    single = {Way.CONTROL, Way.CONTROL_ONCE, Way.REFERENCE}
    return {way: _mean(impressions, one, Lengths(median), stop, single=way in single) for way, one in ways.items()}


def _mean(impressions: Sequence[Impression], asking: Asking, lengths: Lengths, stop: int, *, single: bool) -> Used:
    events = [_asked(make_asks(number, one, asking), single=single) for number, one in enumerate(impressions)]
    events = [asks for asks in events if asks]  # what needs no question costs nothing, and is not counted here
    draws = [ask for asks in events for ask in asks]
    prompts = [ask.prompt_ids for ask in draws]
    whole, computed = sum(map(len, prompts)), ideal_computed(prompts, block=BLOCK)
    first = Used(computed, whole - computed, sum(map(lengths.of, draws)), len(draws))
    second = sum((_second(ask, lengths, stop) for ask in draws), Used())
    return (first + second).times(1 / len(events))


def _asked(asks: Iterable[Ask], *, single: bool) -> list[Ask]:
    """Return the draws of an event; of a way that asks a `single` slate those of the first question."""
    found = list(asks)
    return [ask for ask in found if ask.question.name == found[0].question.name] if single else found


def _second(ask: Ask, lengths: Lengths, stop: int) -> Used:
    known = len(ask.prompt_ids) + lengths.of(ask)
    cached = allowed(num_tokens=known + stop, known=known, block=BLOCK)
    return Used(known + stop - cached, cached, 1, 1)
