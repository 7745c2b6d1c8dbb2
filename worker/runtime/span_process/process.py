"""Keeps the process that sends spans (`child`): starts it with the first batch, and anew after it has died.

    it dies                 the batch that it had is lost, and why is told as a collector's outage is
    it does not answer      the same, after `answer_s`; it is killed
    it dies again           it is started 1, 2, 4 ... 60 s later; what comes before that is lost
    the worker stops        it ends once it has answered, or is killed
    the worker is killed    the kernel kills it

What is lost is counted.  None of this waits for anything but the thread that sends batches.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan

from worker.runtime.span_process.child import get, put
from worker.runtime.span_process.pack import pack
from worker.runtime.tracing.plain_spans import PlainSpan
from worker.system.parent_death import ending_with_parent

ANSWER_MORE_S = 30.0  # beyond the exporter's own timeout: the start, on a machine that has other work
MAX_PAUSE_S = 60.0
REAP_S = 1.0  # after the socket's end, before SIGKILL
# Without the folder in which the worker happens to run, from which anything could be imported; this very package.
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); import worker; del sys.path[0];"
    " from worker.runtime.span_process.child import main; main(*sys.argv[2:])"
)
_HOME = str(Path(__file__).parents[3])


class ExportProcess:
    """The way to one process; `made_by` is the exporter's module and class, `answer_s` how long a batch may take."""

    def __init__(self, made_by: tuple[str, str], environment: Mapping[str, str], *, answer_s: float) -> None:
        self.made_by = made_by
        self._command = [sys.executable, "-P", "-c", _START, _HOME, *made_by]
        self._environment, self._answer_s = dict(environment), answer_s
        self._child: _Child | None = None
        self._num_lost = 0  # children since the last batch that was taken
        self._not_before_s = 0.0
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The process; None where none runs."""
        return self._child.process.pid if self._child else None

    def why_not(self, spans: Sequence[ReadableSpan | PlainSpan]) -> str | None:
        """Send a batch; return why it was not taken, None if it was."""
        packed = pack(spans)
        try:
            if self._child is None:
                if self._is_closed or time.monotonic() < self._not_before_s:
                    return "the process that sends them has ended"
                self._child = _Child(self._command, self._environment, self._answer_s)
            why = self._child.ask(packed)
        except (EOFError, OSError) as error:
            return self._lost(error)
        self._num_lost = 0
        return why or None

    def close(self) -> None:
        """End the process, which has nothing left to send."""
        self._is_closed = True
        child, self._child = self._child, None
        if child is not None:
            child.end(REAP_S)

    def kill(self) -> None:
        """End the process at once, whatever it has left; whoever waits for its answer learns that."""
        self._is_closed = True
        if (child := self._child) is not None:
            child.process.kill()

    def _lost(self, error: Exception) -> str:
        child, self._child = self._child, None
        self._not_before_s = time.monotonic() + min(2.0**self._num_lost, MAX_PAUSE_S)
        self._num_lost += 1
        if child is None:
            return f"the process that sends them cannot be started: {error}"
        if isinstance(error, TimeoutError):
            child.end(0.0)
            return f"the process that sends them did not answer for {self._answer_s:g} s"
        return f"the process that sends them has ended, {_how(child.end(REAP_S))}"


class _Child:
    """One running process.  Raises `OSError` if it cannot be started."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], answer_s: float) -> None:
        ours, its = socket.socketpair()
        with its:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - the command is our own
                    ending_with_parent(command),
                    stdin=its.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=dict(environment),
                    process_group=0,  # Ctrl-C is for the worker
                )
            except BaseException:
                ours.close()
                raise
        ours.settimeout(answer_s)
        self._socket = ours
        self._requests, self._answers = ours.makefile("wb"), ours.makefile("rb")

    def ask(self, packed: bytes) -> str:
        """Return why a batch was not taken; "" if it was.  Raises `EOFError` and `OSError`."""
        put(self._requests, packed)
        return get(self._answers).decode()

    def end(self, reap_s: float) -> int:
        """Close its socket, and return its exit code."""
        with suppress(OSError):  # what could not be written
            self._requests.close()
        self._answers.close()
        self._socket.close()
        try:
            return self.process.wait(reap_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
