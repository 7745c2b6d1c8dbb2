"""The user's own librdkafka options, from `kafka_options` and the files of `kafka_secrets`.

Whether an option exists and accepts its value is checked by creating a client with it: a list of ours would go out of
date.  Passwords are removed from the client's messages.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.core.errors import BadSettings, masked
from worker.core.suggestions import did_you_mean
from worker.settings import secret_files
from worker.settings.cross_checks import secret_problems
from worker.settings.groups import KafkaClientSettings
from worker.settings.kafka_options import NAMES, is_secret

log = logging.getLogger(__name__)

_UNKNOWN = re.compile(r'No such configuration property: "(.*)"', re.DOTALL)
_PREFIX = re.compile(r"^Failed to create \w+: ")
MIN_SECRET_CHARS = 4  # a shorter one would mask parts of words


def given(settings: KafkaClientSettings) -> dict[str, str]:
    """Return the user's options, name to value.  Raises `BadSettings` with every problem that they have."""
    files = secret_files.read(settings.kafka_secrets)
    options = {**settings.kafka_options, **files.options}
    problems = [*secret_problems(settings.kafka_secrets, settings.kafka_options)]
    for name, why in refused(tuple(options.items())):
        where = f"kafka_secrets: {name}" if name in files.options else f"kafka_options.{name}".rstrip(".")
        problems.append(f"{where}: {why}")
    if problems:
        raise BadSettings("\n".join(problems))
    if files.passed_over:
        _log_ignored(str(settings.kafka_secrets), files.passed_over)
    return options


@lru_cache(maxsize=8)  # a mounted secret may change while the worker runs
def refused(options: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the options that the client rejects, each with the reason; the name is "" if several are concerned."""
    return tuple(_refused(dict(options))) if options else ()


def told(error: KafkaError, options: Mapping[str, str]) -> str:
    """Return the client's message, without the passwords among the options."""
    text = _PREFIX.sub("", str(error.str()))
    for name, value in options.items():
        if is_secret(name) and len(value) >= MIN_SECRET_CHARS:
            text = text.replace(value, "***")
    return masked(text)


def _refused(options: dict[str, str]) -> Iterator[tuple[str, str]]:
    while True:
        try:
            Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0, **options}).close(0)
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            unknown = _UNKNOWN.search(str(reason.str()))
            if unknown is None or unknown[1] not in options:
                yield "", told(reason, options)
                return
            name = unknown[1]
            del options[name]
            yield name, f"is not a librdkafka option{did_you_mean(name.lower(), NAMES)}"
        except (TypeError, ValueError, AttributeError) as error:  # an option that only a program can set
            yield "", f"one of the options cannot be set by a file ({type(error).__name__})"
            return
        else:
            return


@cache
def _log_ignored(folder: str, names: tuple[str, ...]) -> None:
    log.info(
        "kafka_secrets: ignored %s; to use a file, name it as a librdkafka option, such as ssl.key.location, or give"
        " its path below %s in kafka_options",
        ", ".join(names), folder,
    )  # fmt: skip
