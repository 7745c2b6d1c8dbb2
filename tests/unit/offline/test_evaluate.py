"""`mirrorstream evaluate`: the same bytes after any kill, a gate that fails, and what a part of a question is worth."""

import bz2
import gzip
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.full_disk import files_of_at_most
from tests.unit.offline.test_reading import zstd
from worker.cli.main import app
from worker.core.codec.avro_encoder import plain
from worker.core.errors import BadSettings, Fatal
from worker.demo.real_choices import choices
from worker.engines import factory
from worker.engines.choice_model import ChoiceModel
from worker.offline.evaluate import parts
from worker.offline.evaluate.output_files import write_whole
from worker.offline.evaluate.reading import Files
from worker.offline.evaluate.run import Arm, evaluate
from worker.settings import load

CHOICE_MODEL = ("--set", "engine=choice-model")
KEPT = ("answers.jsonl", "report.json", "report.html")


def written(path: Path, *, users: int = 60, seed: int = 1) -> Path:
    with path.open("w") as file:
        for pair in choices(seed, num_users=users):
            file.writelines(json.dumps(plain(record)) + "\n" for record in pair)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("choices") / "choices.jsonl")


def command(file: Path, out: Path, *more: str, code: int = 0) -> str:
    found = CliRunner().invoke(app, ["evaluate", str(file), *CHOICE_MODEL, "--out", str(out), *more])
    assert found.exit_code == code, found.output
    return found.stdout


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT}


def test_a_run_that_was_cut_at_any_byte_ends_in_the_same_bytes(tmp_path: Path, file: Path) -> None:
    command(file, tmp_path / "whole")
    whole, rng = bytes_of(tmp_path / "whole"), random.Random(7)
    for number in range(10):
        out = tmp_path / f"cut-{number}"
        out.mkdir()
        (out / "answers.jsonl").write_bytes(whole["answers.jsonl"][: rng.randrange(len(whole["answers.jsonl"]))])
        command(file, out)
        assert bytes_of(out) == whole
        assert sorted(path.name for path in out.iterdir()) == sorted(KEPT)


@pytest.mark.long
def test_kill_9_at_ten_random_points_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Each process is killed at a random moment of its asking; the last one is left alone."""
    file = written(tmp_path / "many.jsonl", users=1_500)
    slow = (*CHOICE_MODEL, "--set", "choice_latency_s=0.02")
    command(file, tmp_path / "whole")
    run = [sys.executable, "-m", "worker", "evaluate", str(file), *slow, "--out", str(tmp_path / "killed")]
    rng, answered, kills = random.Random(3), tmp_path / "killed" / "answers.jsonl", 0
    while kills < 10:
        before = answered.stat().st_size if answered.exists() else 0
        with subprocess.Popen(run, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and (answered.stat().st_size if answered.exists() else 0) <= before:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            if process.wait() == 0:
                break
        kills += 1
    assert kills == 10
    command(file, tmp_path / "killed")
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path, file: Path) -> None:
    first = command(file, tmp_path / "out")
    assert "120 real choices" in first
    assert command(file, tmp_path / "out") == first
    file_of_more = tmp_path / "more.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file_of_more.write_text("".join(lines[2:]))
    with pytest.raises(BadSettings, match=r"more.jsonl, line 1: is not what was asked before \(line 1\)"):
        evaluate(Files(file_of_more), [own()], out=tmp_path / "out")
    with pytest.raises(BadSettings, match="answers of another evaluation"):
        evaluate(Files(file), [own(draws=4)], out=tmp_path / "out")


def test_answers_of_a_model_that_was_trained_again_in_its_folder_are_not_used(tmp_path: Path) -> None:
    """Such as align/promoted: the settings are the same words, and the weights are others."""
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"first")
    before = own(model=str(tmp_path)).digest()
    assert own(model=str(tmp_path)).digest() == before
    weights.write_bytes(b"other")
    assert own(model=str(tmp_path)).digest() != before


def own(name: str = "answers", without: str = "", **more: Any) -> Arm:
    return Arm(name, load(None, {"engine": "choice-model", **more}), without)


def test_the_gate_is_the_lower_end_of_the_interval(tmp_path: Path, file: Path) -> None:
    report = json.loads(command(file, tmp_path / "out", "--json", "--min-skill", "-1"))
    low = report["arms"][0]["figures"]["figures"]["skill_uniform"]["low"]
    assert report["gate"] is None
    command(file, tmp_path / "out", "--min-skill", str(low - 1e-6))
    assert "not passed: the skill over chance is" in command(
        file, tmp_path / "out", "--min-skill", str(low + 1e-6), code=1
    )


def test_a_wrong_line_is_told_and_the_command_exits_1(tmp_path: Path, file: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(file.read_text() + '{"half": \n')
    told = command(bad, tmp_path / "out", code=1)
    assert "left out: 1 not read" in told
    assert "bad.jsonl, line 241: is not JSON" in told
    assert "120 real choices" in told


def test_the_html_report_runs_nothing_and_shows_foreign_names_as_text(tmp_path: Path, file: Path) -> None:
    hostile = tmp_path / "<script>alert(1)<x>.jsonl"
    hostile.write_text(file.read_text())
    command(hostile, tmp_path / "out", "--ablate", "history", "--compare", "draws=1")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;x&gt;.jsonl" in page
    assert "default-src &#39;none&#39;" in page
    assert "This simulator predicts real choices better than chance." in page
    assert "skill without history, minus the whole question" in page
    assert "skill of draws=1 minus answers" in page


def test_a_model_that_cannot_be_used_leaves_nothing_behind(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a base model whose letters are no single tokens: the engine says so when it starts."""

    class Unusable(ChoiceModel):
        async def start(self) -> None:
            raise Fatal("tokenizer: 'Behavior: [A' ends in the tokens ' [A', want the letter as one token")

    monkeypatch.setattr(factory, "make", lambda _: Unusable())
    with pytest.raises(Fatal, match="want the letter as one token"):
        evaluate(Files(file), [own()], out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(BadSettings, match=r"--out .*choices.jsonl: File exists; want a folder"):
        evaluate(Files(file), [own()], out=file)


@pytest.mark.parametrize("name", ["answers.jsonl", "report.json", "report.html", "outcomes.sqlite"])
def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_asked(
    tmp_path: Path, file: Path, name: str
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    with pytest.raises(BadSettings, match=rf"out/{name}: is a folder; want a file there, or none yet"):
        evaluate(Files(file), [own()], out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_a_disk_without_room_is_told_with_the_file_and_the_run_goes_on_later(tmp_path: Path, file: Path) -> None:
    command(file, tmp_path / "whole")
    whole, out = bytes_of(tmp_path / "whole"), tmp_path / "out"
    with files_of_at_most(5_000), pytest.raises(Fatal, match=r"outcomes.sqlite: .*is the disk full\?\); nothing more"):
        evaluate(Files(file), [own()], out=out)
    assert list(out.iterdir()) == []
    room = len(whole["answers.jsonl"]) - 1_000
    assert room > 60_000  # the index takes less
    kept = "what was answered before is kept, so the same command goes on from there"
    with files_of_at_most(room), pytest.raises(Fatal, match=rf"answers.jsonl: File too large; {kept}"):
        evaluate(Files(file), [own()], out=out)
    assert [(path.name, path.stat().st_size) for path in out.iterdir()] == [("answers.jsonl", room)]
    command(file, out)
    assert bytes_of(out) == whole


def test_a_report_is_whole_or_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_whole(path, "old")
    with files_of_at_most(100), pytest.raises(Fatal, match=r"report.json: File too large; nothing of it was written"):
        write_whole(path, "x" * 1_000)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("report.json", "old")]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, zstd], ids=["gz", "bz2", "zst"])
