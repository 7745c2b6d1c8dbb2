"""`bench --tune` with real engines on a CPU: each candidate has figures or a reason, and a run goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import environment
from tests.support.patience import patience
from worker.settings import load

pytestmark = pytest.mark.long  # two engines a candidate
LIMIT_S = 900.0
TRIED = {
    "sequences": {"max_num_seqs=4", "max_num_seqs=16", "max_num_seqs=32"},
    "block": {"block_size=16", "block_size=32", "block_size=64", "block_size=128"},
    "dtype": {"dtype=float32", "dtype=bfloat16", "dtype=float16"},
    "prefill": {
        "chunked prefill off", "chunked prefill, 2048 tokens", "chunked prefill, 8192 tokens",
        "chunked prefill, 16384 tokens",
    },
    "cache": {"prefix cache off"},
    "speculation": {"n-gram speculation"},
}  # fmt: skip
AS_IT_IS = {"block_size=128", "dtype=bfloat16", "chunked prefill off"}  # what the baseline has on a CPU anyhow


def tuned(file: Path, dimension: str) -> dict[str, object]:
    small = ["--rounds", "1", "--events", "6", "--tokens", "8"]
    settings = ["--set", "max_num_seqs=8", "--set", "kv_cache_bytes=67108864", "--set", "dtype=bfloat16"]
    words = ["bench", "--tune", str(file), "--tune-only", dimension, *small, *settings, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "worker", *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=patience(LIMIT_S),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("dimension", TRIED)
def test_each_candidate_has_figures_or_a_reason(dimension: str, tmp_path: Path) -> None:
    file = tmp_path / "tuned.yaml"
    report = tuned(file, dimension)
    candidates = report["candidates"]
    assert isinstance(candidates, dict)
    assert candidates.keys() == TRIED[dimension]
    for name, told in candidates.items():
        if told["verdict"].startswith("did not run: "):
            assert name not in AS_IT_IS
            continue
        assert told["speed"]["middle"] > 0
        assert told["verdict"] in {"not surely faster", "moves answers"}, "one round decides nothing"
        assert 0 <= told["duel_share_mean"] <= told["duel_share_worst"] <= 1
        assert told["duel_share_error"] > 0
    if dimension == "speculation":
        assert "leave out vllm_options.speculative_config" in candidates["n-gram speculation"]["verdict"]
    for name in AS_IT_IS & candidates.keys():
        assert candidates[name]["duel_share_worst"] <= candidates[name]["duel_share_error"]
    assert report["recommended"] == {}
    load(file)
    again = tuned(file, dimension)
    assert again["candidates"] == candidates, "nothing was measured again"
