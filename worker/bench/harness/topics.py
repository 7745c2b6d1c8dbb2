"""Topics of the bench's own: made for a block, and gone with it, so that no run leaves data on somebody's Kafka."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

TIMEOUT_S = 30.0


def new_name() -> str:
    """Return what all topics of one bench begin with, so that two never meet."""
    return f"mirrorstream-bench-{secrets.token_hex(3)}"


def plain_client(bootstrap: str) -> dict[str, Any]:
    """Return the options of a client that needs no others."""
    return {"bootstrap.servers": bootstrap, "log_level": 2}


@contextmanager
def topics(options: Mapping[str, Any], partitions: Mapping[str, int], *, embedded: bool = False) -> Iterator[None]:
    """Make topics, name to partitions, with a client of these options, and delete them at the end of the block."""
    admin = AdminClient(dict(options))
    if embedded:  # that broker makes topics of its own size when it is asked for them, and is gone with the bench
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
            future.exception(TIMEOUT_S)  # one that cannot be deleted is no reason to lose what was measured
