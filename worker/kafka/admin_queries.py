"""Requests to Kafka's admin API that do not wait for a dead broker.

librdkafka sends some requests to one broker only: to the coordinator of a group, or, for topic ids, to the controller.
It caches which broker that is and does not refresh it when the broker dies or is replaced: every request then waits for
the old broker and times out, although the cluster has elected a new one (librdkafka 2.16; as librdkafka#5511 for a
producer).  A new client asks the cluster first.
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

# Errors of a request to a broker that is not, or no longer, the right one.
STALE = frozenset({
    client.TIMED_OUT, KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_CONTROLLER,
})  # fmt: skip
CONNECT_S = 2.0  # of the first metadata request; a slower connection is still being made, and the next try uses it
RENEW_S = 2.0  # minimum age of a client before it is replaced


class AdminQueries:
    """Sends requests by an admin client, which it replaces after a request to the wrong broker; thread-safe."""

    def __init__(self, settings: KafkaClientSettings) -> None:
        self._options = client.common(settings)
        self._lock = threading.Lock()
        self._admin = AdminClient(self._options)
        self._is_connected = False
        self._made_s = time.monotonic()

    def ask(self, question: Callable[[AdminClient], T]) -> T:
        """Run `question` with a connected client and return its result.  Raises `KafkaException`.

        `question` waits for all its answers itself: the client may be replaced afterwards.
        """
        admin = self._connected()
        try:
            return question(admin)
        except KafkaException as error:
            if client.kafka_error(error).code() in STALE:
                self._renew(admin)
            raise

    def _connected(self) -> AdminClient:
        """Return a client that has reached the cluster once.

        librdkafka 2.16 aborts the process (an assertion) if a request to a coordinator times out before the first
        connection is made.  A client that has never reached the cluster is not replaced: a new one would fail too.
        """
        admin, is_connected = self._admin, self._is_connected
        if not is_connected:
            admin.list_topics(timeout=CONNECT_S)
            with self._lock:
                self._is_connected = self._is_connected or self._admin is admin
        return admin

    def _renew(self, admin: AdminClient) -> None:
        """Replace a client; only once, however many threads used it."""
        with self._lock:
            if self._admin is admin and time.monotonic() - self._made_s >= RENEW_S:
                self._admin, self._is_connected = AdminClient(self._options), False
                self._made_s = time.monotonic()
