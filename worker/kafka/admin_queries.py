"""Questions to Kafka's admin API, which do not wait for a broker that is gone.

librdkafka sends some of them to one broker alone: to the coordinator of a group, or, for the ids of topics, to the
controller.  It remembers which that is for up to 15 minutes (`metadata.max.age.ms`); where that broker dies, each
question waits for it and runs out of time, though the cluster has a new one long since (librdkafka 2.16; as
librdkafka#5511 for a producer).  A client that has just been made asks the cluster first.
"""

from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from worker.kafka import client_config as client
from worker.settings import Settings

T = TypeVar("T")


class AdminQueries:
    """Asks by an admin client, and takes a new one after a question that ran out of time; for any thread."""

    def __init__(self, settings: Settings) -> None:
        """Connect lazily, as the client does."""
        self._options = client.common(settings)
        self._admin = AdminClient(self._options)
        self._done_with: AdminClient | None = None  # kept for a while: other answers to it may still be on their way

    def ask(self, question: Callable[[AdminClient], T]) -> T:
        """Return what a question gives, which waits for its answer.  Raises `KafkaException`."""
        admin = self._admin
        try:
            return question(admin)
        except KafkaException as error:
            if client.kafka_error(error).code() == client.TIMED_OUT and self._admin is admin:
                self._done_with, self._admin = admin, AdminClient(self._options)
            raise
