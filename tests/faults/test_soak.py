"""The million events of `soak`, as a test; `make test-long` runs it, and so does `python -m tests.faults.soak`."""

from pathlib import Path

import pytest

from tests.support.harness import Stage
from tests.support.kafka_broker import KafkaCluster

from .soak import OVERRIDES, Soak


@pytest.mark.long
def test_a_million_events_leave_nothing_behind(kafka: KafkaCluster, tmp_path: Path) -> None:
    stage = Stage(kafka.bootstrap_servers, "soak", tmp_path, dict(OVERRIDES))
    assert Soak(stage, 1_000_000).run().problems == []
