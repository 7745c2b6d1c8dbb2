"""`make test` runs every test file once, in three runs of pytest: what counts branches, and two for the rest."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
IGNORE = "--ignore="


def runs() -> list[list[str]]:
    """Return the words behind `pytest` in each of the target's commands that has it."""
    command = ["make", "--dry-run", "--no-print-directory", "test"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split("-m pytest ")[1].split() for line in lines if "-m pytest " in line]


def is_run(file: Path, words: Sequence[str]) -> bool:
    name = str(file.relative_to(ROOT))
    named = any(name == word or name.startswith(f"{word.rstrip('/')}/") for word in words if not word.startswith("-"))
    return named and f"{IGNORE}{name}" not in words


def test_every_test_file_is_run_once() -> None:
    found = runs()
    assert len(found) == 3
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 100
    assert {str(file): num for file in files if (num := sum(is_run(file, words) for words in found)) != 1} == {}
