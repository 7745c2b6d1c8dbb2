"""A process of the demo ends with its block, and all that it has started with it."""

import os
import select
import signal
import subprocess
from contextlib import suppress

from worker.demo.children import child, end

STUBBORN = ("sh", "-c", "trap '' TERM; sleep 600 & echo here; wait")  # and what it has started


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
