"""Two workers of one group under load: killed, stopped, added, removed; nothing is lost and nothing comes twice."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.harness import Stage, Worker, feeding
from tests.support.judge import Judge
from tests.support.patience import patience

LOAD = {"choice_latency_s": 0.5, "window_max_records": 64, "transaction_timeout_s": 3}
QUICK = {"choice_latency_s": 0, "window_max_records": 1024}
DRAIN_S = 4.0
LEAVE_S = 3.0  # to take everything down
NUM_EVENTS = 1_000  # at least; what is short of them when all has happened is sent at once
RATE = 150.0  # events per second; at 0.5 s each, a worker that has half of them holds about 40 that are not finished


@pytest.fixture
def end_of_feed(stage: Stage) -> Iterator[Callable[[], int]]:
    """Six partitions with a steady load, until this is called."""
    stage.create(partitions=6)
    stage.overrides |= LOAD
    with feeding(stage, rate=RATE, least=NUM_EVENTS) as end:
        yield end


def until_shared(a: Worker, b: Worker) -> None:
    """Wait until both have half of the partitions, and the first holds records that are not finished."""
    a.until(lambda: all(one.metric("assigned_partitions") == 3 for one in (a, b)), "three partitions each")
    until_busy(a)


def until_busy(worker: Worker) -> None:
    worker.until(lambda: worker.metric("in_flight_records") > 0, "record in flight")


def until_all_committed(worker: Worker, judge: Judge) -> None:
    worker.until(judge.all_committed, "commit up to the ends of all partitions", timeout_s=patience(90))


def test_a_killed_worker_loses_and_repeats_nothing(stage: Stage, judge: Judge, end_of_feed: Callable[[], int]) -> None:
    with stage.worker(worker_id="a") as a, stage.worker(worker_id="b") as b:
        until_shared(a, b)
        a.kill()
        with stage.worker(worker_id="a") as again:
            again.until(lambda: again.metric("assigned_partitions") == 3, "three partitions again")
            until_busy(again)
            assert end_of_feed() >= NUM_EVENTS
            until_all_committed(again, judge)
            assert [again.stop(), b.stop()] == [0, 0]
    judge.verdict().assert_exactly_once()


@pytest.mark.long
def test_a_killed_worker_without_a_name_is_taken_over(
    stage: Stage, judge: Judge, end_of_feed: Callable[[], int]
) -> None:
    """Its open transaction ends by time-out alone; until then readers and its heir wait, and nothing is lost."""
    with stage.worker() as a, stage.worker() as b:
        until_shared(a, b)
        a.kill()
        b.until(lambda: b.metric("assigned_partitions") == 6, "all partitions")
        assert end_of_feed() >= NUM_EVENTS
        until_all_committed(b, judge)
        assert b.stop() == 0
    judge.verdict().assert_exactly_once()


@pytest.mark.long
def test_a_static_member_comes_back_to_its_partitions(
    stage: Stage, judge: Judge, end_of_feed: Callable[[], int]
) -> None:
    stage.overrides |= {"static_membership": True, "session_timeout_s": 30}
    with stage.worker(worker_id="a") as a, stage.worker(worker_id="b") as b:
        until_shared(a, b)
        a.kill()
        moves = b.log.count("revoked")
        with stage.worker(worker_id="a") as again:
            until_busy(again)
            assert again.metric("assigned_partitions") == 3
            assert b.log.count("revoked") == moves  # nobody else was asked to move
            end_of_feed()
            until_all_committed(again, judge)
            assert [again.stop(), b.stop()] == [0, 0]
    judge.verdict().assert_exactly_once()


def test_sigterm_under_load_exits_0_and_commits_all_that_is_out(
    stage: Stage, judge: Judge, end_of_feed: Callable[[], int]
) -> None:
    with stage.worker(worker_id="a", drain_timeout_s=DRAIN_S) as a:
        a.until(lambda: a.metric("responses_total") > 0 and a.metric("in_flight_records") > 0, "responses under load")
        assert a.stop(DRAIN_S + patience(LEAVE_S)) == 0
    end_of_feed()
    verdict = judge.verdict()
    assert verdict.missing, "everything was answered before the stop"
    assert not verdict.duplicated
    assert sum(verdict.committed.values()) * 3 == len(verdict.seen)  # all that is out is committed, and nothing else
    assert stage.run("--until-end", worker_id="a", **QUICK).exit_code() == 0
    judge.verdict().assert_exactly_once()


def test_a_second_sigterm_ends_it_at_once(stage: Stage, judge: Judge, end_of_feed: Callable[[], int]) -> None:
    with stage.worker(worker_id="a", choice_latency_s=60) as a:
        until_busy(a)
        a.process.send_signal(signal.SIGTERM)
        a.until(lambda: "draining" in a.log, "drain")
        a.process.send_signal(signal.SIGTERM)
        assert a.exit_code(patience(2, below_s=60)) == 128 + signal.SIGTERM
    end_of_feed()
    assert stage.run("--until-end", worker_id="a", **QUICK).exit_code() == 0
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize("latency_s", [2 * DRAIN_S, pytest.param(60, marks=pytest.mark.long)])
def test_what_takes_longer_than_the_drain_is_left_to_the_next_run(
    stage: Stage, judge: Judge, end_of_feed: Callable[[], int], latency_s: float
) -> None:
    """It waits as long as it may: of records that came evenly, those that were old enough are out, and no others."""
    with stage.worker(worker_id="a", choice_latency_s=latency_s, window_max_records=4096, drain_timeout_s=DRAIN_S) as a:
        until_busy(a)
        time.sleep(1.5 * DRAIN_S)
        num_before, asked_s = a.metric("responses_total"), time.monotonic()
        assert a.stop(DRAIN_S + patience(LEAVE_S)) == 0
        assert time.monotonic() - asked_s >= DRAIN_S
    end_of_feed()
    verdict = judge.verdict()
    assert (len(verdict.seen) > num_before) == (latency_s == 2 * DRAIN_S)
    assert verdict.missing
    assert not verdict.duplicated
    assert stage.run("--until-end", worker_id="a", **QUICK).exit_code() == 0
    judge.verdict().assert_exactly_once()


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.long)])
def test_one_worker_two_and_one_again(
    stage: Stage, judge: Judge, end_of_feed: Callable[[], int], protocol: str
) -> None:
    stage.overrides |= {"group_protocol": protocol}
    with stage.worker(worker_id="a") as a:
        until_busy(a)
        with stage.worker(worker_id="b") as b:
            until_shared(b, a)
            assert b.stop() == 0
        a.until(lambda: a.metric("assigned_partitions") == 6, "all partitions again")
        until_busy(a)
        assert end_of_feed() >= NUM_EVENTS
        until_all_committed(a, judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
