"""A collector that dies, or freezes, while a worker exports to it: records are answered, and the log is quiet."""

import time

import pytest

from tests.support.collector import Collector
from tests.support.events import impression
from tests.support.harness import Stage, Worker, send
from tests.support.judge import Judge
from tests.support.patience import patience

NUM = 60
QUESTIONS = 3
# A batch leaves each 0.2 s and is given up after 1 s, so that a short test has many that fail.
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
LONGEST_STOP_S = 6.0  # 3 s for what is left, and the worker's own; the library alone takes 10 s and more


def answer(stage: Stage, worker: Worker, first: int) -> None:
    """Have `NUM` more events answered."""
    send(stage, (impression(number) for number in range(first, first + NUM)))
    wanted = QUESTIONS * (first + NUM)
    worker.until(lambda: worker.metric("responses_total") >= wanted, f"{wanted} responses")


def lines(worker: Worker, words: str) -> list[str]:
    return [line for line in worker.log.splitlines() if words in line]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_dies_is_one_line_and_another_when_it_is_back(
    stage: Stage, judge: Judge, protocol: str
) -> None:
    stage.create(partitions=1)
    with Collector(protocol) as collector:
        stage.variables |= collector.variables | QUICK | {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        with stage.worker() as worker:
            answer(stage, worker, 0)
            worker.until(lambda: collector.num_spans > 0, "spans at the collector")
            collector.__exit__()
            answer(stage, worker, NUM)
            worker.until(lambda: worker.metric("spans_dropped_total") > 0, "dropped spans that are counted")
            answer(stage, worker, 2 * NUM)
            assert len(lines(worker, "the collector takes no spans")) == 1
            with Collector(protocol, port=collector.port) as again:
                answer(stage, worker, 3 * NUM)
                worker.until(lambda: again.num_spans > 0, "spans at the collector that is back")
                worker.until(lambda: bool(lines(worker, "the collector takes spans again")), "a line that says so")
                assert worker.stop() == 0
    assert len(lines(worker, "the collector takes")) == 2, worker.log
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_freezes_holds_neither_records_nor_the_stop(stage: Stage, judge: Judge, protocol: str) -> None:
    stage.create(partitions=1)
    with Collector(protocol) as collector:
        stage.variables |= collector.variables  # with the library's own times, as users have them
        with stage.worker() as worker:
            answer(stage, worker, 0)
            worker.until(lambda: collector.num_spans > 0, "spans at the collector")
            collector.awake.clear()
            answer(stage, worker, NUM)
            begun_s = time.monotonic()
            assert worker.stop() == 0
            assert time.monotonic() - begun_s < patience(LONGEST_STOP_S)
    judge.verdict().assert_exactly_once()
