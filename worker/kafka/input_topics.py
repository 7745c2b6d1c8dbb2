"""The input topics of one worker: whether they are there, whether they are the same, and what is said about them.

The poll thread asks and acts (`KafkaSource`); a watch looks every second; the transaction thread asks before each
commit.  What follows from a look is decided in `worker.core.topics.topic_guard` and `worker.core.topics.topic_history`.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from confluent_kafka import KafkaException, TopicPartition

from worker.core.delivery.handover_messages import Head, TopicNews
from worker.core.errors import Fatal
from worker.core.records import Partition
from worker.core.topics.topic_guard import Look, TopicGuard
from worker.core.topics.topic_history import TopicChange
from worker.core.topics.topic_patterns import TopicPatterns, shown
from worker.kafka.admin_queries import AdminQueries
from worker.kafka.positions import MadeAnew, topic_partitions
from worker.kafka.topic_ids import TopicIds
from worker.kafka.topic_watch import Topics, TopicWatch
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

DECIDE = "restart with on_data_loss=skip to read it from its start, or set the group's offsets"
TOLD_S = 30.0  # how long a worker that must stop says so on /readyz and /metrics before it ends: two scrapes


class InputTopics:
    """Looked at in a thread of its own; `tell` is called in the poll thread alone, from `open` on."""

    def __init__(self, settings: KafkaClientSettings, queries: AdminQueries, *, until_end: bool) -> None:
        """Take the settings; a backfill (`until_end`) does not wait with its end: nobody looks at its pages."""
        self._settings = settings
        self._topic_ids = TopicIds(queries)
        self._patterns = TopicPatterns(settings.input_topics, settings.group_protocol)
        # The two topics that are written are wanted, too: without them nothing is answered.
        self._guard = TopicGuard({*self._patterns.names, settings.output_topic, settings.dead_letter_topic})
        self._told_s = 0.0 if until_end else TOLD_S
        self._seen: Topics | None = None  # not judged yet
        self._read: set[str] = set()  # topics that this worker has read
        self._flushed: dict[str, str] = {}  # topics, with their ids, that offsets were committed in
        self._ends: tuple[float, str] | None = None  # when this worker ends itself, monotonic seconds, and why
        self._tell: Callable[[TopicNews], None] = lambda _: None
        self._keep_memory: Callable[[Mapping[str, str]], None] = lambda _: None
        self._watch = TopicWatch(self._topic_ids, lambda: self._guard.topics, self._looked, self._keep)

    @property
    def why(self) -> str:
        """Why the worker is not ready, "" if no topic speaks against it."""
        return self._guard.why

    def open(self, tell: Callable[[TopicNews], None], keep_memory: Callable[[Mapping[str, str]], None]) -> None:
        """Start to look; `keep_memory` is called now and then, in the watch's thread."""
        self._tell, self._keep_memory = tell, keep_memory
        self._watch.open()

    def close(self) -> None:
        """Look no more."""
        self._watch.close()

    def refuse(self, topics: Iterable[str]) -> None:
        """Raise `Fatal` if the group gave a topic that this worker writes, whatever the patterns seemed to say."""
        if own := {self._settings.output_topic, self._settings.dead_letter_topic} & set(topics):
            raise Fatal(
                f"input_topics: the group gave {shown(sorted(own))}, which this worker writes; the worker stops"
            )

    # -- asked by the transaction thread

    def offsets_of(self, heads: Collection[Head], ids: Mapping[Partition, str]) -> list[TopicPartition] | None:
        """Return what to commit if all topics have the ids that these records were read with.

        None if not: what is read next of such a topic must not be taken for progress.  The question comes after the
        records were read, so a topic that has its id now had it then.  Blocks.  Raises `KafkaException` if nobody can
        say.
        """
        found = self._topic_ids.look({partition.topic for partition in ids})
        now = {topic: state.topic_id if state else None for topic, state in found.items()}
        if any(now[partition.topic] != topic_id for partition, topic_id in ids.items()):
            self._seen = found
            return None
        return topic_partitions(heads, ids)

    def flushed(self, ids: Mapping[Partition, str]) -> None:
        """Hear that offsets were committed: from now on their absence means that somebody deleted them.

        The first time for each topic this is written to the group's memory.  Blocks.
        """
        topics = {partition.topic: topic_id for partition, topic_id in ids.items()}
        if not topics.items() <= self._flushed.items():
            self._flushed |= topics
            with suppress(KafkaException, Fatal):  # the watch writes it later, and tells what is wrong
                self._keep_memory(dict(self._flushed))

    # -- asked by the poll thread

    def judge_seen(self) -> Look:
        """Return what follows from what the watch saw; not inside a callback that is in the middle of placing topics.

        Raises `Fatal` once a worker that must stop has said so for long enough.
        """
        if self._ends and time.monotonic() >= self._ends[0]:
            raise Fatal(self._ends[1])
        seen, self._seen = self._seen, None
        return self.judge(seen or {})

    def judge(self, found: Topics) -> Look:
        """Return what follows from the topics as they are now."""
        ids = {topic: state.topic_id if state else None for topic, state in found.items()}
        return self._guard.look(ids, now_s=time.monotonic())

    def reads(self, topic: str, topic_id: str) -> None:
        """Take that a topic is read from now on."""
        self._read.add(topic)
        if self._guard.reads(topic, topic_id):
            self._tell(TopicNews(topic, None, is_held=False))

    def is_back(self, topic: str) -> None:
        """Take that a topic is there again, of which the group has given nothing yet."""
        self._tell(TopicNews(topic, None, is_held=False))

    def is_absent(self, topic: str) -> None:
        """Take that a topic is not there of which the group has given partitions."""
        self._guard.is_absent(topic)

    def is_gone(self, topic: str, num_dropped: int) -> None:
        """Say that a topic is not there; `num_dropped` of its partitions were being read."""
        was_read = topic in self._read
        self._tell(TopicNews(topic, TopicChange.DELETED if was_read else None, is_held=self._guard.is_away(topic)))
        if was_read:
            log.error(
                "topic %s was deleted: %d of its partitions are dropped with what is in flight; other topics go on",
                topic, num_dropped,
            )  # fmt: skip
        else:
            log.warning("topic %s does not exist; waiting for it", topic)

    def is_given_up(self, topics: Iterable[str]) -> None:
        """Take that the group took the last partitions of these topics away."""
        for topic in topics:
            self._guard.is_given_up(topic)

    def position_gone(self, topic: str) -> None:
        """Count a partition that goes on elsewhere, because the records at its position are gone."""
        self._tell(TopicNews(topic, TopicChange.POSITION_GONE, is_held=False))

    def made_anew(self, one: MadeAnew) -> None:
        """Say that a topic was made anew, and hold it if so it shall be."""
        is_held = self._settings.on_data_loss == "stop"
        self._tell(TopicNews(one.topic, TopicChange.MADE_ANEW, is_held))
        if not is_held:
            log.warning("%s; on_data_loss=skip: it is read from its start, what was in flight is dropped", one)
            return
        why = f"topic {one}; nothing of it is read: {DECIDE}"
        self._guard.is_held(one.topic, why)
        log.error("%s; the worker ends in %.0f s", why, self._told_s)
        self._ends = self._ends or (time.monotonic() + self._told_s, why)

    # -- the watch's thread

    def _looked(self, found: Topics) -> None:
        self._seen = found

    def _keep(self) -> None:
        """Look at the patterns and the memory.  Raises `KafkaException`, `Fatal`."""
        if self._patterns.patterns:
            matching = self._patterns.read(self._topic_ids.names())
            why = "" if matching else f"input_topics: {shown(self._settings.input_topics)} matches no topic"
            self._guard.no_match(why)
        self._keep_memory(dict(self._flushed))
