"""Contenders as processes: started with a log, measured from outside, always ended with the bench."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from worker.core.errors import Fatal
from worker.system.parent_death import ending_with_parent

END_S = 30.0  # from SIGTERM to SIGKILL
COMMAND_CHARS, LOG_CHARS = 200, 3_000  # shown of a contender that failed
_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")  # per second
_PARENT, _CPU = (
    1,
    slice(11, 15),
)  # in /proc/PID/stat after the name: times of itself and of reaped children, user and system
_IDLE = slice(3, 5)  # in the first line of /proc/stat: idle, and waiting for I/O
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Contending:
    """One running process."""

    command: Sequence[str]
    process: "subprocess.Popen[bytes]"
    log: Path

    def raise_if_ended(self) -> None:
        """Raise `Fatal` if the process has ended."""
        if (code := self.process.poll()) is not None:
            raise Fatal(f"a contender exited with {code}, want it to keep running: {self.command_and_log}")

    @property
    def command_and_log(self) -> str:
        """Its command and the end of its log, as text."""
        return f"{' '.join(self.command)[:COMMAND_CHARS]} ...:\n{self.log.read_text(errors='replace')[-LOG_CHARS:]}"

    def cpu_s(self) -> float:
        """Return the CPU time of the process and its descendants, seconds."""
        return cpu_s(tree(self.process.pid))

    def peak_bytes(self) -> int:
        """Return the sum of the peak memory of the process and its living descendants, bytes."""
        return peak_bytes(tree(self.process.pid))

    def end(self) -> None:
        """Send SIGTERM, and SIGKILL if the process has not ended after `END_S`."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Iterator[Contending]:
    """Run a command in a temporary folder until the block ends, with additional environment variables."""
    with tempfile.TemporaryDirectory(prefix="mirrorstream-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ending_with_parent(command),
                stdout=output,
                stderr=output,
                env={**_environment(), **(variables or {})},
                cwd=folder,
            )
        contending = Contending(command, process, log)
        try:
            yield contending
        finally:
            contending.end()


@contextmanager
def interruptible() -> Iterator[None]:
    """Make SIGTERM unwind the stack as Ctrl-C does, so that every contender ends with the bench; main thread only."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def machine_cpu() -> tuple[float, float]:
    """Return the CPU time that all processes of this machine have used, and that was available, seconds."""
    ticks = [int(word) for word in (_PROC / "stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[_IDLE])) / _TICKS, sum(ticks) / _TICKS


def tree(pid: int) -> list[int]:
    """Return the ids of a process and of its living descendants."""
    parents = {int(path.name): _stat(int(path.name))[_PARENT : _PARENT + 1] for path in _PROC.glob("[0-9]*")}
    found = [pid]
    for one in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == [str(one)]]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time of processes and of their reaped children, seconds."""
    return sum(sum(map(int, _stat(pid)[_CPU])) for pid in pids) / _TICKS


def peak_bytes(pids: Iterable[int]) -> int:
    """Return the sum of the peak memory of processes, bytes."""
    return sum(_peak_bytes(pid) for pid in pids)


def forget_peaks(pids: Iterable[int]) -> None:
    """Reset the peak memory of processes (proc(5), clear_refs)."""
    for pid in pids:
        (_PROC / str(pid) / "clear_refs").write_text("5")


def _peak_bytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:"))


def _stat(pid: int) -> list[str]:
    """Return the fields of a process after its name, which may contain blanks; [] if it has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _environment() -> dict[str, str]:
    """Return our environment without the caller's settings and tracing."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MIRRORSTREAM_", "OTEL_"))}


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # a shell's exit code for a process ended by a signal
