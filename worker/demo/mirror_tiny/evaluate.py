r"""Measure mirror-tiny in vLLM, both passes, on unseen scenes: `python -m worker.demo.mirror_tiny.evaluate DIR`.

    pass 1   temperature 1.0, top_p 0.8, to "Behavior: ["     is the rationale complete?
    pass 2   one position, the letters' probabilities          is the choice model's first option the most probable?

Each scene is asked twice, in one order and in the reverse, as the worker does.  The figures go into the model's
folder: training.json and the model card.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import fmean

from worker.core.prompts.prompt import render_option
from worker.core.prompts.rationale import ParseStatus, parse
from worker.core.records import Impression
from worker.core.simulation.draws import Ask, Drawn
from worker.core.simulation.questions import Depths, Kind, Question, Status, plan
from worker.demo.mirror_tiny import corpus, model_folder
from worker.demo.scenes import Lesson, impressions, lessons, score
from worker.engines.local.vllm import VllmEngine
from worker.settings import load

FIVE = 5  # options in the main test
NUM_FIVE = 500  # scenes
NUM_OTHER = 40  # scenes of each other number of options
NUM_DUELS = 100
NUM_DECOYS = 100
MAX_TOKENS = 160  # more than twice a rationale


@dataclass(frozen=True, slots=True)
class SampledDraw:
    """One draw; probabilities by slot of the order in which the options stood."""

    text: str
    complete: bool
    slots: tuple[float, ...]
    mass: float  # of all offered letters, before they were made to sum to 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A lesson and its two draws, the second with the options turned round."""

    lesson: Lesson
    first: SampledDraw
    second: SampledDraw

    @property
    def mean(self) -> tuple[float, ...]:
        """Probability by slot of the first order, mean of both draws."""
        return tuple(fmean(pair) for pair in zip(self.first.slots, reversed(self.second.slots), strict=True))

    @property
    def right(self) -> bool:
        """Whether the most probable option of the pair is the best one."""
        return _most(self.mean) == self.lesson.best

    @property
    def num_options(self) -> int:
        """How many options are offered."""
        return len(self.lesson.options)


def held_out() -> list[Lesson]:
    """Return the scenes of the test, 2 to 12 options each; those of five have one best option all."""
    return [
        lesson
        for count in range(2, 13)
        for lesson in islice(
            (one for one in _of(count) if one.margin > 0 or count != FIVE), NUM_FIVE if count == FIVE else NUM_OTHER
        )
    ]


def _of(count: int) -> Iterator[Lesson]:
    return lessons(corpus.PROFILE, "held-out", options=(count, count))


def duels() -> list[Lesson]:
    """Return the duels of the demo's traffic."""
    found = []
    for impression in impressions(0, num_users=NUM_DUELS, events_per_user=1):
        question = _duel(impression)
        found.append(score(impression, question.options))
    return found


def decoys() -> list[Lesson]:
    """Return duels of control (best, other) against candidate (other, decoy), as options (best, other, decoy)."""
    found = lessons(corpus.PROFILE, "decoys", options=(FIVE, FIVE))
    planted = (_planted(lesson) for lesson in found if lesson.decoy is not None and lesson.margin > 0)
    return list(islice(planted, NUM_DECOYS))


def _planted(lesson: Lesson) -> Lesson:
    assert lesson.decoy is not None
    other = next(slot for slot in range(FIVE) if slot not in {lesson.best, lesson.decoy})
    return replace(lesson, options=tuple(lesson.options[slot] for slot in (lesson.best, other, lesson.decoy)))


def decoy_figure(asked: Sequence[Asked]) -> float | None:
    """Return how often the decoy's side has less than half of the duel."""
    return _share([one.mean[2] + one.mean[1] / 2 < 0.5 for one in asked])  # noqa: PLR2004 - a tie


def _duel(impression: Impression) -> Question:
    questions = plan(impression, partial(render_option, corpus.PROFILE, impression), Depths())
    return next(question for question in questions if question.kind is Kind.DUEL)


async def measure(place: Path) -> dict[str, object]:
    """Ask every scene twice and return the figures."""
    settings = load(None, {"model": str(place), "max_tokens": MAX_TOKENS, "max_num_seqs": 128, "max_model_len": 2048})
    engine = VllmEngine(settings, corpus.PROFILE)
    await engine.start()
    try:
        asked = await ask_twice(engine, held_out())
        return {
            **figures(asked),
            "decoy_loses": decoy_figure(await ask_twice(engine, decoys())),
            "demo_duels": duel_figures(await ask_twice(engine, duels())),
            "example": asked[0].first.text,
        }
    finally:
        await engine.stop()


