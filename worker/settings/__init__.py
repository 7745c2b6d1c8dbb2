"""Every knob once: name, unit, range, default and why.  Frozen after start.

A value comes from, in rising priority: the default here, the YAML file (`--config`), an environment variable
(MIRRORSTREAM_ and the name in capitals), a flag of the command.  All problems are told in one message.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AwareDatetime,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from worker.core.errors import ODD_YAML, BadSettings, masked, yaml_problem
from worker.core.prompts.prompt import Writing
from worker.core.validation_text import kind, wanted
from worker.settings import cross_checks
from worker.settings.kafka_options import RESERVED_KAFKA_OPTIONS
from worker.settings.suggestions import did_you_mean

__all__ = ["ENV_PREFIX", "RESERVED_KAFKA_OPTIONS", "Settings", "is_day", "load", "parse_time"]

ENV_PREFIX = "MIRRORSTREAM_"
START_WORDS = ("earliest", "latest")
A_TIME = "a time with its zone, such as 2026-11-01T00:00Z, or a day, such as 2026-11-01 (midnight UTC)"
MAX_SEEN = 200  # characters told of a value that is wrong
# Settings whose values may hold a password, or be one that YAML read as a number: never told.
_UNTOLD = frozenset({"bootstrap_servers", "kafka_options", "schema_registry_url", "server_urls", "vllm_options"})
# Kubernetes gives such variables to every pod beside a service of our name; they are no typing errors.
# One entry of a list of topics: brackets, with what they hold, and anything else but a comma; `\\,` is no comma either.
_TOPIC = re.compile(r"(?:\\.|\[\^?\]?(?:\[:\w+:\]|[^\]])*\]|\{[^}]*\}|\([^)]*\)|[^,])+")
_CHOICE = re.compile(r"'([^']*)'")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SERVICE_LINK = re.compile(r"_(SERVICE|PORT)(_|$)")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise ValueError('want JSON, such as {"name": "value"}') from None


def _split_topics(value: object) -> object:
    """Split topics and patterns at commas that stand in no brackets: no topic has one, `^eu{1,3}` does."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return _json(value)
    return [part.strip() for part in _TOPIC.findall(value) if part.strip()]


