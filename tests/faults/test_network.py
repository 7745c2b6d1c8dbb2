"""The network between a worker and Kafka fails; nothing is lost and nothing comes twice."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest
from integration.harness import Stage
from integration.judge import Judge

from .proxy import END_TXN, Proxy
from .traffic import SESSION_S, TRANSACTION_S, Tell, traffic

# Refused at once, as by a machine that is up without its broker; or no answer at all, as when a cable is out.
AWAY: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {"cut": Proxy.cut, "silent": Proxy.black_hole}


def test_a_commit_whose_answer_is_lost_is_neither_repeated_nor_forgotten(
    stage: Stage, judge: Judge, proxy: Proxy, tell: Tell
) -> None:
    """The client asks again by itself and hears nothing; its time is up, and the worker asks what was committed."""
    with traffic(stage) as load, stage.worker(bootstrap_servers=proxy.bootstrap_servers) as a:
        load.until_flowing()
        load.fault()
        with proxy.swallowed_answers(END_TXN) as num_swallowed:
            a.until(lambda: "in doubt; asking the broker" in a.log, "transaction in doubt")
        assert num_swallowed() > 0
        load.until_again()
        load.settle(judge)
        assert a.metric("flushes_total") > a.log.count("in doubt") > 0
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell("commit applied, its answer lost", load.pause_s())


@pytest.mark.parametrize("how", ["cut", pytest.param("silent", marks=pytest.mark.long)])
def test_a_network_that_is_away_for_longer_than_a_transaction_may_take(
    stage: Stage, judge: Judge, proxy: Proxy, tell: Tell, how: str
) -> None:
    away_s = TRANSACTION_S + 2
    assert away_s < SESSION_S
    with traffic(stage) as load, stage.worker(bootstrap_servers=proxy.bootstrap_servers) as a:
        load.until_flowing()
        with AWAY[how](proxy):
            time.sleep(away_s)
        load.fault()
        load.until_again()
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"network {how} for {away_s:.0f} s, after it is back", load.pause_s())


@pytest.mark.long
@pytest.mark.parametrize("how", AWAY)
def test_a_worker_cut_off_for_longer_than_its_session_is_taken_over_and_comes_back(
    stage: Stage, judge: Judge, proxy: Proxy, tell: Tell, how: str
) -> None:
    away_s = 2 * SESSION_S
    with (
        traffic(stage) as load,
        stage.worker(worker_id="a", bootstrap_servers=proxy.bootstrap_servers) as a,
        stage.worker(worker_id="b") as b,
    ):
        load.until_flowing()
        a.until(lambda: a.metric("assigned_partitions") * b.metric("assigned_partitions") == 2, "three shared by two")
        load.fault()
        with AWAY[how](proxy):
            b.until(lambda: b.metric("assigned_partitions") == 3, "all partitions", timeout_s=away_s)
            load.until_again(timeout_s=away_s)
            time.sleep(SESSION_S / 2)
        a.until(lambda: a.metric("assigned_partitions") > 0, "partitions again")
        load.until_again()
        load.settle(judge)
        assert [a.stop(), b.stop()] == [0, 0]
    judge.verdict().assert_exactly_once()
    tell(f"network {how} for longer than the session, until another member answers", load.pause_s())


@pytest.mark.long
def test_a_slow_network_delays_answers_and_breaks_nothing(stage: Stage, judge: Judge, proxy: Proxy, tell: Tell) -> None:
    """Each of a transaction's five requests takes 0.6 s there and back."""
    with (
        traffic(stage, rate=30) as load,
        stage.worker(bootstrap_servers=proxy.bootstrap_servers, transaction_timeout_s=10) as a,
    ):
        load.until_flowing()
        load.fault()
        with proxy.slow(0.3):
            time.sleep(3)
            load.until_again()
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell("each request and each answer 0.3 s late", load.pause_s())


def test_a_worker_that_starts_before_kafka_says_so_and_begins_when_it_is_there(
    stage: Stage, judge: Judge, proxy: Proxy, tell: Tell
) -> None:
    with traffic(stage) as load, ExitStack() as stack:
        with proxy.cut():
            a = stack.enter_context(stage.worker(bootstrap_servers=proxy.bootstrap_servers))
            a.until(lambda: "next try in" in a.log, "try that failed")
            status, reason = a.page("/readyz")
            assert (status, a.page("/livez")[0]) == (503, 200), reason
        load.fault()
        load.until_flowing()
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell("Kafka there after the worker", load.pause_s())
