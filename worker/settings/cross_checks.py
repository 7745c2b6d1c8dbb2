"""What must hold between settings, and the files that they name.

A check takes settings by their names.  One of which a setting is wrong by itself is left out, so that what is told is
never about a default that nobody chose.

>>> list(problems({"static_membership": True, "worker_id": None, "max_tokens": 512}))
['static_membership: needs worker_id, one name a worker']
"""

from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from worker.core.errors import BadSettings
from worker.core.topics.topic_patterns import INTERNAL, TopicPatterns
from worker.settings import (
    addresses,
    input_forms,
    kafka_options as librdkafka,
    mappings,
    prompt_profiles,
    redactors,
    secret_files,
    vllm_options as engine_arguments,
)
from worker.settings.engines import ENGINES, Check

FACT_FILES = (".jsonl", ".csv", ".parquet")


def problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not go together; `values` are the settings that are right by themselves."""
    kind = ENGINES.get(str(values.get("engine")))  # none while the name is wrong
    return _told((*_TOGETHER, *(kind.checks if kind else ())), values)


def missing(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield which files are not there."""
    kind = ENGINES.get(str(values.get("engine")))
    return _told((*_FILES, *(kind.files if kind else ()), _profile), values)


def secret_problems(kafka_secrets: Path | None, kafka_options: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with the mounted options."""
    found = secret_files.read(kafka_secrets)
    yield from found.problems
    for name in sorted(kafka_options.keys() & found.options.keys()):
        if kafka_options[name] != found.options[name]:
            yield f"kafka_options.{name}: kafka_secrets has a file of this name with another value; want one of them"


def _told(checks: tuple[Check, ...], values: Mapping[str, Any]) -> Iterator[str]:
    for check in checks:
        names = signature(check).parameters
        if names.keys() <= values.keys():
            yield from check(**{name: values[name] for name in names})


# -- between settings


def _read(input_topics: list[str], output_topic: str, dead_letter_topic: str, group_protocol: str) -> Iterator[str]:
    """Find an input topic that this worker writes: a response must never be taken for an impression."""
    try:
        never = TopicPatterns(input_topics, group_protocol).never([output_topic, dead_letter_topic])
    except BadSettings as error:
        yield str(error)
    else:
        for topic in never:
            what = "Kafka's own" if topic in INTERNAL else "a topic this worker writes"
            yield f"input_topics: {topic} is {what}"


def _written(output_topic: str, dead_letter_topic: str) -> Iterator[str]:
    if output_topic == dead_letter_topic:
        yield "dead_letter_topic: is the output topic; want one of its own"


def _steering(
    input_topics: list[str],
    output_topic: str,
    dead_letter_topic: str,
    experiments_topic: str | None,
    readouts_topic: str,
) -> Iterator[str]:
    """Find a topic with two uses: its records would be taken for something else."""
    others = {*input_topics, output_topic, dead_letter_topic}
    for name, topic in (("experiments_topic", experiments_topic), ("readouts_topic", readouts_topic)):
        if experiments_topic is not None and topic in others:
            yield f"{name}: {topic} is a topic of impressions, responses or dead letters; want one of its own"
    if experiments_topic == readouts_topic:
        yield "readouts_topic: is the topic of definitions; want one of its own"


def _options(kafka_options: dict[str, str]) -> Iterator[str]:
    for name in sorted(kafka_options):
        if (why := librdkafka.refusal(name)) is not None:
            yield f"kafka_options.{name}: {why}"


def _batch(kafka_options: dict[str, str], max_message_bytes: int) -> Iterator[str]:
    size = kafka_options.get("batch.size", "1")
    if not size.isdecimal() or int(size) > max_message_bytes:  # a broker refuses a batch as it does one message
        yield f"kafka_options.batch.size: want a number of bytes, at most max_message_bytes, {max_message_bytes}"


def _engine(vllm_options: dict[str, Any]) -> Iterator[str]:
    yield from engine_arguments.problems(vllm_options)


def _dtype(dtype: str, vllm_options: dict[str, Any]) -> Iterator[str]:
    if dtype != "auto" and "dtype" in vllm_options:
        yield "dtype: vllm_options has a dtype too; want one of them"


def _reference(protocol: str, engine: str, passes: int) -> Iterator[str]:
    if protocol == "reference":
        if not ENGINES[engine].reads_prompt:
            yield f"protocol: reference does not go with engine={engine}, which reads no prompt"
        if passes == 1:
            yield "protocol: reference does not go with passes=1"


def _reference_draws(protocol: str, seeded: bool, position_debias: bool) -> Iterator[str]:  # noqa: FBT001 - settings
    if protocol == "reference":
        if not seeded:
            yield "protocol: reference does not go with seeded=false"
        if position_debias:
            yield "protocol: reference does not go with position_debias=true"


def _rates(sample_rates: dict[str, float]) -> Iterator[str]:
    yield from (f"sample_rates.{e}: {rate}, want (0, 1]" for e, rate in sample_rates.items() if not 0 < rate <= 1)


def _member(static_membership: bool, worker_id: str | None) -> Iterator[str]:  # noqa: FBT001 - a setting by its name
    if static_membership and not worker_id:
        yield "static_membership: needs worker_id, one name a worker"


def _room(max_tokens: int | None, max_model_len: int) -> Iterator[str]:
    if max_tokens is not None and max_tokens >= max_model_len:
        yield f"max_tokens: {max_tokens} leave no room for a prompt in {max_model_len}"


def _fact_topics(items_topic: str | None, users_topic: str | None, input_topics: list[str]) -> Iterator[str]:
    for name, topic in (("items_topic", items_topic), ("users_topic", users_topic)):
        if topic in input_topics:
            yield f"{name}: {topic} is an input topic; want one of its own"
    if items_topic is not None and items_topic == users_topic:
        yield "users_topic: is the topic of items; want one of its own"


def _fact_outputs(
    items_topic: str | None, users_topic: str | None, output_topic: str, dead_letter_topic: str
) -> Iterator[str]:
    for name, topic in (("items_topic", items_topic), ("users_topic", users_topic)):
        if topic in (output_topic, dead_letter_topic):
            yield f"{name}: {topic} is a topic this worker writes"


def _fact_sources(
    items_topic: str | None, users_topic: str | None, items_file: Path | None, users_file: Path | None
) -> Iterator[str]:
    for kind, topic, file in (("items", items_topic, items_file), ("users", users_topic, users_file)):
        if topic and file:
            yield f"{kind}_file: {kind}_topic is set too; want one of them"
        if file and file.suffix not in FACT_FILES:
            yield f"{kind}_file: {file}: want a file that ends in {', '.join(FACT_FILES)}"


def _mapping_format(mapping: str | None, input_format: str) -> Iterator[str]:
    if mapping is not None and input_format == "avro":
        yield "mapping: needs input_format=json, protobuf or tsv"
    if mapping is None and input_format == "tsv":
        yield "input_format: tsv needs a mapping that names the columns"


def _protobuf(input_format: str, protobuf_descriptors: Path | None, protobuf_message: str | None) -> Iterator[str]:
    if protobuf_descriptors is not None and input_format != "protobuf":
        yield "protobuf_descriptors: needs input_format=protobuf"
    if (protobuf_descriptors is None) != (protobuf_message is None):
        yield "protobuf_descriptors and protobuf_message: need each other"


_TOGETHER = (
    _read, _written, addresses.topics, addresses.identities, addresses.brokers, addresses.registry, _options, _batch,
    _steering, _reference, _reference_draws, _rates, _member, addresses.servers, _engine, _dtype, _room,
    _mapping_format, _protobuf, _fact_topics, _fact_outputs, _fact_sources,
)  # fmt: skip

# -- files


def _kafka_secrets(kafka_secrets: Path | None, kafka_options: dict[str, str]) -> Iterator[str]:
    yield from secret_problems(kafka_secrets, kafka_options)


def _mapping(mapping: str | None, input_format: str) -> Iterator[str]:
    try:
        found = mappings.load(mapping) if mapping is not None else None
        if found is not None and found.impressions is None:
            yield f"mapping: {mapping} has no `impression`"
        if found is not None and input_format == "tsv" and not found.table.columns:
            yield f"mapping: {mapping} names no columns, which input_format=tsv needs"
    except BadSettings as error:
        yield str(error)


def _fact_files(items_file: Path | None, users_file: Path | None) -> Iterator[str]:
    for name, path in (("items_file", items_file), ("users_file", users_file)):
        if path and not path.is_file():
            yield f"{name}: {path}: is no file"


def _descriptors(protobuf_descriptors: Path | None, protobuf_message: str | None) -> Iterator[str]:
    try:
        if protobuf_descriptors is not None and protobuf_message is not None:
            input_forms.types(protobuf_descriptors, protobuf_message)
    except BadSettings as error:
        yield str(error)


def _outcomes_mapping(outcomes_mapping: str | None) -> Iterator[str]:
    try:
        if outcomes_mapping is not None and mappings.load(outcomes_mapping).outcomes is None:
            yield f"outcomes_mapping: {outcomes_mapping} has no `outcome`"
    except BadSettings as error:
        yield str(error)


def _registry_files(
    schema_registry_url: str | None,
    schema_registry_auth_file: Path | None,
    schema_registry_certificate_file: Path | None,
    schema_registry_key_file: Path | None,
) -> Iterator[str]:
    if schema_registry_key_file and not schema_registry_certificate_file:
        yield "schema_registry_key_file: needs schema_registry_certificate_file"
    for name, file, want in (
        ("auth", schema_registry_auth_file, "user:password, or Bearer TOKEN"),
        ("certificate", schema_registry_certificate_file, "a certificate, PEM"),
        ("key", schema_registry_key_file, "a private key, PEM"),
    ):
        if schema_registry_url and file and (why := secret_files.unreadable(file)):
            yield f"schema_registry_{name}_file: {why}; want a file with {want}"


def _chat_template(chat_template: Path | None) -> Iterator[str]:
    if chat_template and (why := secret_files.unreadable(chat_template)):
        yield f"chat_template: {why}; want a file with a Jinja template"


def _redactor(redactor: str) -> Iterator[str]:
    try:
        redactors.load(redactor)
    except BadSettings as error:
        yield str(error)


def _pseudonyms(pseudonym_key_file: Path | None) -> Iterator[str]:
    try:
        secret_files.pseudonym_key(pseudonym_key_file)
    except BadSettings as error:
        yield str(error)


def _profile(prompt_profile: str) -> Iterator[str]:
    try:
        prompt_profiles.load(prompt_profile)
    except BadSettings as error:
        yield str(error)


_FILES = (
    _kafka_secrets, _registry_files, _chat_template, _mapping, _outcomes_mapping, _descriptors, _redactor, _pseudonyms,
    _fact_files,
)  # fmt: skip
