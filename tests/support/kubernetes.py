"""The parts of Kubernetes that judge a chart without a cluster, built by Go from pinned modules (`tools/kubernetes`).

    refused = server_validation(folder)          # a program: the API server's own decoding, defaults and validation
    refused(objects) == ["Deployment/rel: spec.strategy.rollingUpdate: Forbidden: ..."]

The first build downloads the modules and takes minutes; then Go's cache makes it seconds.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml
from jsonschema import Draft7Validator

from tests.support.chart import Objects
from tests.support.patience import patience

MODULE = Path(__file__).parents[2] / "tools" / "kubernetes"
BUILD_TIMEOUT_S = 3_600.0  # of the API server, 15 minutes of a processor, beside other work
HELMS = {"4": "helm.sh/helm/v4/cmd/helm@v4.3.2", "3": "helm.sh/helm/v3/cmd/helm@v3.22.0"}
KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"
BEST_GRADE = 10
# Where the operators' modules keep the definitions of their resources.
DEFINITIONS = {
    "github.com/kedacore/keda/v2@v2.21.0": "config/crd/bases/keda.sh_*.yaml",
    "sigs.k8s.io/gateway-api@v1.6.3": "config/crd/standard/*_httproutes.yaml",
    "sigs.k8s.io/lws@v0.9.0": "config/crd/bases/*_leaderworkersets.yaml",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": "example/prometheus-operator-crd/*monitors.yaml",
}


def go(*words: str, folder: Path = MODULE, **variables: str) -> str:
    """Run Go and return what it printed.  Raises AssertionError with the end of its errors."""
    tool = shutil.which("go")
    assert tool, "no go in the PATH; install Go 1.26 or later"
    own = {**os.environ, "GOFLAGS": "-buildvcs=false", **variables}
    limit_s = patience(BUILD_TIMEOUT_S)
    done = subprocess.run(
        [tool, *words], cwd=folder, env=own, capture_output=True, text=True, timeout=limit_s, check=False
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


def server_validation(folder: Path) -> Callable[[Iterable[Objects]], list[str]]:
    """Build the program in a folder; return what the API server refuses in objects, one line each."""
    program = folder / "validate"
    go("build", "-trimpath", "-ldflags", "-s -w", "-o", str(program), "./validate")

    def refused(objects: Iterable[Objects]) -> list[str]:
        text, limit_s = yaml.safe_dump_all(objects), patience(60)
        done = subprocess.run([program], input=text, capture_output=True, text=True, timeout=limit_s, check=False)
        assert done.returncode in {0, 1}, done.stderr
        return done.stdout.splitlines()

    return refused


def helm(major: str, folder: Path) -> Path:
    """Build Helm of a major version."""
    go("install", "-trimpath", "-ldflags", "-s -w", HELMS[major], folder=folder, GOBIN=str(folder))
    return folder / "helm"


def kube_score(folder: Path) -> Callable[[Iterable[Objects]], set[str]]:
    """Build kube-score; return which of its checks find something in objects."""
    go("install", "-trimpath", "-ldflags", "-s -w", KUBE_SCORE, folder=folder, GOBIN=str(folder))

    def found(objects: Iterable[Objects]) -> set[str]:
        command = [str(folder / "kube-score"), "score", "--kubernetes-version", "v1.31", "--output-format", "json", "-"]
        text, limit_s = yaml.safe_dump_all(objects), patience(60)
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=limit_s, check=False)
        checks = [check for one in json.loads(done.stdout) for check in one["checks"]]
        return {check["check"]["id"] for check in checks if not check["skipped"] and check["grade"] < BEST_GRADE}

    return found


def checkov(objects: Path, environment: Path) -> dict[str, Any]:
    """Install checkov from its lock into an environment of its own; return its report on a folder of objects."""
    uv, python = Path(sys.executable).with_name("uv"), environment / "bin" / "python"
    lock = ["--require-hashes", "--no-deps", "--requirement", str(MODULE.parents[1] / "requirements" / "checkov.txt")]
    for words in (["venv", str(environment)], ["pip", "install", "--python", str(python), *lock]):
        subprocess.run([uv, "--quiet", *words], check=True, timeout=patience(BUILD_TIMEOUT_S))
    words = ["--directory", str(objects), "--framework", "kubernetes", "--quiet", "--compact", "--skip-download"]
    command = [str(environment / "bin" / "checkov"), *words, "--output", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=patience(300), check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def definition_files() -> Iterator[Path]:
    """Yield the operators' definitions of custom resources."""
    for module, pattern in DEFINITIONS.items():
        found = json.loads(go("mod", "download", "-json", module))
        yield from sorted(Path(found["Dir"]).glob(pattern))


@cache
def schemas() -> dict[tuple[str, str], Draft7Validator]:
    """Return a validator by API version and kind; unknown fields are refused, as by strict field validation."""
    found = {}
    for file in definition_files():
        spec = helm_python.values_from_yaml(file.read_text(encoding="utf-8"))["spec"]  # Go's YAML knows `=`
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = Draft7Validator(schema)
    return found


def strict(schema: Any) -> Any:
    """Return a schema in which no object has fields beyond its own; metadata is the server's to check."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(one) for name, one in schema.items() if name != "format"}
    is_open = "additionalProperties" in found or found.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(found.get("properties"), dict) and found.get("type") == "object" and not is_open:
        found["additionalProperties"] = False
    return found
