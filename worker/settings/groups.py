"""The settings in groups, one for each room that needs them: name, unit, range, default and why.

`Settings` has all of them, and their names stay flat: in the YAML file, the environment and on the command line there
are no groups.  A function takes the group that it reads; mypy refuses the settings of another room.

    KafkaSettings      who reads and writes what, and how
    SamplingSettings   which users are simulated
    QuestionSettings   what is asked
    EngineSettings     who answers
    BatchingSettings   how much is in flight
    JoinSettings       what is known of items and users
    OutputSettings     what leaves in one transaction, and how long a stop waits for it
    OperationSettings  HTTP, logs and traces
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_settings import NoDecode

from worker.core.prompts.prompt import Writing
from worker.core.steering.budgets import MAX_TOKENS
from worker.core.suggestions import did_you_mean
from worker.settings import engines, times
from worker.settings.registry_access import RegistryAccess

# One entry of a list of topics: brackets, with what they hold, and anything else but a comma; `\\,` is no comma either.
_TOPIC = re.compile(r"(?:\\.|\[\^?\]?(?:\[:\w+:\]|[^\]])*\]|\{[^}]*\}|\([^)]*\)|[^,])+")


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


Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]  # in the environment: by comma
Options = Annotated[dict[str, str], NoDecode, BeforeValidator(_json)]  # as text: JSON


def _engine(name: str) -> str:
    if name not in engines.ENGINES:
        raise ValueError(f"want one of {', '.join(engines.ENGINES)}{did_you_mean(name, engines.ENGINES)}")
    return name


EngineName = Annotated[str, AfterValidator(_engine), WithJsonSchema({"type": "string", "enum": list(engines.ENGINES)})]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Group):
    """Topics, group, delivery, and how Kafka and the registry are reached."""

    bootstrap_servers: str = Field(
        "localhost:9092", min_length=1, description="Kafka brokers, host:port, comma-separated"
    )
    group_id: str = Field("mirrorstream", min_length=1, description="Consumer group; its members share the partitions")
    input_topics: Annotated[list[str], NoDecode, BeforeValidator(_split_topics)] = Field(
        ["impressions"], min_length=1, description="Input topics, comma-separated; `^regex` reads every match"
    )
    input_format: Literal["avro", "json", "protobuf", "tsv"] = Field(
        "avro",
        description="Format of the impressions; json, protobuf: plain or by a registry's serializers; tsv: rows",
    )
    protobuf_descriptors: Path | None = Field(
        None,
        description="File of `protoc --include_imports --descriptor_set_out`; unset: the registry's types, or ours",
    )
    protobuf_message: str | None = Field(
        None, min_length=1, max_length=512, description="Full name of the message in protobuf_descriptors"
    )
    mapping: str | None = Field(
        None, min_length=1, description="Mapping of foreign events, JSON or Protobuf, to impressions: a name or a path"
    )
    outcomes_mapping: str | None = Field(
        None,
        min_length=1,
        description="Mapping of foreign JSON events on the outcomes topic; unset: they are ours, Avro",
    )
    json_unknown_fields: Literal["refuse", "ignore"] = Field(
        "refuse", description="JSON fields that are not in our schema: a dead letter, or passed over"
    )
    output_topic: str = Field("responses", min_length=1, description="Topic for simulated responses")
    dead_letter_topic: str = Field("impressions.dlq", min_length=1, description="Topic for dead-lettered records")
    experiments_topic: str | None = Field(
        None, min_length=1, description="Topic of experiment definitions that the worker obeys; unset: none"
    )
    items_topic: str | None = Field(
        None, min_length=1, description="Compacted topic of items that events name by id alone; unset: none"
    )
    users_topic: str | None = Field(
        None, min_length=1, description="Compacted topic of profiles and histories of users; unset: none"
    )
    readouts_topic: str = Field(
        "readouts", min_length=1, description="Topic of readouts, whose verdicts end asking (stop_when_decided)"
    )
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
    start_from: Annotated[Literal["earliest", "latest"] | AwareDatetime, BeforeValidator(times.start)] = Field(
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
    schema_registry_auth_file: Path | None = Field(
        None, description="File with user:password, or Bearer TOKEN, for the registry"
    )
    schema_registry_certificate_file: Path | None = Field(
        None, description="File with our certificate for the registry, PEM, and its key unless that has a file"
    )
    schema_registry_key_file: Path | None = Field(None, description="File with the key of that certificate, PEM")
    pseudonym_key_file: Path | None = Field(
        None, description="File with a secret; user ids leave as pseudonyms made with it, for workers and readers alike"
    )
    pass_headers: Names = Field([], description="Input headers to copy to the responses, by name")

    @property
    def registry_access(self) -> RegistryAccess:
        """How the schema registry knows us."""
        return RegistryAccess(
            self.schema_registry_auth_file, self.schema_registry_certificate_file, self.schema_registry_key_file
        )


class SamplingSettings(_Group):
    """Which users and impressions are simulated."""

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
    max_tokens_per_hour: int | None = Field(
        None,
        ge=1,
        le=MAX_TOKENS,
        description="Budget of all workers for a UTC hour, tokens (prompts and answers); unset: none",
    )
    max_tokens_per_day: int | None = Field(
        None, ge=1, le=MAX_TOKENS, description="Budget of all workers for a UTC day, tokens; unset: none"
    )
    max_tokens_per_experiment: int | None = Field(
        None,
        ge=1,
        le=MAX_TOKENS,
        description="Budget of each experiment in all, tokens; a definition may have its own",
    )


class QuestionSettings(_Group):
    """What a simulated user is asked."""

    draws: int = Field(2, ge=1, le=64, description="Rationales per question; even numbers balance the order")
    slate_depth: int = Field(12, ge=1, le=26, description="Slate positions shown per question")
    duel_depth: int = Field(6, ge=1, le=13, description="Positions shown from each side of a duel")
    questions: Literal["duels", "slates", "both"] | None = Field(
        None, description="Questions to ask; unset: what a followed definition needs, both without one"
    )
    slate_share: float = Field(1.0, gt=0, le=1, description="Share of users asked about slates; readers weight by it")
    history_limit: int = Field(
        10, ge=0, le=200, description="History entries in the prompt; the reference used at most 10"
    )
    prompt_profile: str = Field("mirror-v1", min_length=1, description="Prompt profile, a name or a path")
    mode: Literal["default", "direct"] = Field(
        "default", description="default: rationale, then letters; direct: letters alone, flagged untrained_mode"
    )
    protocol: Literal["default", "reference"] = Field(
        "default", description="reference: orders, seeds, letters and limits of the reference's own evaluation"
    )
    passes: int = Field(2, ge=1, le=2, description="Requests per draw; 1 reads the letters where the rationale ends")
    position_debias: bool = Field(
        default=False, description="Remove the position profile measured at start from every draw"
    )
    question_timeout_s: float = Field(
        120.0, gt=0, le=3600, description="Deadline of one attempt at a question, seconds"
    )
    max_engine_restarts: int = Field(3, ge=0, description="Engine restarts in a row before the worker exits")


class EngineSettings(_Group):
    """Which engine answers, and with which model."""

    engine: EngineName = Field("vllm", description="Engine that answers")
    server_urls: Names = Field([], description="URLs for engine vllm-server, e.g. http://gpu-1:8000, comma-separated")
    server_auth_file: Path | None = Field(None, description="File with the bearer token for these servers")
    server_priority: int | None = Field(
        None,
        ge=-(1 << 31),
        lt=1 << 31,
        description="Priority of requests to servers, higher is later (vLLM); unset: none is sent",
    )
    server_sharing: Literal["off", "shared"] = Field(
        "off", description="shared: others use the servers too; draws wait while a server's own metrics say it is busy"
    )
    server_max_waiting: int = Field(
        4, ge=0, description="Requests waiting in a shared server above which it gets no new draws"
    )
    server_max_kv_usage: float = Field(
        0.8, gt=0, le=1, description="Share of a shared server's KV cache in use above which it gets no new draws"
    )
    server_max_token_s: float | None = Field(
        None, gt=0, description="Mean time per token of a shared server above which it gets no new draws, seconds"
    )
    model: str = Field("mirror-tiny", min_length=1, description="Model: mirror-tiny, a folder, or a hub name")
    revision: str | None = Field(None, description="Model revision; pin a commit in production")
    tokenizer: str | None = Field(
        None, min_length=1, description="Folder or hub name of tokenizer and chat template; unset: the model's own"
    )
    chat_template: Path | None = Field(None, description="File with a Jinja chat template; unset: the tokenizer's own")
    system_role: Literal["system", "user"] = Field(
        "system", description="user: the system text stands before the user's, for templates that refuse it"
    )
    lora: Path | None = Field(None, description="Folder of a LoRA adapter for the model, as PEFT saves it")
    pickled_weights: Literal["refuse", "allow"] = Field(
        "refuse", description="allow: load weights that are pickles, which can run code of whoever wrote them"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="Data type of vLLM; auto: the model's own, float32 on a CPU that emulates bfloat16"
    )
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
    kv_cache_bytes: int | None = Field(
        None, ge=1, description="KV cache size, bytes; default on a CPU: 512 MiB, 1 GiB in float32"
    )
    vllm_options: Annotated[dict[str, Any], NoDecode, BeforeValidator(_json)] = Field(
        {}, description="More vLLM engine arguments, e.g. tensor_parallel_size"
    )
    choice_latency_s: float = Field(
        0.0, ge=0, le=60, description="Artificial latency per draw of the choice model, seconds"
    )

    def writing(self, ours: Writing) -> Writing:
        """Return how rationales are sampled: as set here, else as the profile has it."""
        return Writing(
            temperature=ours.temperature if self.temperature is None else self.temperature,
            top_p=ours.top_p if self.top_p is None else self.top_p,
            max_tokens=ours.max_tokens if self.max_tokens is None else self.max_tokens,
        )


class BatchingSettings(_Group):
    """How many records are in flight."""

    linger_s: float = Field(0.02, ge=0, le=5, description="Maximum wait for a micro-batch to fill, seconds")
    batch_max_records: int = Field(64, ge=1, description="Maximum records in a micro-batch")
    batch_max_tokens: int = Field(200_000, ge=1, description="Maximum prompt tokens in a micro-batch")
    window_max_records: int = Field(1024, ge=2, description="Maximum records in flight; partitions pause above it")
    window_max_bytes: int = Field(64 << 20, ge=1 << 20, description="Maximum memory of records in flight, bytes")
    window_max_tokens: int = Field(4_000_000, ge=1000, description="Maximum prompt tokens in flight")


class JoinSettings(_Group):
    """What events that carry ids only are joined with, beside `items_topic` and `users_topic`."""

    items_file: Path | None = Field(
        None, description="Items that events name by id alone: a .jsonl, .csv or .parquet file, read at start"
    )
    users_file: Path | None = Field(
        None, description="Profiles and histories of users: a .jsonl, .csv or .parquet file, read at start"
    )
    join_folder: Path | None = Field(
        None,
        description="Folder of this worker's own for items and users; unset: a temporary one",
    )
    join_wait_s: float = Field(
        10.0, ge=0, le=3600, description="Maximum wait of an event for an item that is not known, seconds"
    )
    join_memory_bytes: int = Field(
        256 << 20, ge=16 << 20, description="Maximum memory for items and users, bytes; the rest is on disk"
    )


class OutputSettings(_Group):
    """What leaves in one transaction, and how long a rebalance or a shutdown waits for it."""

    flush_interval_s: float = Field(0.1, gt=0, le=10, description="Maximum wait of a finished event, seconds")
    flush_max_records: int = Field(256, ge=1, description="Maximum events per transaction")
    flush_max_bytes: int = Field(1_000_000, ge=1000, description="Maximum bytes per transaction")
    max_message_bytes: int = Field(
        1_000_000, ge=10_000, description="Largest message to produce, bytes; at most the topics' limit"
    )
    content: Literal["full", "off"] = Field(
        "full", description="off: responses without rationales, names and attributes of items; ids and figures stay"
    )
    redactor: str = Field(
        "off", min_length=1, description="Takes personal data out of rationales: off, patterns, or a package's own"
    )
    revoke_timeout_s: float = Field(20.0, ge=0, le=300, description="Maximum wait of a rebalance for a flush, seconds")
    drain_timeout_s: float = Field(
        60.0, ge=0, le=3600, description="Maximum wait of a shutdown for work in flight, seconds"
    )


class OperationSettings(_Group):
    """HTTP, logs and traces."""

    http_host: str = Field(
        "127.0.0.1",
        description="Address of the probes and /metrics; `::` in a pod: all addresses of IPv6 and IPv4",
    )
    http_port: int = Field(8080, ge=0, le=65535, description="HTTP port; 0 picks a free one")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum log level")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of log lines; auto: console on a terminal, else JSON"
    )
    trace_parent: Literal["record", "link"] = Field(
        "record", description="Trace of a record: the one in its headers, or one of its own that links to it"
    )
    trace_message_key: Literal["off", "hash", "plain"] = Field(
        "off", description="What spans show of a record's key, which is a user's id"
    )
    trace_content: bool = Field(default=False, description="Put prompts and rationales into spans")


class KafkaClientSettings(OutputSettings, KafkaSettings):
    """What the room `kafka` reads."""


class PromptedEngineSettings(EngineSettings, QuestionSettings):
    """What an engine that reads prompts is made of."""
