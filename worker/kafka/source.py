"""1 poll: the consumer in a thread of its own, which polls all the time and handles rebalances.

Records go to the event loop in batches; rebalances go there as events of `delivery.handover`.  A revoke callback waits,
within a bound, until the loop releases the partitions.

Every call to the consumer is made in this thread: the client runs one call at a time (2.16), so a call in another
thread would wait for the end of a poll.  Other threads queue requests (`freeze`, `committed`), which run between two
polls or inside a waiting revoke callback.  So the group's metadata and the assignment's epochs are read in one step: a
flush that holds a partition must never be sent with metadata from before that partition moved.

Messages are polled one by one: a batch call can return records fetched before a rebalance callback that ran inside it.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection
from datetime import datetime

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.core.blockers import Blocker, Blockers
from worker.core.delivery.handover_messages import Assigned, Frozen, Head, Lost, RebalanceKind, Revoking
from worker.core.errors import Fatal, Fenced
from worker.core.records import Partition, Record
from worker.core.topics.topic_guard import Look
from worker.kafka import client_config as client, error_text, unreadable
from worker.kafka.admin_queries import AdminQueries
from worker.kafka.assignment import Assignment
from worker.kafka.client_reports import ClientReports
from worker.kafka.commits import Commits
from worker.kafka.ends import Ends
from worker.kafka.high_watermarks import HighWatermarks
from worker.kafka.input_topics import InputTopics
from worker.kafka.membership import Membership
from worker.kafka.partition_pauser import HOLD_S, Pauser
from worker.kafka.poll_thread_queue import Mailbox, call_in
from worker.kafka.positions import GoneError, Positions, Start, Starts, StoppedWaiting, partition_of
from worker.kafka.rebalances import timed
from worker.kafka.record_reader import to_record
from worker.kafka.unreadable import Unreadable
from worker.pipeline.ports import AllRead, Delivery
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

MAX_POLLED = 500  # records of one batch to the loop
MAX_POLLED_BYTES = 4 << 20  # of memory; the last record may exceed it
POLL_S = 0.02  # longest wait for the first record: how long a request, a pause or a stop waits
LEAVE_S = 30.0  # longest wait for the poll thread to leave the group
MAX_BACKLOG = 2  # batches that the loop has not accepted yet


class KafkaSource:
    """Reads impressions from Kafka, as a member of a consumer group.

    With `until_end` it reads up to where the partitions end now, or at `until`.  `topics_before` are the topics that
    existed when this process first looked.  Raises `BadSettings` for options that the client rejects together.
    """

    def __init__(
        self,
        settings: KafkaClientSettings,
        *,
        until_end: bool = False,
        until: datetime | None = None,
        topics_before: Collection[str] | None = None,
    ) -> None:
        self._settings = settings
        self._ends = Ends(is_backfill=until_end, until=until)
        try:
            self.reports = ClientReports()
            self._consumer = Consumer({**self.reports.options, **client.consumer(settings, tell_end=until_end)})
        except KafkaException as error:
            raise client.refused_options(error, settings) from error
        self._thread = threading.Thread(target=self._run, name="poll", daemon=True)
        self._mailbox = Mailbox()
        self._own = Assignment()
        self._wanted_pause: frozenset[Partition] = frozenset()
        self._pauser = Pauser(self._consumer)
        self._backlog = threading.Semaphore(MAX_BACKLOG)
        self._revoking: frozenset[Partition] | None = None  # the partitions of the waiting revoke callback
        self._stopping = threading.Event()
        queries = AdminQueries(settings)
        self._topics = InputTopics(settings, queries, until_end=until_end)
        self.num_partitions = self._topics.num_partitions
        self._positions = Positions(settings, queries, self._serve_requests, topics_before)
        self._membership = Membership(self._consumer)
        self.high_watermarks = HighWatermarks(self._consumer)
        commits = Commits(self._consumer, self._mailbox, self._own)
        self.committed, self.commit = commits.committed, commits.commit
        self._unreadable = Unreadable(settings, lambda: not self._stopping.is_set())
        self.last_poll_s = time.monotonic()

    # -- called from the loop

    @property
    def blockers(self) -> Blockers:
        """Why no records can arrive: no text while this worker is a member of its group and its topics can be read."""
        return {
            Blocker.TOPICS: self._topics.why,
            Blocker.POSITIONS: self._positions.why,
            Blocker.GROUP: self._membership.why_not,
            Blocker.UNREADABLE: self._unreadable.held_up,
        }

    def unreadable(self) -> tuple[int, int]:
        """Return two counts of unreadable batches: found since the last call, and holding a partition now."""
        found, self._unreadable.num_found = self._unreadable.num_found, 0
        return found, self._unreadable.num_held

    def accept(self) -> str:
        """Skip the unreadable batches that hold partitions now; return what was done, "" if there are none."""
        num = self._unreadable.accept()
        return f"{num} unreadable batches are skipped, with one dead letter each" if num else ""

    def open(self, deliver: Callable[[Delivery], None]) -> None:
        """Join the group; `deliver` is called in the running event loop with records and events."""
        loop = asyncio.get_running_loop()
        self.last_poll_s = time.monotonic()
        self._deliver: Callable[[Delivery], None] = lambda what: call_in(loop, deliver, what)
        self._thread.start()
        self._topics.open(self._deliver, self._positions.keep)

    def batch_accepted(self) -> None:
        """Allow the next batch: the delivered one is accepted."""
        self._backlog.release()

    def pause_only(self, partitions: frozenset[Partition]) -> None:
        """Pause these assigned partitions and resume all others, at the next poll."""
        self._wanted_pause = partitions

    def freeze(self) -> None:
        """Ask for the group's metadata and the assignment's epochs, read in one step; delivered as `Frozen`."""
        self._mailbox.post(self._answer_freeze)

    def let_go(self, partitions: frozenset[Partition]) -> None:
        """Release the revoke callback of exactly these partitions; a later one is not affected."""
        self._mailbox.post(lambda: self._let_go(partitions))

    def offsets_of(self, heads: Collection[Head]) -> list[TopicPartition] | None:
        """Return the offsets to commit; None if a topic was recreated after the records were read.

        Blocks; not for the event loop's thread.  Raises `KafkaException` if Kafka does not answer.
        """
        return self._topics.offsets_of(heads, self._own.topic_ids(heads))

    def flushed(self, heads: Collection[Head]) -> None:
        """Note that the offsets of these heads were committed."""
        ids = self._own.topic_ids(heads)
        self._topics.flushed({partition: topic_id for partition, topic_id in ids.items() if topic_id})

    async def close(self) -> None:
        """Leave the group."""
        self._stopping.set()
        self._topics.close()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, LEAVE_S)

    # -- the poll thread

    def _run(self) -> None:
        try:
            self._topics.count_partitions()
            callbacks = {"on_assign": self._on_assign, "on_revoke": self._on_revoke, "on_lost": self._on_lost}
            self._consumer.subscribe(
                self._settings.input_topics, **{name: timed(one, self._deliver) for name, one in callbacks.items()}
            )
            while not self._stopping.is_set():
                self._mailbox.run_pending()
                self._pauser.apply(self._wanted_pause | self._unreadable.paused(), self._own.epochs)
                self._hand_over(self._poll_some())
                self._hand_over(self._pass_unreadable())
                self._membership.look(self.last_poll_s)
                self.high_watermarks.look(self._own.epochs, self.last_poll_s)
                if self._ends.all_read(has_partitions=bool(self._own.epochs)):
                    self._deliver(AllRead())
                self._judge_topics()
        except StoppedWaiting:
            log.info("the worker stopped during an assignment of partitions")
        except Fatal as error:
            self._deliver(error)
        except Exception as error:
            log.exception("poll thread ended")
            self._deliver(Fatal(f"poll thread: {type(error).__name__}: {error_text.explain(error)}; the worker stops"))
        finally:
            # Also after a failure: a member that does not leave keeps its partitions until its session times out.
            self._stopping.set()
            self._consumer.close()

    def _serve_requests(self) -> bool:
        """Answer others while a callback waits for the broker; say whether to go on waiting."""
        self._mailbox.run_pending()
        self.last_poll_s = time.monotonic()
        return not self._stopping.is_set()

    def _answer_freeze(self) -> None:
        metadata = self._consumer.consumer_group_metadata()
        self._deliver(Frozen(metadata, self._pauser.generation(metadata), dict(self._own.epochs)))

    def _poll_some(self) -> list[Record]:
        records: list[Record] = []
        num_bytes = 0
        message = self._consumer.poll(POLL_S)
        while message is not None:
            record = self._record(message)
            if record is not None:
                records.append(record)
                num_bytes += record.num_bytes
            if len(records) >= MAX_POLLED or num_bytes >= MAX_POLLED_BYTES:
                break
            message = self._consumer.poll(0)
        self.last_poll_s = time.monotonic()
        return records

    def _hand_over(self, records: list[Record]) -> None:
        """Pass records to the loop; while it has enough, poll for rebalances only."""
        if not records:
            return
        since_s = time.monotonic()
        while not self._backlog.acquire(timeout=POLL_S):
            if self._stopping.is_set():
                return
            self._mailbox.run_pending()
            self._judge_topics()  # the loop may wait for a flush, and that for a topic
            if time.monotonic() - since_s > HOLD_S:
                self._poll_paused()
        self._deliver(records)

    def _poll_paused(self) -> bool:
        """Poll once for callbacks only, with every partition paused; return True if a message came instead."""
        self._pauser.set(frozenset(self._own.epochs), self._own.epochs)
        message = self._consumer.poll(0)
        self.last_poll_s = time.monotonic()
        if message is not None and message.error() is not None:
            self._record(message)  # raises if the worker must stop
        elif message is not None:  # impossible while paused; if so, read it again rather than drop it
            partition = Partition(message.topic() or "", message.partition() or 0)
            if partition in self._own.epochs:
                self._pauser.seek(partition, self._own.next[partition])
        return message is not None

    def _pass_unreadable(self) -> list[Record]:
        """Retry partitions held by an unreadable batch; return a record for each batch that is skipped."""
        again, ends = self._unreadable.due()
        for partition, first in again.items():
            self._read_from(partition, first)
        records = []
        for partition, end in ends.items():
            record = self._unreadable.passed(partition, self._own.epochs[partition], end)
            if record is not None:
                records.append(record)
                self._read_from(partition, record.offset + 1)
                self._ends.reaches(partition, record.offset + 1)
        return records

    def _read_from(self, partition: Partition, offset: int) -> None:
        """Continue at an offset, also if the client no longer fetches the partition."""
        self._own.next[partition] = offset
        self._pauser.set(self._wanted_pause | self._unreadable.paused(), self._own.epochs)
        if not self._pauser.seek(partition, offset):
            self._pauser.reassign({partition: offset}, self._own.given, self._run_callbacks)
            self._pauser.set(self._wanted_pause | self._unreadable.paused(), self._own.epochs)

    def _run_callbacks(self) -> None:
        """Run all callbacks queued in the client, every partition paused."""
        while self._poll_paused():
            pass

    def _record(self, message: Message) -> Record | None:
        partition = Partition(message.topic() or "", message.partition() or 0)
        error = message.error()
        if error is not None:
            self._on_error(error, partition, message)
            return None
        offset = message.offset()
        if self._unreadable.is_held(partition):
            return None  # it is read again once the batch before it is read or skipped
        self._unreadable.read(partition)
        if self._ends.is_past(partition, offset):
            return None
        epoch = self._own.epochs.get(partition)
        if epoch is None:
            return None
        self._own.next[partition] = offset + 1
        return to_record(message, partition, epoch)

    def _on_error(self, error: KafkaError, partition: Partition, message: Message) -> None:
        code = error.code()
        if self._unreadable.is_held(partition):
            return  # the client repeats the error, perhaps at a wrong position
        if code == client.PARTITION_EOF:
            self._ends.reaches(partition, message.offset())
            return
        if code in unreadable.CODES and partition in self._own.epochs:
            self._on_unreadable(error, partition, message.offset() or 0)
            return
        client.raise_if_hopeless(error, f"poll {partition}")
        if code == client.AUTO_OFFSET_RESET:
            self._on_out_of_range(partition, error)
            return
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return  # the topic watch reports it, by the topic's id
        if error.fatal() or code == client.FATAL:
            # After a kill, a static member's name is taken until its old session ends (KIP-848): treated as fenced.
            kind = Fenced if self._settings.static_membership else Fatal
            raise kind(f"poll: {error_text.explain(error)}; the worker stops")
        log.warning("poll %s: %s; going on", partition, error_text.explain(error))

    def _on_unreadable(self, error: KafkaError, partition: Partition, offset: int) -> None:
        """Pause a partition at an unreadable batch; `offset` is the batch's first, or itself damaged."""
        first = self._own.next.get(partition, offset)
        asked = TopicPartition(partition.topic, partition.number)
        if first < offset < (self._consumer.get_watermark_offsets(asked, cached=True) or (0, 0))[1]:
            first = offset  # between them are no records, only transaction markers or aborted ones
        if self._ends.reaches(partition, first):
            return
        self._unreadable.found(partition, first, error)
        self._pauser.set(self._wanted_pause | self._unreadable.paused(), self._own.epochs)

    # -- rebalance callbacks, inside poll

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> RebalanceKind:
        given = [partition_of(one) for one in partitions]
        self._topics.refuse(one.topic for one in given)
        starts = self._positions.start(consumer, given)
        self._own.given.update(given)
        for one, partition in zip(partitions, given, strict=True):
            start = starts.by_partition.get(partition)
            one.offset = start.offset if start else OFFSET_END
        consumer.incremental_assign(partitions)
        consumer.resume(partitions)  # the client keeps a pause for a partition that comes back (librdkafka 2.16)
        self._pauser.hold(frozenset(given) - starts.by_partition.keys())
        self._take_starts(consumer, starts)
        self._membership.joined()
        self._ends.given(is_some=bool(partitions))
        if self._wanted_pause:  # the window is full: new partitions wait, too
            self._pauser.set(frozenset(self._own.epochs), self._own.epochs)
        log.info("assigned %s", ", ".join(map(str, given)) or "no new partitions")
        return RebalanceKind.ASSIGNED

    def _take_starts(self, consumer: Consumer, starts: Starts) -> None:
        """Start reading each partition that has a start, and report the topics without one."""
        is_backfill, offsets = self._ends.is_backfill, {one: at.offset for one, at in starts.by_partition.items()}
        ends = self._positions.ends(consumer, starts.by_partition, self._ends.until) if is_backfill else {}
        for partition, start in starts.by_partition.items():
            epoch = self._own.begin(partition, start.offset, start.topic_id)
            self._topics.reads(partition.topic, start.topic_id)
            self._deliver(Assigned(partition, epoch, start.resume_at, start.note, start.committed))
        self._ends.add(ends, offsets)
        for one in starts.made_anew:
            self._topics.made_anew(one)
        for topic in starts.absent:
            self._topics.is_absent(topic)
            self._lose_topic(topic)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> RebalanceKind:
        gone = frozenset(map(partition_of, partitions))
        self._topics.is_given_up(self._own.give_up(gone))
        deadline_s = time.monotonic() + self._settings.revoke_timeout_s
        self._revoking = gone
        self._deliver(Revoking(gone, deadline_s))
        while self._revoking is not None and time.monotonic() < deadline_s + 1 and not self._stopping.is_set():
            self._mailbox.run_pending(wait_s=POLL_S)
            self.last_poll_s = time.monotonic()
        self._forget(gone)
        is_late = self._revoking is not None
        if is_late:  # not released in time: its records in flight are dropped
            self._revoking = None
            self._deliver(Lost(gone))
        consumer.incremental_unassign(partitions)
        log.info("revoked %s", ", ".join(map(str, gone)))
        return RebalanceKind.LOST if is_late else RebalanceKind.REVOKED

    def _let_go(self, partitions: frozenset[Partition]) -> None:
        if self._revoking == partitions:
            self._revoking = None

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> RebalanceKind:
        gone = frozenset(map(partition_of, partitions))
        self._topics.is_given_up(self._own.give_up(gone))
        self._forget(gone)
        self._membership.lost()
        self._ends.lost()
        self._deliver(Lost(gone))
        consumer.incremental_unassign(partitions)
        log.warning("lost %s: the session timed out, or the topic was deleted", ", ".join(map(str, gone)))
        return RebalanceKind.LOST

    def _forget(self, partitions: frozenset[Partition]) -> None:
        self._own.end(partitions)
        self._ends.forget(partitions)
        self._pauser.forget(partitions)
        self._unreadable.forget(partitions)

    # -- deleted and recreated topics

    def _judge_topics(self) -> None:
        """Drop the partitions of deleted topics, and restart those of recreated topics."""
        self._act(self._topics.judge_seen())

    def _act(self, look: Look) -> None:
        for topic in sorted(look.gone):
            self._lose_topic(topic)
        if look.again:
            self._place_again(look.again)

    def _lose_topic(self, topic: str) -> None:
        """Drop the records in flight of a deleted topic: it would block the offsets of all other topics."""
        num_dropped = self._drop(self._own.given_of({topic}))
        self._topics.is_gone(topic, num_dropped)
        if num_dropped and self._ends.is_backfill:
            raise Fatal(
                f"topic {topic} was deleted during the backfill, which stops; responses up to now are committed"
            )

    def _place_again(self, topics: frozenset[str]) -> None:
        """Start reading topics that exist again or were recreated; the group's assignment does not change."""
        given = self._own.given_of(topics)
        self._drop(given)
        for topic in topics - {one.topic for one in given}:
            self._topics.is_back(topic)
        if given:
            self._positions.refresh(self._consumer)
            starts = self._positions.start(self._consumer, given)
            offsets = {one: start.offset for one, start in starts.by_partition.items()}
            self._pauser.reassign(offsets, self._own.given, self._run_callbacks)
            self._take_starts(self._consumer, starts.of(self._own.given))

    def _drop(self, partitions: frozenset[Partition]) -> int:
        """End the assignments of these partitions; return how many had one."""
        read = frozenset(partitions & self._own.epochs.keys())
        self._forget(read)
        if read:
            self._deliver(Lost(read))
            self._pauser.hold(read)
        return len(read)

    def _on_out_of_range(self, partition: Partition, error: KafkaError) -> None:
        """Continue a partition whose position no longer exists, as `on_data_loss` says.  Raises `Fatal` with stop."""
        epoch = self._own.epochs.get(partition)
        if epoch is None:
            return
        states = self._positions.present({partition.topic})
        self._act(self._topics.judge({partition.topic: states.get(partition.topic)}))
        if self._own.epochs.get(partition) != epoch:
            return  # the topic was recreated, and is handled
        try:
            oldest, end = self._positions.bounds(self._consumer, partition)
        except GoneError:
            return  # the topic watch reports it
        if oldest <= self._own.next[partition] <= end:
            if not self._unreadable.position_lost(partition, self._own.next[partition], error):
                self._read_from(partition, self._own.next[partition])
            return
        if self._settings.on_data_loss == "stop":
            gone = f"{partition}: the committed offset is no longer there: {error_text.explain(error)}"
            raise Fatal(f"{gone}; on_data_loss=skip goes on")
        topic_id = self._own.topic_id(partition)
        log.warning(
            "%s: its position no longer exists; continuing at the oldest, %d (on_data_loss=skip)", partition, oldest
        )
        self._drop(frozenset({partition}))
        self._topics.position_gone(partition.topic)
        self._positions.commit_start(self._consumer, partition, oldest, topic_id)
        self._pauser.reassign({partition: oldest}, self._own.given, self._run_callbacks)
        starts = Starts({partition: Start(oldest, "", None, topic_id)})
        self._take_starts(self._consumer, starts.of(self._own.given))
