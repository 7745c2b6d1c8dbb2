"""Contenders are weighed with all that they start, and do not outlive the bench."""

import os
import signal
import sys
import time

import pytest

from worker.bench.harness.own_processor import leave_one, own_processor
from worker.bench.harness.processes import interruptible, machine_cpu, running, tree
from worker.core.errors import Fatal

SLEEPER = "import time; time.sleep(60)"
CHILD = "x = bytearray(50_000_000); sum(range(3_000_000)); " + SLEEPER
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}]); " + SLEEPER


def test_a_process_is_weighed_with_its_children() -> None:
    with running([sys.executable, "-c", PARENT]) as contending:
        deadline_s = time.monotonic() + 60
        while contending.peak_bytes() < 50_000_000 or contending.cpu_s() < 0.05:
            assert time.monotonic() < deadline_s
            contending.raise_if_ended()
        pids = tree(contending.process.pid)
        assert len(pids) == 2
    assert contending.process.poll() == -signal.SIGTERM


def test_a_contender_has_a_processor_of_its_own() -> None:
    """Its descendants and this process are elsewhere; what this process may use is given back."""
    mine = os.sched_getaffinity(0)
    if len(mine) == 1:
        pytest.skip("there is one processor")
    try:
        processors = leave_one()
        with running([sys.executable, "-c", PARENT]) as contending, own_processor(contending, processors):
            deadline_s = time.monotonic() + 60
            while len(pids := tree(contending.process.pid)) < 2 or os.sched_getaffinity(pids[1]) != processors.others:
                assert time.monotonic() < deadline_s
                contending.raise_if_ended()
            assert os.sched_getaffinity(pids[0]) == processors.own
            assert os.sched_getaffinity(0) == processors.others == mine - processors.own
    finally:
        os.sched_setaffinity(0, mine)


def test_the_end_of_the_block_ends_it_however_the_block_ends() -> None:
    with pytest.raises(KeyboardInterrupt), running([sys.executable, "-c", SLEEPER]) as contending:
        raise KeyboardInterrupt
    assert contending.process.poll() is not None


def test_one_that_ended_is_told_with_its_log() -> None:
    with running([sys.executable, "-c", "raise SystemExit('no broker')"]) as contending:
        contending.process.wait()
        with pytest.raises(Fatal, match=r"exited with 1, want it to keep running: .*python -c .* \.\.\.:\nno broker"):
            contending.raise_if_ended()


def test_a_signal_unwinds_the_stack() -> None:
    with pytest.raises(SystemExit), interruptible():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_machine_has_used_no_more_than_it_had() -> None:
    used_s, had_s = machine_cpu()
    assert 0 < used_s <= had_s
