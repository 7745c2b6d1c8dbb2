"""Topics of the bench's own: made for a block, and gone with it, so that no run leaves data on somebody's Kafka."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

TIMEOUT_S = 30.0


def new_name() -> str:
    """Return what all topics of one bench begin with, so that two never meet."""
    return f"mirrorstream-bench-{secrets.token_hex(3)}"


@contextmanager
def topics(bootstrap: str, partitions: Mapping[str, int]) -> Iterator[None]:
    """Make topics, name to partitions, and delete them at the end of the block."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    made = admin.create_topics([NewTopic(name, number) for name, number in partitions.items()])
    for future in made.values():
        future.result(TIMEOUT_S)
    try:
        yield
    finally:
        for future in admin.delete_topics(list(partitions)).values():
            future.exception(TIMEOUT_S)  # one that cannot be deleted is no reason to lose what was measured
