"""`make test` runs every test file once, in three runs of pytest: what counts branches, and two for the rest.

`make check` runs its share once too, in two runs side by side.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
IGNORE = "--ignore="


def runs(target: str) -> list[list[str]]:
    """Return the words behind `pytest` in each of a target's commands that has it."""
    command = ["make", "--dry-run", "--no-print-directory", target]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split("-m pytest ")[1].split() for line in lines if "-m pytest " in line]


def is_run(file: Path, words: Sequence[str]) -> bool:
    name = str(file.relative_to(ROOT))
    named = any(name == word or name.startswith(f"{word.rstrip('/')}/") for word in words if not word.startswith("-"))
    return named and f"{IGNORE}{name}" not in words


def test_every_test_file_is_run_once() -> None:
    found = runs("test")
    assert len(found) == 3
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 100
    assert {str(file): num for file in files if (num := sum(is_run(file, words) for words in found)) != 1} == {}


def test_a_check_runs_what_it_promises_once_and_side_by_side() -> None:
    """Core, pipeline, architecture and simulation, but for the slow ones; one run alone took more than a minute."""
    found = runs("check")
    assert len(found) == 2
    folders = ("unit/core", "unit/pipeline", "architecture", "simulation")
    files = [file for folder in folders for file in sorted((ROOT / "tests" / folder).rglob("test_*.py"))]
    assert len(files) > 40
    times = {str(file.relative_to(ROOT)): sum(is_run(file, words) for words in found) for file in files}
    assert {file: num for file, num in times.items() if num != 1} == {
        "tests/unit/core/prompts/test_random_texts.py": 0,
        "tests/unit/core/test_bounded_cache.py": 0,
    }
