"""Names and addresses, checked before anybody is asked: what the client or the broker would refuse, or crash at.

A check yields one line a problem.  No line holds an address that may hold a password.
"""

import re
from collections.abc import Iterator

from worker.core.topics.topic_patterns import is_pattern

# Kafka's rules for the name of a topic (`org.apache.kafka.common.internals.Topic`).
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
# Kafka takes 32,767 bytes; a longer group makes the client wait for ever, and other names are made by adding to it.
MAX_NAME_CHARS = 255
_BROKER = re.compile(
    r"(?:(?:PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)://)?(?:\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[\w.-]+)(?::(?P<port>\d{1,5}))?",
    re.IGNORECASE,
)
_SERVER = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
MAX_PORT = 65_535
MAX_SEEN = 100


def topics(
    input_topics: list[str],
    output_topic: str,
    dead_letter_topic: str,
    items_topic: str | None,
    users_topic: str | None,
) -> Iterator[str]:
    """Find names that Kafka does not take; a pattern is not a name."""
    names = [("input_topics", one) for one in input_topics if not is_pattern(one)]
    names += [("output_topic", output_topic), ("dead_letter_topic", dead_letter_topic)]
    names += [(name, one) for name, one in (("items_topic", items_topic), ("users_topic", users_topic)) if one]
    for setting, name in names:
        if name in {".", ".."} or not _TOPIC.fullmatch(name):
            yield (
                f"{setting}: {name[:MAX_SEEN]!r} is no name of a topic; want 1 to 249 letters, digits, '.', '_' or '-'"
            )


def identities(group_id: str, transactional_id_prefix: str) -> Iterator[str]:
    """Find names of ours that the client crashes at or the broker never answers: blank, long, or of odd characters."""
    for setting, name in (("group_id", group_id), ("transactional_id_prefix", transactional_id_prefix)):
        if len(name) > MAX_NAME_CHARS:
            yield f"{setting}: {len(name)} characters, want at most {MAX_NAME_CHARS}"
        elif name != name.strip() or not name.isprintable():
            yield f"{setting}: {name[:MAX_SEEN]!r}: want printable characters, and no space at either end"


def brokers(bootstrap_servers: str) -> Iterator[str]:
    """Find addresses that librdkafka would take for the name of a host, and then never find."""
    want = "bootstrap_servers: want HOST:PORT, several by comma"
    if "@" in bootstrap_servers:
        yield f"{want}, without a password; use kafka_options and kafka_secrets for that"
        return
    found = [one.strip() for one in bootstrap_servers.split(",") if one.strip()]
    if not found:
        yield want
    for one in found:
        match = _BROKER.fullmatch(one)
        if match is None or not 0 < int(match["port"] or 1) <= MAX_PORT:
            without = next(
                (f", without {each}" for each in ("http://", "https://") if one.lower().startswith(each)), ""
            )
            yield f"{want}{without}; seen {one[:MAX_SEEN]!r}"


def registry(schema_registry_url: str | None) -> Iterator[str]:
    """Find a registry's address that is none, or that holds a password."""
    if schema_registry_url is None or all(map(_SERVER.fullmatch, schema_registry_url.split(","))):
        return
    yield (
        "schema_registry_url: want http://HOST:PORT without a password;"
        " user:password goes into the file that schema_registry_auth_file names"
    )


def servers(server_urls: list[str]) -> Iterator[str]:
    """Find servers' addresses that are none, or that hold a password."""
    if not all(map(_SERVER.fullmatch, server_urls)):
        yield "server_urls: want http://HOST:PORT each, without a password"
