"""Where settings come from, in which priority, and that all that is wrong with them is told at once."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from worker.cli.options import settings_of
from worker.core.errors import BadSettings
from worker.settings import ENV_PREFIX, RESERVED_KAFKA_OPTIONS, Settings, load, parse_time


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the machine that runs the tests has set."""
    for name in list(os.environ):
        if name.startswith(ENV_PREFIX):
            monkeypatch.delenv(name)


def problems(*, config: Path | None = None, **flags: Any) -> list[str]:
    """Return the lines of the one message."""
    with pytest.raises(BadSettings) as caught:
        load(config, flags)
    return str(caught.value).splitlines()


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# -- where they come from


def test_the_defaults_stand_alone() -> None:
    found = load()
    assert type(found) is Settings
    assert (found.input_topics, found.output_topic, found.draws) == (["impressions"], "responses", 2)
    assert found == load()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = file(tmp_path, "draws: 4\nslate_depth: 4\nduel_depth: 4\n")
    monkeypatch.setenv("MIRRORSTREAM_DRAWS", "6")
    monkeypatch.setenv("MIRRORSTREAM_SLATE_DEPTH", "6")
    found = load(config, {"draws": 8})
    assert (found.draws, found.slate_depth, found.duel_depth, found.history_limit) == (8, 6, 4, 10)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("INPUT_TOPICS", "a, b ,,c", ["a", "b", "c"]),
        ("EXPERIMENTS", "e1", ["e1"]),
        ("SERVER_URLS", "http://a:8000, https://b/v1", ["http://a:8000", "https://b/v1"]),
        ("SAMPLE_RATES", '{"exp": 0.5}', {"exp": 0.5}),
        ("KAFKA_OPTIONS", '{"security.protocol": "SSL"}', {"security.protocol": "SSL"}),
        ("SEEDED", "false", False),
        ("START_FROM", "2026-11-01T00:00Z", datetime(2026, 11, 1, tzinfo=UTC)),
        ("START_FROM", "earliest", "earliest"),
        ("KAFKA_SECRETS", "/run/secrets", Path("/run/secrets")),
        ("REVISION", "", None),  # an empty variable is none
    ],
)
def test_a_variable_is_read_in_its_type(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(ENV_PREFIX + name, text)
    assert getattr(load(), name.lower()) == value


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().draws = 3  # type: ignore[misc]


# -- what is wrong is told at once


def test_all_problems_are_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRRORSTREAM_TOP_P", "7")
    monkeypatch.setenv("MIRRORSTREAM_NO_SUCH", "1")
    found = problems(config=file(tmp_path, "linger_s: soon\nno_such: 1\n"), draws=0)
    assert sorted(line.split(":")[0] for line in found) == [
        "MIRRORSTREAM_NO_SUCH",
        "draws",
        "linger_s",
        "no_such",
        "top_p",
    ]
    assert "draws: want at least 1; seen 0" in found


@pytest.mark.parametrize(
    ("topics", "told"),
    [
        ({"experiments_topic": "experiments"}, ""),
        ({"readouts_topic": "responses"}, ""),  # nothing is followed
        (
            {"experiments_topic": "impressions"},
            "experiments_topic: impressions is a topic of impressions",
        ),
        ({"experiments_topic": "e", "readouts_topic": "responses"}, "readouts_topic: responses is a topic of"),
        ({"experiments_topic": "e", "readouts_topic": "e"}, "readouts_topic: is the topic of definitions"),
    ],
)
def test_a_topic_that_steers_has_no_other_use(topics: dict[str, Any], told: str) -> None:
    if not told:
        assert load(None, topics)
        return
    [found] = problems(**topics)
    assert found.startswith(told)


def test_items_and_users_come_from_one_source_each_and_no_topic_of_another_kind() -> None:
    found = problems(items_topic="impressions", items_file="items.csv", users_topic="responses", users_file="users.xml")
    assert found == [
        "items_topic: impressions is an input topic; want one of its own",
        "users_topic: responses is a topic this worker writes",
        "items_file: items_topic is set too; want one of them",
        "users_file: users_topic is set too; want one of them",
        "users_file: users.xml: want a file that ends in .jsonl, .csv, .parquet",
        "items_file: items.csv: is no file",
        "users_file: users.xml: is no file",
    ]
    assert problems(items_topic="facts", users_topic="facts") == [
        "users_topic: is the topic of items; want one of its own"
    ]
    assert "items_topic: 'a b' is no name of a topic" in problems(items_topic="a b")[0]


def test_settings_that_do_not_go_together_are_all_told() -> None:
    found = problems(
        output_topic="impressions",
        dead_letter_topic="impressions",
        static_membership=True,
        max_tokens=1024,
        max_model_len=1024,
        sample_rates={"exp": 2.0},
        kafka_options={"group.id": "mine"},
    )
    assert [line.split(":")[0] for line in found] == [
        "input_topics",
        "dead_letter_topic",
        "kafka_options.group.id",
        "sample_rates.exp",
        "static_membership",
        "max_tokens",
    ]


def test_the_references_protocol_goes_with_what_it_has() -> None:
    found = problems(protocol="reference", engine="choice-model", passes=1, seeded=False, position_debias=True)
    assert found == [
        "protocol: reference does not go with engine=choice-model, which reads no prompt",
        "protocol: reference does not go with passes=1",
        "protocol: reference does not go with seeded=false",
        "protocol: reference does not go with position_debias=true",
    ]
    assert load(None, {"protocol": "reference", "draws": 3}).protocol == "reference"


def test_what_does_not_go_together_is_told_beside_what_is_wrong_alone() -> None:
    found = problems(
        sample_rate=2,
        max_model_len="many",
        no_such=1,
        input_topics=["responses"],
        static_membership=True,
        max_tokens=1024,  # of what room, nobody knows
        kafka_options={"acks": "1"},
    )
    assert sorted(line.split(":")[0] for line in found) == [
        "input_topics",
        "kafka_options.acks",
        "max_model_len",
        "no_such",
        "sample_rate",
        "static_membership",
    ]


def test_a_setting_that_is_wrong_alone_is_not_taken_for_its_default() -> None:
    assert [line.split(":")[0] for line in problems(dead_letter_topic=[], input_topics="impressions.dlq")] == [
        "dead_letter_topic"
    ]


def test_files_that_are_missing_are_told_beside_the_rest(tmp_path: Path) -> None:
    found = problems(
        sample_rate=2,
        kafka_secrets=tmp_path / "secrets",
        prompt_profile="no-such",
        engine="vllm-server",
        server_urls="http://gpu",
        server_auth_file=tmp_path / "token",
        redactor="patern",
        pseudonym_key_file=tmp_path / "key",
    )
    assert [line.split(":")[0] for line in found] == [
        "sample_rate",
        "kafka_secrets",
        "redactor",
        "pseudonym_key_file",
        "server_auth_file",
        "prompt profile no-such",
    ]
    assert f"kafka_secrets: {tmp_path / 'secrets'}: No such file or directory; want a folder" in found[1]


def test_only_who_reads_them_needs_the_files(tmp_path: Path) -> None:
    flags = {"kafka_secrets": tmp_path / "secrets", "prompt_profile": "no-such"}  # a report reads no profile
    assert load(None, flags).kafka_secrets == tmp_path / "secrets"
    with pytest.raises(BadSettings, match=r"kafka_secrets: .*\nprompt profile no-such: "):
        load(None, flags, files=True)


def test_a_flag_without_a_value_is_told_beside_the_rest() -> None:
    with pytest.raises(BadSettings) as caught:
        settings_of(None, None, ["draws", "sample_rate=2", "=3"])
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == [
        "--set draws",
        "--set ...",
        "sample_rate",
    ]


@pytest.mark.parametrize(
    "url", ["gpu-1:8000", "http://me:secret@gpu-1", "ftp://gpu-1", "http://", "http://gpu-1?key=1"]
)
def test_a_server_is_an_address_without_a_secret(url: str) -> None:
    told = problems(engine="vllm-server", server_urls=["http://gpu-0:8000", url])
    assert told == ["server_urls: want http://HOST:PORT each, without a password"]


def test_servers_need_an_address_and_take_two_passes() -> None:
    assert problems(engine="vllm-server", passes=1) == [
        "server_urls: engine vllm-server needs at least one, such as http://gpu-1:8000",
        "passes: want 2 with engine vllm-server, which takes no more than four stop strings",
    ]


def test_a_variable_that_kubernetes_sets_is_no_typing_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIRRORSTREAM_SERVICE_HOST", "MIRRORSTREAM_PORT_8080_TCP_ADDR", "MIRRORSTREAM_PORT"):
        monkeypatch.setenv(name, "10.0.0.1")
    load()


def test_a_map_that_is_no_json_is_told_by_its_name_beside_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRRORSTREAM_SAMPLE_RATES", "{exp: 1")
    monkeypatch.setenv("MIRRORSTREAM_KAFKA_OPTIONS", "{sasl.password: secret}")
    assert sorted(problems(draws=0)) == [
        "draws: want at least 1; seen 0",
        'kafka_options: want JSON, such as {"name": "value"}',
        """sample_rates: want JSON, such as {"name": "value"}; seen '{exp: 1'""",
    ]


@pytest.mark.parametrize("name", ["vllm_options", "kafka_options"])
def test_a_map_that_is_nested_too_deeply_is_no_json(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    deep = '{"a":' * 100_000
    monkeypatch.setenv(f"MIRRORSTREAM_{name.upper()}", deep)
    assert problems()[0].startswith(f"{name}: want JSON")
    with pytest.raises(BadSettings, match=f"{name}: want JSON"):
        settings_of(None, None, [f"{name}={deep}"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "not YAML"),
        ("start_from: 2026-13-01", "not YAML"),
        ("[" * 1_200, "not YAML"),
        ("- a\n- b\n", "want a mapping"),
        ("a", "holds text, want a mapping of settings, such as bootstrap_servers: kafka:9092"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in "\n".join(problems(config=file(tmp_path, text)))


@pytest.mark.parametrize("text", ["", "# bootstrap_servers: kafka:9092\n", "---\n"])
def test_a_file_that_sets_nothing_is_no_mistake(tmp_path: Path, text: str) -> None:
    assert load(file(tmp_path, text)) == load()


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in problems(config=tmp_path / "none.yaml")[0]
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in problems(config=tmp_path / "bytes.yaml")[0]


# -- what would break a promise


@pytest.mark.parametrize(
    ("topics", "told"),
    [
        (["responses"], "responses"),
        (["impressions", "impressions.dlq"], "impressions.dlq"),
        (["^impressions.*"], "impressions.dlq"),
        (["^.*"], "responses"),
        (["^(impressions|responses)$"], "responses"),
        (["other", "^resp"], "responses"),  # a pattern need not match to the end
    ],
)
def test_a_topic_that_this_worker_writes_is_never_read(topics: list[str], told: str) -> None:
    assert f"input_topics: {told} is a topic this worker writes" in problems(input_topics=topics)


@pytest.mark.parametrize(
    "topics", [["impressions"], ["^impressions$"], ["^impressions-[a-z]+$"], ["responses.v2"], ["a", "b"]]
)
def test_other_topics_are_read(topics: list[str]) -> None:
    assert load(overrides={"input_topics": topics}).input_topics == topics


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_pattern_that_is_none_is_refused(protocol: str) -> None:
    assert "regular expression" in problems(input_topics=["^("], group_protocol=protocol)[0]


@pytest.mark.parametrize(
    ("text", "topics"),
    [
        ("a,b", ["a", "b"]),
        ("^eu-[0-9]{1,3}$", ["^eu-[0-9]{1,3}$"]),
        ("^a{1,2},^b[,x]+, c", ["^a{1,2}", "^b[,x]+", "c"]),
        ("^(a,b|c){2,}$,d", ["^(a,b|c){2,}$", "d"]),
        ("^x[[:alpha:],]+,d", ["^x[[:alpha:],]+", "d"]),
        (r"^a\,b,c", [r"^a\,b", "c"]),
        ('["^a{1,2}", "b"]', ["^a{1,2}", "b"]),
    ],
)
def test_patterns_with_commas_survive_flags_and_environment(
    monkeypatch: pytest.MonkeyPatch, text: str, topics: list[str]
) -> None:
    assert load(overrides={"input_topics": text}).input_topics == topics
    monkeypatch.setenv("MIRRORSTREAM_INPUT_TOPICS", text)
    assert load().input_topics == topics


@pytest.mark.parametrize("name", sorted(RESERVED_KAFKA_OPTIONS))
def test_no_option_can_take_the_delivery_guarantee_away(name: str) -> None:
    for written in (name, f"topic.{name}"):  # the client reads both alike
        [told] = problems(kafka_options={written: "x"})
        refused, _, instead = told.partition("; use ")
        assert refused == f"kafka_options.{written}: is not yours to set, it carries the delivery guarantee"
        assert not instead or set(instead.replace(" and ", " with ").split(" with ")) <= Settings.model_fields.keys()


@pytest.mark.parametrize(
    "flags",
    [
        {"sample_rate": 0.0},
        {"sample_rate": 1.5},
        {"questions": "all"},
        {"slate_share": 0.0},
        {"experiments_topic": ""},
        {"draws": 65},
        {"slate_depth": 27},
        {"duel_depth": 14},
        {"worker_id": "a b"},
        {"start_from": "2026-11-01T00:00"},  # whose midnight?
        {"input_topics": []},
        {"engine": "gpt"},
        {"transaction_timeout_s": 1},
    ],
)
def test_a_value_out_of_its_range_is_refused(flags: dict[str, Any]) -> None:
    assert problems(**flags)[0].startswith(next(iter(flags)))


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("latest", "latest"),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T01:00+01:00", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_a_group_starts_at_a_word_a_time_or_a_day(tmp_path: Path, text: str, start: object) -> None:
    assert load(None, {"start_from": text}).start_from == start
    assert load(file(tmp_path, f"start_from: {text}\n")).start_from == start


@pytest.mark.parametrize("text", ["yesterday", "2026-11-01T00:00", "2026", "soonest"])
def test_where_a_group_starts_is_told_in_one_line(text: str) -> None:
    wanted = (
        "start_from: want earliest or latest, or a time with its zone, such as 2026-11-01T00:00Z, or a day, such as"
    )
    assert [line.startswith(wanted) for line in problems(start_from=text)] == [True]


def test_a_time_needs_its_zone_and_a_day_begins_at_midnight_utc() -> None:
    assert parse_time("2026-11-01T00:00Z") == datetime(2026, 11, 1, tzinfo=UTC)
    assert parse_time("2026-11-01T02:00+02:00") == datetime(2026, 11, 1, tzinfo=UTC)
    assert parse_time("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    for text in ("2026-11-01T00:00", "2026", "yesterday", "2026-13-01", "2026-11", ""):
        with pytest.raises(BadSettings, match=r"want a time with its zone, such as 2026-11-01T00:00Z, or a day, such"):
            parse_time(text)


@pytest.mark.parametrize(
    "name",
    [name for name, field in Settings.model_fields.items() if isinstance(field.default, bool | int | float | str)],
)
def test_every_default_can_be_given_as_text(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    default = Settings.model_fields[name].default
    monkeypatch.setenv(f"MIRRORSTREAM_{name.upper()}", str(default))
    assert getattr(load(), name) == default
