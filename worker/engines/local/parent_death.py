"""Ends vLLM's engine core when its worker is gone; a plugin that vLLM loads into each of its processes.

A worker that is killed (SIGKILL, out of memory) cannot end its children.  In a container they go with it; elsewhere the
core would hold the GPU's memory for ever, and the next worker would not start.  The kernel's own way, a death signal,
goes with the thread that started the child, which ends when the model is loaded.
"""

import os
import signal
import threading
import time

PARENT = "ENGINE_OF_MIRRORSTREAM"  # environment: the process id of the worker; not with the prefix of settings
LOOK_S = 1.0


def end_with_parent() -> None:
    """Watch the parent, if it is a worker; in any other process that loads vLLM's plugins this does nothing."""
    parent = os.environ.get(PARENT, "")
    if parent == str(os.getppid()):
        threading.Thread(target=_watch, args=(int(parent),), name="orphan", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)
