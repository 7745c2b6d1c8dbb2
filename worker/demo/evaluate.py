r"""Measure mirror-tiny in vLLM, both passes, on scenes it has not seen: `python -m worker.demo.evaluate DIR`.

    pass 1   temperature 1.0, top_p 0.8, to "Behavior: ["     is the rationale complete?
    pass 2   one position, the letters' probabilities          is the choice model's first option the first?

Each scene is asked twice, in one order and in the reverse, as the worker does.  The figures go into the model
folder: training.json and the model card.
"""

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from worker import profiles, prompt
from worker.demo.scenes import MAX_HISTORY, Lesson, lessons
from worker.parse import ParseStatus, parse

if TYPE_CHECKING:
    from vllm import LLM

_PROFILE = profiles.load("mirror-v1")
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
}
FIVE = 5  # options in the main test
NUM_FIVE = 200
NUM_OTHER = 30  # scenes of each other number of options
_KV_CACHE_BYTES = 512 << 20
_MAX_TOKENS = 160  # more than twice a rationale


@dataclass(frozen=True, slots=True)
class Answer:
    """One draw; probabilities by slot of the presented order."""

    text: str
    complete: bool
    slots: tuple[float, ...]
    mass: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A lesson and its two draws, the second in reverse order."""

    lesson: Lesson
    first: Answer
    second: Answer

    @property
    def mean(self) -> tuple[float, ...]:
        """Probability by slot of the first order, mean of both draws."""
        return tuple(fmean(pair) for pair in zip(self.first.slots, reversed(self.second.slots), strict=True))


def held_out() -> list[Lesson]:
    """Return the scenes of the test."""
    found: list[Lesson] = []
    for count in range(2, 13):
        found += islice(lessons(_PROFILE, "held-out", num_options=count), NUM_FIVE if count == FIVE else NUM_OTHER)
    return found


def measure(folder: Path) -> dict[str, object]:
    """Ask every scene twice and return the figures."""
    scenes = held_out()
    turned = [replace(lesson, options=lesson.options[::-1]) for lesson in scenes]
    answers = _ask(folder, [*scenes, *turned])
    asked = [Asked(*three) for three in zip(scenes, answers[: len(scenes)], answers[len(scenes) :], strict=True)]
    for example in asked[:: len(asked) // 3]:
        print(example.lesson.best, example.first, flush=True)
    return figures(asked)


def figures(asked: Sequence[Asked]) -> dict[str, object]:
    """Sum up; accuracy counts scenes with one best option, chance is 1 in the number of options."""
    clear = [one for one in asked if one.lesson.margin > 0]
    five = [one for one in clear if len(one.lesson.options) == FIVE]
    by_count: dict[int, list[Asked]] = defaultdict(list)
    for one in clear:
        by_count[len(one.lesson.options)].append(one)
    draws = [answer for one in asked for answer in (one.first, one.second)]
    return {
        "scenes": len(asked),
        "scenes_of_5": len(five),
        "complete": _share([answer.complete for answer in draws]),
        "letter_mass": round(fmean(answer.mass for answer in draws), 4),
        "first_of_5_one_draw": _share([_first(one.first.slots, one.lesson) for one in five]),
        "first_of_5_pair": _share([_first(one.mean, one.lesson) for one in five]),
        "probability_of_first_of_5": round(fmean(one.mean[one.lesson.best] for one in five), 3),
        "first_pair_by_options": {
            count: _share([_first(one.mean, one.lesson) for one in some]) for count, some in by_count.items()
        },
        "first_pair_by_domain": _by_domain(clear),
        "slot_probability_of_5": _slots(
            [answer for one in asked if len(one.lesson.options) == FIVE for answer in (one.first, one.second)]
        ),
        "decoy_loses": _share([_decoy_loses(one) for one in five if _decoy(one.lesson) is not None]),
    }


def _ask(folder: Path, asked: Sequence[Lesson]) -> list[Answer]:
    """Put each lesson's options in their order to the model."""
    os.environ.update(_ENVIRONMENT)
    from tokenizers import Tokenizer
    from vllm import LLM, SamplingParams

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    engine = LLM(
        model=str(folder), enforce_eager=True, kv_cache_memory_bytes=_KV_CACHE_BYTES, generation_config="vllm",
        max_model_len=2048, max_num_seqs=128, dtype="bfloat16", seed=0,
    )  # fmt: skip
    heads = [tokenizer.encode(_text(lesson)).ids for lesson in asked]
    think = SamplingParams(
        temperature=1.0, top_p=0.8, max_tokens=_MAX_TOKENS, stop=[_PROFILE.stop], include_stop_str_in_output=True
    )
    thoughts = _generate(engine, heads, [think] * len(heads))
    texts = [text for text, _, _ in thoughts]
    letters = [
        [tokenizer.encode(prompt.letter(slot)).ids[0] for slot in range(len(lesson.options))] for lesson in asked
    ]
    tails = [
        head + tokenizer.encode(text if text.endswith(_PROFILE.stop) else f"{text}{_PROFILE.stop}").ids
        for head, text in zip(heads, texts, strict=True)
    ]
    choose = [SamplingParams(temperature=1.0, max_tokens=1, logprob_token_ids=ids) for ids in letters]
    chosen = _generate(engine, tails, choose)
    return [
        _answer(text, reason, [logs[i] for i in ids])
        for (text, reason, _), (_, _, logs), ids in zip(thoughts, chosen, letters, strict=True)
    ]


