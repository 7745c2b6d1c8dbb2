"""The Dockerfile: each target from one lock, nothing without a hash; its steps run here where no engine is needed."""

import json
import os
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support.chart import ROOT
from tests.support.dockerfile import Stage, of_target, stages
from tests.support.kubernetes import go
from tests.support.patience import patience
from worker import __version__

LOCKS = {"gpu": "gpu-image", "cpu": "cpu", "server": "server", "run": "run"}  # of gpu.txt the base has the rest
TARGET = pytest.mark.parametrize("target", LOCKS)
PINNED = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)
HADOLINT = Path(sys.executable).with_name("hadolint")


def locked(name: str) -> dict[str, str]:
    """Return the versions of a lock by name."""
    return dict(PINNED.findall((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def found() -> dict[str, Stage]:
    """Read the Dockerfile's stages."""
    return stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))


@pytest.mark.parametrize("folder", [".", "recipes/pairing"])
def test_the_linter_finds_nothing(folder: str) -> None:
    done = subprocess.run([HADOLINT, ROOT / folder / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@TARGET
def test_a_target_has_one_lock_and_nothing_else_is_installed(found: dict[str, Stage], target: str) -> None:
    """A changed lock rebuilds the layers of its target alone; what builds the package is in a lock too."""
    steps = [step for stage in of_target(found, target) for step in found[stage].steps]
    locks = {Path(word).stem for step in steps if step.name == "COPY" for word in step.words if word.endswith(".txt")}
    assert locks == {LOCKS[target], "build"}
    installs = [step.text for step in steps if re.search(r"\bpip\b.* (install|wheel) ", step.text)]
    assert len(installs) == 4
    assert all("--require-hashes" in text or "--no-index" in text for text in installs)
    assert all("--no-deps" in text for text in installs)


@TARGET
def test_what_is_copied_is_there_and_sent(found: dict[str, Stage], target: str) -> None:
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for step in (step for stage in of_target(found, target) for step in found[stage].steps if step.name == "COPY"):
        for name in step.words[:-1] if not step.flags else ():
            assert (ROOT / name).exists()
            assert any(fnmatch(name, line.removeprefix("!")) for line in sent if line.startswith("!")), name


@TARGET
def test_every_image_starts_alike(found: dict[str, Stage], target: str) -> None:
    """By name without root or a shell, as the chart expects it, and the build proves that it starts."""
    stage = found[target]
    steps = [step for name in (stage.base, target) if name in found for step in found[name].steps]
    base = found.get(stage.base)
    if base and base.base in found:
        steps = [*found[base.base].steps, *steps]
    last = {step.name: step.text for step in steps}
    assert last["USER"] == "10001:10001"
    assert (last["ENTRYPOINT"], last["CMD"], last["EXPOSE"]) == ('["mirrorstream"]', '["run"]', "8080")
    assert last["RUN"] == '["mirrorstream", "--help"]'
    (labels,) = (step.text for step in steps if step.name == "LABEL")
    assert labels.count("org.opencontainers.image.") == 6


@TARGET
@pytest.mark.parametrize("image", ["python:3.12-slim", "python:3.12-slim@sha256:0123"])
def test_a_base_without_a_digest_is_refused(found: dict[str, Stage], target: str, image: str, tmp_path: Path) -> None:
    """Before it is fetched, with what is wanted; a tag may be another image tomorrow."""
    name = "VLLM_IMAGE" if target == "gpu" else "PYTHON_IMAGE"
    checks = [
        step.text.replace("/pinned", str(tmp_path / "pinned"))
        for stage in of_target(found, target)
        for step in found[stage].steps
        if step.text.startswith(f'case "${{{name}}}"')
    ]
    (check,) = checks
    done = subprocess.run(["sh", "-c", check], env={name: image}, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "@" in image else 1)
    assert done.stderr.startswith("" if "@" in image else f"{name}={image}: want a digest, as in ")


def test_what_is_put_upon_vllms_image_fits_that_vllm() -> None:
    """Its lock is a part of the lock that has vLLM, which is the version of the image; nothing of CUDA is in it."""
    part, whole = locked("gpu-image"), locked("gpu")
    assert part.items() <= whole.items()
    assert part.keys() == locked("run").keys()
    assert f"ARG VLLM_IMAGE=vllm/vllm-openai:v{whole['vllm']}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not {name for name in part if name.startswith(("nvidia-", "cuda-", "torch", "vllm"))}


def test_the_parts_of_cuda_are_of_one_release() -> None:
    """A newer compiler's code may need a newer driver; nvJitLink may be newer within CUDA 13, as its users say."""
    whole = locked("gpu")
    release = whole["cuda-toolkit"].rsplit(".", 2)[0]
    parts = ("nvidia-cuda-", "nvidia-nvvm", "nvidia-nvtx")
    assert {name: v for name, v in whole.items() if name.startswith(parts) and not v.startswith(f"{release}.")} == {}
    assert whole["nvidia-nvjitlink"].split(".")[0] == release.split(".")[0]


def steps_of(found: dict[str, Stage], target: str, folder: Path) -> list[tuple[str, list[str]]]:
    """Return what a target's stages copy from here and run, with the image's folders under `folder`."""
    places = {"/opt/mirrorstream": folder / "opt", "/wheels": folder / "wheels", "/pinned": folder / "pinned"}
    taken = []
    for stage in of_target(found, target):
        for step in found[stage].steps:
            text = step.text
            for there, here in places.items():
                text = text.replace(there, str(here))
            if step.name == "COPY" and not step.flags:
                taken.append(("copy", step.words))
            elif step.name == "RUN" and not text.startswith(("[", "groupadd", "apt-get")):
                taken.append(("run", [text]))
    return taken


def build(found: dict[str, Stage], target: str, folder: Path, wheels: Path) -> Path:
    """Run a target's steps here, with wheels instead of an index; return the environment that they make."""
    place = folder / "build"
    place.mkdir()
    tools = folder / "tools"  # the base image's own Python
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    variables = {
        "PATH": f"{tools / 'bin'}:{os.defpath}", "HOME": str(folder), "PYTHON_IMAGE": "python@sha256:0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_COMPILE": "1",
    }  # fmt: skip
    for kind, words in steps_of(found, target, folder):
        command = ["cp", "-r", "--parents", *words[:-1], str(place)] if kind == "copy" else ["sh", "-c", *words]
        done = subprocess.run(
            command, cwd=ROOT if kind == "copy" else place, env=variables, capture_output=True, text=True, check=False,
            timeout=patience(600),
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stderr[-2_000:]}"
    return folder / "opt"


def fetched(names: list[str], folder: Path) -> Path:
    """Fetch the wheels of locks, by their hashes."""
    for name in names:
        lock = ROOT / "requirements" / f"{name}.txt"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        words = ["--only-binary=:all:", "--require-hashes", "--requirement", str(lock), "--dest", str(folder)]
        subprocess.run([*command, *words], check=True, timeout=patience(900))
    return folder


@pytest.mark.long
@pytest.mark.parametrize("target", ["run", "server"])
def test_an_image_is_built_offline_from_wheels(found: dict[str, Stage], target: str, tmp_path: Path) -> None:
    """The same sources and steps, into an empty environment: it has the lock's packages and no others, and starts."""
    (wheels := tmp_path / "found").mkdir()
    (place := tmp_path / "image").mkdir()
    made = build(found, target, place, fetched(["build", LOCKS[target]], wheels))
    listing = (
        "import importlib.metadata as m; print(*sorted(d.name.lower().replace('_', '-') for d in m.distributions()))"
    )
    variables = {"PATH": f"{made / 'bin'}:{os.defpath}", "HOME": str(place)}
    done = subprocess.run(
        [made / "bin" / "python", "-c", listing], env=variables, capture_output=True, text=True, check=True
    )
    assert {name.replace(".", "-") for name in done.stdout.split()} == {
        name.replace(".", "-") for name in locked(LOCKS[target])
    } | {"mirrorstream"}
    last = subprocess.run(["mirrorstream", "--help"], env=variables, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr


@pytest.mark.long
@TARGET
def test_buildkit_plans_every_target_and_finds_nothing(target: str, tmp_path: Path) -> None:
    """By its own frontend: what it would fetch is pinned, and what it would send and run is what these tests read."""
    digest = f"sha256:{'0' * 64}"
    bases = {"PYTHON_IMAGE": f"python:3.12-slim@{digest}", "VLLM_IMAGE": f"vllm/vllm-openai:v0.32.0@{digest}"}
    program = tmp_path / "dockerfile"
    go("build", "-trimpath", "-o", str(program), ".", folder=ROOT / "tools" / "dockerfile")
    command = [str(program), str(ROOT / "Dockerfile"), target, *(f"{name}={value}" for name, value in bases.items())]
    seen = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (seen["warnings"], seen.get("error")) == ([], None)
    plan = seen["plan"]
    wanted = {f"docker.io/library/{bases['PYTHON_IMAGE']}"}
    assert set(plan["images"]) == (wanted | {f"docker.io/{bases['VLLM_IMAGE']}"} if target == "gpu" else wanted)
    (local,) = plan["local"]
    sent = {"LICENSE", "README.md", "pyproject.toml", "schemas", "worker", "requirements/build.txt"}
    assert set(json.loads(local)) == sent | {f"requirements/{LOCKS[target]}.txt"}
    assert plan["config"]["User"] == "10001:10001"
    assert plan["config"]["Entrypoint"] == ["mirrorstream"]
    assert plan["config"]["Labels"]["org.opencontainers.image.version"] == __version__
