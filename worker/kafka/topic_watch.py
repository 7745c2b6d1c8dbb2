"""A thread that checks every second which topics exist; the result goes to the poll thread.

Nothing else notices in time: the client refreshes its metadata every half minute (`client.REFRESH_MS`), and continues
with a recreated topic of the same name without an error.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from worker.core.errors import Fatal
from worker.kafka import error_text
from worker.kafka.topic_ids import TopicIds, TopicState

log = logging.getLogger(__name__)

LOOK_S = 1.0  # between two checks of the topics that are read
KEEP_S = 30.0  # between two checks of the group's memory, and of the topics that patterns match

Topics = Mapping[str, TopicState | None]  # None: does not exist


class TopicWatch:
    """Checks the topics that `topics` returns until `close`.

    `found` is called with each result, `keep` every `KEEP_S`; all three are called in the watch's own thread.
    """

    def __init__(
        self,
        topic_ids: TopicIds,
        topics: Callable[[], frozenset[str]],
        found: Callable[[Topics], None],
        keep: Callable[[], None],
    ) -> None:
        self._topic_ids, self._topics, self._found, self._keep = topic_ids, topics, found, keep
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)

    def open(self) -> None:
        """Start checking."""
        self._thread.start()

    def close(self) -> None:
        """Stop checking; returns at once."""
        self._closed.set()

    def _run(self) -> None:
        keep_s = time.monotonic() + KEEP_S
        while not self._closed.wait(LOOK_S):
            try:
                self._found(self._topic_ids.look(self._topics()))
                if time.monotonic() >= keep_s:
                    keep_s = time.monotonic() + KEEP_S
                    self._keep()
            except KafkaException as error:
                log.debug(
                    "topics: %s; looking again", error_text.explain(error)
                )  # callers that need Kafka report an outage
            except Fatal as error:
                log.warning("topics: %s", error)
