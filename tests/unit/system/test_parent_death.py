"""What we start does not outlive us, even if we are killed."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.patience import patience
from worker.system.parent_death import ending_with_parent

SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
# Each starts a process, prints its id when it runs, and waits.
DIRECT = f"""
import subprocess, sys, time
from worker.system.parent_death import ending_with_parent
process = subprocess.Popen(ending_with_parent([sys.executable, "-c", {SLEEPER!r}]), stdout=subprocess.PIPE, text=True)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""
OF_DEMO = f"""
import subprocess, sys, time
from worker.demo.children import child
with child([sys.executable, "-c", {SLEEPER!r}], stdout=subprocess.PIPE, text=True) as process:
    process.stdout.readline()
    print(process.pid, flush=True)
    time.sleep(600)
"""
OF_BENCH = f"""
import sys, time
from worker.bench.harness.processes import running
with running([sys.executable, "-c", {SLEEPER!r}]) as contending:
    while not contending.log.read_text():
        time.sleep(0.01)
    print(contending.process.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("program", [DIRECT, OF_DEMO, OF_BENCH], ids=["direct", "demo", "bench"])
def test_a_process_is_gone_soon_after_its_parent_is_killed(program: str) -> None:
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    deadline_s = time.monotonic() + patience(5)
    while is_running(pid):
        assert time.monotonic() < deadline_s, f"{pid} outlives its parent"
        time.sleep(0.01)


def test_it_is_the_same_process_with_its_own_exit_code() -> None:
    with subprocess.Popen(ending_with_parent(["sh", "-c", "echo $$; exit 7"]), stdout=subprocess.PIPE) as process:
        told, _ = process.communicate(timeout=patience(60))
    assert (int(told), process.returncode) == (process.pid, 7)


def test_nothing_runs_if_the_parent_was_gone_before() -> None:
    python, *flags, _, word = ending_with_parent(["echo"])
    done = subprocess.run([python, *flags, "1", word, "here"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_command_that_is_not_there_is_an_error() -> None:
    done = subprocess.run(ending_with_parent(["nosuch"]), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert done.returncode != -signal.SIGKILL


def is_running(pid: int) -> bool:
    """Say whether a process runs; one that nobody has reaped yet does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
