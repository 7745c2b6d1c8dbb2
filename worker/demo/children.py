"""Processes of the demo: each leads a group of its own, and none outlives its block.

A group of its own keeps the terminal's Ctrl-C from them: the demo ends them itself, one after the other, so that none
writes a traceback between.  The group also holds what a process starts, such as vLLM's engine core.  A demo that is
killed ends nothing itself: then the kernel ends its processes.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from worker.system.parent_death import ending_with_parent

DRAIN_S = 60.0  # what a worker gets to finish its work
HURRY_S = 3.0  # after Ctrl-C: nobody reads the answers any more


@contextmanager
def child(command: Sequence[str], **how: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a process for the length of the block; SIGTERM ends it, and SIGKILL it and its own after that."""
    with subprocess.Popen(ending_with_parent(command), start_new_session=True, **how) as process:  # closes its pipes
        patience_s = DRAIN_S
        try:
            yield process
        except KeyboardInterrupt:
            patience_s = HURRY_S
            raise
        finally:
            end(process, patience_s)


def end(process: subprocess.Popen[Any], patience_s: float) -> None:
    """Ask a process to end; kill what is left of its group after that time."""
    try:
        if process.poll() is None:
            process.terminate()
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with suppress(ProcessLookupError):  # the group is gone with its last process
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