def _start(value: object) -> object:
    """Read where a group starts: a word, a time with its zone, or a day, which begins at midnight UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, str) or value in START_WORDS:
        return value
    try:
        return parse_time(value)
    except BadSettings:
        raise ValueError(f"want {' or '.join(START_WORDS)}, or {A_TIME}") from None


Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]  # in the environment: by comma
Options = Annotated[dict[str, str], NoDecode, BeforeValidator(_json)]  # as text: JSON


class Settings(BaseSettings):
    """The settings of one worker."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True, env_ignore_empty=True)

    # Kafka
    bootstrap_servers: str = Field(
        "localhost:9092", min_length=1, description="Kafka brokers, host:port, comma-separated"
    )
    group_id: str = Field("mirrorstream", min_length=1, description="Consumer group; its members share the partitions")
    input_topics: Annotated[list[str], NoDecode, BeforeValidator(_split_topics)] = Field(
        ["impressions"], min_length=1, description="Input topics, comma-separated; `^regex` reads every match"
    )
    output_topic: str = Field("responses", min_length=1, description="Topic for simulated responses")
    dead_letter_topic: str = Field("impressions.dlq", min_length=1, description="Topic for dead-lettered records")
    delivery: Literal["exactly-once", "at-least-once"] = Field(
        "exactly-once", description="at-least-once uses no transactions; a restart may repeat responses"
    )
    transactional_id_prefix: str = Field(
        "mirrorstream", min_length=1, description="Prefix of transactional ids, for ACLs"
    )
    worker_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="Stable worker name, e.g. pod ordinal; a restart ends its open transaction at once",
    )
    static_membership: bool = Field(
        default=False, description="Use worker_id as group.instance.id; partitions wait for the restart"
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        "classic", description="consumer: KIP-848, needs brokers 4.0 or later"
    )
    start_from: Annotated[Literal["earliest", "latest"] | AwareDatetime, BeforeValidator(_start)] = Field(
        "latest", description="Where a new group starts; also a time such as 2026-11-01T00:00Z"
    )
    on_data_loss: Literal["stop", "skip"] = Field(
        "stop", description="On lost records, a recreated topic or an unreadable batch: stop, or skip it"
    )
    session_timeout_s: float = Field(
        45.0, ge=6, le=1800, description="Seconds without a heartbeat before a member is removed"
    )
    transaction_timeout_s: float = Field(10.0, ge=2, le=900, description="Maximum duration of one transaction, seconds")
    kafka_options: Options = Field({}, description="More librdkafka options, e.g. security.protocol")
    kafka_secrets: Path | None = Field(
        None, description="Folder with one file per librdkafka option, e.g. sasl.password"
    )
    schema_registry_url: str | None = Field(None, description="Schema registry URL; unset: single-object encoding")
    schema_registry_auth_file: Path | None = Field(None, description="File with user:password for the registry")
    pass_headers: Names = Field([], description="Input headers to copy to the responses, by name")

    # Who is simulated
    sample_rate: float = Field(1.0, gt=0, le=1, description="Share of users to simulate")
    sample_rates: Annotated[dict[str, float], NoDecode, BeforeValidator(_json)] = Field(
        {}, description="Share by experiment id; overrides sample_rate"
    )
    sample_salt: str = Field("", description="Salt that changes which users are sampled")
    calibration_share: float = Field(
        0.05, ge=0, le=1, description="Share of users asked about control even if all slates are equal"
    )
    experiments: Names = Field([], description="Experiment ids to simulate; empty: all")
    include_test: bool = Field(default=False, description="Simulate records marked is_test")
    include_bots: bool = Field(default=False, description="Simulate users marked is_bot")
    include_holdout: bool = Field(default=False, description="Simulate users marked experiment.holdout")
    max_age_s: float = Field(0.0, ge=0, description="Maximum age of an impression, seconds; 0: no limit")
    max_events_per_user_per_day: int = Field(
        0, ge=0, description="Maximum events per user, worker and UTC day; 0: no limit"
    )

    # What is asked
    draws: int = Field(2, ge=1, le=64, description="Rationales per question; even numbers balance the order")
    slate_depth: int = Field(12, ge=1, le=26, description="Slate positions shown per question")
    duel_depth: int = Field(6, ge=1, le=13, description="Positions shown from each side of a duel")
    history_limit: int = Field(
        10, ge=0, le=200, description="History entries in the prompt; the reference used at most 10"
    )
    prompt_profile: str = Field("mirror-v1", min_length=1, description="Prompt profile, a name or a path")
    mode: Literal["default", "direct"] = Field(
        "default", description="default: rationale, then letters; direct: letters alone, flagged untrained_mode"
    )
    passes: int = Field(2, ge=1, le=2, description="Requests per draw; 1 reads the letters where the rationale ends")
    position_debias: bool = Field(
        default=False, description="Remove the position profile measured at start from every draw"
    )
    question_timeout_s: float = Field(
        120.0, gt=0, le=3600, description="Deadline of one attempt at a question, seconds"
    )
    max_engine_restarts: int = Field(3, ge=0, description="Engine restarts in a row before the worker exits")

    # The engine
    engine: Literal["vllm", "vllm-server", "choice-model"] = Field("vllm", description="Engine that answers")
    server_urls: Names = Field([], description="URLs for engine vllm-server, e.g. http://gpu-1:8000, comma-separated")
    server_auth_file: Path | None = Field(None, description="File with the bearer token for these servers")
    model: str = Field("mirror-tiny", min_length=1, description="Model: mirror-tiny, a folder, or a hub name")
    revision: str | None = Field(None, description="Model revision; pin a commit in production")
    temperature: float | None = Field(
        None, gt=0, le=2, description="Sampling temperature of the rationale; unset: the profile's, 1.0"
    )
    top_p: float | None = Field(
        None, gt=0, le=1, description="Top-p of the rationale; unset: the profile's, 0.8 as in the reference"
    )
    max_tokens: int | None = Field(
        None, ge=16, le=8192, description="Maximum tokens of one rationale; unset: the profile's, 1024"
    )
    seeded: bool = Field(
        default=True, description="Seed every draw so that runs repeat; bypasses vLLM's batched sampling"
    )
    max_model_len: int = Field(8192, ge=512, description="Maximum tokens of prompt and rationale together")
    max_num_seqs: int = Field(256, ge=1, description="Maximum concurrent requests in vLLM")
    kv_cache_bytes: int | None = Field(None, ge=1, description="KV cache size, bytes; default on a CPU: 512 MiB")
    vllm_options: Annotated[dict[str, Any], NoDecode, BeforeValidator(_json)] = Field(
        {}, description="More vLLM engine arguments, e.g. tensor_parallel_size"
    )
    choice_latency_s: float = Field(
        0.0, ge=0, le=60, description="Artificial latency per draw of the choice model, seconds"
    )

    # Batching and bounds
    linger_s: float = Field(0.02, ge=0, le=5, description="Maximum wait for a micro-batch to fill, seconds")
    batch_max_records: int = Field(64, ge=1, description="Maximum records in a micro-batch")
    batch_max_tokens: int = Field(200_000, ge=1, description="Maximum prompt tokens in a micro-batch")
    window_max_records: int = Field(1024, ge=2, description="Maximum records in flight; partitions pause above it")
    window_max_bytes: int = Field(64 << 20, ge=1 << 20, description="Maximum memory of records in flight, bytes")
    window_max_tokens: int = Field(4_000_000, ge=1000, description="Maximum prompt tokens in flight")
    flush_interval_s: float = Field(0.1, gt=0, le=10, description="Maximum wait of a finished event, seconds")
    flush_max_records: int = Field(256, ge=1, description="Maximum events per transaction")
    flush_max_bytes: int = Field(1_000_000, ge=1000, description="Maximum bytes per transaction")
    max_message_bytes: int = Field(
        1_000_000, ge=10_000, description="Largest message to produce, bytes; at most the topics' limit"
    )
    revoke_timeout_s: float = Field(20.0, ge=0, le=300, description="Maximum wait of a rebalance for a flush, seconds")
    drain_timeout_s: float = Field(
        60.0, ge=0, le=3600, description="Maximum wait of a shutdown for work in flight, seconds"
    )

    # Operation
    http_host: str = Field("127.0.0.1", description="Address of /livez, /readyz and /metrics; 0.0.0.0 in a pod")
    http_port: int = Field(8080, ge=0, le=65535, description="HTTP port; 0 picks a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum log level")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env file is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface's
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let flags win over the environment, and the environment over the file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, data: Any, check: ModelWrapValidatorHandler["Settings"]) -> "Settings":
        """Check every setting, and between those that are right; tell everything at once."""
        problems: list[str] = []
        wrong: set[object] = set()
        try:
            found = check(data)
        except ValidationError as error:
            problems += [_problem(dict(problem)) for problem in error.errors()]
            wrong = {problem["loc"][0] for problem in error.errors()}
            found = check({name: value for name, value in data.items() if name not in wrong})
        right = {name: value for name, value in found if name not in wrong}
        problems += cross_checks.problems(right)
        if problems:
            raise BadSettings("\n".join([*problems, *cross_checks.missing(right)]))
        return found

    def writing(self, ours: Writing) -> Writing:
        """Return how rationales are sampled: as set here, else as the profile has it."""
        return Writing(
            temperature=ours.temperature if self.temperature is None else self.temperature,
            top_p=ours.top_p if self.top_p is None else self.top_p,
            max_tokens=ours.max_tokens if self.max_tokens is None else self.max_tokens,
        )


