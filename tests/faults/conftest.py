"""Three brokers for all of these tests; a missing Java or Maven is an error that says what to install."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import Stage
from tests.support.judge import Judge, judge_of
from tests.support.kafka_broker import KafkaCluster

from .proxy import Proxy


@pytest.fixture(scope="package")
def proxy() -> Iterator[Proxy]:
    """A second way to the same brokers, which can fail; see `Proxy.bootstrap_servers`."""
    with Proxy(3) as proxy:
        yield proxy


@pytest.fixture(scope="package")
def kafka(proxy: Proxy) -> Iterator[KafkaCluster]:
    """Three copies of everything, two of which must have what is acknowledged; every test has its own topics."""
    with KafkaCluster(brokers=3, proxies=proxy.ports) as cluster:
        proxy.forward(cluster.proxied)
        yield cluster


@pytest.fixture
def stage(kafka: KafkaCluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """What this test has of the cluster."""
    with Stage.of_test(kafka.bootstrap_servers, request.node.name, tmp_path) as stage:
        yield stage


@pytest.fixture
def judge(stage: Stage) -> Judge:
    """Who counts this test's responses."""
    return judge_of(stage)
