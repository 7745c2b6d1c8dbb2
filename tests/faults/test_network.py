"""The network between a worker and Kafka fails; nothing is lost and nothing comes twice."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

import pytest

from tests.support.events import impression
from tests.support.harness import POLL_S, Stage, Tell, Worker, send
from tests.support.judge import Judge
from tests.support.patience import patience

from .proxy import END_TXN, Proxy
from .traffic import LOAD, SESSION_S, TRANSACTION_S, Traffic, traffic

# Refused at once, as by a machine that is up without its broker; or no answer at all, as when a cable is out.
AWAY: dict[str, Callable[[Proxy], AbstractContextManager[None]]] = {"cut": Proxy.cut, "silent": Proxy.black_hole}
GRACE_S = 5.0  # what a call of the client's may overstay its time-out by, before the worker ends itself
STUCK = 5  # its exit code then
SLACK_S = 2.0  # of a busy machine


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
    stage.overrides |= {"bootstrap_servers": proxy.bootstrap_servers, "session_timeout_s": 4 * TRANSACTION_S}
    with traffic(stage) as load, ExitStack() as stack:
        a = stack.enter_context(stage.worker())
        load.until_flowing()
        with AWAY[how](proxy):
            ends_s = time.monotonic() + away_s
            a.until(lambda: a.page("/readyz")[0] == 503, "unready worker", timeout_s=unready_s(TRANSACTION_S))
            time.sleep(max(0.0, ends_s - time.monotonic()))
        load.fault()
        goes_on = by_itself_or_its_restart(stack, stage, load, a)
        goes_on.until(lambda: goes_on.page("/readyz")[0] == 200, "ready worker")
        load.settle(judge)
        assert goes_on is not a or num_failed(a) > 0
        assert "lost" not in a.log, "the session ended too"
        assert goes_on.stop() == 0
    judge.verdict().assert_exactly_once()
    how_on = "the same process" if goes_on is a else "its restart"
    tell(f"network {how} for {away_s:.0f} s, after it is back, by {how_on}", load.pause_s())


def unready_s(transaction_s: float) -> float:
    """Return how long a worker without a network may still say ready.

    A call gives up late in the transaction, its commit has a second more, and only then the abort's own time begins.
    """
    return 2 * transaction_s + 1 + patience(SLACK_S)


def by_itself_or_its_restart(stack: ExitStack, stage: Stage, load: Traffic, a: Worker) -> Worker:
    """Wait until answers come again and return whose; a client call that never returns ends the first process."""
    load.until_again(unless=lambda: a.process.poll() is not None)
    if a.process.poll() is None:
        return a
    assert a.process.poll() == STUCK
    assert "has not returned" in a.log
    restarted = stack.enter_context(stage.worker())
    load.until_again()
    return restarted


def num_failed(worker: Worker) -> float:
    """Count transactions that did not end in a commit that was heard of."""
    return worker.metric("flushes_total") - worker.metric('flushes_total{outcome="committed"}')


@pytest.mark.long
@pytest.mark.parametrize("transaction_s", [TRANSACTION_S, 10.0])
def test_an_outage_that_outlasts_a_transaction_its_abort_and_the_grace_of_both(
    stage: Stage, judge: Judge, proxy: Proxy, tell: Tell, transaction_s: float
) -> None:
    """The worker is unready all the while.  If the client's calls come back it goes on by itself, else its restart."""
    away_s = 2 * transaction_s + GRACE_S + 3
    stage.overrides |= {"transaction_timeout_s": transaction_s, "bootstrap_servers": proxy.bootstrap_servers}
    with traffic(stage) as load, ExitStack() as stack:
        a = stack.enter_context(stage.worker())
        load.until_flowing()
        with proxy.black_hole():
            ends_s = time.monotonic() + away_s
            a.until(lambda: a.page("/readyz")[0] == 503, "unready worker", timeout_s=unready_s(transaction_s))
            while time.monotonic() < ends_s and a.process.poll() is None:
                assert a.page("/readyz")[0] != 200
                time.sleep(POLL_S)
            time.sleep(max(0.0, ends_s - time.monotonic()))
        load.fault()
        goes_on = by_itself_or_its_restart(stack, stage, load, a)
        goes_on.until_ready()
        load.settle(judge)
        assert goes_on is not a or num_failed(a) > 0
        assert goes_on.stop() == 0
    judge.verdict().assert_exactly_once()
    how = "the same process" if goes_on is a else "its restart"
    tell(f"network silent for {away_s:.0f} s, transactions of {transaction_s:.0f} s, by {how}", load.pause_s())


@pytest.mark.long
def test_an_idle_worker_waits_out_an_outage(stage: Stage, judge: Judge, proxy: Proxy, tell: Tell) -> None:
    """It has no call that could be stuck: that the group has lost it is all that shows."""
    away_s = 2 * TRANSACTION_S + GRACE_S + 3
    assert away_s > SESSION_S
    stage.overrides = LOAD | stage.overrides
    stage.create()
    with stage.worker(bootstrap_servers=proxy.bootstrap_servers) as a:
        send(stage, map(impression, range(30)))
        a.until(judge.all_committed, "commit of what came before")
        with proxy.black_hole():
            ends_s = time.monotonic() + away_s
            a.until(lambda: a.page("/readyz")[0] == 503, "unready worker", timeout_s=SESSION_S + patience(SESSION_S))
            assert a.metric("assigned_partitions") == 0
            time.sleep(max(0.0, ends_s - time.monotonic()))
            assert a.page("/livez")[0] == 200
        back_s = time.monotonic()
        send(stage, map(impression, range(30, 60)))
        a.until(judge.all_committed, "commit of what came after")
        tell(f"network silent for {away_s:.0f} s, an idle worker, after it is back", time.monotonic() - back_s)
        a.until(lambda: a.page("/readyz")[0] == 200, "ready worker")
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()


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
            b.until(lambda: b.metric("assigned_partitions") == 3, "all partitions", timeout_s=patience(away_s))
            load.until_again(timeout_s=patience(away_s))
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


def test_a_coordinator_that_moved_while_committed_offsets_are_asked_for_costs_a_new_try(
    stage: Stage, judge: Judge, proxy: Proxy
) -> None:
    """librdkafka 2.16 ends the process where an admin client is told so; a consumer asks again."""
    with traffic(stage) as load, ExitStack() as stack:
        with proxy.moved_coordinator("-topics") as num_told:
            a = stack.enter_context(stage.worker(bootstrap_servers=proxy.bootstrap_servers))
            a.until(lambda: num_told() > 2, "requests for committed offsets")
        load.until_flowing()
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
