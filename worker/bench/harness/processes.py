"""Contenders as processes: started with a log, weighed from outside, ended whatever happens to the bench."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from worker.core.errors import Fatal

END_S = 30.0  # from SIGTERM to SIGKILL
COMMAND_CHARS, LOG_CHARS = 200, 3_000  # that are shown of one that failed
_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_PARENT, _CPU = 1, slice(11, 15)  # in /proc/PID/stat behind the name: own and reaped children's time, user and system
_IDLE = slice(3, 5)  # in the first line of /proc/stat: idle and waiting for a disk
_KIB = 1024


@dataclass(frozen=True, slots=True)
class Contending:
    """One process under way."""

    command: Sequence[str]
    process: "subprocess.Popen[bytes]"
    log: Path

    def raise_if_ended(self) -> None:
        """Raise `Fatal` if it is gone."""
        if (code := self.process.poll()) is not None:
            raise Fatal(f"ended with {code}, want it to go on: {self.told}")

    @property
    def told(self) -> str:
        """Its command and the end of its log, for people."""
        return f"{' '.join(self.command)[:COMMAND_CHARS]} ...:\n{self.log.read_text(errors='replace')[-LOG_CHARS:]}"

    def cpu_s(self) -> float:
        """Return what it and its descendants have used, seconds of CPU."""
        return cpu_s(tree(self.process.pid))

    def peak_bytes(self) -> int:
        """Return the most memory that it and its living descendants have held, each by itself."""
        return peak_bytes(tree(self.process.pid))

    def end(self) -> None:
        """Ask it to end, and make it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(command: Sequence[str]) -> Iterator[Contending]:
    """Run a command in a folder of its own; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="mirrorstream-bench-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*_leash(), *command], stdout=output, stderr=output, env=_environment(), cwd=folder
            )
        contending = Contending(command, process, log)
        try:
            yield contending
        finally:
            contending.end()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that no contender outlives the bench; main thread only."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def machine_cpu() -> tuple[float, float]:
    """Return what all processes of this machine have used, and what there was, seconds of CPU."""
    ticks = [int(word) for word in (_PROC / "stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[_IDLE])) / _TICKS, sum(ticks) / _TICKS


def tree(pid: int) -> list[int]:
    """List a process and its descendants that live."""
    parents = {int(path.name): _stat(int(path.name))[_PARENT : _PARENT + 1] for path in _PROC.glob("[0-9]*")}
    found = [pid]
    for one in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == [str(one)]]
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return what processes, and children of theirs that have ended, have used: seconds of CPU."""
    return sum(sum(map(int, _stat(pid)[_CPU])) for pid in pids) / _TICKS


def peak_bytes(pids: Iterable[int]) -> int:
    """Return the most memory that each process has held, all together."""
    return sum(_peak_bytes(pid) for pid in pids)


def forget_peaks(pids: Iterable[int]) -> None:
    """Count the most memory of each process anew (proc(5), clear_refs)."""
    for pid in pids:
        (_PROC / str(pid) / "clear_refs").write_text("5")


def _peak_bytes(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:  # it has ended meanwhile
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:"))


def _stat(pid: int) -> list[str]:
    """Return a process's fields behind its name, which may hold blanks; none of one that has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _leash() -> list[str]:
    """Have the kernel end a contender when the bench is killed, where util-linux is there to ask for it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _environment() -> dict[str, str]:
    """Return ours without settings and tracing that the caller may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MIRRORSTREAM_", "OTEL_"))}


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # what a shell calls a process that a signal ended
