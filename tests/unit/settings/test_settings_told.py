"""What is told of wrong settings: the place and the problem, never a text that may hold a password."""

import json
from pathlib import Path
from typing import Any

import pytest

from worker.cli.options import settings_of
from worker.core.errors import BadSettings, masked
from worker.experiment import definition
from worker.settings import load

SECRET = "S3CRET-PASSWORD"  # noqa: S105 - what must not be told


def told(path: Path | None = None, *flags: str, **overrides: Any) -> str:
    with pytest.raises(BadSettings) as caught:
        settings_of(path, None, list(flags), **overrides)
    assert "S3CRET" not in str(caught.value)
    assert "PASSWORD" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('kafka_options:\n  sasl.password: "S3CRET-PASSWORD\n', "line 3, column 1: "),
        ("kafka_options:\n  sasl.password: S3CRET: PASSWORD\n", "line 2, column 24: mapping values are not allowed"),
        ("kafka_options:\n  sasl.password: @S3CRET-PASSWORD\n", "line 2, column 18: "),
        ("kafka_options:\n  sasl.password: `S3CRET-PASSWORD\n", "line 2, column 18: "),
        ("kafka_options:\n  sasl.password: %S3CRET-PASSWORD\n", "line 2, column 18: "),
        ("kafka_options:\n  sasl.password: *S3CRET-PASSWORD\n", "line 2, column 18: found undefined alias ..."),
        ("kafka_options:\n  sasl.password: !S3CRET-PASSWORD\n", "line 2, column 18: could not determine a constr"),
        ("kafka_options:\n  sasl.password: !S3CRET!PASSWORD\n", "line 2, column 18: while parsing a node, found"),
        ("kafka_options:\n  sasl.password: !!int S3CRET-PASSWORD\n", "line 2, column 18: invalid literal for int"),
        ("kafka_options:\n  sasl.password: !!float S3CRET-PASSWORD\n", "line 2, column 18: could not convert"),
        ("kafka_options:\n  sasl.password: !!bool S3CRET-PASSWORD\n", "line 2, column 18: "),
        ("kafka_options:\n  sasl.password: !!binary S3CRET-PASSWORDé\n", "line 2, column 18: "),
        ("kafka_options:\n  sasl.password: !!timestamp S3CRET-PASSWORD\n", "line 2, column 18: "),
        ("kafka_options:\n  sasl.password: {S3CRET-PASSWORD\n", "line 3, column 1: "),
        ("kafka_options:\n  sasl.password: 'S3CRET-PASSWORD'S3CRET\n", "line 2, column 35: "),
        ('kafka_options:\n  sasl.password: "S3CRET\\-PASSWORD"\n', "line 2, column 26: "),
        ("kafka_options:\n\tsasl.password: S3CRET-PASSWORD\n", "line 2, column 1: "),
        ("kafka_options:\n  sasl.password: S3CRET-PASSWORD\x07\n", "special characters are not allowed"),
        ("kafka_options:\n  sasl.password: &S3CRET-PASSWORD\n  x: &S3CRET-PASSWORD y\n z", "line "),
        ("x: !!python/object/apply:os.system ['S3CRET-PASSWORD']\n", "line 1, column 4: "),
        ("start_from: 2026-13-01\n", "line 1, column 13: month must be in 1..12"),
    ],
)
def test_a_file_that_is_not_yaml_is_told_by_place_and_problem(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    line = told(path)
    assert line.startswith(f"{path}: is not YAML: ")
    assert problem in line
    with pytest.raises(BadSettings) as caught:  # the same of the other files that people write
        definition.load(path)
    assert "S3CRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "kafka_optoins:\n  sasl.password: S3CRET-PASSWORD\n",
            "kafka_optoins: not a setting; did you mean kafka_opt",
        ),
        ("grop_id: g\n", "grop_id: not a setting; did you mean group_id?"),
        ('kafka_options: "sasl.password=S3CRET-PASSWORD"\n', "kafka_options: want JSON"),
        ("kafka_options: [sasl.password, S3CRET-PASSWORD]\n", "kafka_options: want a mapping of names to values"),
        ("kafka_options:\n  sasl.password: [S3CRET-PASSWORD]\n", "kafka_options.sasl.password: want text"),
        ("kafka_options:\nsasl.password: S3CRET-PASSWORD\n", "sasl.password: not a setting"),
        ("vllm_options: [hf_token, S3CRET-PASSWORD]\n", "vllm_options: want a mapping of names to values"),
        ("vllm_options: hf_token=S3CRET-PASSWORD\n", "vllm_options: want JSON"),
        ("schema_registry_url: http://user:S3CRET-PASSWORD@127.0.0.1:1\n", "schema_registry_url: want http://HOST:P"),
        ("schema_registry_url: http://user:S3C/RET-PASSWORD@127.0.0.1:1\n", "schema_registry_url: want http://HOST:"),
        ("schema_registry_url: http://127.0.0.1:1?key=S3CRET-PASSWORD\n", "schema_registry_url: want http://HOST:P"),
        ("schema_registry_url: http://a:1,http://me:S3CRET-PASSWORD@b\n", "schema_registry_url: want http://HOST:P"),
        ("schema_registry_url: {user: S3CRET-PASSWORD}\n", "schema_registry_url: want text"),
        ("server_urls: [http://user:S3CRET-PASSWORD@gpu]\n", "server_urls: want http://HOST:PORT each"),
        ("bootstrap_servers: user:S3CRET-PASSWORD@kafka:9092\n", "bootstrap_servers: want HOST:PORT, several by c"),
        ("bootstrap_servers: SASL_SSL://user:S3CRET-PASSWORD@kafka:9092\n", "bootstrap_servers: want HOST:PORT"),
        ("draws: {password: S3CRET-PASSWORD}\n", "draws: want a whole number; seen a map"),
        ("draws: [S3CRET-PASSWORD]\n", "draws: want a whole number; seen a list"),
        ("model: http://me:S3CRET-PASSWORD@hub\ntop_p: http://me:S3CRET-PASSWORD@hub\n", "seen 'http://***@hub'"),
    ],
)
def test_a_setting_that_may_hold_a_password_is_told_by_name_and_problem(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    assert problem in told(path)


@pytest.mark.parametrize(
    "value", ['{"sasl.password": "S3CRET-PASSWORD"', '["S3CRET-PASSWORD"]', '"S3CRET-PASSWORD"', "S3CRET-PASSWORD", "5"]
)
@pytest.mark.parametrize("name", ["kafka_options", "vllm_options"])
def test_variables_and_flags_are_told_no_better(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert f"{name}: " in told(None, f"{name}={value}")
    monkeypatch.setenv(f"MIRRORSTREAM_{name.upper()}", value)
    assert f"{name}: " in told()


@pytest.mark.parametrize(
    "flag", ["S3CRET-PASSWORD", "=S3CRET-PASSWORD", 'kafka_options:{"sasl.password":"S3CRET-PASSWORD"}']
)
def test_an_assignment_that_is_none_is_not_repeated(flag: str) -> None:
    assert told(None, flag) == "--set ...: want NAME=VALUE"


def test_a_password_in_an_address_is_masked() -> None:
    assert masked("proxy http://me:p@ss:w0rd/x@proxy:3128/ failed") == "proxy http://***@proxy:3128/ failed"
    assert masked("http://a:1,http://me:s@b:2, mail me@example.org") == "http://***@b:2, mail me@example.org"
    assert masked("http://registry:8081/subjects/a") == "http://registry:8081/subjects/a"


# -- names and addresses


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ("http://localhost:9092", "want HOST:PORT, several by comma, without http://; seen 'http://localhost:9092'"),
        ("https://kafka:9092,other:9092", "want HOST:PORT, several by comma, without https://; seen 'https://kafka:9"),
        ("localhost:9092/", "want HOST:PORT, several by comma; seen 'localhost:9092/'"),
        ("localhost:port", "want HOST:PORT"),
        ("localhost:99999", "want HOST:PORT"),
        ("localhost 9092", "want HOST:PORT"),
        ("localhost;9092", "want HOST:PORT"),
        ("::1:9092", "want HOST:PORT"),
        (",", "want HOST:PORT"),
    ],
)
def test_brokers_are_addresses(servers: str, problem: str) -> None:
    assert told(None, bootstrap_servers=servers).startswith(f"bootstrap_servers: {problem}")


