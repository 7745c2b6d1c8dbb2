"""The bill of materials of an image's own layers, as CycloneDX JSON: the packages of its lock, and vendored scripts.

    python -m tools.sbom run --tool .venv-supply/bin/cyclonedx-py > run.cdx.json

cyclonedx-py reads the lock with its hashes; added are the licences, the scripts of the page of experiments and the
included model, which no lock names.  Packages for another Python or platform than the image's are left out.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.markers import Marker

from tools.licences import LOCKS, VENDORED, listed, locked, normal, vendored
from tools.stale import ROOT
from worker import __version__

MODEL = ROOT / "worker" / "models" / "mirror-tiny" / "model.safetensors"
IMAGE = {"python_full_version": "3.12.0", "python_version": "3.12"}  # of the base


def bill(target: str, tool: Path) -> dict[str, Any]:
    """Return the bill of a target of the Dockerfile.  Raises CalledProcessError if the tool fails."""
    lock = ROOT / "requirements" / f"{LOCKS[target]}.txt"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sbom.json"
        words = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON", "-o", str(file)]
        subprocess.run([str(tool), "requirements", str(lock), *words], check=True)  # noqa: S603 - as asked
        made: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    licences = listed()
    left_out = {(name, version) for name, version, marker in locked(LOCKS[target]) if not fits(marker)}
    components = [one for one in made["components"] if (normal(one["name"]), one["version"]) not in left_out]
    for one in components:
        one["licenses"] = [{"license": {"name": licences[normal(one["name"])]}}]
        one.pop("description", None)  # the line of the lock
        for place in one.get("externalReferences", ()):
            place.pop("comment", None)
    made["components"] = [*components, *scripts(), model()]
    made["metadata"]["component"]["version"] = __version__
    kept = {one["bom-ref"] for one in made["components"]} | {made["metadata"]["component"]["bom-ref"]}
    made["dependencies"] = [one for one in made.get("dependencies", ()) if one["ref"] in kept]
    return made


def fits(marker: str) -> bool:
    """Return True if a package of a lock is for the image's Python."""
    return not marker or Marker(marker).evaluate(dict(IMAGE))


def scripts() -> list[dict[str, Any]]:
    """Return the vendored scripts, as npm has them."""
    return [
        {
            "bom-ref": f"vendored-{file}",
            "type": "file",
            "name": file,
            "version": version,
            "purl": f"pkg:npm/{name}@{version}#dist/{file}",
            "hashes": [_sha256(VENDORED.with_name(file))],
            "licenses": [{"license": {"id": licence}}],
        }
        for file, name, version, licence in vendored()
    ]


def model() -> dict[str, Any]:
    """Return the included model, which is this project's own."""
    return {
        "bom-ref": "mirror-tiny",
        "type": "machine-learning-model",
        "name": "mirror-tiny",
        "version": __version__,
        "hashes": [_sha256(MODEL)],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }


def _sha256(file: Path) -> dict[str, str]:
    return {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}


def main() -> int:
    """Print a bill."""
    parser = argparse.ArgumentParser(description="Print the bill of materials of an image's own layers.")
    parser.add_argument("target", choices=LOCKS)
    parser.add_argument("--tool", type=Path, required=True, help="cyclonedx-py")
    asked = parser.parse_args()
    json.dump(bill(asked.target, asked.tool), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
