"""A thread that asks again and again which topics there are; what it finds goes to the poll thread.

Nothing else tells in time: the client looks at its topics every half minute (`client.REFRESH_MS`), and follows a topic
that was made anew under its old name without a word.
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

LOOK_S = 1.0  # between two looks at the topics that are read
KEEP_S = 30.0  # between two looks at the group's memory, and at the topics that patterns find

Topics = Mapping[str, TopicState | None]  # None: not there


class TopicWatch:
    """Looks until `close`; `topics` says at what, `found` takes it, `keep` is called now and then for slower things."""

    def __init__(
        self,
        topic_ids: TopicIds,
        topics: Callable[[], frozenset[str]],
        found: Callable[[Topics], None],
        keep: Callable[[], None],
    ) -> None:
        """Start nothing yet.  All three are called in the watch's own thread."""
        self._topic_ids, self._topics, self._found, self._keep = topic_ids, topics, found, keep
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="topics", daemon=True)

    def open(self) -> None:
        """Start to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; returns at once."""
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
                )  # an outage is told by who needs Kafka
            except Fatal as error:
                log.warning("topics: %s", error)
