"""Ends a process that we have started when we are gone, however we went (SIGKILL, out of memory).

    python parent_death.py OUR-ID COMMAND ...    asks the kernel for SIGKILL at our death, then becomes the command

The kernel binds this to the thread that starts the process, not to our process: start it in one that lives as long,
such as the main thread.  vLLM's engine core is started by a thread that ends, so it looks after its parent itself
(`worker.engines.local.parent_death`).

The request is made in the new process, and survives `exec`.  `preexec_fn` would make it between fork and exec, where a
process with threads may deadlock; util-linux's `setpriv` does the same as this file, but is not on every machine.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def ending_with_parent(command: Sequence[str]) -> list[str]:
    """Return the command in a form that ends when this process does; its process id is the same.

    It starts 20 ms later.  What it starts itself is not covered.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]  # without the imports of `site`


def _become(parent: int, command: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() == parent:  # else it was gone before the kernel was asked
        os.execvp(command[0], command)  # noqa: S606 - the command is our own


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
