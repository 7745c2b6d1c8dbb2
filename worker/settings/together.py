"""What must hold between settings, and the files that they name.

A check takes settings by their names.  One of which a setting is wrong by itself is left out, so that what is told is
never about a default that nobody chose.

>>> list(problems({"static_membership": True, "worker_id": None, "max_tokens": 512}))
['static_membership: needs worker_id, one name a worker']
"""

import re
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from worker import profiles
from worker.errors import BadSettings
from worker.topic_patterns import INTERNAL, TopicPatterns

_SERVER = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
# librdkafka keys that carry the delivery guarantee; a setting of ours stands for each, or none may change it.
RESERVED_KAFKA_OPTIONS = frozenset({
    "auto.offset.reset", "bootstrap.servers", "enable.auto.commit", "enable.auto.offset.store", "enable.idempotence",
    "acks", "group.id", "group.instance.id", "group.protocol", "isolation.level", "partition.assignment.strategy",
    "partitioner", "transactional.id", "transaction.timeout.ms", "message.timeout.ms", "session.timeout.ms",
})  # fmt: skip


def problems(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what does not go together; `values` are the settings that are right by themselves."""
    return _told(_TOGETHER, values)


def missing(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield which files are not there."""
    return _told(_FILES, values)


def _told(checks: tuple[Callable[..., Iterator[str]], ...], values: Mapping[str, Any]) -> Iterator[str]:
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


def _options(kafka_options: dict[str, str]) -> Iterator[str]:
    for name in sorted(RESERVED_KAFKA_OPTIONS & kafka_options.keys()):
        yield f"kafka_options.{name}: is not yours to set, it carries the delivery guarantee"


def _rates(sample_rates: dict[str, float]) -> Iterator[str]:
    yield from (f"sample_rates.{e}: {rate}, want (0, 1]" for e, rate in sample_rates.items() if not 0 < rate <= 1)


def _member(static_membership: bool, worker_id: str | None) -> Iterator[str]:  # noqa: FBT001 - a setting by its name
    if static_membership and not worker_id:
        yield "static_membership: needs worker_id, one name a worker"


def _servers(engine: str, server_urls: list[str]) -> Iterator[str]:
    if engine == "vllm-server" and not server_urls:
        yield "server_urls: engine vllm-server needs at least one, such as http://gpu-1:8000"


def _passes(engine: str, passes: int) -> Iterator[str]:
    if engine == "vllm-server" and passes == 1:
        yield "passes: want 2 with engine vllm-server, which takes no more than four stop strings"


def _addresses(server_urls: list[str]) -> Iterator[str]:
    if not all(map(_SERVER.fullmatch, server_urls)):
        yield "server_urls: want http://HOST:PORT each, without a password"


def _room(max_tokens: int | None, max_model_len: int) -> Iterator[str]:
    if max_tokens is not None and max_tokens >= max_model_len:
        yield f"max_tokens: {max_tokens} leave no room for a prompt in {max_model_len}"


_TOGETHER = (_read, _written, _options, _rates, _member, _servers, _passes, _addresses, _room)

# -- files


def _kafka_secrets(kafka_secrets: Path | None) -> Iterator[str]:
    if kafka_secrets is not None and (why := _unreadable(kafka_secrets, folder=True)):
        yield f"kafka_secrets: {why}; want a folder of files named like librdkafka options"


def _registry_auth(schema_registry_url: str | None, schema_registry_auth_file: Path | None) -> Iterator[str]:
    if schema_registry_url and schema_registry_auth_file and (why := _unreadable(schema_registry_auth_file)):
        yield f"schema_registry_auth_file: {why}; want a file with user:password"


def _server_auth(engine: str, server_auth_file: Path | None) -> Iterator[str]:
    if engine == "vllm-server" and server_auth_file and (why := _unreadable(server_auth_file)):
        yield f"server_auth_file: {why}; want a file with the bearer token"


def _profile(prompt_profile: str) -> Iterator[str]:
    try:
        profiles.load(prompt_profile)
    except BadSettings as error:
        yield str(error)


def _unreadable(path: Path, *, folder: bool = False) -> str:
    """Return why a file or folder cannot be read; "" if it can."""
    try:
        if folder:
            next(path.iterdir(), None)
        else:
            path.open("rb").close()
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


_FILES = (_kafka_secrets, _registry_auth, _server_auth, _profile)
