"""The offset at which a partition starts, and at which a backfill ends.

`topics.topic_history` decides, by the committed offset with the topic id stored beside it, and by the group's memory of
the topic.  `start_from` applies only at the first start of a group.  It is then resolved once, for all partitions of
all input topics, and stored, so that no member mistakes the commits of its peers for a long history.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from worker.core.delivery import offset_metadata
from worker.core.delivery.handover_messages import Head
from worker.core.delivery.offset_metadata import Note
from worker.core.records import Partition
from worker.core.topics.topic_guard import ABSENT_S
from worker.core.topics.topic_history import Commit, KnownTopic, Place, TopicFacts, place
from worker.core.topics.topic_patterns import TopicPatterns, shown
from worker.kafka import client_config as client, error_text
from worker.kafka.admin_queries import AdminQueries
from worker.kafka.group_memory import GroupMemory, Remembered
from worker.kafka.topic_ids import TopicIds, TopicState
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

CALL_TIMEOUT_S = 2.0  # of one request inside a callback; between two tries the work of other threads runs
AGAIN_S = 0.5
# Errors for a topic that was deleted, or a partition that no longer exists.
GONE = frozenset({
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - public
})  # fmt: skip
KEEP_S = 3_600.0  # the group's memory expires as offsets do, after 7 days by default


@dataclass(frozen=True, slots=True)
class Start:
    """Where a partition starts.

    `resume_at` is the first offset to read if it is not committed yet, else None, and `committed` is that offset.
    `note` is the metadata of the commit, "" without one.
    """

    resume_at: int | None
    note: str
    committed: int | None
    topic_id: str

    @property
    def offset(self) -> int:
        """The first offset to read."""
        found = self.committed if self.resume_at is None else self.resume_at
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class MadeAnew:
    """A topic that was deleted and recreated since the group read it."""

    topic: str
    old_id: str
    new_id: str

    def __str__(self) -> str:
        """Return the name and both ids, for messages that start with "topic"."""
        return f"{self.topic} was recreated: its id is {self.new_id}, the group has read {self.old_id or 'another one'}"


@dataclass(frozen=True, slots=True)
class Starts:
    """Where partitions start; none for a topic that is absent, or was recreated with `on_data_loss=stop`."""

    by_partition: Mapping[Partition, Start]
    made_anew: tuple[MadeAnew, ...] = ()
    absent: frozenset[str] = field(default_factory=frozenset)

    def of(self, given: Collection[Partition]) -> "Starts":
        """Return the starts of those partitions that are still `given`."""
        return replace(self, by_partition={one: at for one, at in self.by_partition.items() if one in given})


class Positions:
    """Asks the broker inside rebalance callbacks, again and again until it answers or the worker stops.

    `serve_requests` is called between two tries and returns False if the worker stops.  `topics_before` are the topics
    that existed when this process first looked; None if that is not known.
    """

    def __init__(
        self,
        settings: KafkaClientSettings,
        queries: AdminQueries,
        serve_requests: Callable[[], bool],
        topics_before: Collection[str] | None,
    ) -> None:
        self._settings = settings
        self._topics_before = topics_before
        self._queries, self._topic_ids = queries, TopicIds(queries)
        self._memory = GroupMemory(settings, queries)
        self._patterns = TopicPatterns(settings.input_topics, settings.group_protocol)
        self._serve_requests = serve_requests
        self.why = ""  # what a callback waits for now; "" if nothing

    def start(self, consumer: Consumer, partitions: Iterable[Partition]) -> Starts:
        """Return where each partition starts; writes new topics to the group's memory.

        Blocks until Kafka answers.  Raises `StoppedWaiting` if the worker stops meanwhile, `Fatal` without rights.
        """
        wanted = list(partitions)
        while wanted:
            try:
                return self._start_all(consumer, wanted)
            except GoneError as gone:  # deleted during the requests: start again with what exists now
                log.warning("start positions: %s; looking again", gone)
                self._wait(str(gone))
        return Starts({})

    def _start_all(self, consumer: Consumer, wanted: list[Partition]) -> Starts:
        states = self.present({one.topic for one in wanted})
        there = [one for one in wanted if one.topic in states and one.number < states[one.topic].num_partitions]
        commits, with_commits = self._all_commits(consumer, there, states)
        remembered = self._remembered(there)  # after the commits: a member writes the memory before it commits
        places, facts = self._places(there, states, commits, with_commits, remembered)
        every = self._settings.input_topics
        if Place.START_FROM in places.values() or not self._memory.knows(remembered.memory, every):
            remembered = self._begin(consumer, there)
            places, facts = self._places(there, states, commits, with_commits, remembered)
        self._memory.has_begun = True  # from now on, a topic that is not in the memory is new
        anew = {one.topic for one, at in places.items() if at is Place.MADE_ANEW}
        held = anew if self._settings.on_data_loss == "stop" else set()
        self._remember({one: at for one, at in places.items() if one.topic not in held}, facts, remembered)
        starts = {
            one: self._start(
                consumer,
                at,
                commits[one],
                remembered.first_start(one, facts[one.topic].topic_id),
                facts[one.topic].topic_id,
            )
            for one, at in places.items()
            if one.topic not in held
        }
        old_ids = {topic: _old_id(topic, facts[topic].topic_id, commits, remembered) for topic in anew}
        made_anew = tuple(MadeAnew(topic, old_ids[topic], facts[topic].topic_id) for topic in sorted(anew))
        return Starts(starts, made_anew, frozenset({one.topic for one in wanted} - states.keys()))

    def _all_commits(
        self, consumer: Consumer, partitions: list[Partition], states: Mapping[str, TopicState]
    ) -> tuple[dict[Partition, TopicPartition], set[str]]:
        """Return the commits of these partitions, and the topics that have a commit on any of their partitions.

        Two requests at most: the second is for all partitions of the topics without a commit in the first.
        """
        commits = self._committed(consumer, partitions)
        found = _with_commits(commits, states)
        others = _partitions(states.keys() - found, states)
        found |= _with_commits(self._committed(consumer, others), states)
        return commits, found

    def _places(
        self,
        partitions: list[Partition],
        states: Mapping[str, TopicState],
        commits: Mapping[Partition, TopicPartition],
        with_commits: set[str],
        remembered: Remembered,
    ) -> tuple[dict[Partition, Place], dict[str, TopicFacts]]:
        facts = {topic: self._facts(topic, state, topic in with_commits, remembered) for topic, state in states.items()}
        places = {
            one: place(
                facts[one.topic],
                committed=_commit(commits[one]),
                first_start=remembered.first_start(one, facts[one.topic].topic_id),
            )
            for one in partitions
        }
        return places, facts

    def keep(self, topic_ids: Mapping[str, str]) -> None:
        """Restore topics in the group's memory that a peer has overwritten.  Raises `KafkaException`, `Fatal`."""
        known = {topic: KnownTopic(topic_id, was_committed=True) for topic, topic_id in topic_ids.items()}
        self._memory.keep(known, self._sizes(), every_s=KEEP_S)

    def refresh(self, consumer: Consumer) -> None:
        """Refresh the client's metadata: a recreated topic may have another number of partitions to assign."""
        self._ask("topics", lambda: consumer.list_topics(timeout=CALL_TIMEOUT_S))

    def present(self, topics: set[str]) -> dict[str, TopicState]:
        """Return the state of the topics that exist; one counts as absent only after `ABSENT_S`."""
        deadline_s = time.monotonic() + ABSENT_S
        while True:
            states = self._ask("ids of topics", lambda: self._topic_ids.look(topics))
            absent = [topic for topic, state in states.items() if state is None]
            if not absent or time.monotonic() > deadline_s:
                return {topic: state for topic, state in states.items() if state is not None}
            self._wait(f"topic {', '.join(absent)} does not exist")

    def _facts(self, topic: str, state: TopicState, has_commits: bool, remembered: Remembered) -> TopicFacts:  # noqa: FBT001 - one of four facts
        known = remembered.memory.topics.get(topic)
        return TopicFacts(
            state.topic_id,
            known_id=known.topic_id if known else "",
            has_commits=has_commits,
            was_committed=bool(known and known.was_committed),
            born_later=known is None and self._is_born_later(topic, remembered),
        )

    def _is_born_later(self, topic: str, remembered: Remembered) -> bool:
        """Return True if a topic was created after the group started, or while this worker waited for it."""
        if self._topics_before is not None and topic not in self._topics_before:
            return True
        entries = self._patterns.entries_for(topic)
        return any(self._memory.knows(remembered.memory, [one]) for one in entries)

    def _begin(self, consumer: Consumer, wanted: list[Partition]) -> Remembered:
        """Resolve `start_from` for all input topics that the group has not read, unless a peer did; return the memory.

        The memory comes with the first starts of these topics and of the `wanted` partitions.

        For all topics, because with a pattern each member may be assigned other topics, and because a topic that is
        not stored now counts as created later.
        """
        topics = self._patterns.read(self._ask("topics", self._topic_ids.sizes))
        states = self.present(set(topics))
        _, with_commits = self._all_commits(consumer, [], states)
        there = {*wanted, *_partitions(states, states)}
        remembered = self._remembered(there)
        facts = {topic: self._facts(topic, state, topic in with_commits, remembered) for topic, state in states.items()}
        new = {
            topic for topic, fact in facts.items() if place(fact, committed=None, first_start=None) is Place.START_FROM
        }
        starts = self._by_start_from(_partitions(new, states))
        again = self._remembered(there)
        mine = {topic for topic in new if _is_as_before(topic, remembered, again)}
        unknown = mine | {topic for topic, fact in facts.items() if not fact.known_id} - again.memory.topics.keys()
        if unknown or not self._memory.knows(again.memory, self._settings.input_topics):
            known = {topic: KnownTopic(facts[topic].topic_id, facts[topic].has_commits) for topic in unknown}
            first_starts = {one: offset for one, offset in starts.items() if one.topic in mine}
            self._ask("the group's memory", lambda: self._memory.write(known, first_starts, self._sizes(), begins=True))
            again = self._remembered(there)
        if mine:
            group, start = self._settings.group_id, self._settings.start_from
            log.info("first start of group %s: %s from %s", group, shown(sorted(mine)), start)
        return again

    def _remembered(self, partitions: Collection[Partition]) -> Remembered:
        return self._ask("the group's memory", lambda: self._memory.read(partitions))

    def _remember(
        self, places: Mapping[Partition, Place], facts: Mapping[str, TopicFacts], remembered: Remembered
    ) -> None:
        """Write the topics of these partitions to the memory if it does not have them as they are."""
        known = {}
        for topic in {one.topic for one in places}:
            topic_id = facts[topic].topic_id
            before = remembered.memory.topics.get(topic)
            was_committed = before is not None and before.topic_id == topic_id and before.was_committed
            known[topic] = KnownTopic(topic_id, was_committed or facts[topic].has_commits)
        if not known.items() <= remembered.memory.topics.items():
            self._ask("the group's memory", lambda: self._memory.write(known, {}, self._sizes()))

    def _start(self, consumer: Consumer, at: Place, commit: TopicPartition, first: int | None, topic_id: str) -> Start:
        """Return where one partition starts; `commit` names the partition, `first` is its first start."""
        if at is Place.COMMITTED:
            return Start(None, Note.decode(commit.metadata or "").encode(), commit.offset, topic_id)
        if at not in (Place.FIRST_START, Place.START_FROM) or first is None:  # it was created later
            first = self.bounds(consumer, partition_of(commit))[0]
        return Start(first, "", None, topic_id)

    def _sizes(self) -> dict[str, int]:
        """Return the number of partitions of the topics that store the group's memory, of those that exist."""
        found = self._topic_ids.look(self._memory.anchors)
        return {topic: state.num_partitions for topic, state in found.items() if state is not None}

    def commit_start(self, consumer: Consumer, partition: Partition, offset: int, topic_id: str) -> None:
        """Commit where a partition continues: a higher commit would look like the success of a flush in doubt."""
        note = offset_metadata.with_topic_id("", topic_id)
        try:
            start = TopicPartition(partition.topic, partition.number, offset, note)
            client.checked(consumer.commit(offsets=[start], asynchronous=False))
        except KafkaException as error:
            log.warning("%s: its start at %d is committed with the next flush: %s", partition, offset,
                        error_text.explain(error))  # fmt: skip

    def bounds(self, consumer: Consumer, partition: Partition) -> tuple[int, int]:
        """Return the oldest offset of a partition, and its end offset."""
        asked = TopicPartition(partition.topic, partition.number)
        low, high = self._ask("offsets", lambda: consumer.get_watermark_offsets(asked, timeout=CALL_TIMEOUT_S))
        return int(low), int(high)

    def ends(self, consumer: Consumer, partitions: Iterable[Partition], until: datetime | None) -> dict[Partition, int]:
        """Return the end of each partition: the first offset at or after `until`, else its end offset now."""
        wanted = list(partitions)
        if until:
            return self._at_time(wanted, until)
        return {one: self.bounds(consumer, one)[1] for one in wanted}

    def _committed(self, consumer: Consumer, partitions: list[Partition]) -> dict[Partition, TopicPartition]:
        wanted = [TopicPartition(one.topic, one.number) for one in partitions]
        if not wanted:
            return {}
        found = self._ask("commits", lambda: client.checked(consumer.committed(wanted, timeout=CALL_TIMEOUT_S)))
        return {partition_of(one): one for one in found}

    def _by_start_from(self, partitions: list[Partition]) -> dict[Partition, int]:
        start = self._settings.start_from
        if isinstance(start, datetime):
            return self._at_time(partitions, start)
        return self._offsets(partitions, OffsetSpec.earliest() if start == "earliest" else OffsetSpec.latest())

    def _at_time(self, partitions: list[Partition], when: datetime) -> dict[Partition, int]:
        """Return the first offset at or after a time; the end offset of a partition without one."""
        found = self._offsets(partitions, OffsetSpec.for_timestamp(int(when.timestamp() * 1000)))
        later = self._offsets([one for one, offset in found.items() if offset < 0], OffsetSpec.latest())
        return found | later

    def _offsets(self, partitions: list[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        """Return an offset of each partition, by one request; -1 if the broker has none."""
        if not partitions:
            return {}
        asked = {TopicPartition(one.topic, one.number): spec for one in partitions}
        committed = IsolationLevel.READ_COMMITTED

        def question(admin: AdminClient) -> dict[Partition, int]:
            found = admin.list_offsets(asked, isolation_level=committed, request_timeout=CALL_TIMEOUT_S)
            return {
                partition_of(one): int(client.answer(future, 0).offset)
                for one, future in client.answers(found, 2 * CALL_TIMEOUT_S)
            }

        return self._ask("offsets", lambda: self._queries.ask(question))

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        """Call until Kafka answers; `what` names the request in messages.

        Raises `GoneError`, `StoppedWaiting`, `Fatal`.
        """
        while True:
            try:
                found = call()
            except KafkaException as error:
                reason = client.kafka_error(error)
                client.raise_if_hopeless(reason, f"start positions: {what}")
                if reason.code() in GONE:
                    raise GoneError(error_text.explain(reason)) from error
                why = f"start positions: {what}: {error_text.explain(reason)}"
                log.warning("%s; asking again", why)
                self._wait(why)
            else:
                self.why = ""
                return found

    def _wait(self, why: str) -> None:
        self.why = why
        if not self._serve_requests():
            raise StoppedWaiting("stopped while the broker was asked for start positions")
        time.sleep(AGAIN_S)


class GoneError(Exception):
    """A topic or partition was deleted a moment ago."""


class StoppedWaiting(Exception):
    """The worker stops; the request was given up."""


def partition_of(one: TopicPartition) -> Partition:
    """Convert the client's partition to ours."""
    return Partition(one.topic, one.partition)


def topic_partitions(heads: Iterable[Head], topic_ids: Mapping[Partition, str]) -> list[TopicPartition]:
    """Convert offsets to commit to the client's type, with notes and topic ids as metadata."""
    return [
        TopicPartition(
            one.partition.topic,
            one.partition.number,
            one.commit_offset,
            offset_metadata.with_topic_id(one.note, topic_ids[one.partition]),
        )
        for one in heads
    ]


def _partitions(topics: Iterable[str], states: Mapping[str, TopicState]) -> list[Partition]:
    return [Partition(topic, number) for topic in topics for number in range(states[topic].num_partitions)]


def _commit(one: TopicPartition) -> Commit | None:
    return Commit(one.offset, offset_metadata.topic_id_of(one.metadata or "")) if one.offset >= 0 else None


def _old_id(topic: str, new_id: str, commits: Mapping[Partition, TopicPartition], remembered: Remembered) -> str:
    """Return the id that a topic had before; "" if it was not stored."""
    known = remembered.memory.topics.get(topic)
    beside = [offset_metadata.topic_id_of(one.metadata or "") for where, one in commits.items() if where.topic == topic]
    every = [known.topic_id if known else "", *beside]
    return next((one for one in every if one not in ("", new_id)), "")


def _is_as_before(topic: str, before: Remembered, now: Remembered) -> bool:
    """Return True if no peer has written a first start of a topic in between."""
    starts = [{one: at for one, at in each.first_starts.items() if one.topic == topic} for each in (before, now)]
    return before.memory.topics.get(topic) == now.memory.topics.get(topic) and starts[0] == starts[1]


def _with_commits(commits: Mapping[Partition, TopicPartition], states: Mapping[str, TopicState]) -> set[str]:
    """Return the topics with a committed offset of their own; one of an older topic of the same name does not count."""
    found = ((where.topic, _commit(one)) for where, one in commits.items())
    return {topic for topic, one in found if one is not None and one.topic_id in ("", states[topic].topic_id)}
