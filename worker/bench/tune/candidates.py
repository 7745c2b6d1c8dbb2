"""What is tried: changes of settings, one at a time, and which of them this machine cannot do.

A candidate that is only suspected not to run is tried all the same: the reason in the table is then vLLM's own.

>>> cpu = Machine(kind="cpu", gpus=0, capability=0.0)
>>> tried, skipped = offered(cpu, Baseline(max_num_seqs=8), only=frozenset({"sequences", "graphs"}))
>>> [one.name for one in tried], sorted(skipped)
(['max_num_seqs=4', 'max_num_seqs=16', 'max_num_seqs=32'], ['cudagraph_mode=FULL_DECODE_ONLY', 'enforce_eager'])
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

from worker.engines.local.vllm import on_cpu

FACTORS = (0.5, 2, 4)  # of the baseline's max_num_seqs
BLOCKS = (16, 32, 64, 128)  # tokens; 128 is vLLM's own on a CPU, 16 on a GPU
BUDGETS = (2_048, 8_192, 16_384)  # tokens of a scheduler step with chunked prefill
FP8_CAPABILITY = 8.9  # of a GPU's compute capability: Ada and Hopper (vLLM's documentation of FP8)
NEEDS_GPU = "needs a GPU"
NEEDS_FP8 = f"needs a GPU with FP8 (compute capability {FP8_CAPABILITY})"
NEEDS_TWO = "needs two GPUs or more"
NEEDS_WEIGHTS = "no folder with other weights was given (--tune-weights)"


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters of the machine."""

    kind: str  # cpu, gpu
    gpus: int
    capability: float  # compute capability of the first GPU; 0 without one


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the settings are before anything is tried."""

    max_num_seqs: int
    weights: tuple[Path, ...] = ()  # folders of the same model in other weights


@dataclass(frozen=True, slots=True)
class Candidate:
    """Changes of settings that are tried together."""

    dimension: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # of vllm_options


def offered(machine: Machine, base: Baseline, *, only: frozenset[str]) -> tuple[list[Candidate], dict[str, str]]:
    """Return the candidates of some dimensions that can be tried, and why others cannot, by name."""
    tried, skipped = [], {}
    for candidate, missing in _all(machine, base):
        if candidate.dimension in only:
            if missing:
                skipped[candidate.name] = missing
            else:
                tried.append(candidate)
    return tried, skipped


def again(chosen: Sequence[Candidate]) -> Candidate:
    """Return all changes of candidates as one, which is measured anew.

    >>> again([Candidate("block", "a", options={"x": 1}), Candidate("kv", "b", options={"y": 2})]).name
    'again: a + b'
    """
    settings = {name: value for one in chosen for name, value in one.settings.items()}
    options = {name: value for one in chosen for name, value in one.options.items()}
    return Candidate("again", f"again: {' + '.join(one.name for one in chosen)}", settings, options)


def _all(machine: Machine, base: Baseline) -> Iterator[tuple[Candidate, str | None]]:
    """Yield every candidate, and what it lacks here, if anything."""
    for factor in FACTORS:
        if (num := round(base.max_num_seqs * factor)) >= 1 and num != base.max_num_seqs:
            yield Candidate("sequences", f"max_num_seqs={num}", settings={"max_num_seqs": num}), None
    for tokens in BLOCKS:
        yield Candidate("block", f"block_size={tokens}", options={"block_size": tokens}), None
    for dtype in ("float32", "bfloat16", "float16"):
        yield Candidate("dtype", f"dtype={dtype}", settings={"dtype": dtype}), None
    yield Candidate("prefill", "chunked prefill off", options={"enable_chunked_prefill": False}), None
    for budget in BUDGETS:
        chunked = {"enable_chunked_prefill": True, "max_num_batched_tokens": budget}
        yield Candidate("prefill", f"chunked prefill, {budget} tokens", options=chunked), None
    yield Candidate("cache", "prefix cache off", options={"enable_prefix_caching": False}), None
    yield from _of_graphs_and_numbers(machine, base)
    speculation = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}
    yield Candidate("speculation", "n-gram speculation", options={"speculative_config": speculation}), None
    for name in ("tensor_parallel_size", "data_parallel_size"):
        num = max(machine.gpus, 2)
        missing = None if machine.gpus > 1 else NEEDS_TWO
        yield Candidate("parallel", f"{name}={num}", options={name: num}), missing


def _of_graphs_and_numbers(machine: Machine, base: Baseline) -> Iterator[tuple[Candidate, str | None]]:
    no_gpu = None if machine.kind == "gpu" else NEEDS_GPU
    no_fp8 = None if machine.capability >= FP8_CAPABILITY else NEEDS_FP8
    yield Candidate("graphs", "enforce_eager", options={"enforce_eager": True}), no_gpu
    mode = "FULL_DECODE_ONLY"
    graphs = {"compilation_config": {"cudagraph_mode": mode}}
    yield Candidate("graphs", f"cudagraph_mode={mode}", options=graphs), no_gpu
    yield Candidate("kv", "kv_cache_dtype=fp8", options={"kv_cache_dtype": "fp8"}), no_fp8
    yield Candidate("weights", "quantization=fp8", options={"quantization": "fp8"}), no_fp8
    for folder in base.weights:
        yield Candidate("weights", f"model={folder.name}", settings={"model": str(folder)}), None
    if not base.weights:
        yield Candidate("weights", "AWQ, GPTQ or FP8 weights"), NEEDS_WEIGHTS


def machine() -> Machine:
    """Look at the machine; no driver is initialised in this process, which only starts others."""
    if on_cpu():
        return Machine("cpu", 0, 0.0)
    program = which("nvidia-smi")
    query = [program or "", "--query-gpu=compute_cap", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30) if program else None
    found = done.stdout.split() if done and done.returncode == 0 else []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    num = len(found) if visible is None else min(len(found), len([one for one in visible.split(",") if one]))
    return Machine("gpu", num, float(found[0]) if num else 0.0)
