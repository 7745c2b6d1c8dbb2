"""The least time that a GPU needs for a load: what it must read from memory, and what it must compute.

    read      each step of decoding reads all weights once for the whole batch, and the KV cache of every sequence
    compute   two operations a weight and token, those of the vocabulary only where a token is written (attention's
              own are left out: under 5 % below 2,000 tokens)

Prefill and decoding share steps, so reading and computing overlap: the longer of the two is the least time.
Peaks are the makers' data sheets, dense bf16 without sparsity, read 2026-11.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.bench.model.random_weights import BYTES, kv_bytes_per_token, num_parameters


@dataclass(frozen=True, slots=True)
class Gpu:
    """A data sheet."""

    bytes_per_s: float
    flops: float


GPUS = {
    "H200": Gpu(4.8e12, 989e12),
    "H100": Gpu(3.35e12, 989e12),
    "A100": Gpu(2.0e12, 312e12),
    "L40S": Gpu(0.864e12, 362e12),
    "L4": Gpu(0.3e12, 121e12),
}


@dataclass(frozen=True, slots=True)
class TokenLoad:
    """What a load made the engine do."""

    computed: int  # prompt tokens that no cache had
    written: int  # by decoding; the first token of a pass comes out of its prefill
    passes: int
    mean_context: float  # tokens behind a sequence while it is decoded
    sequences: int  # decoded at once


def gpu_of(name: str) -> Gpu | None:
    """Return the data sheet of a GPU by the driver's name for it, None if it is not known.

    >>> gpu_of("NVIDIA H200") == GPUS["H200"], gpu_of("NVIDIA A100-SXM4-80GB") == GPUS["A100"], gpu_of("CPU")
    (True, True, None)
    """
    return next((sheet for word, sheet in GPUS.items() if word in re.split(r"[\s-]", name)), None)


def least_seconds(shape: Mapping[str, Any], gpu: Gpu, tokens: TokenLoad) -> float:
    """Return the time that no engine can beat on this GPU.

    >>> from worker.bench.model.random_weights import QWEN25_3B
    >>> tokens = TokenLoad(computed=0, written=64, passes=0, mean_context=0, sequences=64)  # one step
    >>> round(least_seconds(QWEN25_3B, GPUS["H200"], tokens) * 1000, 2)        # 6.2 GB at 4.8 TB/s, ms
    1.29
    >>> prefill = TokenLoad(computed=1_000, written=0, passes=1, mean_context=0, sequences=64)
    >>> round(least_seconds(QWEN25_3B, GPUS["H200"], prefill) * 1000, 2)       # 2.77e9 weights, twice, 1,000 tokens
    5.61
    """
    weights = num_parameters(shape)
    steps = tokens.written / tokens.sequences
    read = steps * weights * BYTES + tokens.written * tokens.mean_context * kv_bytes_per_token(shape)
    vocabulary = shape["vocab_size"] * shape["hidden_size"]
    computed = (weights - vocabulary) * (tokens.computed + tokens.written)
    operations = 2 * (computed + vocabulary * (tokens.written + tokens.passes))
    return float(max(read / gpu.bytes_per_s, operations / gpu.flops))
