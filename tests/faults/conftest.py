"""Three brokers for all of these tests; a missing Java or Maven is an error that says what to install."""

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.harness import LOG_CHARS, Stage
from integration.judge import Judge
from integration.kafka_broker import KafkaCluster

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
    """Names for this test; whatever it started is ended, and shown if it failed."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40]
    stage = Stage(kafka.bootstrap_servers, f"{name}-{secrets.token_hex(3)}", tmp_path)
    yield stage
    for worker in stage.workers:
        worker.end()
        print(f"--- {worker.words}\n{worker.log[-LOG_CHARS:]}")  # noqa: T201 - pytest shows it when a test fails


@pytest.fixture
def judge(stage: Stage) -> Judge:
    """Who counts this test's responses."""
    return Judge(stage.bootstrap, topic=stage.topic, responses=stage.responses, group=stage.name)


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str, float], None]:
    """Prints how long a fault kept answers from readers, also when the test passes."""

    def line(fault: str, seconds: float) -> None:
        with capsys.disabled():
            print(f"\nrecovery {fault}: {seconds:.1f} s")  # noqa: T201

    return line
