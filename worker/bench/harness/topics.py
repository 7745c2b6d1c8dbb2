"""Topics of the bench: created for a block and deleted after it, so that no run leaves data on the user's Kafka."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

TIMEOUT_S = 30.0


def new_name() -> str:
    """Return a unique prefix for the topics of one bench."""
    return f"mirrorstream-bench-{secrets.token_hex(3)}"


def plain_client(bootstrap: str) -> dict[str, Any]:
    """Return the minimum options of a client."""
    return {"bootstrap.servers": bootstrap, "log_level": 2}


@contextmanager
def topics(options: Mapping[str, Any], partitions: Mapping[str, int], *, embedded: bool = False) -> Iterator[None]:
    """Create topics, given as name to partitions, with these client options; delete them when the block ends."""
    admin = AdminClient(dict(options))
    if embedded:  # this broker creates topics on request, with its own number of partitions, and ends with the bench
        for name in partitions:
            admin.list_topics(name, timeout=TIMEOUT_S)
        yield
        return
    made = admin.create_topics([NewTopic(name, number) for name, number in partitions.items()])
    for future in made.values():
        future.result(TIMEOUT_S)
    try:
        yield
    finally:
        for future in admin.delete_topics(list(partitions)).values():
            future.exception(TIMEOUT_S)  # ignored: results must not be lost because a topic cannot be deleted
