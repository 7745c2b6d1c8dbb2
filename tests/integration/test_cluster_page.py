"""The tutorial from an empty namespace to a verdict, with every command run as it is written.

kubectl and Helm talk to a real API server; a stand-in for its nodes runs on this machine what they ask for, against a
real Kafka.  `-m long tests/integration/test_cluster_page.py` builds both with Go first.
"""

import os
from pathlib import Path

import pytest

from tests.support import pages
from tests.support.api_server import ApiServer, build, kubectl
from tests.support.kafka_broker import KafkaCluster
from tests.support.kubernetes import helm
from tests.support.node import Node

pytestmark = pytest.mark.long

PAGE = pages.ROOT / "docs" / "tutorials" / "kubernetes.md"


def test_an_empty_namespace_comes_to_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs := tmp_path / "programs").mkdir()
    (logs := tmp_path / "logs").mkdir()
    client = helm("4", programs)
    kubectl(programs)
    with ApiServer(tmp_path, build(tmp_path), client) as server, KafkaCluster() as kafka:
        for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"):
            monkeypatch.setenv(name, str(tmp_path / "helm-home"))
        monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig()))
        monkeypatch.setenv("CLONE", str(pages.ROOT))
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        with Node(server, "shadow", logs) as node:
            pages.check(PAGE, kafka.bootstrap_servers)
    assert not node.errors, node.errors