def load(
    config: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    files: bool = False,
    problems: Sequence[str] = (),
) -> Settings:
    """Build the settings from a YAML file, the environment and flags.  Raises `BadSettings` with all problems.

    `files` is for who needs what they name; `problems` are those found before.
    """
    if config is not None:
        _check_file(config, problems)

    class FileSettings(Settings):
        model_config = SettingsConfigDict(yaml_file=config)

    told = [*problems, *_unknown_variables()]
    try:
        found = dict(FileSettings(**dict(overrides or {})))
    except BadSettings as error:
        raise BadSettings("\n".join([*told, str(error)])) from None
    if files or told:
        told += cross_checks.missing(found)
    if told:
        raise BadSettings("\n".join(told))
    return Settings.model_construct(**found)


def parse_time(text: str) -> datetime:
    """Parse a time with its zone, such as 2026-11-01T00:00Z, or a day, which begins at midnight UTC.

    Raises `BadSettings`.
    """
    try:
        if is_day(text):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        if text.strip().isdecimal():
            raise ValueError(text)  # else it would be read as seconds since 1970
        return TypeAdapter(AwareDatetime).validate_python(text)
    except ValueError as error:
        raise BadSettings(f"{text[:MAX_SEEN]!r}: want {A_TIME}") from error


def is_day(text: str) -> bool:
    """Say whether a text is written as a day, without a time of day."""
    return _DAY.fullmatch(text) is not None


def _unknown_variables() -> list[str]:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    found = sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known)
    return [f"{name}: is no setting{did_you_mean(name, known)}" for name in found if not _SERVICE_LINK.search(name)]


class _Placed(yaml.SafeLoader):
    """A safe loader that says where a value is that cannot be read, such as the date 2026-13-01."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's own
        try:
            return super().construct_object(node, deep=deep)
        except RecursionError:
            raise
        except ODD_YAML as error:
            raise yaml.constructor.ConstructorError(None, None, yaml_problem(error), node.start_mark) from error


def _check_file(path: Path, problems: Sequence[str]) -> None:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Placed)  # noqa: S506 - a SafeLoader that tells places
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        message = f"{path}: cannot be read: {why}; want a YAML file of settings"
        raise BadSettings("\n".join([*problems, message])) from error
    except (yaml.YAMLError, *ODD_YAML) as error:
        message = f"{path}: is not YAML: {yaml_problem(error)}"
        raise BadSettings("\n".join([*problems, message])) from error
    if content is None:
        return  # an empty file, or one of comments alone, sets nothing
    if not isinstance(content, dict):
        message = f"{path}: holds {kind(content)}, want a mapping of settings, such as bootstrap_servers: kafka:9092"
        raise BadSettings("\n".join([*problems, message]))


def _problem(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"][:2])
    if error["type"] == "extra_forbidden":
        return f"{place}: is no setting{did_you_mean(place, Settings.model_fields)}"
    near = did_you_mean(str(error["input"]), _CHOICE.findall(wanted(error))) if error["type"] == "literal_error" else ""
    return f"{place}: {wanted(error)}{near}{'' if error['loc'][0] in _UNTOLD else _seen(error['input'])}"


def _seen(value: object) -> str:
    """Return what is told of a wrong value; of a list or map, which may hold anything, only that it is one."""
    if isinstance(value, Mapping):
        return "; seen a map"
    if isinstance(value, list | tuple | set):
        return "; seen a list"
    return f"; seen {masked(repr(value))[:MAX_SEEN]}"
