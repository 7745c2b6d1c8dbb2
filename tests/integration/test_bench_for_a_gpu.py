"""The commands that stand ready for a GPU, as the pages show them: here with a small shape and next to no work."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.harness import environment
from tests.support.patience import patience
from worker.settings import load

pytestmark = pytest.mark.long  # two engines and more
PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"
LIMIT_S = 900.0
# The shape is as deep and wide as two cores can take within a minute; all else is the command's own way.
SMALL = """
import sys
from worker.bench.model import random_weights
from worker.bench.tune import processes
from worker.__main__ import main
from worker.bench.tune import trial
small = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4}
random_weights.SHAPES = {name: {**shape, **small} for name, shape in random_weights.SHAPES.items()}
if sys.argv[1:] == ["trial"]:
    sys.exit(trial.main())
processes.COMMAND = (sys.executable, "-c", open(sys.argv.pop(1)).read(), "trial")
main()
"""
LESS = {
    "index.md": ["--rounds", "1", "--events", "3", "--tokens", "4", "--latency-s", "1", "--no-profile"],
    "tuning.md": ["--rounds", "1", "--events", "3", "--tokens", "4", "--tune-only", "cache,graphs"],
}


def command_of(page: str) -> list[str]:
    """Return the words of the page's command for a GPU."""
    text = (PAGES / page).read_text(encoding="utf-8").replace("\\\n> ", "")
    (found,) = (line[2:] for line in text.splitlines() if line.startswith("$ mirrorstream bench") and "shape" in line)
    return shlex.split(found)[1:]


@pytest.mark.parametrize("page", LESS)
def test_the_command_for_a_gpu_runs_with_a_small_shape(page: str, tmp_path: Path) -> None:
    program = tmp_path / "small.py"
    program.write_text(SMALL, encoding="utf-8")
    words = [*command_of(page), *LESS[page], "--set", "max_num_seqs=4", "--set", "kv_cache_bytes=67108864"]
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(program), *words], capture_output=True, text=True, env=environment(),
        cwd=tmp_path, timeout=patience(LIMIT_S), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    if page == "index.md":
        assert all(name in done.stdout for name in ("async", "reference", "barrier", "worker"))
        assert "events/s" in (tmp_path / "bench.svg").read_text(encoding="utf-8")
    else:
        assert "prefix cache off" in done.stdout
        assert "skipped: enforce_eager: needs a GPU" in done.stdout
        load(tmp_path / "tuned.yaml")
