"""The context of a report: machine, versions, settings, and the engine's distance from the roofline."""

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

from worker.bench.model import random_weights, roofline
from worker.bench.model.contenders import Bench
from worker.bench.report import BenchReport
from worker.settings import vllm_options


def machine(bootstrap: str | None) -> dict[str, object]:
    """Return where and how the bench runs, by name."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["mirrorstream", *_without_values(sys.argv[1:])]),
        "machine": f"{_cpu_model()}, {_num_cpus()} CPU cores",
        "python": platform.python_version(),
        "broker": "a real Kafka" if bootstrap else "embedded; it does not prove the guarantees",
    }


def engine(bench: Bench, median: int, model_shape: str | None) -> dict[str, object]:
    """Return what the contenders with an LLM run on; `median` is the median length of a rationale, tokens."""
    device = bench.engine.device
    model = bench.settings.model if "/" not in bench.settings.model else Path(bench.settings.model).name
    return {
        "gpu": None if device == "cpu" else device,
        "driver": _driver(),
        "vllm": bench.engine.card.engine_version,
        "model": f"{model_shape}, random weights" if model_shape else model,
        "delivery": bench.settings.delivery,
        "max_num_seqs": bench.settings.max_num_seqs,
        "block_size": bench.engine.block_size,
        "events": len(bench.load.asks),
        "draws": len(bench.load.draws),
        "median_rationale_tokens": median,
        "engine_options": json.dumps({n: vllm_options.told(n, v) for n, v in bench.settings.vllm_options.items()}),
    }


def ceiling(bench: Bench, report: BenchReport, model_shape: str | None) -> str:
    """Return the share of the GPU's roofline that AsyncLLM reaches, as text; or why it is not known."""
    name, speeds = report.about.get("gpu"), report.speeds()
    if name is None:
        return "none on a CPU"
    gpu = roofline.gpu_of(str(name))
    if gpu is None:
        return f"none: no data sheet for {name}"
    if model_shape is None or "async" not in speeds or not bench.done:
        return "none: want --model-shape and the contenders async and worker"
    least_s = roofline.least_seconds(random_weights.SHAPES[model_shape], gpu, bench.done[-1])
    share = least_s * speeds["async"].middle / len(bench.load.asks)
    return f"minimum {least_s:.1f} s for the load; AsyncLLM reaches {share:.0%} of that speed"


def _without_values(words: list[str]) -> list[str]:
    """Hide the values of settings: a report is published.

    >>> _without_values(["bench", "--set", "kafka_options={}", "--set=model=x", "--json"])
    ['bench', '--set', 'kafka_options=...', '--set=model=...', '--json']
    """
    return [re.sub(r"^((?:--set=)?\w+=).*", r"\1...", word, flags=re.DOTALL) for word in words]


def _cpu_model() -> str:
    """Return the processor as Linux names it; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _num_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _driver() -> str | None:
    program = which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=False, timeout=30).stdout.strip() or None
