"""An adapter of another base is refused before vLLM loads it, in each command that has an engine."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from worker.core.errors import BadSettings
from worker.engines import factory
from worker.engines.adapters import refuse_other_base
from worker.engines.model_files import weights_digest
from worker.settings import load

NAME = "layers.0.self_attn.q_proj"


def base(folder: Path, *, width: int = 8, prefix: str = "model.", **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", **config}))
    save_file({f"{prefix}{NAME}.weight": np.ones((4, width), np.float32)}, folder / "model.safetensors")
    return folder


def adapter(folder: Path, *, width: int = 8, name: str = NAME, **note: str) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"r": 2}')
    matrices = {
        f"base_model.model.model.{name}.lora_A.weight": np.ones((2, width), np.float32),
        f"base_model.model.model.{name}.lora_B.weight": np.ones((4, 2), np.float32),
    }
    save_file(matrices, folder / "adapter_model.safetensors")
    if note:
        (folder / "align.json").write_text(json.dumps(note))
    return folder


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"width": 16}, r"model.layers.0.self_attn.q_proj.weight is 8 wide in .*, want 16 wide: .* of another base"),
        ({"name": "layers.7.mlp.up_proj"}, r"model.layers.7.mlp.up_proj.weight is not there in .*, want 8 wide"),
        ({"base_digest": "0123456789ab"}, "was made for a base of weights 0123456789ab, and .* has"),
    ],
)
def test_an_adapter_of_another_base_is_refused(tmp_path: Path, made: dict[str, str], told: str) -> None:
    with pytest.raises(BadSettings, match=told):
        refuse_other_base(adapter(tmp_path / "a", **made), base(tmp_path / "b"))  # type: ignore[arg-type]


def test_an_adapter_of_this_base_is_taken(tmp_path: Path) -> None:
    """Also where the base has a part that sees, so that its layers have longer names."""
    own = base(tmp_path / "b", prefix="model.language_model.")
    refuse_other_base(adapter(tmp_path / "a"), own)
    refuse_other_base(adapter(tmp_path / "c", base_digest=weights_digest(own)), own)


def test_nothing_is_said_of_quantized_weights_or_of_a_model_that_is_not_here(tmp_path: Path) -> None:
    other = adapter(tmp_path / "a", width=16, base_digest="0123456789ab")
    refuse_other_base(other, base(tmp_path / "b", quantization_config={"quant_method": "fp8"}))
    refuse_other_base(other, Path("some/model"))


def test_the_engine_refuses_it_before_anything_is_loaded(tmp_path: Path) -> None:
    """So `evaluate`, `align collect` and `judge`, `check` and `run` do."""
    settings = load(None, {"model": str(base(tmp_path / "b")), "lora": str(adapter(tmp_path / "a", width=16))})
    with pytest.raises(BadSettings, match="it is an adapter of another base"):
        asyncio.run(factory.make(settings).start())
