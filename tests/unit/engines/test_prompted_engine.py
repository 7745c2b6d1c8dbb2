"""What an engine makes of what comes back, and what it tells of its requests; a model's answers are given."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from math import log
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.examples import impression, record
from worker.core.simulation.draw_trace import UNTRACED, ModelRequest, Pass, PassedOn
from worker.core.simulation.draws import Ask, EngineCard
from worker.core.simulation.prepare import Asking, prepare
from worker.core.simulation.questions import Depths, Status
from worker.engines.passes import Passes
from worker.engines.prompted_engine import PromptedEngine
from worker.settings import load, prompt_profiles

PROFILE = prompt_profiles.load("mirror-v1")
LETTERS = tuple(range(100, 126))


class FakeTokens:
    """Tokens whose ids say nothing."""

    letters = LETTERS

    def continued(self, ids: tuple[int, ...], *_: Any) -> tuple[int, ...]:
        return ids

    def anew(self, ids: tuple[int, ...], _: str) -> tuple[int, ...]:
        return ids

    def decode(self, _: Sequence[int]) -> str:
        return ""


class GivenEngine(PromptedEngine):
    """Writes a text that ends as told, and finds all letters alike."""

    def __init__(self, protocol: str, finish_reason: str) -> None:
        super().__init__(load(None, {"protocol": protocol}), PROFILE)
        self.card = EngineCard("vllm", "0", "m", None, {}, reads_prompt=True)
        self._tokens = FakeTokens()  # type: ignore[assignment]
        self._passes = Passes(self._settings, PROFILE, self._tokens, dict, None)
        self._finish_reason = finish_reason

    async def _run(self, ids: Sequence[int], params: Any, trace: Mapping[str, str], *, priority: int = 0) -> Any:
        del trace, priority
        same = {letter: SimpleNamespace(logprob=log(0.01)) for letter in LETTERS}
        reason = "length" if params["max_tokens"] == 1 else self._finish_reason
        written = SimpleNamespace(text=" a reason", token_ids=[1], logprobs=[same], finish_reason=reason)
        return SimpleNamespace(outputs=[written], prompt_token_ids=ids, num_cached_tokens=0)


class Told:
    """Keeps what a trace is told of requests."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    def request(self, request: ModelRequest) -> AbstractContextManager[PassedOn]:
        self.requests.append(request)
        return nullcontext(UNTRACED)


def an_ask(told: Told) -> Ask:
    asking = Asking(PROFILE, Depths(), 1, 10, seeded=True, tokenise=None)
    return replace(prepare(record(), impression(), asking)[0].asks[0], seed=2, trace=told)


@pytest.mark.parametrize(
    ("protocol", "finish_reason", "status"),
    [
        ("default", "stop", Status.OK),
        ("default", "length", Status.LENGTH),
        ("default", "abort", Status.ENGINE_ERROR),
        ("reference", "stop", Status.OK),
        ("reference", "length", Status.OK),
        ("reference", "abort", Status.ENGINE_ERROR),
    ],
)
async def test_a_text_that_was_ended_from_outside_is_no_answer(
    protocol: str, finish_reason: str, status: Status
) -> None:
    drawn = await GivenEngine(protocol, finish_reason).draw(an_ask(Told()))
    assert drawn.status is status


@pytest.mark.parametrize("protocol", ["default", "reference"])
async def test_a_trace_is_told_what_the_model_was_asked_with(protocol: str) -> None:
    told, engine = Told(), GivenEngine(protocol, "stop")
    ask = an_ask(told)
    await engine.draw(ask)
    asked = {
        Pass.RATIONALE: engine._passes.rationale(ask),
        Pass.LETTERS: engine._passes.letters(ask.num_slots, ask.seed),
    }
    assert [one.which for one in told.requests] == list(asked)
    for one in told.requests:
        params = asked[Pass(str(one.which))]
        assert (one.temperature, one.max_tokens, one.seed) == (
            params["temperature"], params["max_tokens"], params.get("seed"),
        )  # fmt: skip
