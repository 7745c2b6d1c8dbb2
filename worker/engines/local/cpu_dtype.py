"""Which data type a model runs in on a CPU: float32 where the processor has no instructions for bfloat16.

x86 processors without AVX512_BF16 and AMX_BF16 emulate bfloat16: each product is widened to float32 and rounded back.
vLLM's own choice is the type of the model's folder, whatever the processor is.  Other architectures are left to it.

Measured with vLLM 0.32 alone and mirror-tiny on one core of a Xeon with AVX512_BF16, in pairs (28 November 2026):
bfloat16 took 2.1 and 2.3 times as long as float32 with oneDNN and ATen held to AVX2, and 0.8 to 1.2 times with all.

>>> emulated_bfloat16(frozenset({"avx2", "fma"})), emulated_bfloat16(frozenset({"avx2", "avx512_bf16"}))
(True, False)
>>> emulated_bfloat16(frozenset())
False
"""

from collections.abc import Mapping
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
NATIVE = frozenset({"avx512_bf16", "amx_bf16"})  # as Linux names them
_BFLOAT16 = frozenset({"bfloat16", "float32", ""})  # types of a folder that vLLM runs in bfloat16 on a CPU


def processor_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Return the instruction sets of an x86 processor; empty on another architecture or without the file."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return next((frozenset(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), frozenset())


def emulated_bfloat16(flags: frozenset[str]) -> bool:
    """Return whether an x86 processor with these flags emulates bfloat16; False if the flags are unknown."""
    return bool(flags) and not flags & NATIVE


def automatic(own: Mapping[str, str], flags: frozenset[str]) -> str | None:
    """Return the type to run a model in; None leaves it to vLLM.

    `own` is what the model's folder says of itself: a quantised model's type belongs to its kernels.

    >>> automatic({"dtype": "bfloat16"}, frozenset({"avx2"}))
    'float32'
    >>> automatic({"dtype": "float16"}, frozenset({"avx2"})) is None
    True
    """
    left_alone = "quantization" in own or own.get("dtype", "") not in _BFLOAT16
    return "float32" if emulated_bfloat16(flags) and not left_alone else None
