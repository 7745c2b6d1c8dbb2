"""Members that freeze, come, go and come back; nothing is lost and nothing comes twice."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.support.harness import Stage, Tell, Worker, until
from tests.support.judge import Judge
from tests.support.patience import patience
from worker.settings import Settings

from .fault import Fault
from .group import assignments
from .traffic import SESSION_S, traffic
from .victim import Victim, victim

SEED = 4
NUM_MOVES = 8
MAX_RESTARTS = 20  # within a session
DEFAULTS = ("session_timeout_s", "transaction_timeout_s", "flush_interval_s")


def until_shared(stage: Stage, *parts: int) -> None:
    """Wait until the broker has given each member its part."""
    until(lambda: sorted(assignments(stage)) == sorted(parts), f"members with {parts} partitions")


@pytest.mark.parametrize("where", [pytest.param("between transactions", marks=pytest.mark.long), "in a transaction"])
def test_a_worker_that_was_frozen_for_longer_than_its_session_publishes_nothing_twice(
    stage: Stage, judge: Judge, tell: Tell, where: str
) -> None:
    """It wakes with finished answers of partitions that are another's, and perhaps in the middle of a transaction."""
    slow = Fault("commit", "before", nth=30, do="sleep", seconds=2, marker=str(stage.folder / "marker"))
    with traffic(stage) as load, stage.worker() as b:
        load.until_flowing()
        with victim(stage, slow if where == "in a transaction" else None) as a:
            until_shared(stage, 1, 2)
            until_at(a)
            load.fault()
            os.kill(a.process.pid, signal.SIGSTOP)
            frozen_s = time.monotonic()
            until(lambda: assignments(stage) == [3], "member that has all", timeout_s=patience(3 * SESSION_S))
            load.until_again()
            tell(f"frozen {where}, until another member answers", load.pause_s())
            time.sleep(max(0.0, frozen_s + SESSION_S + 3 - time.monotonic()))
            os.kill(a.process.pid, signal.SIGCONT)
            until_shared(stage, 1, 2)
            load.until_again()
            load.settle(judge)
            assert [a.stop(), b.stop()] == [0, 0]
    judge.verdict().assert_exactly_once()


def until_at(a: Victim) -> None:
    """Wait until it is where it shall freeze, with records in flight."""
    a.until(lambda: a.fault is None or a.mark is not None, "slow commit")
    a.until(lambda: a.metric("in_flight_records") > 0, "record in flight")


@pytest.mark.long
def test_with_the_settings_that_a_worker_has_by_default_another_takes_over(
    stage: Stage, judge: Judge, tell: Tell
) -> None:
    stage.overrides |= {name: Settings.model_fields[name].default for name in DEFAULTS}
    with traffic(stage) as load, stage.worker() as a, stage.worker() as b:
        load.until_flowing()
        until_shared(stage, 1, 2)
        load.fault()
        a.kill()
        until(lambda: assignments(stage) == [3], "member that has all", timeout_s=patience(90))
        load.until_again()
        load.settle(judge)
        assert b.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"worker killed, with the defaults of {', '.join(DEFAULTS)}", load.pause_s())


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_members_that_join_leave_and_die_under_load(stage: Stage, judge: Judge, tell: Tell, protocol: str) -> None:
    chance = random.Random(SEED)
    stage.overrides |= {"group_protocol": protocol}
    with traffic(stage, partitions=6) as load, ExitStack() as stack:
        workers: list[Worker] = [stack.enter_context(stage.worker())]
        load.until_flowing()
        load.fault()
        for _ in range(NUM_MOVES):
            move = chance.choice(["join"] if len(workers) == 1 else ["join", "join", "leave", "die"])
            if move == "join":
                workers.append(stack.enter_context(stage.worker()))
            elif move == "leave":
                workers.pop(chance.randrange(len(workers))).process.send_signal(signal.SIGTERM)
            else:
                workers.pop(chance.randrange(len(workers))).kill()
            time.sleep(chance.uniform(0.2, 3))
        load.until_again()
        load.settle(judge)
        assert [worker.stop() for worker in workers] == [0] * len(workers)
        assert {worker.exit_code() for worker in stage.workers} <= {0, -signal.SIGKILL, -signal.SIGTERM}
    judge.verdict().assert_exactly_once()
    tell(f"{NUM_MOVES} members joining, leaving and dying, {protocol}", load.pause_s())


@pytest.mark.long
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_static_members_are_restarted_one_by_one_and_nobody_moves(
    stage: Stage, judge: Judge, tell: Tell, protocol: str
) -> None:
    stage.overrides |= {"static_membership": True, "session_timeout_s": 30, "group_protocol": protocol}
    with traffic(stage, partitions=4) as load, ExitStack() as stack:
        workers = {name: stack.enter_context(stage.worker(worker_id=name)) for name in "ab"}
        load.until_flowing()
        until_shared(stage, 2, 2)
        load.fault()
        for name, other in (("a", "b"), ("b", "a")):
            moves = workers[other].log.count("revoked")
            assert workers[name].stop() == 0
            workers[name] = stack.enter_context(stage.worker(worker_id=name))
            workers[name].until_ready()
            assert workers[name].metric("assigned_partitions") == 2
            assert workers[other].log.count("revoked") == moves
        load.until_again()
        load.settle(judge)
        assert [worker.stop() for worker in workers.values()] == [0, 0]
    judge.verdict().assert_exactly_once()
    tell(f"static member restarted, {protocol}", load.pause_s())


@pytest.mark.long
def test_a_killed_static_member_is_let_in_again_when_its_old_session_is_over(
    stage: Stage, judge: Judge, tell: Tell
) -> None:
    """The new protocol keeps its place and refuses it till then, each time as a fence: exit, and be restarted."""
    stage.overrides |= {"static_membership": True, "group_protocol": "consumer"}
    with traffic(stage, partitions=4) as load, stage.worker(worker_id="b") as b, stage.worker(worker_id="a") as a:
        load.until_flowing()
        until_shared(stage, 2, 2)
        a.kill()
        load.fault()
        with restarted(stage, worker_id="a") as again:
            load.until_again()
            load.settle(judge)
            assert [again.stop(), b.stop()] == [0, 0]
    judge.verdict().assert_exactly_once()
    tell("static member killed and restarted, consumer", load.pause_s())


@contextmanager
def restarted(stage: Stage, **settings: Any) -> Iterator[Worker]:
    """Start a worker again as long as it ends by a fence, as its orchestrator would."""
    for _ in range(MAX_RESTARTS):
        with stage.worker(**settings) as again:
            if has_part(again):
                yield again
                return
            assert again.exit_code() == 4
    raise AssertionError("it was not let in")


def has_part(a: Worker) -> bool:
    """Wait until it has a partition; False if it ends before."""
    until(lambda: a.process.poll() is not None or a.metric("assigned_partitions") > 0, "member that has a part")
    return a.process.poll() is None
