"""The input topics of one worker: whether they exist, whether they were recreated, and what is reported about them.

`TopicWatch` checks them every second in its own thread; the poll thread (`KafkaSource`) acts on the result; the
transaction thread checks before each commit.  What follows from a check is decided in
`worker.core.topics.topic_guard` and `worker.core.topics.topic_history`.
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
TOLD_S = 30.0  # how long a worker that must stop reports it on /readyz and /metrics before it exits: two scrapes


class InputTopics:
    """Judges the input topics for the source.

    A backfill (`until_end`) that must stop does so at once: nobody reads its /readyz.
    """

    def __init__(self, settings: KafkaClientSettings, queries: AdminQueries, *, until_end: bool) -> None:
        self._settings = settings
        self._topic_ids = TopicIds(queries)
        self._patterns = TopicPatterns(settings.input_topics, settings.group_protocol)
        # The two output topics are checked, too: without them nothing can be published.
        self._guard = TopicGuard({*self._patterns.names, settings.output_topic, settings.dead_letter_topic})
        self._told_s = 0.0 if until_end else TOLD_S
        self._seen: Topics | None = None  # not judged yet
        self._read: set[str] = set()  # topics that this worker has read
        self._flushed: dict[str, str] = {}  # ids of the topics that offsets were committed for, by name
        self._num_partitions = 0
        self._ends: tuple[float, str] | None = None  # when this worker stops, monotonic seconds, and why
        self._report: Callable[[TopicNews], None] = lambda _: None
        self._keep_memory: Callable[[Mapping[str, str]], None] = lambda _: None
        self._watch = TopicWatch(self._topic_ids, lambda: self._guard.topics, self._looked, self._keep)

    @property
    def why(self) -> str:
        """Why the worker is not ready; "" if all topics are as they should be."""
        return self._guard.why

    def num_partitions(self) -> int:
        """Return how many partitions all input topics have, those of other members too; 0 while that is not known."""
        return self._num_partitions

    def open(self, report: Callable[[TopicNews], None], keep_memory: Callable[[Mapping[str, str]], None]) -> None:
        """Start checking.

        `report` is called in the poll thread; `keep_memory` every `topic_watch.KEEP_S`, in the watch's thread.
        """
        self._report, self._keep_memory = report, keep_memory
        self._watch.open()

    def close(self) -> None:
        """Stop checking."""
        self._watch.close()

    def refuse(self, topics: Iterable[str]) -> None:
        """Raise `Fatal` if the group assigned a topic that this worker writes; the last check behind the settings'."""
        if own := {self._settings.output_topic, self._settings.dead_letter_topic} & set(topics):
            raise Fatal(
                f"input_topics: the group assigned {shown(sorted(own))}, which this worker writes; the worker stops"
            )

    # -- called by the transaction thread

    def offsets_of(self, heads: Collection[Head], ids: Mapping[Partition, str]) -> list[TopicPartition] | None:
        """Return the offsets to commit, or None if a topic no longer has the id that its records were read with.

        Offsets of the old topic must not be taken for progress in the new one.  The ids are read after the records, so
        a topic that has the same id now had it then.  Blocks.  Raises `KafkaException` if Kafka does not answer.
        """
        found = self._topic_ids.look({partition.topic for partition in ids})
        now = {topic: state.topic_id if state else None for topic, state in found.items()}
        if any(now[partition.topic] != topic_id for partition, topic_id in ids.items()):
            self._seen = found
            return None
        return topic_partitions(heads, ids)

    def flushed(self, ids: Mapping[Partition, str]) -> None:
        """Note that offsets were committed: from now on, missing offsets mean that they were deleted.

        Writes to the group's memory the first time for each topic.  Blocks.
        """
        topics = {partition.topic: topic_id for partition, topic_id in ids.items()}
        if not topics.items() <= self._flushed.items():
            self._flushed |= topics
            with suppress(KafkaException, Fatal):  # the watch writes it later, and logs what is wrong
                self._keep_memory(dict(self._flushed))

    # -- called by the poll thread

    def count_partitions(self) -> None:
        """Count the partitions before the first is assigned, so that each has its part of budgets from the start.

        Blocks.  Where Kafka does not answer, the watch counts them later.
        """
        with suppress(KafkaException):
            self._count()

    def judge_seen(self) -> Look:
        """Return what follows from the last check of the watch; not to be called inside a rebalance callback.

        Raises `Fatal` if the worker must stop and has reported it for `TOLD_S`.
        """
        if self._ends and time.monotonic() >= self._ends[0]:
            raise Fatal(self._ends[1])
        seen, self._seen = self._seen, None
        return self.judge(seen or {})

    def judge(self, found: Topics) -> Look:
        """Return what follows from these topics."""
        ids = {topic: state.topic_id if state else None for topic, state in found.items()}
        return self._guard.look(ids, now_s=time.monotonic())

    def reads(self, topic: str, topic_id: str) -> None:
        """Note that a topic is read from now on."""
        self._read.add(topic)
        if self._guard.reads(topic, topic_id):
            self._report(TopicNews(topic, None, is_held=False))

    def is_back(self, topic: str) -> None:
        """Report that a topic exists again; the group has not assigned a partition of it yet."""
        self._report(TopicNews(topic, None, is_held=False))

    def is_absent(self, topic: str) -> None:
        """Note that a topic does not exist although the group assigned partitions of it."""
        self._guard.is_absent(topic)

    def is_gone(self, topic: str, num_dropped: int) -> None:
        """Report that a topic does not exist; `num_dropped` of its partitions were being read."""
        was_read = topic in self._read
        self._report(TopicNews(topic, TopicChange.DELETED if was_read else None, is_held=self._guard.is_away(topic)))
        if was_read:
            log.error(
                "topic %s was deleted: dropped %d of its partitions and their records in flight; other topics continue",
                topic, num_dropped,
            )  # fmt: skip
        else:
            log.warning("topic %s does not exist; waiting for it", topic)

    def is_given_up(self, topics: Iterable[str]) -> None:
        """Note that the group revoked the last partitions of these topics."""
        for topic in topics:
            self._guard.is_given_up(topic)

    def position_gone(self, topic: str) -> None:
        """Report a partition that continues at another offset, because the records at its position are gone."""
        self._report(TopicNews(topic, TopicChange.POSITION_GONE, is_held=False))

    def made_anew(self, one: MadeAnew) -> None:
        """Report a recreated topic; with `on_data_loss=stop` hold it and schedule the end of the worker."""
        is_held = self._settings.on_data_loss == "stop"
        self._report(TopicNews(one.topic, TopicChange.MADE_ANEW, is_held))
        if not is_held:
            log.warning(
                "topic %s; reading it from its start (on_data_loss=skip); its records in flight are dropped", one
            )
            return
        why = f"topic {one}; it is not read: {DECIDE}"
        self._guard.is_held(one.topic, why)
        log.error("%s; the worker stops in %.0f s", why, self._told_s)
        self._ends = self._ends or (time.monotonic() + self._told_s, why)

    # -- the watch's thread

    def _looked(self, found: Topics) -> None:
        self._seen = found
        if not self._num_partitions:
            self._count()

    def _count(self) -> bool:
        """Count the partitions; return whether there is a topic to read.  Raises `KafkaException`."""
        sizes = self._topic_ids.sizes()
        matching = self._patterns.read(sizes)
        self._num_partitions = sum(sizes[topic] for topic in matching)
        return bool(matching)

    def _keep(self) -> None:
        """Check the patterns, the topics' sizes and the group's memory.  Raises `KafkaException`, `Fatal`."""
        is_matched = self._count()
        if self._patterns.patterns:
            why = "" if is_matched else f"input_topics: {shown(self._settings.input_topics)} matches no topic"
            self._guard.no_match(why)
        self._keep_memory(dict(self._flushed))
