"""Where `align collect` takes real choices from: one place, and options that belong to it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli.main import app
from worker.core.errors import BadSettings

TOPIC = ("--outcomes-topic", "outcomes")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "collect: want FILE, or --outcomes-topic to read the topics, one of them"),
        (("choices.jsonl", *TOPIC), "collect: want FILE, or --outcomes-topic"),
        (("choices.jsonl", "--since", "2026-01-01"), "--since: is for the topics, by --outcomes-topic"),
        ((*TOPIC, "--mapping", "shop.yaml"), "--mapping: is for FILE; the settings say it for topics"),
        ((*TOPIC, "--until", "tomorrow"), "--until 'tomorrow': want a time with its zone"),
    ],
)
def test_choices_come_from_a_file_or_from_topics(tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    found = CliRunner().invoke(app, ["align", "collect", *words, "--work", str(tmp_path / "work")])
    assert isinstance(found.exception, BadSettings), found.output
    assert told in str(found.exception)
    assert not (tmp_path / "work").exists()
