"""Runs a command as somebody at a terminal does: on a pseudo-terminal, in a process group that Ctrl-C reaches whole."""

import fcntl
import os
import pty
import secrets
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.harness import POLL_S, environment
from tests.support.patience import patience

WAIT_S = 240.0  # for something that takes seconds alone
END_S = 30.0  # for a command to end what it has started
MARK = "TERMINAL_OF_TEST"  # a variable of the environment: every process that the command starts has it


class Terminal:
    """A command, its process group, and all that it has printed."""

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self._mark = secrets.token_hex(8)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 300, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**environment(), "BROWSER": "true", **variables, MARK: self._mark},
        )  # fmt: skip
        os.close(slave)
        self._printed = b""
        self._sessions: set[str] = set()  # of processes that it has started
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    @property
    def printed(self) -> str:
        return self._printed.decode(errors="replace").replace("\r", "\n")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until the condition holds; fail if the command ends or the time does."""
        deadline_s = time.monotonic() + patience(WAIT_S)
        while not condition():
            assert self.process.poll() is None, f"want {what}, but it ended:\n{self.printed}"
            assert time.monotonic() < deadline_s, f"no {what} within {WAIT_S} s:\n{self.printed}"
            time.sleep(POLL_S)

    def until_printed(self, text: str) -> None:
        self.until(lambda: text in self.printed, f"`{text}`")

    def interrupt(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.processes()  # whose sessions are known from here on
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(patience(WAIT_S))
        self._reading.join(patience(WAIT_S))
        return code

    def processes(self) -> list[str]:
        """Return the command lines of all processes that it has started and that still run, its own too.

        One that gives itself another title (vLLM's engine core) loses its mark, but not its session.
        """
        mark, found = f"{MARK}={self._mark}".encode(), []
        for one in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                marked = mark in (one / "environ").read_bytes()
                session = (one / "stat").read_text(errors="replace").rpartition(")")[2].split()[3]
                self._sessions |= {session} if marked else set()
                words = (one / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append((session, words))
        return [words for session, words in found if session in self._sessions and words]

    def end(self) -> None:
        """End it, if it still runs: politely, for only it can end what it has started."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(patience(END_S))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(patience(WAIT_S))
        self._reading.join(patience(WAIT_S))
        os.close(self._master)

    def _read(self) -> None:
        with suppress(OSError):  # how a pseudo-terminal tells its end
            while part := os.read(self._master, 65_536):
                self._printed += part


@contextmanager
def terminal(*command: str, **variables: str) -> Iterator[Terminal]:
    """Run a command for the length of the block."""
    found = Terminal(command, variables)
    try:
        yield found
    finally:
        found.end()
