"""The package as people get it: built from the source archive, installed with the locked dependencies, run anywhere."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.harness import COMMAND_TIMEOUT_S
from tests.support.patience import patience
from worker import __version__

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
NAME = f"mirrorstream-{__version__}"


def uv(*words: str | Path) -> None:
    """Run uv with what its cache has; only a cache that lacks something is a reason to ask the network."""
    own = {name: value for name, value in os.environ.items() if name != "UV_COMPILE_BYTECODE"}  # would take a minute
    for network in (["--offline"], []):
        done = run([str(UV), *map(str, words), "--quiet", *network], own)
        if done.returncode == 0:
            return
    raise AssertionError(f"uv {' '.join(map(str, words))}: {done.stderr}")


def run(
    command: list[str], variables: Mapping[str, str], folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        env=variables,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=patience(COMMAND_TIMEOUT_S),
        check=False,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    hashes = ("--build-constraint", ROOT / "requirements" / "build.txt", "--require-hashes")
    uv("build", *hashes, "--out-dir", folder, ROOT)
    return folder


def test_the_archives_hold_what_their_users_need_and_nothing_else(built: Path) -> None:
    with ZipFile(built / f"{NAME}-py3-none-any.whl") as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(f"{NAME}.dist-info/METADATA").decode()
    assert {name.partition("/")[0] for name in names} == {"worker", f"{NAME}.dist-info"}
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "worker").rglob("*.py")}
    schemas = {f"worker/_schemas/{path.name}" for path in (ROOT / "schemas").iterdir()}
    assert sources | schemas <= names
    assert f"\nVersion: {__version__}\n" in metadata
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        places = {name.split("/")[1] for name in archive.getnames()}
    assert places == {
        "worker", "schemas", "tests", "requirements", "pyproject.toml", "Makefile", "README.md", "LICENSE", "PKG-INFO",
        "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", ".gitignore",
    }  # fmt: skip


def test_the_wheel_runs_in_an_empty_environment_from_an_empty_folder(built: Path, tmp_path: Path) -> None:
    """The locks are complete: nothing of the tests' environment, this repository or the user's home is in reach."""
    place, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    python = place / "bin" / "python"
    uv("venv", "--python", sys.executable, place)
    install = ("pip", "install", "--python", python, "--no-deps")
    uv(*install, "--require-hashes", "-r", ROOT / "requirements" / "run.txt")
    uv(*install, built / f"{NAME}-py3-none-any.whl")

    def mirrorstream(*words: str) -> str:
        variables = {"PATH": os.defpath, "HOME": str(folder)}
        done = run([str(place / "bin" / "mirrorstream"), *words], variables, folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert mirrorstream("--version") == f"{__version__}\n"
    assert mirrorstream("prompts", "list").startswith("mirror-v1 ")
    counted = json.loads(mirrorstream("demo", "--engine", "choice-model", "--events", "50", "--json"))
    assert (counted["consumed"], counted["responses"], counted["missing"], counted["duplicates"]) == (50, 150, 0, 0)
    assert list(folder.iterdir()) == []
