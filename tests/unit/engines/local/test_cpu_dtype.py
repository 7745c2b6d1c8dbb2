"""The data type of a model on a CPU: chosen by the processor, told once, and the same fingerprint as when it is set."""

import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker.core.errors import BadSettings
from worker.engines.local import cpu_dtype, vllm
from worker.engines.local.vllm import CPU_KV_CACHE_BYTES, VllmEngine, running, with_running
from worker.runtime import pipeline_config
from worker.settings import Settings, load, prompt_profiles

FOLDER = {"dtype": "bfloat16"}
AVX2, AVX512_BF16, AMX = ("fpu avx avx2 fma", "fpu avx2 avx512f avx512_bf16", "fpu avx512f amx_bf16 amx_tile")
ARM = "Features\t: fp asimd bf16\n"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says what the processor can, on a machine whose vLLM has no GPU."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(vllm, "on_cpu", lambda: True)
    monkeypatch.setattr(cpu_dtype, "processor_flags", partial(cpu_dtype.processor_flags, path))
    return path


def processor(path: Path, flags: str) -> None:
    path.write_text(f"processor\t: 0\nvendor_id\t: x\nflags\t\t: {flags}\nbugs\t\t: spectre_v1\n", encoding="utf-8")


def engine(**settings: Any) -> VllmEngine:
    found = load(None, settings)
    made = VllmEngine(found, prompt_profiles.load(found.prompt_profile))
    made._max_model_len = 4096
    return made


def started(found: VllmEngine, own: dict[str, str]) -> VllmEngine:
    """Do what loading does with the type; what runs is what vLLM was asked for, else the folder's."""
    found._dtype = found._choose_dtype(own)
    runs = found._engine_args("mirror-tiny").get("dtype", own["dtype"])
    config = SimpleNamespace(model_config=SimpleNamespace(dtype=f"torch.{runs}"))
    found.card = with_running(found.card, running(config), own)
    return found


def fingerprint(found: VllmEngine) -> str:
    return pipeline_config.setup(cast("Settings", found._settings), found, {}).config_fingerprint


@pytest.mark.parametrize(
    ("flags", "own", "chosen"),
    [
        (AVX2, FOLDER, "float32"),
        (AVX2, {"dtype": "float32"}, "float32"),  # vLLM would run it in bfloat16
        (AVX2, {}, "float32"),
        (AVX2, {"dtype": "float16"}, None),
        (AVX2, {"dtype": "bfloat16", "quantization": "awq"}, None),
        (AVX512_BF16, FOLDER, None),
        (AMX, FOLDER, None),
    ],
)
def test_the_processor_decides_on_the_type(cpuinfo: Path, flags: str, own: dict[str, str], chosen: str | None) -> None:
    processor(cpuinfo, flags)
    assert engine()._choose_dtype(own) == chosen


def test_a_processor_that_is_not_x86_or_not_known_is_left_to_vllm(cpuinfo: Path) -> None:
    assert engine()._choose_dtype(FOLDER) is None  # there is no such file
    cpuinfo.write_text(ARM, encoding="utf-8")
    assert engine()._choose_dtype(FOLDER) is None


def test_the_choice_is_told_in_one_line_with_its_reason(cpuinfo: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    processor(cpuinfo, AVX2)
    engine()._choose_dtype(FOLDER)
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("dtype: float32 instead of the model's bfloat16, which this processor emulates (no amx_bf16")
    assert line.endswith("dtype=bfloat16 keeps it")
    caplog.clear()
    processor(cpuinfo, AVX512_BF16)
    engine()._choose_dtype(FOLDER)
    assert not caplog.records


def test_with_a_gpu_nothing_changes(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(cpuinfo, AVX2)
    monkeypatch.setattr(vllm, "on_cpu", lambda: False)
    found = started(engine(), FOLDER)
    arguments = found._engine_args("mirror-tiny")
    assert not arguments.keys() & {"dtype", "kv_cache_memory_bytes"}
    assert fingerprint(found) == fingerprint(engine())


def test_what_is_set_wins_over_the_processor(cpuinfo: Path) -> None:
    processor(cpuinfo, AVX2)
    assert engine(dtype="bfloat16")._choose_dtype(FOLDER) == "bfloat16"
    assert engine(vllm_options={"dtype": "auto"})._choose_dtype(FOLDER) is None  # vLLM's own word: the folder's
    assert engine(vllm_options={"quantization": "fp8"})._choose_dtype(FOLDER) is None


def test_a_type_that_is_set_has_the_fingerprint_of_the_automatic_one(cpuinfo: Path) -> None:
    processor(cpuinfo, AVX2)
    chosen, told = started(engine(), FOLDER), started(engine(dtype="float32"), FOLDER)
    assert chosen.card.runs == told.card.runs == {"dtype": "float32"}
    assert fingerprint(chosen) == fingerprint(told) != fingerprint(engine())
    processor(cpuinfo, AVX512_BF16)
    chosen, told = started(engine(), FOLDER), started(engine(dtype="bfloat16"), FOLDER)
    assert fingerprint(chosen) == fingerprint(told) == fingerprint(engine())


def test_the_cache_holds_as_many_tokens_in_either_type(cpuinfo: Path) -> None:
    processor(cpuinfo, AVX2)
    assert started(engine(), FOLDER)._engine_args("m")["kv_cache_memory_bytes"] == 2 * CPU_KV_CACHE_BYTES
    told = started(engine(kv_cache_bytes=1 << 20), FOLDER)
    assert told._engine_args("m")["kv_cache_memory_bytes"] == 1 << 20
    processor(cpuinfo, AVX512_BF16)
    assert started(engine(), FOLDER)._engine_args("m")["kv_cache_memory_bytes"] == CPU_KV_CACHE_BYTES


def test_a_type_is_told_in_one_place_only() -> None:
    with pytest.raises(BadSettings, match="dtype: vllm_options has a dtype too"):
        load(None, {"dtype": "float32", "vllm_options": {"dtype": "float16"}})
    with pytest.raises(BadSettings, match="dtype: engine vllm-server takes none"):
        load(None, {"dtype": "float32", "engine": "vllm-server", "server_urls": ["http://gpu"]})
    assert load(None, {"vllm_options": {"dtype": "float16"}}).dtype == "auto"