def figures(asked: Sequence[Asked]) -> dict[str, object]:
    """Sum up; accuracy is over the scenes that have one best option, where chance is 1 in the number of options."""
    one_best = [one for one in asked if one.lesson.margin > 0]
    five = [one for one in one_best if one.num_options == FIVE]
    draws = [draw for one in asked for draw in (one.first, one.second)]
    fives = [draw for draw in draws if len(draw.slots) == FIVE]
    by_slot = [fmean(draw.slots[slot] for draw in fives) for slot in range(FIVE)]
    return {
        "scenes": len(asked),
        "scenes_with_one_best": len(one_best),
        "complete": _share([draw.complete for draw in draws]),
        "letter_mass": round(fmean(draw.mass for draw in draws), 4),
        "five_options": {
            "scenes": len(five),
            "right_one_draw": _share([_most(one.first.slots) == one.lesson.best for one in five]),
            "right_pair": _share([one.right for one in five]),
            "probability_of_best": round(fmean(one.mean[one.lesson.best] for one in five), 3),
            "probability_by_slot": [round(share, 3) for share in by_slot],
            "slot_bias_points": round(100 * max(abs(share - 1 / FIVE) for share in by_slot), 1),
        },
        "right_pair_by_options": _by(one_best, lambda one: f"{one.num_options}"),
        "right_pair_by_domain": _by(one_best, lambda one: one.lesson.impression.domain.value),
        "right_pair_by_history": _by(
            one_best, lambda one: f"{min(9, len(one.lesson.impression.user.history) // 3 * 3)}+"
        ),
    }


def duel_figures(asked: Sequence[Asked]) -> dict[str, object]:
    """Compare the candidate's share of what only one side offers: mirror-tiny's, and the choice model's."""
    shares = []
    for one in asked:
        sides = [option.variants for option in one.lesson.options]
        odds = [1 / (1 / appeal - 1) for appeal in one.lesson.appeal]
        shares.append((_candidate_share(sides, one.mean), _candidate_share(sides, odds)))
    mine, theirs = zip(*shares, strict=True)
    return {
        "duels": len(shares),
        "candidate_share": round(fmean(mine), 3),
        "candidate_share_choice_model": round(fmean(theirs), 3),
        "complete": _share([draw.complete for one in asked for draw in (one.first, one.second)]),
    }


def _candidate_share(sides: Sequence[tuple[str, ...]], chances: Sequence[float]) -> float:
    won = math.fsum(chance for side, chance in zip(sides, chances, strict=True) if side == ("candidate",))
    lost = math.fsum(chance for side, chance in zip(sides, chances, strict=True) if side == ("control",))
    return won / (won + lost)


async def ask_twice(engine: VllmEngine, scenes: Sequence[Lesson]) -> list[Asked]:
    """Ask every scene in its order and turned round."""
    turned = [replace(lesson, options=lesson.options[::-1]) for lesson in scenes]
    asks = [_ask(engine, lesson, seed) for seed, lesson in enumerate([*scenes, *turned])]
    answers = [_answer(drawn) for drawn in await asyncio.gather(*map(engine.draw, asks))]
    return [Asked(*one) for one in zip(scenes, answers[: len(scenes)], answers[len(scenes) :], strict=True)]


def _ask(engine: VllmEngine, lesson: Lesson, seed: int) -> Ask:
    """Return one draw of a lesson, as the worker would ask it, with its options in their order."""
    count = len(lesson.options)
    question = Question(Kind.SLATE, lesson.impression.slates[0], None, lesson.options, count)
    ids = engine.tokenise(corpus.ask(lesson))
    return Ask(f"scene {seed}", lesson.impression, question, tuple(range(count)), prompt_ids=ids, seed=seed)


def _answer(drawn: Drawn) -> SampledDraw:
    complete = drawn.status is Status.OK and parse(drawn.text or "")[1] is ParseStatus.COMPLETE
    slots = drawn.slot_probabilities or (0.0,)  # of no answer: right in nothing
    return SampledDraw(drawn.text or "", complete, slots, drawn.letter_mass or 0.0)


def _most(slots: Sequence[float]) -> int:
    return max(range(len(slots)), key=slots.__getitem__)


def _share(values: Sequence[bool]) -> float | None:
    return round(fmean(values), 3) if values else None


def _by(asked: Sequence[Asked], name: Callable[[Asked], str]) -> dict[str, float | None]:
    names = list(dict.fromkeys(name(one) for one in asked))
    return {key: _share([one.right for one in asked if name(one) == key]) for key in names}


def main() -> None:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    place = parser.parse_args().folder
    found = asyncio.run(measure(place))
    model_folder.add_figures(place, found)
    print(json.dumps(found, indent=1))  # noqa: T201 - what the command is for


if __name__ == "__main__":
    main()
