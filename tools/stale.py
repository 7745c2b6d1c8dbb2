"""The command of a tool that writes files anew; with `--check` it only says which are not up to date."""

import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main(stale: Callable[[bool], list[Path]]) -> int:
    """Return 1 if files are not up to date and nothing may be written; `stale` is told whether it may write."""
    check = "--check" in sys.argv[1:]
    found = stale(not check)
    for path in found:
        sys.stdout.write(f"{path.relative_to(ROOT)}: {'is not up to date' if check else 'written'}\n")
    return 1 if check and found else 0
