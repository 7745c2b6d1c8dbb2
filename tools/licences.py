"""The licences of what the images add to their bases, as `requirements/licences.csv`: one row for each package.

    python -m tools.licences [--check]

They are read from the packages themselves, as they are installed beside the tests.  A package that only another
version of Python needs keeps its row.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from tools.stale import ROOT, main

LOCKS = {"run": "run", "server": "server", "cpu": "cpu", "gpu": "gpu-image"}  # of each target of the Dockerfile
FILE = ROOT / "requirements" / "licences.csv"
VENDORED = ROOT / "worker" / "experiment" / "page" / "static" / "README.md"
MAX_TEXT = 60  # characters; a longer field is the licence's own text
# Their metadata says nothing; read in the named place.
READ = {
    "cuda-toolkit": "no files of its own: it only names NVIDIA's packages",
    "oss-harmony": "Apache-2.0 (its repository's LICENSE)",
    "setuptools": "MIT (its LICENSE)",
}
_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?: ; (?P<marker>.*?))? \\$", re.MULTILINE)
_VENDORED = re.compile(r"^\| `(?P<file>[\w.]+)` \| npm, (?P<name>\w+) (?P<version>[\d.]+),.*?\| (?P<licence>[\w.-]+),")


def locked(lock: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and marker of each package of a lock; a name stands twice if Pythons differ."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    yield from ((normal(found["name"]), found["version"], found["marker"] or "") for found in _PINNED.finditer(text))


def vendored() -> list[tuple[str, str, str, str]]:
    """Return file, package, version and licence of the scripts that the page of experiments brings along."""
    lines = VENDORED.read_text(encoding="utf-8").splitlines()
    return [(m["file"], m["name"], m["version"], m["licence"]) for line in lines if (m := _VENDORED.match(line))]


def listed() -> dict[str, str]:
    """Return the licence of each package, as the file has it."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {row["package"]: row["licence"] for row in csv.DictReader(file)}


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield package, versions, licence and images of everything that is shipped, by name."""
    licences = listed()
    images: dict[str, list[str]] = {}
    versions: dict[str, set[str]] = {}
    for target, lock in LOCKS.items():
        for name, version, _ in locked(lock):
            images.setdefault(name, [])
            images[name] += [target] if target not in images[name] else []
            versions.setdefault(name, set()).add(version)
    for name in sorted(images):
        yield name, ", ".join(sorted(versions[name])), licences[name], " ".join(images[name])
    for file, name, version, said in vendored():
        yield f"{name} ({file})", version, said, " ".join(LOCKS)


def normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(found: Distribution) -> str:
    """Return what a package says of its licence, "" if it says nothing."""
    said = found.metadata.json
    if said.get("license_expression"):
        return str(said["license_expression"])
    text = str(said.get("license") or "")
    if text and "\n" not in text and len(text) <= MAX_TEXT:
        return text
    kinds = [kind for kind in said.get("classifier", ()) if str(kind).startswith("License :: ")]
    first = text.partition("\n")[0].strip()  # a text that starts with the licence's name
    return " / ".join(sorted({str(kind).rpartition(" :: ")[2] for kind in kinds})) or first[:MAX_TEXT]


def _text() -> str:
    """Return the file made anew.  Raises KeyError for a package without a licence that anybody has read."""
    said = {normal(found.metadata["Name"]): licence(found) for found in distributions()}
    known = listed() if FILE.exists() else {}
    names = sorted({name for lock in LOCKS.values() for name, _, _ in locked(lock)})
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("package", "licence"))
    rows.writerows((name, said.get(name) or READ.get(name) or known[name]) for name in names)
    return text.getvalue()


def stale(*, write: bool) -> list[Path]:
    """Return the file if it is not what the installed packages say; with `write`, write it."""
    text = _text()
    if FILE.exists() and FILE.read_text(encoding="utf-8") == text:
        return []
    if write:
        FILE.write_text(text, encoding="utf-8")
    return [FILE]


if __name__ == "__main__":
    sys.exit(main(lambda write: stale(write=write)))
