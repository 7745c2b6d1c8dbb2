"""Tiny models with random weights, one of each architecture, with the real tokenizer of its family.

What they write is noise; what they show is that the architecture, tokenizer and chat template go the whole way.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support import tokenizer_packages

LENGTH = 4_096
_SHAPE: Mapping[str, Any] = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": LENGTH, "tie_word_embeddings": True,
    "dtype": "bfloat16",
}  # fmt: skip
_MLA: Mapping[str, Any] = {
    "num_key_value_heads": 4, "head_dim": None, "q_lora_rank": 32,
    # Of one size only, the real one: vLLM's kernels take a latent and its rope of 576, 512 or 320 together.
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "first_k_dense_replace": 1, "topk_method": "noaux_tc",
}  # fmt: skip
_MOE: Mapping[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128}
# Family: architecture, as transformers names it, and what of its shape is its own.
ARCHITECTURES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "qwen-2.5": ("qwen2", {}),
    "qwen-3": ("qwen3", {}),
    "llama-2": ("llama", {}),
    "llama-3.1": ("llama", {}),
    "gemma-3": ("gemma3_text", {"sliding_window": 512}),
    "mistral-0.1": ("mistral", {}),
    "mistral-sentencepiece": ("mistral", {}),
    "mistral-tekken": ("mistral", {}),
    "deepseek-v3": ("deepseek_v3", _MLA),
    "gpt-oss": ("gpt_oss", _MOE),
    "phi-3": ("phi3", {"pad_token_id": 0}),
}


def folder(family: str, place: Path) -> Path:
    """Write a model's folder: configuration, random weights, tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from worker.engines.tokens import load

    tokenizer_packages.folder(family, place)
    tokenizer = load(str(place), None)
    kind, own = ARCHITECTURES[family]
    shape = {name: value for name, value in {**_SHAPE, **own}.items() if value is not None}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(kind, **{"pad_token_id": None, **shape, **special}, vocab_size=len(tokenizer))
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(place)
    return place
