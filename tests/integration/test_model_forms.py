"""Forms of a model beside plain weights, each in a vLLM of its own: adapters, quantised weights, overrides and others.

mirror-tiny is asked for the letters alone, so that what changes its weights shows in the probabilities.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
import pytest_asyncio

from tests.support import tiny_variants
from tests.support.served import TOKEN, Served
from worker.core.errors import Fatal
from worker.core.simulation.questions import Status
from worker.engines import factory
from worker.engines.model_files import TINY, model_path
from worker.pipeline.ports import Engine
from worker.runtime.pipeline_config import setup
from worker.settings import load

from .test_engines import FORM, asks_of, some_impressions

pytestmark = pytest.mark.long  # each starts an engine of its own
CLEAR = 0.05  # a difference of a probability that no batch's order makes
ROUNDED = 0.25  # how far four bits may move a probability of mirror-tiny


@dataclass(frozen=True)
class Answers:
    """What an engine says to the same questions, and what it is pooled by."""

    probabilities: list[float]
    fingerprint: str
    max_prompt_tokens: int
    runs: dict[str, str]

    def beside(self, other: "Answers") -> float:
        """Return the largest difference of a probability."""
        return max(abs(a - b) for a, b in zip(self.probabilities, other.probabilities, strict=True))


@asynccontextmanager
async def started(**own: Any) -> AsyncIterator[tuple[Engine, Any]]:
    settings = load(None, {"model": TINY, "mode": "direct", "max_num_seqs": 8, "kv_cache_bytes": 64 << 20, **own})
    engine = factory.make(settings)
    with catch_warnings():
        simplefilter("ignore")  # not ours: vLLM's own imports warn
        try:
            await engine.start()
            yield engine, settings
        finally:
            await engine.stop()
            await asyncio.sleep(0.1)  # its tasks, which were cancelled, hold sockets until they have ended
            gc.collect()


async def answers(**own: Any) -> Answers:
    async with started(**own) as (engine, settings):
        found: list[float] = []
        for ask in [ask for one in some_impressions(3) for ask in asks_of(one, engine, settings)]:
            drawn = await engine.draw(ask)
            assert drawn.status is Status.OK
            found += drawn.slot_probabilities
        card = engine.card
        return Answers(found, setup(settings, engine, {}).config_fingerprint, card.max_prompt_tokens, dict(card.runs))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def plain() -> Answers:
    """What mirror-tiny says."""
    return await answers()


async def test_an_adapter_changes_the_answers_and_the_fingerprint(plain: Answers, tmp_path: Path) -> None:
    """One that does nothing changes the fingerprint alone; two of one name are told apart."""
    folders = [tmp_path / name / "adapter" for name in ("nothing", "first", "second")]
    for seed, folder in enumerate(folders):
        folder.parent.mkdir()
        tiny_variants.lora_adapter(folder, seed=seed, scale=float(seed > 0))
    nothing, first, second = [await answers(lora=str(folder)) for folder in folders]
    assert nothing.beside(plain) < FORM
    assert min(first.beside(plain), second.beside(plain), first.beside(second)) > CLEAR
    assert len({one.fingerprint for one in (plain, nothing, first, second)}) == 4


async def test_an_adapter_that_a_server_has_is_the_one_in_process(plain: Answers, tmp_path: Path) -> None:
    """Under its own name, with the tokenizer of the folder it was made for."""
    adapter = tiny_variants.lora_adapter(tmp_path / "adapter", seed=1)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    flags = ("--enable-lora", f"--lora-modules=shop={adapter}", "--max-lora-rank=8")
    with Served(tmp_path / "serve.log", flags=flags) as served:
        served.until_ready()
        remote = {"engine": "vllm-server", "server_urls": [served.url], "server_auth_file": str(token)}
        there = await answers(model="shop", tokenizer=str(model_path(TINY)), kv_cache_bytes=None, **remote)
        base = await answers(kv_cache_bytes=None, **remote)
    here = await answers(lora=str(adapter))
    assert there.beside(here) < FORM
    assert there.beside(base) > CLEAR
    assert base.beside(plain) < FORM
    assert there.runs["served_from"] == str(adapter)
    assert len({one.fingerprint for one in (plain, here, there, base)}) == 4


@pytest.mark.parametrize("form", ["gptq", "awq", "compressed-tensors"])
async def test_quantised_weights_answer_as_the_weights_that_they_were_made_from(
    plain: Answers, form: str, tmp_path: Path
) -> None:
    found = await answers(model=str(tiny_variants.quantised(form, tmp_path / "model")))
    assert 0 < found.beside(plain) < ROUNDED
    assert found.runs["quantization"] == form
    assert found.fingerprint != plain.fingerprint


async def test_a_format_that_the_engine_cannot_run_is_one_line(tmp_path: Path) -> None:
    """FP8 here: the build for CPUs has no kernel that scales it; what vLLM says of it is in the log."""
    model = str(tiny_variants.quantised("fp8", tmp_path / "model"))
    with pytest.raises(Fatal, match=f"^vLLM did not start with {model}: .*root cause above[^\n]*$"):
        await answers(model=model)


async def test_a_model_that_sees_answers_as_its_text_part_alone(tmp_path: Path) -> None:
    """Without an option: nothing is reserved for pictures, which no event has."""
    whole = tiny_variants.seeing(tmp_path / "whole")
    text = tiny_variants.text_part(tmp_path / "text", whole)
    assert (await answers(model=str(whole))).beside(await answers(model=str(text))) < FORM


async def test_speculation_is_refused_with_what_to_leave_out() -> None:
    speculation = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 3}
    with pytest.raises(Fatal) as caught:
        await answers(vllm_options={"speculative_config": speculation})
    assert "speculative_config" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_overrides_of_the_configuration_change_answers_room_and_fingerprint(plain: Answers) -> None:
    shorter = await answers(vllm_options={"hf_overrides": {"max_position_embeddings": 2_048}})
    assert shorter.max_prompt_tokens == plain.max_prompt_tokens - 2_048
    assert shorter.beside(plain) < FORM
    other = await answers(vllm_options={"hf_overrides": {"rms_norm_eps": 1.0}})
    assert other.beside(plain) > CLEAR
    assert len({one.fingerprint for one in (plain, shorter, other)}) == 3


async def test_a_model_without_a_tokenizer_takes_another_folders(plain: Answers, tmp_path: Path) -> None:
    model = tiny_variants.tiny(tmp_path / "model")
    for file in model.glob("tokenizer*"):
        file.unlink()
    found = await answers(model=str(model), tokenizer=TINY)
    assert found.beside(plain) < FORM
    assert found.fingerprint != plain.fingerprint
