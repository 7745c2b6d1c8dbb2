"""Ctrl-C unwinds once, says so in one line, and leaves no process."""

import os
import select
import signal
import subprocess
from contextlib import suppress

import pytest

from worker.demo.children import child, end
from worker.demo.stopping import SIGNALS, STOPPED, Enough, stoppable

STUBBORN = ("sh", "-c", "trap '' TERM; sleep 600 & echo here; wait")  # and what it has started


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_stops_the_work_with_one_line(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]

    def work() -> int:
        signal.raise_signal(number)
        raise AssertionError

    assert stoppable(work) == STOPPED
    assert capsys.readouterr().err == "stopped\n"
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_while_it_unwinds_more_signals_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    unwound = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
            unwound.append(True)
        return 0

    assert stoppable(work) == STOPPED
    assert unwound == [True]
    assert capsys.readouterr().err == "stopped\n"


def test_work_that_was_done_keeps_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise Enough(0) from None
        return 1

    assert stoppable(work) == 0
    assert capsys.readouterr().err == "stopped\n"
    assert stoppable(lambda: 7) == 7
    assert capsys.readouterr().err == ""


def test_a_process_that_does_not_end_is_killed_with_what_it_has_started() -> None:
    process = subprocess.Popen(STUBBORN, start_new_session=True, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        end(process, 0.05)
        [told], _, _ = select.select([process.stdout], [], [], 10.0)
        assert told.read() == ""  # its end: nobody holds the pipe any more, `sleep` neither
    assert process.returncode == -signal.SIGKILL


def test_ctrl_c_does_not_reach_a_child_but_ends_it() -> None:
    with suppress(KeyboardInterrupt), child(["cat"], stdin=subprocess.PIPE) as process:
        assert os.getpgid(process.pid) == process.pid != os.getpgrp()
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGTERM
