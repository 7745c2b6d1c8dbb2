"""mirror-tiny in other forms: with a LoRA adapter and quantised; and a model that sees, and its text part alone.

The quantised forms hold mirror-tiny's own weights, rounded, so that what a model answers shows whether an engine has
read them: nearly what mirror-tiny answers, and not quite.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from worker.engines.model_files import TINY, model_path

RANK = 4
GROUP = 32  # weights of one input that share a scale, in the forms of 4 bits
_BITS_4 = 32 // 4  # weights in one int32
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)  # of the outputs in one int32
_WEIGHTS = "model.safetensors"
Tensors = dict[str, torch.Tensor]


def tiny(place: Path, *, config: Mapping[str, Any] | None = None) -> Path:
    """Copy mirror-tiny, with its configuration changed."""
    shutil.copytree(model_path(TINY), place)
    if config:
        file = place / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return place


def lora_adapter(place: Path, *, seed: int, scale: float = 1.0) -> Path:
    """Write an adapter as PEFT saves one, of random matrices for queries and values; with scale 0 it does nothing."""
    place.mkdir()
    targets = ("q_proj", "v_proj")
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": TINY, "r": RANK,
        "lora_alpha": 2 * RANK, "lora_dropout": 0.0, "bias": "none", "target_modules": list(targets),
        "fan_in_fan_out": False, "modules_to_save": None, "inference_mode": True,
    }  # fmt: skip
    (place / "adapter_config.json").write_text(json.dumps(config))
    chance = torch.Generator().manual_seed(seed)
    tensors: Tensors = {}
    for name, weight in _linears(load_file(Path(model_path(TINY)) / _WEIGHTS)):
        if name.endswith(targets):
            rows, columns = weight.shape
            one, other = (torch.randn(shape, generator=chance) for shape in ((RANK, columns), (rows, RANK)))
            prefix = f"base_model.model.{name}"
            tensors[f"{prefix}.lora_A.weight"] = (one / columns**0.5).bfloat16()
            tensors[f"{prefix}.lora_B.weight"] = (scale * other).bfloat16()
    save_file(tensors, place / "adapter_model.safetensors")
    return place


def quantised(form: str, place: Path) -> Path:
    """Write mirror-tiny with every linear layer quantised: `gptq`, `awq`, `compressed-tensors` (int8) or `fp8`."""
    config, pack = FORMS[form]
    tiny(place, config={"quantization_config": config})
    tensors: Tensors = load_file(place / _WEIGHTS)
    for name, weight in _linears(tensors):
        del tensors[f"{name}.weight"]
        tensors |= {f"{name}.{part}": tensor.contiguous() for part, tensor in pack(weight.float()).items()}
    save_file(tensors, place / _WEIGHTS, metadata={"format": "pt"})
    return place


def seeing(place: Path) -> Path:
    """Write a Gemma 3 that sees, of random weights, with Gemma's tokenizer; it is only ever given text."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    from tests.support import tokenizer_packages
    from worker.engines.tokens import load

    tokenizer_packages.folder("gemma-3", place)
    tokenizer = load(str(place), None)
    text = {
        "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 4_096, "sliding_window": 512,
        "vocab_size": len(tokenizer),
    }  # fmt: skip
    sight = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(
        text_config=text, vision_config=sight, mm_tokens_per_image=4, dtype="bfloat16",
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )  # fmt: skip
    torch.manual_seed(1)
    Gemma3ForConditionalGeneration(config).bfloat16().save_pretrained(place)
    images = {
        "image_processor_type": "Gemma3ImageProcessor",
        "size": {"height": 28, "width": 28},
        "image_seq_length": 4,
    }
    (place / "preprocessor_config.json").write_text(json.dumps(images | {"processor_class": "Gemma3Processor"}))
    (place / "processor_config.json").write_text(
        json.dumps({"processor_class": "Gemma3Processor", "image_seq_length": 4})
    )
    return place


