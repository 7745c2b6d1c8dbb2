"""Ask PyPI's vulnerability service about every package of every lock that is shipped.

    python -m tools.audit --tool .venv-supply/bin/pip-audit

Prints a line for each finding, and for each package that could not be asked about; ends with 0 only if all were asked
about and nothing was found.  If the service cannot be reached, that is the one line.

pip-audit refuses a package that stands in two locks with two versions, and leaves out what a marker keeps from the
Python that it runs in: so it is given names and versions alone, one version of each at a time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tools.licences import locked

LOCKS = ("run", "server", "cpu", "gpu-image", "gpu")
NUM_FIRST = 3  # packages that are asked about before all: if the service knows none of them, it is not there
MAX_WHY = 300  # characters

Package = tuple[str, str]  # name, version


class NotReachedError(Exception):
    """The service gave no answer."""


def rounds(packages: Iterable[Package]) -> list[list[Package]]:
    """Part packages so that no name stands twice in one part.

    >>> rounds([("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")])
    [[('a', '1'), ('b', '1')], [('a', '2')]]
    """
    parts: list[dict[str, str]] = []
    for name, version in dict.fromkeys(packages):
        free = next((part for part in parts if name not in part), None)
        if free is None:
            parts.append(free := {})
        free[name] = version
    return [list(part.items()) for part in parts]


def ask(tool: Path, packages: Sequence[Package]) -> list[dict[str, Any]]:
    """Return what the service says of each package, as pip-audit writes it.  Raises `NotReachedError`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "packages.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in packages), encoding="utf-8")
        words = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json", "--requirement"]
        done = subprocess.run([str(tool), *words, str(file)], capture_output=True, text=True, check=False)  # noqa: S603
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        lines = done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode} and said nothing"]
        raise NotReachedError(lines[-1][:MAX_WHY]) from error
    return found


def audit(tool: Path, packages: Iterable[Package]) -> list[str]:
    """Return a line for each finding and each package that could not be asked about.  Raises `NotReachedError`."""
    parts = rounds(packages)
    first = ask(tool, parts[0][:NUM_FIRST])
    if all("skip_reason" in one for one in first):
        raise NotReachedError(first[0]["skip_reason"] if first else "it knows of no package")
    answers = [one for part in parts for one in ask(tool, part)]
    lines = [f"{one['name']}: not asked about: {one['skip_reason']}" for one in answers if "skip_reason" in one]
    if (num_silent := sum(map(len, parts)) - len(answers)) > 0:
        lines.append(f"packages without an answer: {num_silent}")
    return lines + [
        f"{one['name']} {one['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for one in answers
        for found in one.get("vulns", ())
    ]


def main() -> int:
    """Ask; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__.split("\n")[0])
    parser.add_argument("--tool", type=Path, required=True, help="pip-audit")
    packages = [(name, version) for lock in LOCKS for name, version, _ in locked(lock)]
    try:
        lines = audit(parser.parse_args().tool, packages)
    except NotReachedError as error:
        sys.stderr.write(f"audit: the vulnerability service could not be reached, so nothing was asked: {error}\n")
        return 1
    told = lines or [f"{len(set(packages))} packages: no known vulnerability"]
    sys.stdout.write("".join(f"{line}\n" for line in told))
    return int(bool(lines))


if __name__ == "__main__":
    raise SystemExit(main())
