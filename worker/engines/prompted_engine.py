"""The common part of engines that read prompts: a draw as one or two requests to a model, and a self-test of both.

`worker.engines.passes` builds the requests; each engine sends them to where its model runs.  The second pass of a draw
finds its prompt in the prefix cache, except for the last block.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings, Fatal
from worker.core.prompts.prompt import Profile, Prompt
from worker.core.simulation.draw_trace import ModelAnswer, ModelRequest, Pass
from worker.core.simulation.draws import Ask, Drawn, EngineCard
from worker.core.simulation.questions import Status
from worker.engines.chat_template import ChatTemplate
from worker.engines.model_files import model_path, refuse_gguf
from worker.engines.passes import Passes, usage_of
from worker.engines.tokens import Tokens, load
from worker.settings.groups import PromptedEngineSettings

MAX_WHY = 300  # characters of what a tokenizer's library says
LETTER_TOKENS = 2  # added by pass 2: one generated position, and one for a boundary token that is encoded again
# Puts second passes before all first passes, whose priority is the time at which their record was received, in ms: a
# second pass needs one token only, and its prompt could be evicted from the cache while it waits.
SECOND_PASS_FIRST = 1 << 45


class PromptedEngine(ABC):
    """An engine without `start`, `stop`, `on_step` and `_run`; `start` must set `card`, `_tokens` and `_passes`."""

    card: EngineCard
    _tokens: Tokens
    _passes: Passes

    def __init__(self, settings: PromptedEngineSettings, profile: Profile) -> None:
        self._settings = settings
        self._profile = profile

    async def probe(self) -> None:
        """Request the letters of two options.  Raises as `draw` does."""
        await self._run(self._probe_ids(), self._passes.letters(2), {})

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Return the token ids of a prompt; if it does not fit the model, more ids of its beginning than fit."""
        return self._tokens.chat(prompt, self.card.max_prompt_tokens or None)

    async def draw(self, ask: Ask) -> Drawn:
        """Answer one draw, in the mode and number of passes of the settings."""
        if self._settings.mode == "direct":
            return await self._choose(ask, ask.prompt_ids, Drawn(Status.OK, finish_reason="stop"))
        if self._settings.passes == 1:
            output = await self._generate(ask, ask.prompt_ids, self._passes.rationale_and_letter(ask), Pass.BOTH)
            drawn = self._passes.read_both(output, ask.num_slots)
            return drawn or await self._after_rationale(ask, output)
        output = await self._generate(ask, ask.prompt_ids, self._passes.rationale(ask), Pass.RATIONALE)
        return await self._after_rationale(ask, output)

    async def _after_rationale(self, ask: Ask, first: Any) -> Drawn:
        """Return the draw of a generated rationale: request the letters after it, unless it is incomplete."""
        written = first.outputs[0]
        stop = self._profile.stop
        if self._settings.protocol == "reference":
            return await self._after_any_rationale(ask, first)
        answered = written.text.find(stop)
        if answered < 0 and written.finish_reason != "stop":
            status = Status.LENGTH if written.finish_reason == "length" else Status.ENGINE_ERROR
            return Drawn(status, text=written.text, finish_reason=written.finish_reason, usage=usage_of(first))
        # The model may end its turn without the stop string; as in the reference it is then appended.
        text = written.text[: answered + len(stop)] if answered >= 0 else f"{written.text.rstrip()}\n{stop}"
        ids = self._tokens.continued(ask.prompt_ids, written.token_ids, text)
        drawn = Drawn(Status.OK, text=text.removesuffix(stop), finish_reason="stop", usage=usage_of(first))
        return await self._choose(ask, ids, drawn)

    async def _after_any_rationale(self, ask: Ask, first: Any) -> Drawn:
        """Do as the reference does: complete or not, the text gets the stop string, and all is tokenised anew.

        A request that was ended from outside, by a server that stops, has no text of the model's.
        """
        written = first.outputs[0]
        if written.finish_reason not in {"stop", "length"}:
            return Drawn(
                Status.ENGINE_ERROR, text=written.text, finish_reason=written.finish_reason, usage=usage_of(first)
            )
        text = written.text.partition(self._profile.stop)[0]
        ids = self._tokens.anew(ask.prompt_ids, text + self._profile.stop)
        drawn = Drawn(Status.OK, text=text, finish_reason=written.finish_reason, usage=usage_of(first))
        return await self._choose(ask, ids, drawn)

    async def _choose(self, ask: Ask, ids: Sequence[int], drawn: Drawn) -> Drawn:
        """Return the draw with the probabilities of the letters after `ids`."""
        first = replace(ask, priority=ask.priority - SECOND_PASS_FIRST)
        output = await self._generate(first, ids, self._passes.letters(ask.num_slots, ask.seed), Pass.LETTERS)
        probabilities, mass = self._passes.read_letters(output, ask.num_slots)
        return replace(drawn, slot_probabilities=probabilities, letter_mass=mass, usage=drawn.usage + usage_of(output))

    async def _generate(self, ask: Ask, ids: Sequence[int], params: Any, which: Pass) -> Any:
        """Run one request of a draw, within a span of its own."""
        with ask.trace.request(self._told(which, ask.seed)) as span:
            output = await self._send(ask, ids, params, span.headers)
            span.answered(self._answer(ids, output))
        return output

    async def _send(self, ask: Ask, ids: Sequence[int], params: Any, trace: Mapping[str, str]) -> Any:
        """Run one request of a draw; `trace` is the context of its span, by header."""
        return await self._run(ids, params, trace, priority=ask.priority)

    def _told(self, which: Pass, seed: int | None) -> ModelRequest:
        """Return a request as its span tells it."""
        if which is Pass.LETTERS and self._settings.protocol == "reference":
            return ModelRequest(which, temperature=1.0, max_tokens=1, seed=seed)
        if which is Pass.LETTERS:
            return ModelRequest(which, temperature=0.0, max_tokens=1)
        writing = self._settings.writing(self._profile.writing)
        return ModelRequest(which, writing.temperature, writing.top_p, writing.max_tokens, seed)

    def _answer(self, ids: Sequence[int], output: Any) -> ModelAnswer:
        usage, written = usage_of(output), output.outputs[0]
        return ModelAnswer(
            usage.prompt_tokens,
            usage.cached_tokens,
            usage.completion_tokens,
            written.finish_reason,
            prompt=lambda: self._tokens.decode(ids),
            text=lambda: self._tokens.decode(written.token_ids),
        )

    @abstractmethod
    async def _run(self, ids: Sequence[int], params: Any, trace: Mapping[str, str], *, priority: int = 0) -> Any:
        """Run one request and return vLLM's output; cancelling the call aborts the request."""

    # -- at start

    def _load_tokens(self) -> Tokens:
        """Load the tokenizer with its chat template, and note in the card what the template renders.

        Raises `BadSettings`, or `Fatal` if the model's tokenizer cannot be used.
        """
        settings = self._settings
        name = settings.tokenizer or settings.model
        refuse_gguf(name)
        try:
            tokenizer = load(str(model_path(name)), None if settings.tokenizer else settings.revision)
        except ImportError as error:
            raise Fatal(f"the tokenizer needs transformers ({error}): pip install 'mirrorstream[server]'") from error
        except Exception as error:
            why = " ".join(str(error).split())[:MAX_WHY] or type(error).__name__
            hint = "" if settings.tokenizer else "; set tokenizer=FOLDER if the served name is no folder's"
            raise BadSettings(f"model {name}: no tokenizer: {why}{hint}") from error
        source = _read(settings.chat_template)
        template = ChatTemplate(tokenizer, source=source, system_role=settings.system_role)
        tokens = Tokens(tokenizer, self._profile.stop, template)
        own = {"chat_template": template.digest()}
        if settings.tokenizer:
            own["tokenizer"] = settings.tokenizer
        self.card = replace(self.card, sampling={**self.card.sampling, **own}, turn_end_tokens=tokens.turn_end())
        return tokens

    def _room(self, max_model_len: int) -> int:
        """Return the maximum number of prompt tokens.  Raises `BadSettings` if it is not positive."""
        room = max_model_len - self._settings.writing(self._profile.writing).max_tokens - LETTER_TOKENS
        if room <= 0:
            message = f"max_model_len: {max_model_len} tokens leave no room for a prompt in addition to the rationale"
            raise BadSettings(message)
        return room

    def _test_ids(self) -> tuple[int, ...]:
        system, prefix = self._profile.system["default"], self._profile.prefix["default"]
        return self.tokenise(Prompt(system, "# Exposure List\n[A] a\n\n[B] b\n\n", prefix))

    def _probe_ids(self) -> tuple[int, ...]:
        return (*self._test_ids(), *self._tokens.encode(f" x\n{self._profile.stop}"))

    async def _self_test(self) -> None:
        """Run one question in two passes: the first use of letter probabilities takes seconds.  Raises `Fatal`."""
        params = self._passes.params(max_tokens=4, temperature=0.0, output_kind=self._passes.final)
        await self._run(self._test_ids(), params, {})
        output = await self._run(self._probe_ids(), self._passes.letters(2), {})
        probabilities, mass = self._passes.read_letters(output, 2)
        if not math.isfinite(mass) or abs(sum(probabilities) - 1) > 1e-6:  # noqa: PLR2004 - rounding
            message = f"self-test: letter probabilities {probabilities}, mass {mass}; want two that sum to 1"
            raise Fatal(message)


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"chat_template: {path}: {error}; want a file with a Jinja template") from error


def sampling(settings: PromptedEngineSettings, profile: Profile) -> dict[str, str]:
    """Return the sampling parameters of rationales, for the provenance of responses."""
    protocol = {} if settings.protocol == "default" else {"protocol": settings.protocol}
    if settings.mode == "direct":
        return {"mode": "direct", **protocol}
    writing = settings.writing(profile.writing)
    return {
        "mode": "default",
        **protocol,
        "temperature": str(writing.temperature),
        "top_p": str(writing.top_p),
        "max_tokens": str(writing.max_tokens),
        "seeded": str(settings.seeded).lower(),
        "passes": str(settings.passes),
    }
