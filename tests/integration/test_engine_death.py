"""Engines that die or hang under a real worker: what was not their fault is answered once, and the group goes on."""

import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.events import event_id, impression
from tests.support.harness import POLL_S, Stage, Tell, Worker, send
from tests.support.judge import Judge
from tests.support.mortal import engine_cores
from tests.support.patience import patience

KILLER = 2
START_S = 180.0  # of vLLM on two cores beside other work
END_S = 10.0  # for a worker whose engine is gone to commit what it may and to leave


@pytest.fixture(autouse=True)
def mortal(stage: Stage) -> None:
    stage.module, stage.variables = "tests.support.mortal", {"KILLERS": event_id(KILLER)}


def reasons(judge: Judge, stage: Stage) -> list[str]:
    headers = [dict(message.headers() or []) for message in judge.read(stage.dead_letters)]
    return [(found["ms-reason"] or b"").decode() for found in headers]


def all_but_the_killer_once(judge: Judge, stage: Stage) -> None:
    verdict = judge.verdict()
    assert {event for event, _, _ in verdict.missing} == {event_id(KILLER)}
    assert not verdict.duplicated
    assert verdict.committed == verdict.ends
    assert reasons(judge, stage) == ["engine_killer"]


def deaths(*workers: Worker) -> int:
    """Count them in the logs, since who has ended has no metrics."""
    return sum(len(re.findall("the engine died: .* records in it", worker.log)) for worker in workers)


def test_one_killer_prompt_ends_at_most_two_engines_of_a_group(stage: Stage, judge: Judge) -> None:
    """The worker that has it asks it once more, alone; the other one never hears of it."""
    stage.create(partitions=2)
    with stage.worker(choice_latency_s=0.2) as a, stage.worker(choice_latency_s=0.2) as b:
        a.until(lambda: [one.metric("assigned_partitions") for one in (a, b)] == [1, 1], "a partition each")
        send(stage, map(impression, range(200)))
        a.until(judge.all_committed, "commit up to the ends")
        assert sorted([deaths(a), deaths(b)]) == [0, 2]
        assert [one.metric("engine_deaths_total") for one in (a, b)] == [deaths(a), deaths(b)]
        for one in (a, b):
            one.until_ready()
        assert [a.stop(), b.stop()] == [0, 0]
    all_but_the_killer_once(judge, stage)


def test_a_member_that_takes_over_from_a_dead_engine_loses_one_at_most(stage: Stage, judge: Judge) -> None:
    """The first worker starts no second engine; the other knows whom to suspect from the note at the offset."""
    stage.create(partitions=1)
    with ExitStack() as stack:
        a = stack.enter_context(stage.worker(max_engine_restarts=0, choice_latency_s=0.2))
        a.until_ready()
        b = stack.enter_context(stage.worker(max_engine_restarts=1, choice_latency_s=0.01))
        b.until(lambda: "assigned no new partitions" in b.log, "member without a partition")
        send(stage, map(impression, range(200)))
        assert a.exit_code(patience(END_S)) == 3
        b.until(judge.all_committed, "commit up to the ends")
        assert [deaths(a), deaths(b)] == [1, 1]
        b.until_ready()
        assert b.stop() == 0
    all_but_the_killer_once(judge, stage)


def until_gone(core: int) -> None:
    """Wait for the end of an engine core whose worker was killed."""
    deadline_s = time.monotonic() + patience(10)
    while Path(f"/proc/{core}").exists():
        assert time.monotonic() < deadline_s, f"engine core {core} outlives its worker"
        time.sleep(POLL_S)


@pytest.mark.long  # vLLM starts five times
def test_a_killer_prompt_and_a_hang_cost_vllm_restarts_and_no_answer(stage: Stage, judge: Judge, tell: Tell) -> None:
    stage.overrides |= {"engine": "vllm", "max_tokens": 60, "max_num_seqs": 16, "question_timeout_s": 10}
    stage.create(partitions=2)
    with stage.worker(worker_id="a") as a:
        a.until(lambda: a.metric("assigned_partitions") == 2, "warm engine", timeout_s=patience(START_S))
        send(stage, map(impression, range(4)))
        sent_s = time.monotonic()
        a.until(judge.all_committed, "commit past the killer", timeout_s=patience(2 * START_S))
        tell("engine dead twice of one prompt, which is buried", time.monotonic() - sent_s)
        assert a.metric("engine_deaths_total") == 2

        (core,) = engine_cores(a.process.pid)
        os.kill(core, signal.SIGSTOP)
        stopped_s = time.monotonic()
        send(stage, map(impression, range(4, 5)))
        a.until(lambda: a.metric("engine_deaths_total") == 3, "a hang that is noticed", timeout_s=patience(90))
        assert a.page("/livez")[0] == 200
        assert "starting it again" in a.page("/readyz")[1]
        a.until(judge.all_committed, "commit after the hang", timeout_s=patience(START_S))
        tell("engine stopped, noticed and started again", time.monotonic() - stopped_s)
        (core,) = engine_cores(a.process.pid)
        a.kill()
        until_gone(core)
    all_but_the_killer_once(judge, stage)
