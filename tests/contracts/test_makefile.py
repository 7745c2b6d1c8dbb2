"""`make` says what it can do, and a wrong word is named before anything is installed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run make without a change: its recipes are printed, or are those of `help`."""
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_make_alone_lists_every_target() -> None:
    alone = make()
    assert (alone.returncode, alone.stdout) == (0, make("help").stdout)
    phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    assert re.findall(r"^  make (\S+)", alone.stdout, re.MULTILINE) == phony


@pytest.mark.parametrize(
    ("engine", "told"),
    [
        ("choice", "ENGINE=choice: want vllm or choice-model; did you mean choice-model?"),
        ("vlm", "ENGINE=vlm: want vllm or choice-model; did you mean vllm?"),
        ("gpt", "ENGINE=gpt: want vllm or choice-model."),
    ],
)
def test_the_demo_with_an_engine_that_is_none_names_the_nearest(engine: str, told: str) -> None:
    done = make("--dry-run", "demo", f"ENGINE={engine}")
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("engine", ["vllm", "choice-model"])
def test_the_demo_runs_the_engine_that_was_named(engine: str) -> None:
    done = make("--dry-run", "--always-make", "demo", f"ENGINE={engine}")
    assert done.returncode == 0
    assert f"demo --engine {engine} " in done.stdout
    assert (".venv/cpu.done" in done.stdout) is (engine == "vllm")
