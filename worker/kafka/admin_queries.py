"""Questions to Kafka's admin API, which do not wait for a broker that is gone.

librdkafka sends some of them to one broker alone: to the coordinator of a group, or, for the ids of topics, to the
controller.  It remembers which that is for as long as it is asked, and does not look again where that broker dies or is
replaced: each question then waits for it and runs out of time, though the cluster has a new one long since (librdkafka
2.16; as librdkafka#5511 for a producer).  A client that has just been made asks the cluster first.
"""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from worker.kafka import client_config as client
from worker.settings.groups import KafkaClientSettings

T = TypeVar("T")

# What a client says that asks a broker which is not, or no longer, the right one.
STALE = frozenset({
    client.TIMED_OUT, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_CONTROLLER,
})  # fmt: skip
CONNECT_S = 2.0  # of a first, plain question; what takes longer goes on being made, and the next try finds it
RENEW_S = 2.0  # a client is kept for so long at least


class AdminQueries:
    """Asks by an admin client, and takes a new one after a question to the wrong broker; for any thread."""

    def __init__(self, settings: KafkaClientSettings) -> None:
        """Connect lazily, as the client does."""
        self._options = client.common(settings)
        self._lock = threading.Lock()
        self._admin = AdminClient(self._options)
        self._is_connected = False
        self._made_s = time.monotonic()

    def ask(self, question: Callable[[AdminClient], T]) -> T:
        """Return what a question gives, which waits for all its answers.  Raises `KafkaException`."""
        admin = self._connected()
        try:
            return question(admin)
        except KafkaException as error:
            if client.kafka_error(error).code() in STALE:
                self._renew(admin)
            raise

    def _connected(self) -> AdminClient:
        """Return a client that has reached the cluster.

        The client ends the process (an assertion, librdkafka 2.16) where a question to a coordinator runs out of time
        before the first connection is made; and one that was not reached at all is no better anew.
        """
        admin, is_connected = self._admin, self._is_connected
        if not is_connected:
            admin.list_topics(timeout=CONNECT_S)
            with self._lock:
                self._is_connected = self._is_connected or self._admin is admin
        return admin

    def _renew(self, admin: AdminClient) -> None:
        """Replace a client, once however many threads asked by it."""
        with self._lock:
            if self._admin is admin and time.monotonic() - self._made_s >= RENEW_S:
                self._admin, self._is_connected = AdminClient(self._options), False
                self._made_s = time.monotonic()
