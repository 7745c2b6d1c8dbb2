"""What all commands have in common: help, the options that they share, and what a group does alone."""

import subprocess
import sys

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException
from typer.testing import CliRunner

from tests.support.harness import environment
from tools.reference.cli import tree
from worker import __version__
from worker.cli import main
from worker.cli.main import app
from worker.core.codec.avro_schemas import schema_text

# What prints no result of its own: a worker's and a page's lines are a log, and a schema is JSON already.
WITHOUT_RESULT = {("run",), ("experiment", "serve"), ("schemas", "show")}


COMMANDS = dict(tree(typer.main.get_command(app)))
GROUPS = [words for words, command in COMMANDS.items() if hasattr(command, "commands")]
LEAVES = [words for words in COMMANDS if words not in GROUPS]


def options(words: tuple[str, ...]) -> dict[str, list[str]]:
    return {one.name: [*one.opts, *one.secondary_opts] for one in COMMANDS[words].params}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_short_h_is_help(words: tuple[str, ...]) -> None:
    short, long = (CliRunner().invoke(app, [*words, one]) for one in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "Usage: " in short.stdout


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_a_group_alone_shows_its_help_and_that_is_no_mistake(words: tuple[str, ...]) -> None:
    alone = CliRunner().invoke(app, list(words))
    assert alone.exit_code == 0
    assert alone.stdout.strip() == CliRunner().invoke(app, [*words, "--help"]).stdout.strip()


def test_a_command_that_is_none_is_a_mistake_all_the_same() -> None:
    assert CliRunner().invoke(app, ["nosuch"]).exit_code == 2
    assert CliRunner().invoke(app, ["topics", "nosuch"]).exit_code == 2


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_that_prints_a_result_prints_it_as_json_too(words: tuple[str, ...]) -> None:
    assert ("--json" in options(words).get("as_json", [])) is (words not in WITHOUT_RESULT)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_whoever_takes_settings_takes_brokers_the_same_way(words: tuple[str, ...]) -> None:
    found = options(words)
    shared = {name: opts for name, opts in found.items() if name in {"config", "settings", "bootstrap"}}
    assert shared in (
        {},
        {"config": ["--config", "-c"], "settings": ["--set", "-s"]},  # offline, without Kafka
        {"bootstrap": ["--bootstrap", "-b"]},  # the demo, which makes all other settings itself
        {"config": ["--config", "-c"], "bootstrap": ["--bootstrap", "-b"], "settings": ["--set", "-s"]},
    )


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "--version"], capture_output=True, text=True, env=environment(), timeout=60,
        check=True,
    )  # fmt: skip
    assert done.stdout == f"{__version__}\n"


def test_shells_can_complete_the_command() -> None:
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert "--install-completion" in shown
    assert "--show-completion" in shown


def test_an_error_of_kafkas_client_is_a_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise KafkaException(KafkaError(KafkaError.NOT_CONTROLLER))

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    assert " ".join(capsys.readouterr().err.split()) == (
        "error: Kafka: the cluster's controller has just moved (NOT_CONTROLLER)"
    )


def test_an_error_of_our_own_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(main, "app", fail)
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_the_demo_names_the_engine_that_was_meant() -> None:
    done = CliRunner().invoke(app, ["demo", "--engine", "choice"])
    assert str(done.exception) == "--engine choice: want vllm or choice-model; did you mean choice-model?"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("run", "--from", "2026-11-02", "--to", "2026-11-01", "--until-end"), "is an empty range"),
        (("run", "--from", "soon"), "--from 'soon': want a time with its zone"),
        (("run", "--until-end", "--to", "2026"), "--to '2026': want a time with its zone"),
        (("dlq", "replay", "--since", "2026-11-01T00:00"), "--since '2026-11-01T00:00': want a time with its zone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_time_is_checked_before_anything_else(words: tuple[str, ...], told: str) -> None:
    assert told in str(CliRunner().invoke(app, list(words)).exception)


def test_a_day_is_said_to_begin_at_midnight_utc() -> None:
    done = CliRunner().invoke(app, ["run", "--from", "2026-11-02", "--to", "2026-11-01", "--until-end"])
    assert "--from 2026-11-02: taken as 2026-11-02T00:00Z, midnight UTC" in done.stderr
    assert "--to 2026-11-01: taken as 2026-11-01T00:00Z, midnight UTC" in done.stderr


def test_a_schema_is_printed_as_it_is_and_a_wrong_name_names_the_right_ones() -> None:
    shown = CliRunner().invoke(app, ["schemas", "show", "Outcome"])
    assert (shown.exit_code, shown.stdout) == (0, schema_text("Outcome"))
    wrong = subprocess.run(
        [sys.executable, "-m", "worker", "schemas", "show", "Outcom"], capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "Outcom: is no schema; did you mean Outcome?; want one of RecommendationImpression" in " ".join(
        wrong.stderr.split()
    )
