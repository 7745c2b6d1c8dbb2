"""Transactional calls that are slow, stuck, or made by two with one name; nothing is lost and nothing comes twice."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Stage, Tell, Worker, until
from tests.support.judge import Judge
from tests.support.patience import patience

from .fault import POINTS, Fault, Point
from .group import assignments
from .slow import gated
from .traffic import TRANSACTION_S, traffic
from .victim import victim

CALL_S = 12.0  # what a call may take that others wait for
HELD_S = 1.0  # for which what waits is looked at
STUCK_S = 5.0  # what README promises beside the transaction's own time-out
SLACK_S = 3.0  # of a process that ends on a busy machine
LONG = pytest.mark.long


SHORT_SHARE = {("send_offsets", "classic")}  # in every run, not only in a long one
CASES = [
    pytest.param(point, protocol, id=f"{point}-{protocol}", marks=[] if (point, protocol) in SHORT_SHARE else [LONG])
    for protocol in ("classic", "consumer")
    for point in POINTS
]


@pytest.mark.parametrize(("point", "protocol"), CASES)
def test_a_revoked_partition_waits_for_the_call_that_is_under_way(
    stage: Stage, judge: Judge, tell: Tell, point: Point, protocol: str
) -> None:
    """A member joins while the call lasts; what it was given comes to it when the call has ended, and not before."""
    quick = {"heartbeat.interval.ms": "500"} if protocol == "classic" else {}
    stage.overrides |= {"group_protocol": protocol, "kafka_options": quick}
    slow = Fault(point, "before", nth=10, do="wait", marker=str(stage.folder / "marker"))
    limits: dict[str, Any] = {"transaction_timeout_s": patience(CALL_S)}
    gate = stage.folder / "gate"
    with (
        traffic(stage) as load,
        gated(stage, gate, **limits) as b,
        victim(stage, slow, **limits) as a,
    ):
        a.until(lambda: a.mark is not None, "slow call")
        load.fault()
        gate.touch()
        until(lambda: 0 < max(assignments(stage, decided=True), default=0) < 3, "partition asked back")
        time.sleep(HELD_S)
        assert b.metric("assigned_partitions") == 0
        Path(slow.marker).unlink()  # the call ends
        b.until(lambda: b.metric("assigned_partitions") > 0, "partition of its own")
        load.until_again()
        load.settle(judge)
        assert [a.stop(), b.stop()] == [0, 0]
    judge.verdict().assert_exactly_once()
    tell(f"revoke during a {point} that is slow, {protocol}", load.pause_s())


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point == "send_offsets" else [LONG]) for point in POINTS]
)
def test_a_call_that_never_returns_ends_the_worker_which_says_so_first(
    stage: Stage, judge: Judge, tell: Tell, point: Point
) -> None:
    stuck = Fault(point, "before", nth=10, do="hang", marker=str(stage.folder / "marker"))
    with traffic(stage) as load, victim(stage, stuck, worker_id="a") as a:
        a.until(lambda: a.mark is not None, "stuck call")
        load.fault()
        told: set[str] = set()

        def ended() -> bool:
            code, reason = a.page("/readyz")
            told.update([reason.strip()] if code == 503 else [])
            return a.process.poll() is not None

        until(ended, "end of the worker", timeout_s=TRANSACTION_S + STUCK_S + patience(SLACK_S))
        assert a.exit_code() == 5
        assert "has not returned" in a.log
        assert told, "it was ready to the end"
        with stage.worker(worker_id="a") as again:
            load.until_again()
            load.settle(judge)
            assert again.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"{point} that never returns, and a restart", load.pause_s())


@pytest.mark.parametrize("name", [pytest.param("", id="nameless"), pytest.param("a", id="named", marks=LONG)])
def test_a_transaction_that_the_broker_has_timed_out_goes_again(
    stage: Stage, judge: Judge, tell: Tell, name: str
) -> None:
    """Its end is refused as by a fence.  Who has a name cannot tell the two, and leaves the rest to a restart."""
    late = Fault("commit", "before", nth=10, do="sleep", seconds=2 * TRANSACTION_S, marker=str(stage.folder / "marker"))
    settings: dict[str, Any] = {"worker_id": name} if name else {}
    with traffic(stage) as load, ExitStack() as stack:
        a: Worker = stack.enter_context(victim(stage, late, **settings))
        load.until_flowing()
        load.fault()
        told = "the broker timed the transaction out" if name else "the broker ended our transaction"
        a.until(lambda: told in a.log, "fence")
        if name:
            assert a.exit_code() == 4
            a = stack.enter_context(stage.worker(**settings))
        load.until_again()
        load.settle(judge)
        assert a.stop() == 0
    judge.verdict().assert_exactly_once()
    tell(f"a commit that is {TRANSACTION_S:.0f} s too late{', and a restart' if name else ''}", load.pause_s())


def test_of_two_holders_of_one_name_the_older_goes(stage: Stage, judge: Judge, tell: Tell) -> None:
    with traffic(stage) as load, stage.worker(worker_id="a") as older:
        load.until_flowing()
        load.fault()
        with stage.worker(worker_id="a") as newer:
            assert older.exit_code() == 4
            load.until_again()
            load.settle(judge)
            assert newer.stop() == 0
    judge.verdict().assert_exactly_once()
    tell("fenced by another holder of its name", load.pause_s())
