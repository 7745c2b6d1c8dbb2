"""A small engine on transformers, for tests that ask thousands of draws of a tiny model on a CPU.

It keeps the contract of `PromptedEngine` in both passes and is deterministic: which draws run in one batch changes
nothing that is told beyond the last bits, and every row samples from numbers of its own seed.  vLLM takes 12 s to start
and is what a model is loaded with in the end; this starts in one second, ten times in one test.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from transformers import AutoModelForCausalLM, DynamicCache

from worker.core.prompts.prompt import Profile
from worker.core.simulation.draws import EngineCard
from worker.engines import model_files
from worker.engines.passes import Passes
from worker.engines.prompted_engine import PromptedEngine, sampling
from worker.settings import prompt_profiles
from worker.settings.groups import PromptedEngineSettings

ROWS = 96  # draws of one batch


@dataclass(frozen=True, slots=True)
class Params:
    """Those of vLLM's SamplingParams that `Passes` sets."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 16
    seed: int | None = None
    stop: Sequence[str] = ()
    logprob_token_ids: Sequence[int] = ()
    include_stop_str_in_output: bool = True
    output_kind: object = None
    detokenize: bool = True


@dataclass(slots=True)
class _Row:
    """One request while it runs."""

    ids: tuple[int, ...]
    params: Params
    done: "asyncio.Future[Any]"
    chance: np.ndarray
    written: list[int] = field(default_factory=list)
    letters: list[Mapping[int, Any]] = field(default_factory=list)
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Logprob:
    logprob: float


@dataclass(frozen=True, slots=True)
class _Written:
    token_ids: Sequence[int]
    text: str
    finish_reason: str
    logprobs: Sequence[Mapping[int, _Logprob]]


@dataclass(frozen=True, slots=True)
class _Output:
    prompt_token_ids: Sequence[int]
    outputs: tuple[_Written]
    num_cached_tokens: int = 0


class TorchEngine(PromptedEngine):
    """The engine; requests that are made together run as batches, sorted by length."""

    def __init__(self, settings: PromptedEngineSettings, profile: Profile) -> None:
        super().__init__(settings, profile)
        self._waiting: list[_Row] = []
        self._turn: asyncio.Handle | None = None
        self._model: Any = None
        self.card = EngineCard(
            engine="torch", engine_version=torch.__version__, model=settings.model, revision=None,
            sampling=sampling(settings, profile), reads_prompt=True,
        )  # fmt: skip

    async def start(self) -> None:
        place = str(model_files.model_path(self._settings.model))
        self._model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, attn_implementation="sdpa")
        if self._settings.lora:
            from peft import PeftModel

            self._model = PeftModel.from_pretrained(self._model, str(self._settings.lora)).merge_and_unload()
        self._model.eval()
        self.card = replace(self.card, max_prompt_tokens=self._room(self._settings.max_model_len))
        self._tokens = self._load_tokens()
        self._passes = Passes(self._settings, self._profile, self._tokens, Params, None)

    async def stop(self) -> None:
        self._model = None

    def on_step(self, report: Callable[[int, int], None]) -> None:
        """Count nothing."""

    async def _run(self, ids: Sequence[int], params: Any, trace: Mapping[str, str], *, priority: int = 0) -> Any:
        loop = asyncio.get_running_loop()
        seed = params.seed if params.seed is not None else 0
        row = _Row(tuple(ids), params, loop.create_future(), np.random.default_rng(seed).random(params.max_tokens))
        self._waiting.append(row)
        if self._turn is None:
            self._turn = loop.call_later(0.001, self._answer_all)
        return await row.done

    def _answer_all(self) -> None:
        rows, self._waiting, self._turn = self._waiting, [], None
        rows.sort(key=lambda row: (len(row.ids), row.ids))
        with torch.inference_mode():
            for start in range(0, len(rows), ROWS):
                self._write(rows[start : start + ROWS])
        for row in rows:
            if not row.done.done():
                row.done.set_result(self._output(row))

    def _output(self, row: _Row) -> _Output:
        text = self._tokens.decode(row.written)
        return _Output(row.ids, (_Written(row.written, text, row.reason, row.letters),))

    def _write(self, rows: list[_Row]) -> None:
        """Write all rows of a batch: prompts that are the same are read once."""
        prompts = [ids for ids, _ in groupby(row.ids for row in rows)]
        of_prompt = torch.tensor([prompts.index(row.ids) for row in rows])
        length = max(map(len, prompts))
        tokens = torch.tensor([[0] * (length - len(ids)) + list(ids) for ids in prompts])
        mask = torch.tensor([[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts])
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        scores = self._model(
            tokens, attention_mask=mask, position_ids=places, past_key_values=cache, logits_to_keep=1
        ).logits[:, -1]
        cache.batch_select_indices(of_prompt)
        scores, mask, place = scores[of_prompt], mask[of_prompt], places[of_prompt, -1:]
        running = list(range(len(rows)))
        for step in range(max(row.params.max_tokens for row in rows)):
            chosen = self._step([rows[at] for at in running], scores, step)
            keep = [at for at, number in enumerate(running) if not rows[number].reason]
            if not keep:
                return
            left = torch.tensor(keep)
            if len(keep) < len(running):
                cache.batch_select_indices(left)
            running = [running[at] for at in keep]
            mask = torch.cat((mask[left], torch.ones(len(keep), 1, dtype=mask.dtype)), 1)
            place = place[left] + 1
            scores = self._model(
                chosen[left, None], attention_mask=mask, position_ids=place, past_key_values=cache
            ).logits[:, -1]

    def _step(self, rows: list[_Row], scores: torch.Tensor, step: int) -> torch.Tensor:
        """Sample one token of each row, note its letters' log-probabilities, and see whether it has ended."""
        logprobs = scores.float().log_softmax(-1)
        heat = torch.tensor([max(row.params.temperature, 1e-6) for row in rows])[:, None]
        chances, order = (scores.float() / heat).softmax(-1).sort(-1, descending=True)
        top = torch.tensor([row.params.top_p for row in rows])[:, None]
        before = chances.cumsum(-1) - chances
        chances = chances.masked_fill(before >= top, 0)
        chances /= chances.sum(-1, keepdim=True)
        at = torch.tensor([float(row.chance[step]) for row in rows])[:, None]
        picked = (chances.cumsum(-1) <= at).sum(-1, keepdim=True).clamp(max=order.shape[1] - 1)
        chosen = order.gather(1, picked)[:, 0]
        for number, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if row.params.logprob_token_ids:
                wanted = list(row.params.logprob_token_ids)
                values = logprobs[number, wanted].tolist()
                row.letters.append({one: _Logprob(value) for one, value in zip(wanted, values, strict=True)})
            row.written.append(token)
            self._end(row, token, step)
        return chosen

    def _end(self, row: _Row, token: int, step: int) -> None:
        if token in cast("set[int]", {self._model.config.eos_token_id}):
            row.written.pop()
            row.reason = "stop"
        elif row.params.stop and any(one in self._tokens.decode(row.written[-12:]) for one in row.params.stop):
            row.reason = "stop"
        elif step + 1 >= row.params.max_tokens:
            row.reason = "length"


def make(settings: PromptedEngineSettings) -> TorchEngine:
    """Return the engine of these settings, not started."""
    return TorchEngine(settings, prompt_profiles.load(settings.prompt_profile))