def text_part(place: Path, seeing: Path) -> Path:
    """Write the language model of `seeing` alone, as a model for text: it must answer the same."""
    from transformers import Gemma3Config, Gemma3ForCausalLM

    whole = load_file(seeing / _WEIGHTS)
    tensors = {
        f"model.{name.partition('language_model.')[2].removeprefix('model.')}": one
        for name, one in whole.items()
        if "language_model." in name and "lm_head" not in name
    }
    text = Gemma3ForCausalLM(Gemma3Config.from_pretrained(seeing).text_config).bfloat16()
    missing, unexpected = text.load_state_dict(tensors, strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], []), (missing, unexpected)
    text.tie_weights()
    text.save_pretrained(place)
    for file in seeing.iterdir():
        if "token" in file.name or "template" in file.name:
            shutil.copy(file, place)
    return place


def _linears(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    """Return the linear layers of the blocks by name; a weight is (outputs, inputs)."""
    return [(name.removesuffix(".weight"), one) for name, one in tensors.items() if name.endswith("_proj.weight")]


def _of_4_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return whole numbers 0 to 15, of which 8 is zero, as (inputs, outputs), and the scale of each group."""
    turned = weight.t().reshape(-1, GROUP, weight.shape[0])
    scale = turned.abs().amax(dim=1, keepdim=True) / 7
    numbers = (turned / scale).round().clamp(-8, 7) + 8
    return numbers.reshape(-1, weight.shape[0]).int(), scale[:, 0].half()


def _packed(numbers: torch.Tensor, order: tuple[int, ...] = tuple(range(_BITS_4))) -> torch.Tensor:
    """Pack each eight numbers of a row into one int32, the lowest bits first."""
    by_word = numbers.reshape(numbers.shape[0], -1, _BITS_4)[..., list(order)].long()
    word = sum(by_word[..., place] << (4 * place) for place in range(_BITS_4))
    return torch.as_tensor(word).to(torch.int64).bitwise_and(0xFFFFFFFF).to(torch.uint32).view(torch.int32)


def _gptq(weight: torch.Tensor) -> Tensors:
    numbers, scales = _of_4_bits(weight)
    zeros = torch.full_like(scales, 7).int()  # one less than zero is, as GPTQ stores it
    groups = torch.arange(numbers.shape[0], dtype=torch.int32) // GROUP
    return {"qweight": _packed(numbers.t()).t(), "qzeros": _packed(zeros), "scales": scales, "g_idx": groups}


def _awq(weight: torch.Tensor) -> Tensors:
    numbers, scales = _of_4_bits(weight)
    zeros = torch.full_like(scales, 8).int()
    return {"qweight": _packed(numbers, _AWQ_ORDER), "qzeros": _packed(zeros, _AWQ_ORDER), "scales": scales}


def _int8(weight: torch.Tensor) -> Tensors:
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    return {"weight": (weight / scale).round().to(torch.int8), "weight_scale": scale.bfloat16()}


def _fp8(weight: torch.Tensor) -> Tensors:
    scale = weight.abs().amax() / torch.finfo(torch.float8_e4m3fn).max
    return {"weight": (weight / scale).to(torch.float8_e4m3fn), "weight_scale": scale.reshape(())}


_INT8: Mapping[str, Any] = {
    "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {"group_0": {
        "targets": ["Linear"],
        "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
        "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
    }},
}  # fmt: skip
_GPTQ: Mapping[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}
_AWQ: Mapping[str, Any] = {
    "quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"
}  # fmt: skip
FORMS: dict[str, tuple[Mapping[str, Any], Callable[[torch.Tensor], Tensors]]] = {
    "gptq": (_GPTQ, _gptq),
    "awq": (_AWQ, _awq),
    "compressed-tensors": (_INT8, _int8),
    "fp8": ({"quant_method": "fp8", "activation_scheme": "dynamic"}, _fp8),
}
