"""`protocol: reference` against the reference's classifier, written again from its description, on the same vLLM.

In float32: in bfloat16 the same prompt differs by 1e-2 from batch to batch.
"""

import asyncio
import gc
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
import pytest_asyncio

from worker.core.prompts.prompt import build, render_option, scene
from worker.core.records import Impression, Partition, Record
from worker.core.simulation.draws import Ask
from worker.core.simulation.prepare import prepare
from worker.core.simulation.questions import Depths, Status, plan
from worker.demo import scenes
from worker.engines.local.vllm import VllmEngine, token_prompt
from worker.engines.model_files import TINY, model_path
from worker.engines.tokens import load as load_tokenizer
from worker.runtime.pipeline_config import asking
from worker.settings import Settings, load, prompt_profiles

DRAWS = 3
NUM_SCENES = 4
PROFILE = prompt_profiles.load("mirror-v1")
STOP = "Behavior: ["
CLOSE = 1e-5
UNTOLD = 1e-8  # a letter that did not come back has 1e-10 before the shares are made to sum to 1


@dataclass(frozen=True)
class Read:
    """What the reference's classifier has of one draw."""

    first_ids: list[int]
    text: str
    second_ids: list[int]
    probabilities: list[float]
    told: list[bool]  # of each letter, whether its log-probability came back


class Classifier:
    """The reference's two passes: chat text, n completions with seed 0, then K log-probabilities of one position."""

    def __init__(self, llm: Any, *, max_tokens: int) -> None:
        self._llm, self._max_tokens, self._num = llm, max_tokens, 0
        self._tokenizer = load_tokenizer(str(model_path(TINY)), None)

    async def classify(self, system: str, user: str, num_options: int) -> list[Read]:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        start = "Thought:\nStimulus:"
        ids = self._chat([*messages, {"role": "assistant", "content": start}])
        writing = SamplingParams(
            output_kind=RequestOutputKind.FINAL_ONLY,
            n=DRAWS,
            temperature=1.0,
            top_p=0.8,
            max_tokens=self._max_tokens,
            seed=0,
            stop=[STOP],
        )
        found = []
        for output in (await self._ask(ids, writing)).outputs:
            again = self._chat([*messages, {"role": "assistant", "content": start + output.text + STOP}])
            letters = [
                self._tokenizer.encode(chr(65 + slot), add_special_tokens=False)[0] for slot in range(num_options)
            ]
            choosing = SamplingParams(temperature=1.0, max_tokens=1, logprobs=num_options, allowed_token_ids=letters)
            told = (await self._ask(again, choosing)).outputs[0].logprobs[0]
            raw = [math.exp(told[one].logprob) if one in told else 1e-10 for one in letters]
            shares = [one / sum(raw) for one in raw]
            found.append(Read(ids, output.text, again, shares, [one in told for one in letters]))
        return found

    def _chat(self, messages: list[dict[str, str]]) -> list[int]:
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    async def _ask(self, ids: list[int], params: Any) -> Any:
        self._num += 1
        final = None
        async for output in self._llm.generate(token_prompt(ids), params, f"reference-{self._num}"):
            final = output
        return final


@pytest.fixture(scope="module")
def settings() -> Settings:
    own = {"model": TINY, "dtype": "float32", "protocol": "reference", "draws": DRAWS, "max_num_seqs": 8}
    return load(None, own | {"max_tokens": 160})


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(settings: Settings) -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(settings, PROFILE)
    with catch_warnings():
        simplefilter("ignore")  # not ours: vLLM's own imports warn
        await engine.start()
    yield engine
    with catch_warnings():
        simplefilter("ignore")
        await engine.stop()
        await asyncio.sleep(0.1)
        gc.collect()


def asked(impression: Impression, engine: VllmEngine, settings: Settings) -> tuple[Ask, ...]:
    return prepare(Record(Partition("t", 0), 1, 0, None, None), impression, asking(settings, engine))[0].asks


@pytest.mark.long  # an engine of its own, in float32
@pytest.mark.parametrize("max_tokens", [160, 16], ids=["complete", "cut off"])
async def test_ids_texts_and_probabilities_are_those_of_the_reference(
    engine: VllmEngine,
    settings: Settings,
    max_tokens: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(engine, "_settings", settings.model_copy(update={"max_tokens": max_tokens}))
    monkeypatch.setattr(engine, "_passes", engine._passes.__class__(
        engine._settings, PROFILE, engine._tokens, engine._passes.params, engine._passes.final
    ))  # fmt: skip
    sent: list[list[int]] = []
    run = engine._run

    async def spy(ids: Any, *args: Any, **named: Any) -> Any:
        sent.append(list(ids))
        return await run(ids, *args, **named)

    monkeypatch.setattr(engine, "_run", spy)
    classifier = Classifier(engine._llm, max_tokens=max_tokens)
    num_letters = unfinished = 0
    differences: list[float] = []
    for impression in islice(scenes.impressions(5, num_users=NUM_SCENES), NUM_SCENES):
        asks = asked(impression, engine, settings)
        question = plan(impression, partial(render_option, PROFILE, impression), Depths())[0]
        user = build(PROFILE, scene(PROFILE, impression, 10), question.options).user
        theirs = await classifier.classify(PROFILE.system["default"], user, len(question.options))
        assert [ask.order for ask in asks] == [tuple(range(len(question.options)))] * DRAWS
        for ask, read in zip(asks, theirs, strict=True):
            sent.clear()
            drawn = await engine.draw(ask)
            assert (drawn.status, drawn.text) == (Status.OK, read.text)
            assert sent == [read.first_ids, read.second_ids]
            unfinished += drawn.finish_reason == "length"
            # Beside the most probable tokens the sampled letter comes back, which may be another one here.
            both = [mine > UNTOLD and told for mine, told in zip(drawn.slot_probabilities, read.told, strict=True)]
            ours, reference = (among(shares, both) for shares in (drawn.slot_probabilities, read.probabilities))
            differences += [abs(a - b) for a, b in zip(ours, reference, strict=True)]
            num_letters += len(both)
    with capsys.disabled():
        print(
            f"\n{NUM_SCENES * DRAWS} draws: {len(differences)} of {num_letters} letters came back in both,"
            f" their probabilities differ by at most {max(differences):.1e}"
        )
    assert len(differences) >= num_letters / 3  # 69 of 120 were, and 109 of those after a cut rationale
    assert max(differences) <= CLOSE
    assert (unfinished > 0) == (max_tokens == 16)


def among(shares: Sequence[float], told: Sequence[bool]) -> list[float]:
    """Return the shares of the letters that were told, made to sum to 1: what one that was not told has differs."""
    found = [share for share, one in zip(shares, told, strict=True) if one]
    return [share / math.fsum(found) for share in found]
