"""The least versions that the package declares are enough: each was the newest once, and an environment may hold it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.test_wheel import ROOT, UV
from tests.support.harness import COMMAND_TIMEOUT_S
from tests.support.patience import patience

LEAST = (UV, "pip", "install", "--quiet", "--resolution", "lowest-direct", "--editable", f"{ROOT}[experiment,files]")
TOOLS = ("pytest>=9", "pytest-asyncio>=1.3", "hypothesis>=6.140", "pytest-rerunfailures>=16")
TESTED = ("core", "pipeline", "settings", "experiment", "runtime/test_spans.py")
# Asks for the newest conventions, which only the newest versions have.
LEFT_OUT = "tests/unit/runtime/test_spans.py::test_names_are_those_of_the_conventions"
# Newer parts of these packages' own dependencies say so.
WARNINGS = ("-W", "ignore::DeprecationWarning")


@pytest.mark.long
def test_the_unit_tests_pass_with_the_least_versions_that_are_declared(tmp_path: Path) -> None:
    python = tmp_path / "least" / "bin" / "python"
    run(UV, "venv", "--quiet", "--python", sys.executable, python.parents[1])
    run(*LEAST, "--python", python, *TOOLS)
    tests = [ROOT / "tests" / "unit" / name for name in TESTED]
    run(python, "-m", "pytest", "-q", *WARNINGS, "--deselect", LEFT_OUT, *tests)


def run(*command: str | Path) -> None:
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=patience(10 * COMMAND_TIMEOUT_S),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