def test_a_packed_file_that_is_cut_is_told_before_an_engine_starts(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    """Also where its outcomes are in another file, so nothing else reads it to its end."""
    lines = file.read_bytes().splitlines(keepends=True)
    data = pack(b"".join(one for one in lines if b"slates" in one))
    events, outcomes = tmp_path / "events.jsonl", tmp_path / "outcomes.jsonl"
    events.write_bytes(data[: len(data) // 2])
    outcomes.write_bytes(b"".join(one for one in lines if b"slates" not in one))
    monkeypatch.setattr(factory, "make", lambda _: pytest.fail("an engine was made"))
    with pytest.raises(BadSettings, match=r"events.jsonl: .*; nothing was evaluated$"):
        evaluate(Files(events, outcomes), [own()], out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_history_without_times_is_told_not_to_have_been_checked(tmp_path: Path, file: Path) -> None:
    """Entries of after the event would make every figure a lie, and nobody can see whether these are."""
    told = "history has no times, so later entries would not be seen: 1 choices"
    assert told not in command(file, tmp_path / "all")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    del lines[0]["user"]["history"][-1]["occurred_at"]
    path = tmp_path / "untimed.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert told in command(path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["history_not_checked"] == 1
    assert told in (tmp_path / "out" / "report.html").read_text()


def test_nothing_to_evaluate_is_an_error_and_leaves_no_report(tmp_path: Path, file: Path) -> None:
    events = tmp_path / "events.jsonl"
    events.write_text("".join(line + "\n" for line in file.read_text().splitlines() if "slates" in line))
    with pytest.raises(BadSettings, match=r"has no real choice to evaluate on \(120 no_outcome\)"):
        evaluate(Files(events), [own()], out=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_part_is_worth_what_is_lost_without_it(tmp_path: Path, file: Path) -> None:
    """Users choose by the taste of their history, and nobody by the profile."""
    arms = [own(), own("without history", "history"), own("without profile", "profile"), own("four", draws=4)]
    found = evaluate(Files(file), arms, out=tmp_path / "out")
    lost, nothing, other = (one.figures["skill_uniform"] for one in found.differences)
    assert lost.high is not None
    assert lost.high < 0
    assert (nothing.value, nothing.low, nothing.high) == (0.0, 0.0, 0.0)
    assert abs(other.value) < 0.01
    assert [one.choices for one in found.differences] == [120, 120, 120]


def test_only_history_and_profile_of_a_ready_scene_can_be_taken_out(tmp_path: Path) -> None:
    text = {"profile": "p\n", "history": "A\n", "action_list": ["x\n", "y\n"]}
    scenes = tmp_path / "scenes.jsonl"
    scenes.write_text(json.dumps({"text": text, "user_id": 1, "item_pos": 0, "dataset": "ml-1m"}) + "\n")
    with pytest.raises(BadSettings, match=r"scenes.jsonl, line 1: is a ready scene, of which only history and profile"):
        evaluate(Files(scenes), [own(), own("r", "ratings")], out=tmp_path / "out")
    with pytest.raises(BadSettings, match="--ablate tings: want some of history"):
        parts.without("tings")
