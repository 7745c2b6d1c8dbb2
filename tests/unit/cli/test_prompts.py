"""`prompts render` and `prompts parse`: how users debug, so they need no Kafka and no vLLM."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.patience import patience
from worker.cli.main import app
from worker.core.errors import BadSettings
from worker.settings import prompt_profiles

IMPRESSION = {
    "event_id": "0b9ad3f5-5d3c-4d3e-9a53-1f0f5a1c7e11",
    "occurred_at": 1_764_500_000_000_000,
    "domain": "movies",
    "user": {
        "user_id": "u1",
        "history": [
            {"item": {"item_id": "m1", "attributes": {"title": "Heat (1995)", "genres": "Crime"}}, "rating": 5.0}
        ],
    },
    "slates": [
        {"variant": "a", "role": "CONTROL", "items": [{"item_id": "2", "position": 0, "text": "Fargo"}]},
        {"variant": "b", "role": "CANDIDATE", "items": [{"item_id": "3", "position": 0, "text": "Ronin"}]},
    ],
}


def run(*arguments: str, text: str | None = None) -> str:
    result = CliRunner().invoke(app, ["prompts", *arguments], input=text, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def impression(tmp_path: Path) -> Path:
    path = tmp_path / "impression.json"
    path.write_text(json.dumps(IMPRESSION))
    return path


def test_render_prints_what_the_model_is_shown(impression: Path) -> None:
    system, user, assistant = json.loads(run("render", "--impression", str(impression), "--duel", "b"))
    assert [message["role"] for message in (system, user, assistant)] == ["system", "user", "assistant"]
    assert "A movie viewed earlier\nHeat (1995) Crime \nMy Behavior:\nRating: 5.0/5.0\n" in user["content"]
    assert {"[A] Fargo", "[B] Ronin"} <= set(user["content"].split("\n")) or {"[A] Ronin", "[B] Fargo"} <= set(
        user["content"].split("\n")
    )
    assert assistant["content"] == "Thought:\nStimulus:"


def test_render_tells_what_one_would_not_see_in_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "impression.json"
    shown = json.loads(json.dumps(IMPRESSION))
    shown["slates"][0]["items"][0]["text"] = "[A] Fargo"
    shown["user"]["history"][0]["occurred_at"] = shown["occurred_at"]
    path.write_text(json.dumps(shown))
    result = CliRunner().invoke(app, ["prompts", "render", "--impression", str(path)], catch_exceptions=False)
    assert json.loads(result.stdout)
    assert result.stderr.splitlines() == [
        "status TRIVIAL: the worker would not ask this",
        "flags: sanitised",
        "1 history entries are not before the impression and are not shown",
    ]


def test_the_second_draw_turns_the_order_round(impression: Path) -> None:
    def options(draw: str) -> list[str]:
        user = json.loads(run("render", "--impression", str(impression), "--duel", "b", "--draw", draw))[1]["content"]
        return [line[4:] for line in user.split("\n") if line.startswith("[")]

    assert options("1") == options("0")[::-1]


def test_render_names_the_questions_that_there_are(impression: Path) -> None:
    with pytest.raises(BadSettings, match="SLATE:a, SLATE:b, DUEL:b"):
        run("render", "--impression", str(impression), "--variant", "c")


def test_parse_reads_a_completion_from_standard_input() -> None:
    record = json.loads(run("parse", "--options", "2", text=" I am bored.\nEvaluation Style: Logical\nBehavior: [B]"))
    assert record["rationale"]["stimulus"] == "I am bored."
    assert (record["parse_status"], record["behavior"]) == ("PARTIAL", "B")


def test_parse_does_not_believe_a_letter_that_was_not_offered() -> None:
    assert json.loads(run("parse", "--options", "2", text="Behavior: [C]"))["behavior"] is None


def test_parse_looks_for_the_profiles_own_labels(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        prompt_profiles.text("mirror-v1").replace("  behavior: Behavior", "  behavior: Wahl"), encoding="utf-8"
    )
    record = json.loads(run("parse", "--options", "2", "--profile", str(path), text="Bored.\nWAHL: [B]\nBehavior: [A]"))
    assert (record["rationale"]["stimulus"], record["behavior"]) == ("Bored.", "B")


# -- streams that are gone


def command(line: str, *, buffered: bool) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which M is the command; output is the shell's, so that streams can be taken away."""
    environment = {**os.environ, "M": f"{sys.executable} -m worker"} | ({} if buffered else {"PYTHONUNBUFFERED": "1"})
    if buffered:
        environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("$M prompts parse --options 2 <&-", 2, "error: standard input is closed; want a completion there\n"),
        ("echo x | $M prompts parse --options 2 >/dev/full", 1, "error: No space left on device: not everything was"),
        ("$M prompts --help >/dev/full", 1, "error: No space left on device: not everything was written\n"),
        ("$M prompts show mirror-v1 | true", 1, ""),
        ("$M prompts list --json | head -c 1 >/dev/null", None, ""),  # it may be done before `head` is
        ("$M prompts list >&-", 0, ""),
    ],
)
def test_a_stream_that_is_gone_is_told_or_passed_over(
    line: str,
    code: int | None,
    words: str,
    buffered: bool,
) -> None:
    """Never a traceback, nor Python's own word on it at the very end."""
    done = command(line, buffered=buffered)
    assert code in (None, done.returncode)
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == (1 if words else 0)


def test_neither_needs_vllm_or_kafka() -> None:
    """In a process of its own: other tests of this run import both."""
    code = "import sys, worker.cli.prompts; sys.exit(any(name in sys.modules for name in ('vllm', 'confluent_kafka')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_of_several_impressions_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "many.jsonl").write_text("{}\n{}\n")
    done = CliRunner().invoke(app, ["prompts", "render", "--impression", str(tmp_path / "many.jsonl")])
    assert "holds more than one JSON value; want one impression (head -1 " in str(done.exception)
