"""vLLM as the worker has it, with lengths that are forced and requests that are noted; and without the worker's code.

`draw` is the worker's own way.  `write_then_choose` asks vLLM directly, with tokens that are ready: what any contender
has to do at least.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any

from worker.bench.model.load import Lengths
from worker.bench.model.roofline import TokenLoad
from worker.core.prompts.prompt import Profile
from worker.core.simulation.draws import Ask, Drawn, Usage
from worker.core.simulation.questions import Status
from worker.engines.local.vllm import VllmEngine, token_prompt
from worker.engines.model_files import model_path
from worker.engines.passes import Passes, usage_of
from worker.engines.prompted_engine import SECOND_PASS_FIRST
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Noted:
    """One request that vLLM has answered."""

    event_id: str
    second: bool  # pass
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    known_tokens: int  # of the prompt, that the first pass computed; of a first pass 0
    done_s: float  # wall clock


@dataclass(frozen=True, slots=True)
class FixedPasses(Passes):
    """Passes whose rationales have the length that the list says."""

    lengths: Lengths

    def rationale(self, ask: Ask) -> Any:
        """Ask for so many tokens, whatever they say."""
        params, tokens = Passes.rationale(self, ask), self.lengths.of(ask)
        params.stop, params.ignore_eos = [], True
        params.min_tokens = params.max_tokens = tokens
        return params


class BenchEngine(VllmEngine):
    """The engine of all contenders but vLLM's offline one."""

    def __init__(self, settings: Settings, profile: Profile, lengths: Lengths) -> None:
        super().__init__(settings, profile)
        self.noted: list[Noted] = []
        self.prompt_tokens = self.cached_tokens = 0  # of all prompts since the round began
        self._tells = self._ranks = True
        self._lengths = lengths
        self._written: dict[str, int] = {}  # tokens that a draw's first pass has computed
        self._names = itertools.count()

    @property
    def block_size(self) -> int:
        """Tokens of a block of the prefix cache."""
        return int(self._llm.vllm_config.cache_config.block_size)

    @property
    def passes(self) -> Passes:
        """How vLLM is asked."""
        return self._passes

    @property
    def arguments(self) -> dict[str, Any]:
        """What vLLM was started with, for another engine like this one."""
        return self._engine_args(str(model_path(self._settings.model)))

    @property
    def device(self) -> str:
        """The device's name, "cpu" or the driver's name of a GPU."""
        from vllm.platforms import current_platform

        return "cpu" if current_platform.is_cpu() else str(current_platform.get_device_name())

    def stop_ids(self) -> tuple[int, ...]:
        """Return the tokens that stand between a rationale of a forced length and its letter."""
        return self._tokens.encode(f"\n{self._profile.stop}")

    def done_tokens(self, sequences: int) -> TokenLoad:
        """Sum up what was noted since the round began, for a roofline."""
        decoded = [one.completion_tokens - 1 for one in self.noted]
        behind = [one.prompt_tokens + one.completion_tokens / 2 for one in self.noted]
        return TokenLoad(
            computed=sum(one.prompt_tokens - one.cached_tokens for one in self.noted),
            written=sum(decoded),
            passes=len(self.noted),
            mean_context=fmean(behind, decoded),
            sequences=sequences,
        )

    async def forget(self) -> None:
        """Start a round: an empty prefix cache, nothing noted."""
        await self._llm.reset_prefix_cache()
        self.noted.clear()
        self._written.clear()
        self.prompt_tokens = self.cached_tokens = 0

    @contextmanager
    def natural(self) -> Iterator[None]:
        """Let rationales end where the model ends them, within the block."""
        forced, self._passes = self._passes, self._plain
        try:
            yield
        finally:
            self._passes = forced

    @contextmanager
    def without(self, *, seats: bool = False, ranks: bool = False) -> Iterator[None]:
        """Be silent about the queue, so that seats stay as they are, or serve first come first, within the block."""
        self._tells, self._ranks = not seats, not ranks
        try:
            yield
        finally:
            self._tells = self._ranks = True

    async def write_then_choose(self, ask: Ask) -> None:
        """Ask for the rationale, and then for the letters after it."""
        written = await self._bare(ask.prompt_ids, self._passes.rationale(ask), ask.priority)
        ids = (*ask.prompt_ids, *written.outputs[0].token_ids, *self.stop_ids())
        await self._bare(ids, self._passes.letters(ask.num_slots), ask.priority - SECOND_PASS_FIRST)

    async def choose_after(self, ask: Ask, text: str) -> Drawn:
        """Ask for the letters after a rationale that is given; without rationales, after the prompt alone."""
        if self._settings.mode == "direct":
            return await self.draw(ask)
        ids = self._tokens.anew(ask.prompt_ids, text + self._profile.stop)
        return await self._choose(ask, ids, Drawn(Status.OK, finish_reason="stop"))

    async def write_and_choose(self, ask: Ask) -> None:
        """Ask for the rationale with the letters' log-probabilities at every step: what a single pass costs."""
        params = self._passes.rationale(ask)
        params.logprob_token_ids = list(self._tokens.letters[: ask.num_slots])
        await self._bare(ask.prompt_ids, params, ask.priority)

    async def _bare(self, ids: tuple[int, ...], params: Any, priority: int) -> Any:
        final = None
        name = f"bare{next(self._names)}"
        async for output in self._llm.generate(token_prompt(ids), params, name, priority=priority):
            final = output
        self._count(usage_of(final))
        return final

    def _count(self, usage: Usage) -> None:
        self.prompt_tokens += usage.prompt_tokens
        self.cached_tokens += usage.cached_tokens

    # -- the worker's way, noted

    def _load(self) -> None:
        super()._load()
        self._plain = self._passes
        theirs = {field.name: getattr(self._plain, field.name) for field in fields(Passes)}
        self._passes = FixedPasses(**theirs, lengths=self._lengths)

    async def _send(self, ask: Ask, ids: Any, params: Any, trace: Any) -> Any:
        output = await super()._send(ask, ids, params, trace)
        usage, second = usage_of(output), params.max_tokens == 1
        self._count(usage)
        known = self._written.pop(ask.ask_id, 0) if second else 0
        if not second:  # the last token that was written was never read
            self._written[ask.ask_id] = usage.prompt_tokens + usage.completion_tokens - 1
        event_id = ask.impression.event_id
        self.noted.append(
            Noted(
                event_id, second, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, known, time.time()
            )
        )
        return output

    def _tell(self, running: int, waiting: int) -> None:
        if self._tells:
            super()._tell(running, waiting)

    async def _run(self, ids: Any, params: Any, trace: Any, *, priority: int = 0) -> Any:
        return await super()._run(ids, params, trace, priority=priority if self._ranks else 0)

    async def _after_rationale(self, ask: Ask, first: Any) -> Drawn:
        if self._passes is not self._plain:
            first.outputs[0].finish_reason = "stop"  # a forced length is as good as an end
        return await super()._after_rationale(ask, first)
