"""The chart against a real API server, by server-side apply: installed, upgraded, rolled back, uninstalled.

`-m long tests/integration/test_chart_installed.py` builds the server with Go first, which takes minutes once.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_server import ApiServer, build
from tests.support.chart import CHART, ROOT, SETS, set_name
from tests.support.kubernetes import helm

pytestmark = pytest.mark.long

FIRST = "89ec1c0"  # the commit with the first version of the chart
WORKERS = "/apis/apps/v1/namespaces/{}/deployments/rel-mirrorstream"
# Strimzi's definitions are no module of Go; an object of an unknown kind is refused.
WITHOUT = {"strimzi": ["--set", "topics.strimzi.enabled=false"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One server; each test has a namespace of its own, whose pods must be restricted."""
    folder = tmp_path_factory.mktemp("server")
    with ApiServer(folder, build(folder), helm("4", folder)) as server:
        yield server


def made(server: ApiServer, name: str) -> str:
    """Make a namespace in which the restricted standard is enforced, and return its name."""
    labels = "\n".join(f"    pod-security.kubernetes.io/{mode}: restricted" for mode in ("enforce", "warn"))
    text = f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels:\n{labels}\n"
    server.apply(f"/api/v1/namespaces/{name}", text.encode())
    return name


@pytest.mark.parametrize("path", SETS, ids=set_name)
def test_a_set_is_installed_upgraded_rolled_back_and_uninstalled(server: ApiServer, path: Path) -> None:
    """Nothing is refused, the way back is open, and what stays are the claims that Helm was told to keep."""
    name = set_name(path)
    if name == "host-path":
        pytest.skip("a node's folder is forbidden where the restricted standard is enforced, as its text says")
    namespace = made(server, name)
    words = ["--values", str(path), *WITHOUT.get(name, [])]
    server.helm("install", "rel", CHART, *words, namespace=namespace)
    server.helm("upgrade", "rel", CHART, *words, "--set", "podLabels.changed=yes", namespace=namespace)
    server.helm("rollback", "rel", "1", namespace=namespace)
    server.helm("upgrade", "rel", CHART, *words, namespace=namespace)
    server.helm("uninstall", "rel", namespace=namespace)
    for kind in ("deployments", "statefulsets"):
        assert server.get(f"/apis/apps/v1/namespaces/{namespace}/{kind}")["items"] == []
    for kind in ("services", "configmaps", "secrets"):
        assert server.get(f"/api/v1/namespaces/{namespace}/{kind}")["items"] == []


def test_the_first_version_of_the_chart_is_upgraded(server: ApiServer, tmp_path: Path) -> None:
    """With the values that it was installed with, and back."""
    archive = subprocess.run(["git", "archive", FIRST, "helm/mirrorstream"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("this copy has no history")
    subprocess.run(["tar", "--extract", "--directory", tmp_path], input=archive.stdout, check=True)
    namespace = made(server, "first")
    server.helm("install", "rel", tmp_path / "helm" / "mirrorstream", namespace=namespace)
    server.helm("upgrade", "rel", CHART, namespace=namespace)
    server.helm("rollback", "rel", "1", namespace=namespace)


def test_recreate_replaces_a_rolling_update(server: ApiServer) -> None:
    """Of a running release: the fields of the old strategy go."""
    namespace = made(server, "recreate")
    server.helm("install", "rel", CHART, namespace=namespace)
    server.helm("upgrade", "rel", CHART, "--set", "strategy.type=Recreate", namespace=namespace)
    assert server.get(WORKERS.format(namespace))["spec"]["strategy"] == {"type": "Recreate"}


def test_an_upgrade_never_scales_down_by_accident(server: ApiServer) -> None:
    """Neither the one that switches KEDA on, nor one after KEDA has scaled, nor the way back to that one."""
    namespace = made(server, "scaled")
    workers = WORKERS.format(namespace)
    server.helm("install", "rel", CHART, "--set", "replicaCount=3", namespace=namespace)
    keda = ("--set", "keda.enabled=true")
    server.helm("upgrade", "rel", CHART, *keda, namespace=namespace)
    assert server.get(workers)["spec"]["replicas"] == 3
    server.scale(workers, 4)
    server.helm("upgrade", "rel", CHART, *keda, "--set", "podLabels.changed=yes", namespace=namespace)
    assert server.get(workers)["spec"]["replicas"] == 4
    server.helm("upgrade", "rel", CHART, *keda, namespace=namespace)
    server.scale(workers, 6)
    server.helm("rollback", "rel", "3", namespace=namespace)
    assert server.get(workers)["spec"]["replicas"] == 6
