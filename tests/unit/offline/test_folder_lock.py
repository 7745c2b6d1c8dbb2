"""Two commands in one work folder at once: the second one says who is there, and a kill locks nobody out."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.patience import patience
from worker.cli.main import app
from worker.core.errors import BadSettings
from worker.offline import folder_lock

ROOT = Path(__file__).parents[3]
HOLDING = """
import os, sys, time
from pathlib import Path
from worker.offline import folder_lock
with folder_lock.held(Path(sys.argv[1]), "--work", "align train"):
    child = os.fork() if sys.argv[2:] else os.getpid()  # an engine of its own
    if child:
        print(child, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path, *words: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Yield another process that has locked a folder until its input ends, and, with `words`, its child's id."""
    command = [sys.executable, "-c", HOLDING, str(folder), *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def hold(folder: Path) -> None:
    with folder_lock.held(folder, "--work", "align select"):
        pass


def test_the_second_command_says_who_is_in_the_folder(tmp_path: Path) -> None:
    with holder(tmp_path) as (process, _):
        with pytest.raises(BadSettings) as raised:
            hold(tmp_path)
        about = json.loads((tmp_path / ".lock").read_text())
        assert str(raised.value) == (
            f"--work {tmp_path}: `mirrorstream align train` (process {process.pid} on {os.uname().nodename}, since"
            f" {about['since']}) is working in it; nothing was done; wait for its end, or use another folder"
        )
        process.communicate("", timeout=patience(10))
        assert process.returncode == 0
        hold(tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing stays behind


def test_a_kill_leaves_no_lock_even_if_a_child_lives_on(tmp_path: Path) -> None:
    """Of an engine that notices a moment later; a lock that the child shared would keep the next command out."""
    with holder(tmp_path, "with a child") as (process, child):
        try:
            process.kill()
            process.wait(patience(10))
            os.kill(child, 0)  # is still there
            assert (tmp_path / ".lock").is_file()
            hold(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_file_that_its_holder_removes_meanwhile_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the opening and the locking of it: another command could lock a new file beside."""
    (tmp_path / ".lock").touch()
    lock, calls = fcntl.lockf, list[int]()

    def late(place: int, how: int) -> None:
        calls.append(os.fstat(place).st_ino)
        if len(calls) == 1:
            (tmp_path / ".lock").unlink()
        lock(place, how)

    monkeypatch.setattr(fcntl, "lockf", late)
    with folder_lock.held(tmp_path, "--work", "align select"):
        assert len(calls) == 2
        assert (tmp_path / ".lock").stat().st_ino == calls[1]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_is_worked_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """Folders of clusters often are on one, such as Lustre; the commands worked there before they locked anything."""

    def lockf(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with folder_lock.held(tmp_path, "--work", "align select"):
        pass
    [line] = caplog.messages
    assert line == f"{tmp_path / '.lock'}: cannot be locked: {os.strerror(number)}; nothing keeps other commands out"
    assert list(tmp_path.iterdir()) == []


def test_another_failure_of_the_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with pytest.raises(BadSettings, match=r"\.lock: Input/output error; want a place where a file can be written"):
        hold(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"command": 1}', "[" * 10_000])
def test_a_holder_that_has_said_nothing_yet_is_another_process(tmp_path: Path, text: str) -> None:
    with holder(tmp_path):
        (tmp_path / ".lock").write_text(text)
        with pytest.raises(BadSettings, match=r": another process is working in it; nothing was done; wait for"):
            hold(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        ["align", "collect", "choices.jsonl", "--work"],
        ["align", "collect", "--outcomes-topic", "outcomes", "--work"],
        ["align", "select", "--work"],
        ["align", "train", "--base", "mirror-tiny", "--work"],
        ["align", "judge", "choices.jsonl", "--work"],
        ["evaluate", "choices.jsonl", "--set", "engine=choice-model", "--out"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_every_command_that_writes_a_work_folder_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "work"
    with holder(folder):
        before = sorted(folder.iterdir())
        error = CliRunner().invoke(app, [*words, str(folder)]).exception
        assert isinstance(error, BadSettings), error
        assert f"{words[-1]} {folder}: `mirrorstream align train` (process " in str(error)
        assert error.exit_code == 2
        assert sorted(folder.iterdir()) == before


def test_of_several_processes_of_one_training_the_first_alone_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with holder(tmp_path):
        error = CliRunner().invoke(app, ["align", "train", "--base", "mirror-tiny", "--work", str(tmp_path)]).exception
        assert "selected.jsonl: is not there; run" in str(error)
