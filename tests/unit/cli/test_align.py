"""`mirrorstream align` from the command line: what its options do, what it prints, and its exit status."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.offline.align import test_judge
from tests.unit.offline.align.test_judge import USERS, Knowing
from tests.unit.offline.align.test_steps import FakeEngine
from worker.cli.main import app
from worker.core.errors import BadSettings
from worker.offline.align import choice_source, judging, steps

work = test_judge.work
DIVIDED = ["--held-out-users", "0.5", "--later-share", "0.5"]


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for step, engine in ((steps.collect, FakeEngine), (judging.judge, Knowing)):
        defaults = step.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "make", engine)


def told(*words: object, code: int = 0) -> Any:
    """Return what a command prints as JSON."""
    result = CliRunner().invoke(app, ["align", *map(str, words), "--json"])
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout)


def collect(place: Path, *more: object) -> Any:
    named = ["--set-strong", "model=strong", "--set-weak", "model=weak", "--draws", 2]
    return told("collect", place.parent / "choices.jsonl", "--work", place, *named, *DIVIDED, *more)


def test_the_steps_from_the_command_line(work: Path) -> None:
    other = work.parent / "other"
    other.mkdir()
    found = collect(work.parent / "fresh")
    assert set(found["parts"]) == {"train", "judge", "unused"}
    assert found["statuses"]["strong"] == {"OK": 2 * found["parts"]["train"]}
    picked = told("select", "--work", work.parent / "fresh", "--by", "accuracy", "--keep", 7)
    assert picked["scenes"] == 7
    judged = told(
        "judge",
        work.parent / "choices.jsonl",
        "--work",
        work,
        "--set",
        f"model={test_judge.base_of(work)}",
        "--licence",
        "MIT",
    )
    assert judged["promoted"] is True
    assert "| licence of the base model | MIT |" in (work / "promoted" / "README.md").read_text()


def test_what_is_not_promoted_exits_1_and_says_why(
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Knowing, "after", 0.3)
    words = ["align", "judge", str(work.parent / "choices.jsonl"), "--work", str(work)]
    words += ["--set", f"model={test_judge.base_of(work)}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "\nnot promoted: the probability of the real choice is not surely higher (0." in result.stdout


def test_users_to_forget_may_be_in_a_file(work: Path) -> None:
    names = work.parent / "forget.txt"
    lines = "".join(f"user-1-{number:06d}\n" for number in range(USERS // 2))
    names.write_text(lines, encoding="utf-8-sig")  # as some editors do, which is no part of the first id
    all_parts = collect(work.parent / "a")["parts"]
    less = collect(work.parent / "b", "--forget", f"@{names}")["parts"]
    assert sum(less.values()) == sum(all_parts.values()) // 2


def test_what_may_have_been_forgotten_less_than_was_asked_exits_6(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is done; the ids that matched nobody are printed, and --json has them all.

    What is not promoted exits with 1 all the same: a script that deploys must tell the two apart.
    """
    words = ["align", "collect", str(work.parent / "choices.jsonl"), "--work", str(work.parent / "fresh"), *DIVIDED]
    words += ["--set-strong", "model=strong", "--set-weak", "model=weak", "--draws", "2"]
    for number in range(25):
        words += ["--forget", f"typo-{number:02d}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 6
    assert (work.parent / "fresh" / "weak.jsonl").is_file()
    assert result.stdout.count(": is in no choice\n") == 20
    assert result.stdout.endswith("\n--forget: 5 more are in no choice; --json has all\n")
    named = ["judge", work.parent / "choices.jsonl", "--set", f"model={test_judge.base_of(work)}"]
    judged = told(*named, "--work", work, "--forget", "typo", "--forget", "user-1-000001", code=6)
    assert (judged["promoted"], judged["unknown"]) == (True, ["typo"])
    (work / "after.jsonl").unlink()
    (work / "before.jsonl").unlink()
    monkeypatch.setattr(Knowing, "after", 0.3)
    judged = told(*named, "--work", work, "--forget", "typo", code=1)
    assert (judged["promoted"], judged["unknown"]) == (False, ["typo"])
    assert told("select", "--work", work, "--forget", "typo", code=6)["unknown"] == ["typo"]
    assert told("select", "--work", work.parent / "fresh")["unknown"] == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["select", "--by", "randon"], "--by randon: want uncertainty, accuracy, ifd, random; did you mean random"),
        (["select", "--forget", "@nosuch"], "--forget @nosuch: No such file or directory; want a file with one user"),
        (["collect", "nosuch.jsonl", "--redact", "nosuch:x"], "--redact nosuch:x: No module named 'nosuch'; want"),
        (["collect", "nosuch.jsonl"], "nosuch.jsonl: No such file or directory"),
        (["train", "--base", "x", "--hyper-parameters", "nosuch"], "hyper-parameters nosuch: No such file"),
        (["train", "--base", "x"], "selected.jsonl: is not there; run `mirrorstream align select` first"),
    ],
)
def test_words_that_are_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], wrong: str) -> None:
    monkeypatch.chdir(tmp_path)
    error = CliRunner().invoke(app, ["align", *words]).exception
    assert isinstance(error, BadSettings)
    assert wrong in str(error)


@pytest.mark.parametrize(("rank", "code"), [("0", 6), ("1", 0)])
def test_the_first_of_several_processes_has_the_result_and_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, rank: str, code: int
) -> None:
    """A launcher ends the first as soon as another one fails, maybe before it has printed anything."""
    unknown = (choice_source.UnknownUser("typo"),)
    monkeypatch.setattr(steps, "train", lambda *_, **__: steps.Trained(3, {}, {"sft": 1, "dpo": 1}, unknown))
    monkeypatch.setenv("RANK", rank)
    result = CliRunner().invoke(app, ["align", "train", "--base", "x", "--forget", "typo"])
    assert (result.exit_code, "--forget typo: is in no choice" in result.stdout) == (code, rank == "0")