@pytest.mark.parametrize(
    "servers",
    [
        "localhost",
        "kafka-0.kafka.svc:9092, kafka-1:9093,",
        "[::1]:9092",
        "SASL_SSL://b-1.msk.amazonaws.com:9098",
        "10.0.0.1:1",
    ],
)
def test_addresses_as_the_client_takes_them_are_left(servers: str) -> None:
    assert load(None, {"bootstrap_servers": servers}).bootstrap_servers == servers


@pytest.mark.parametrize("name", ["", " ", "a b", "a/b", "é", "a\n", ".", "..", "x" * 250])
@pytest.mark.parametrize("setting", ["output_topic", "dead_letter_topic", "input_topics"])
def test_a_topic_has_a_name_that_kafka_takes(setting: str, name: str) -> None:
    assert f"{setting}: " in told(None, **{setting: [name] if setting == "input_topics" else name})


@pytest.mark.parametrize("name", ["", " ", " a", "a\n", "a\0b", "x" * 256])
@pytest.mark.parametrize("setting", ["group_id", "transactional_id_prefix"])
def test_an_identity_is_one_that_client_and_broker_take(setting: str, name: str) -> None:
    """A blank group ends the process inside the client; one of 40,000 characters is waited for without end."""
    assert f"{setting}: " in told(None, **{setting: name})


def test_names_that_kafka_takes_are_left() -> None:
    found = load(None, {"group_id": "Empfehlung für A/B", "output_topic": "a.b_c-D9", "input_topics": ["x" * 249]})
    assert (found.group_id, found.output_topic) == ("Empfehlung für A/B", "a.b_c-D9")


@pytest.mark.parametrize("url", ["http://registry:8081", "https://registry/apis/ccompat/v7", "http://a:1,http://b:1"])
def test_a_registry_is_an_address(url: str) -> None:
    assert load(None, {"schema_registry_url": url}).schema_registry_url == url


def test_the_help_of_settings_shows_no_value() -> None:
    """A model's error from pydantic holds its input; ours never does."""
    with pytest.raises(BadSettings) as caught:
        load(None, {"kafka_options": {"a": 1}, "vllm_options": {"hf_token": SECRET, "model": SECRET}})
    assert json.dumps(str(caught.value)).count("S3CRET") == 0