def _generate(engine: "LLM", prompts, params):
    outputs = engine.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    return [
        (
            o.outputs[0].text,
            o.outputs[0].finish_reason,
            {i: l.logprob for i, l in o.outputs[0].logprobs[0].items()} if o.outputs[0].logprobs else {},
        )
        for o in outputs
    ]


def _text(lesson: Lesson) -> str:
    built = prompt.build(_PROFILE, prompt.scene(_PROFILE, lesson.impression, MAX_HISTORY), lesson.options)
    return f"<|im_start|>system\n{built.system}<|im_end|>\n<|im_start|>user\n{built.user}<|im_end|>\n<|im_start|>assistant\n{built.prefix}"


def _answer(text: str, reason: str, logs: Sequence[float]) -> Answer:
    import math

    weights = [math.exp(log) for log in logs]
    total = math.fsum(weights)
    complete = reason == "stop" and parse(text)[1] is ParseStatus.COMPLETE
    return Answer(text, complete, tuple(weight / total for weight in weights), total)


def _share(values: Sequence[bool]) -> float:
    return round(fmean(values), 3) if values else float("nan")


def _first(slots: Sequence[float], lesson: Lesson) -> bool:
    return max(range(len(slots)), key=slots.__getitem__) == lesson.best


def _by_domain(asked: Sequence[Asked]) -> dict[str, float]:
    domains = sorted({one.lesson.impression.domain for one in asked})
    return {
        domain: _share([_first(one.mean, one.lesson) for one in asked if one.lesson.impression.domain is domain])
        for domain in domains
    }


def _slots(answers: Sequence[Answer]) -> list[float]:
    return [round(fmean(answer.slots[slot] for answer in answers), 3) for slot in range(FIVE)]


def _decoy(lesson: Lesson) -> int | None:
    from worker.engines.choice_model import features

    worst = min(range(len(lesson.options)), key=lesson.appeal.__getitem__)
    option = lesson.options[worst]
    found = [f for f in features(option.text, option.item.attributes) if not f.startswith("$")]
    return worst if all(lesson.likes.get(f, 0.0) < 0 for f in found) else None


def _decoy_loses(one: Asked) -> bool:
    decoy = _decoy(one.lesson)
    return decoy is not None and one.mean[decoy] < 1 / len(one.lesson.options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    print(json.dumps(measure(args.folder), indent=1))


if __name__ == "__main__":
    main()
