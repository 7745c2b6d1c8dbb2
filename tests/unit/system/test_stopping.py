"""Ctrl-C unwinds once and says so in one line, whatever the command is doing."""

import asyncio
import gc
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.harness import environment
from tests.support.patience import patience
from worker.system.stopping import SIGNALS, STOPPED, Enough, stoppable

# The command, with a signal when a module is imported.  Python's own start, which is before all of them, takes 50 ms
# and prints a traceback: no code of ours runs there.
AT_IMPORT = """
import os, runpy, signal, sys
at = sys.argv.pop(1)
sys.addaudithook(lambda event, words: event == "import" and words[0] == at and os.kill(os.getpid(), signal.SIGINT))
runpy.run_module("worker", run_name="__main__", alter_sys=True)
"""
THROUGH_EXEC = r"""
import signal, sys
from worker.system.stopping import stoppable
sys.exit(stoppable(lambda: exec("signal.raise_signal(signal.SIGINT)\nwhile True: pass")))
"""
ROOT = Path(__file__).parents[3]
IN_CALLBACK = """
import signal, sys, weakref
from worker.system.stopping import stoppable

def work():
    import program  # this file, once more
    return 0

if __name__ == "__main__":
    sys.exit(stoppable(work))
reference = weakref.ref(type("Lock", (), {})(), lambda _: signal.raise_signal(signal.SIGINT))
"""
DEMO = ("demo", "--engine", "choice-model")
NOWHERE = ("--bootstrap", "127.0.0.1:1", "--set", "engine=choice-model")


@pytest.fixture(autouse=True)
def _no_signal_is_ignored() -> Iterator[None]:
    """Under `nohup` SIGHUP is."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    for one, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(one, signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("worker.cli.main", DEMO),
        ("typer", DEMO),
        ("pydantic", DEMO),  # while dataclasses are made, whose text `exec` runs
        ("worker.demo.run", DEMO),
        ("worker.demo.traffic", DEMO),
        ("numpy", DEMO),
        ("worker.settings", ("--version",)),
        ("worker.runtime.app", ("run", *NOWHERE)),
        ("worker.cli.check", ("check", *NOWHERE)),
        ("worker.experiment.service", ("experiment", "serve", "--bootstrap", "127.0.0.1:1")),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_ctrl_c_while_a_command_is_loaded_is_one_line_and_one_exit_code(
    module: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    done = run(tmp_path, AT_IMPORT, module, *words)
    assert (done.returncode, done.stderr, done.stdout) == (STOPPED, "stopped\n", "")


def test_a_command_that_is_stopped_within_exec_ends_with_the_exit_code_too(tmp_path: Path) -> None:
    """Python ends by the signal where a plain `KeyboardInterrupt` came out of a text that is executed."""
    done = run(tmp_path, THROUGH_EXEC)
    assert (done.returncode, done.stderr) == (STOPPED, "stopped\n")


def test_a_callback_within_an_import_does_not_swallow_the_signal(tmp_path: Path) -> None:
    """The import system has such callbacks, of its locks."""
    done = run(tmp_path, IN_CALLBACK)
    assert (done.returncode, done.stderr) == (STOPPED, "stopped\n")


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """`nohup`, and what a shell's script starts in the background."""
    ignoring = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{AT_IMPORT}"
    done = run(tmp_path, ignoring, "typer", "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_when_a_command_is_done_changes_nothing(tmp_path: Path) -> None:
    """Python puts the signal's own action back while it clears up, which would end the process by it."""
    late = "import atexit, os, signal; atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    done = run(tmp_path, late + AT_IMPORT, "never", "--version")
    assert (done.returncode, done.stderr) == (0, "")


def run(folder: Path, code: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a program as a module, as `python -m worker` is: only then does Python end by a signal that it has noted."""
    (folder / "program.py").write_text(code, encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "program", *words],
        capture_output=True, text=True, timeout=patience(60), check=False,
        env={**environment(), "PYTHONPATH": f"{folder}:{ROOT}"},
    )  # fmt: skip


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


def test_what_handles_a_second_signal_can_be_chosen() -> None:
    heard = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
        return 0

    code = stoppable(work, signals=(signal.SIGINT,), again=lambda number, _frame: heard.append(number))
    assert (code, heard) == (STOPPED, [signal.SIGINT])


@pytest.mark.filterwarnings("error")
def test_a_signal_in_an_event_loop_cancels_its_tasks(caplog: pytest.LogCaptureFixture) -> None:
    """A task in whose step it was raised would keep it, and report it as its own failure."""
    unwound = []

    async def ask() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(3600)

    async def work() -> int:
        asking = asyncio.ensure_future(ask())
        try:
            await asyncio.sleep(3600)
        finally:
            unwound.append(await asyncio.gather(asking, return_exceptions=True))
        return 0

    assert stoppable(lambda: asyncio.run(work())) == STOPPED
    gc.collect()
    assert [type(one) for (one,) in unwound] == [asyncio.CancelledError]
    assert caplog.text == ""
