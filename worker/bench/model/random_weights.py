"""A model of a real one's shape with random weights: the same speed, without the weights.

`--model-shape qwen2.5-3b --load-format dummy` needs no download: the configuration stands here and the tokenizer is
mirror-tiny's, whose few tokens are a part of the big vocabulary.  What such a model writes is noise.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.engines.model_files import TINY, model_path

# Qwen/Qwen2.5-3B-Instruct's config.json, read 2026-11.
QWEN25_3B: Mapping[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 2048,
    "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
    "vocab_size": 151_936, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_sliding_window": False,
    "bos_token_id": 151_643, "eos_token_id": 151_645,
}  # fmt: skip
SHAPES = {"qwen2.5-3b": QWEN25_3B}
BYTES = 2  # of one parameter in bf16


@contextmanager
def shaped(name: str) -> Iterator[Path]:
    """Make a model folder without weights."""
    with tempfile.TemporaryDirectory(prefix="mirrorstream-shape-") as folder:
        for path in Path(model_path(TINY)).glob("*token*"):
            shutil.copy(path, folder)
        (Path(folder) / "config.json").write_text(json.dumps(dict(SHAPES[name])), encoding="utf-8")
        yield Path(folder)


def num_parameters(shape: Mapping[str, Any]) -> int:
    """Count the weights of a Qwen2 with tied embeddings.

    >>> round(num_parameters(QWEN25_3B) / 1e9, 2)
    3.09
    """
    hidden, wide = shape["hidden_size"], shape["intermediate_size"]
    keys = hidden // shape["num_attention_heads"] * shape["num_key_value_heads"]
    attention = 2 * hidden * hidden + 2 * hidden * keys + hidden + 2 * keys
    layer = attention + 3 * hidden * wide + 2 * hidden
    return int(shape["num_hidden_layers"] * layer + shape["vocab_size"] * hidden + hidden)


def kv_bytes_per_token(shape: Mapping[str, Any]) -> int:
    """Return what one token keeps in the KV cache, bytes.

    >>> kv_bytes_per_token(QWEN25_3B)
    36864
    """
    head = shape["hidden_size"] // shape["num_attention_heads"]
    return int(2 * shape["num_hidden_layers"] * shape["num_key_value_heads"] * head * BYTES)
