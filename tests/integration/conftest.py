"""One Kafka, one vLLM in process and one `vllm serve` for the whole run; workers and the bench start their own.

A missing Java, Maven or vLLM is an error that says what to install.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from warnings import catch_warnings, simplefilter

import pytest
import pytest_asyncio
from playwright.sync_api import Browser

from tests.support.browser import chromium
from tests.support.harness import Stage
from tests.support.judge import Judge, judge_of
from tests.support.kafka_broker import KafkaCluster
from tests.support.served import TOKEN, Served
from worker.engines.local.vllm import VllmEngine
from worker.engines.remote.vllm_server import VllmServerEngine
from worker.settings import Settings, load, prompt_profiles


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaCluster]:
    """One broker; every test has topics and a group of its own."""
    with KafkaCluster() as cluster:
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a file."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def vllm_settings() -> Settings:
    """The model that ships with the package, small enough for two cores; in the type that `vllm serve` runs it in."""
    own = {"model": "mirror-tiny", "dtype": "bfloat16", "max_tokens": 160, "max_num_seqs": 64}
    return load(None, own | {"start_from": "earliest"})


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vllm_engine(vllm_settings: Settings) -> AsyncIterator[VllmEngine]:
    """The engine; it dies in a second event loop, so all tests share the session's."""
    engine = VllmEngine(vllm_settings, prompt_profiles.load(vllm_settings.prompt_profile))
    with catch_warnings():
        simplefilter("ignore")  # not ours: vLLM's own imports warn
        await engine.start()
    yield engine
    with catch_warnings():
        simplefilter("ignore")  # nor are the sockets that it leaves to the garbage collector
        await engine.stop()
        await asyncio.sleep(0.1)  # its tasks, which were cancelled, hold them until they have ended
        gc.collect()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One `vllm serve`."""
    with Served(tmp_path_factory.mktemp("served") / "serve.log") as served:
        served.until_ready()
        yield served


@pytest.fixture(scope="session")
def server_settings(vllm_settings: Settings, served: Served, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same model and writing as in process, asked over HTTP."""
    token = tmp_path_factory.mktemp("auth") / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    changes = {"engine": "vllm-server", "server_urls": [served.url], "server_auth_file": token}
    return vllm_settings.model_copy(update=changes)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server_engine(server_settings: Settings) -> AsyncIterator[VllmServerEngine]:
    """The engine that asks it."""
    engine = VllmServerEngine(server_settings, prompt_profiles.load(server_settings.prompt_profile))
    await engine.start()
    yield engine
    await engine.stop()
