"""The dead-letter topic: lists dead letters, and replays them to the topics that they came from, exactly once.

A transaction sends records back and commits, for a group of its own, which dead letters they were.  All replays of a
worker's group share one transactional id, so a second replay fences the first, and reads the committed positions after
that: no dead letter is replayed twice, however a run ends.

That group never has members, so the broker deletes each position some time after its last commit
(`offsets.retention.minutes`, 7 days).  Every run therefore commits all positions.  A run that finds dead letters but no
position does not start without `from_start`: these dead letters may have been replayed long ago.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from worker.core.delivery.dead_letter import put_back
from worker.core.delivery.dead_letter_replay import Replayed, Wanted
from worker.core.errors import BadRecord, Fatal, Retryable
from worker.core.records import Message, Partition, Reason, Record
from worker.core.topics.topic_patterns import TopicPatterns
from worker.kafka import admin, client_config as client, error_text
from worker.kafka.admin_queries import AdminQueries
from worker.kafka.offset_sender import send_offsets
from worker.kafka.positions import partition_of
from worker.kafka.record_reader import produce
from worker.kafka.refused import REASONS
from worker.kafka.topic_ids import TopicIds
from worker.kafka.topic_reader import ask, between, bounds
from worker.settings.groups import KafkaClientSettings

T = TypeVar("T")

TIMEOUT_S = 10.0
INIT_TIMEOUT_S = 60.0  # the broker first ends the open transaction of a run that was killed
MAX_LISTED = 100


@dataclass(slots=True)
class ReplayCounts:
    """What a replay did, or would do: counts of replayed records by topic, and of skipped dead letters by reason."""

    put_back: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    impossible: dict[str, str] = field(default_factory=dict)  # never replayable: place to reason; the first MAX_LISTED


def read(settings: KafkaClientSettings) -> Iterator[Record]:
    """Yield every committed dead letter that exists now, partition by partition in offset order."""
    with closing(_consumer(settings)) as consumer:
        starts, ends = bounds(settings, consumer, settings.dead_letter_topic)
        yield from between(consumer, starts, ends)


def find(settings: KafkaClientSettings, number: int, offset: int) -> Record:
    """Return the dead letter at an offset of a partition.  Raises `Fatal` if there is none."""
    topic = settings.dead_letter_topic
    with closing(_consumer(settings)) as consumer:
        starts, ends = bounds(settings, consumer, settings.dead_letter_topic)
        one = Partition(topic, number)
        if one in ends and starts[one] <= offset < ends[one]:
            for record in between(consumer, {one: offset}, {one: offset + 1}):
                return record
    raise Fatal(
        f"{topic}[{number}]@{offset}: no dead letter has this offset; `mirrorstream dlq list` shows those that exist"
    )


def replay(
    settings: KafkaClientSettings,
    *,
    reason: str | None,
    since_ms: int,
    max_attempts: int,
    limit: int,
    from_start: bool,
    dry_run: bool,
    tell: Callable[[int], None],
) -> ReplayCounts:
    """Replay dead letters that no earlier run has replayed, at most `limit` of them (0: all that exist now).

    `tell` is called after each transaction with the number of replayed records.  Raises `Fatal` without `from_start` if
    the group has no position in a partition with dead letters, `Retryable` if Kafka does not answer.
    """
    patterns = TopicPatterns(settings.input_topics, settings.group_protocol)
    inputs = patterns.read(admin.partitions(settings))
    settings = admin.fitted(settings, inputs) if inputs else settings
    wanted = Wanted(frozenset(inputs), reason, since_ms, max_attempts)
    with closing(_consumer(settings)) as consumer:
        same_topic = _SameTopic(settings)
        sender = None if dry_run else _Sender(settings, consumer, same_topic)
        outcome, replayed = ReplayCounts(), _Positions(settings, consumer, from_start=from_start)
        for letter in replayed.letters():
            if limit and outcome.put_back.total() >= limit:
                break
            message, settled = _judge(letter, wanted, outcome)
            replayed.look(letter, settled=settled)
            if message is not None and sender is not None and sender.add(letter, message, replayed):
                tell(outcome.put_back.total())
        if sender is not None:
            sender.send(replayed)
        return outcome


def _judge(letter: Record, wanted: Wanted, outcome: ReplayCounts) -> tuple[Message | None, bool]:
    """Return the record to send back, or None; and whether the dead letter is settled: no later run looks at it."""
    if why := wanted.left(letter):
        outcome.left[why] += 1
        return None, False
    try:
        message = put_back(letter)
    except BadRecord as bad:
        outcome.left["cannot be replayed"] += 1
        if len(outcome.impossible) < MAX_LISTED:
            outcome.impossible[letter.where] = str(bad)
        return None, True
    outcome.put_back[message.topic] += 1
    return message, True


class _Positions:
    """The position of the replay's group in each partition."""

    def __init__(self, settings: KafkaClientSettings, consumer: Consumer, *, from_start: bool) -> None:
        self._consumer = consumer
        starts, self._ends = bounds(settings, consumer, settings.dead_letter_topic)
        asked = [TopicPartition(partition.topic, partition.number) for partition in starts]
        committed = {partition_of(one): one for one in _committed(consumer, asked)}
        unknown = [one for one, low in starts.items() if committed[one].offset < 0 and low < self._ends[one]]
        if unknown and not from_start:
            raise Fatal(
                f"{', '.join(map(str, unknown))}: group {client.replay_group(settings)} has no position, so it is not"
                " known which of these dead letters were replayed; none was replayed now.  If this is the first replay,"
                " use --from-start.  If not, the broker has deleted the positions of the last one"
                " (offsets.retention.minutes): --from-start then replays every dead letter that still exists, so choose"
                " by --since and --reason"
            )
        self._starts = {one: max(low, committed[one].offset) for one, low in starts.items()}
        self._replayed = {
            one: Replayed(at.offset, at.metadata or "") if at.offset >= 0 else Replayed(self._starts[one])
            for one, at in committed.items()
        }
        self._changed = set(starts)  # all of them, so that none expires while others are committed

    def letters(self) -> Iterator[Record]:
        """Yield the dead letters that are not settled yet."""
        for letter in between(self._consumer, self._starts, self._ends):
            if self._replayed[letter.partition].settled(letter.offset):
                self._replayed[letter.partition].look(letter.offset, settled=True)
            else:
                yield letter

    def look(self, letter: Record, *, settled: bool) -> None:
        self._replayed[letter.partition].look(letter.offset, settled=settled)
        self._changed.add(letter.partition)

    def to_commit(self) -> list[TopicPartition]:
        """Return the positions that changed since the last call."""
        changed, self._changed = self._changed, set()
        found = ((one, self._replayed[one]) for one in changed)
        return [TopicPartition(one.topic, one.number, at.commit_offset, at.note) for one, at in found]


class _Sender:
    """Collects records and sends them with the positions, one transaction per batch."""

    def __init__(self, settings: KafkaClientSettings, consumer: Consumer, same_topic: "_SameTopic") -> None:
        self._settings, self._consumer, self._same_topic = settings, consumer, same_topic
        name = f"{settings.transactional_id_prefix}-{client.replay_group(settings)}"
        self._producer = Producer(client.producer(settings, name))
        self._batch: list[tuple[Record, Message]] = []  # each dead letter, and the record to send back
        self._num_bytes = 0
        self._transactional_id = name
        _ask(lambda: self._producer.init_transactions(INIT_TIMEOUT_S))

    def add(self, letter: Record, message: Message, positions: _Positions) -> bool:
        """Add a record to the batch; return True if the batch was full and was sent."""
        self._batch.append((letter, message))
        self._num_bytes += len(message.value or b"")
        most, most_bytes = self._settings.flush_max_records, self._settings.flush_max_bytes
        if len(self._batch) < most and self._num_bytes < most_bytes:
            return False
        self.send(positions)
        return True

    def send(self, positions: _Positions) -> None:
        """Send the batch.  Raises `Retryable` if that failed: the next run continues from the last commit."""
        offsets, batch = positions.to_commit(), self._batch
        self._batch, self._num_bytes = [], 0
        if not offsets:
            return
        self._same_topic.check()
        try:
            self._producer.begin_transaction()
            for _, one in batch:
                produce(self._producer, one)
                self._producer.poll(0)
            deadline_s = time.monotonic() + self._settings.transaction_timeout_s / 2
            send_offsets(self._producer, offsets, self._consumer.consumer_group_metadata(), deadline_s=deadline_s)
            self._producer.commit_transaction(self._settings.transaction_timeout_s)
        except (KafkaException, BufferError) as error:
            with suppress(KafkaException):
                self._producer.abort_transaction(TIMEOUT_S)
            reason = client.kafka_error(error) if isinstance(error, KafkaException) else None
            if reason is not None:
                client.raise_if_hopeless(reason, "dlq replay")
                if reason.code() in REASONS:
                    self._raise_refused(reason, batch)
            raise Retryable(
                f"dlq replay: {error_text.explain(error)};"
                f" the last {len(batch)} dead letters may not have been replayed: run it again, it continues from"
                " the last commit and replays none twice"
            ) from error

    def _raise_refused(self, reason: KafkaError, batch: list[tuple[Record, Message]]) -> None:
        """Raise `Fatal` with the dead letter whose record its topic rejects; sends one by one, then aborts."""
        self._producer = Producer(client.producer(self._settings, self._transactional_id))
        _ask(lambda: self._producer.init_transactions(INIT_TIMEOUT_S))
        self._producer.begin_transaction()
        refused = next((one for one in batch if self._is_refused(one[1])), None)
        with suppress(KafkaException):
            self._producer.abort_transaction(TIMEOUT_S)
        if refused is None:
            return
        letter, message = refused
        longest = max(len(one.value or b"") for _, one in batch)
        advice = (
            f"raise max.message.bytes of {message.topic}, and the setting max_message_bytes if it is less"
            if REASONS[reason.code()] is Reason.TOO_LARGE
            else f"correct the settings of topic {message.topic}, such as its cleanup.policy"
        )
        raise Fatal(
            f"dlq replay: topic {message.topic} rejects the record of {letter.where}, {message.num_bytes} bytes:"
            f" {error_text.explain(reason)}; none of the last {len(batch)} dead letters was replayed, the longest value"
            f" has {longest} bytes: {advice}; then run it again, it continues from the last commit.  To skip this dead"
            " letter, choose by --reason or --since"
        )

    def _is_refused(self, message: Message) -> bool:
        failed: list[KafkaError] = []
        try:
            produce(self._producer, message, lambda error, _: failed.append(error) if error is not None else None)
            self._producer.flush(TIMEOUT_S)
        except KafkaException as error:
            failed.append(client.kafka_error(error))
        return any(error.code() in REASONS for error in failed)


class _SameTopic:
    """Checks that the dead-letter topic was not recreated during a run: positions are valid for one topic only."""

    def __init__(self, settings: KafkaClientSettings) -> None:
        self._topic, self._topic_ids = settings.dead_letter_topic, TopicIds(AdminQueries(settings))
        self._began = self._now()

    def check(self) -> None:
        """Raise `Fatal` if the topic was recreated since the run began."""
        if (now := self._now()) != self._began:
            raise Fatal(
                f"topic {self._topic}: was recreated during the replay: its id is {now or 'none'}, the run read"
                f" {self._began}; the dead letters of the last batch were not replayed, run it again for those that"
                " exist now"
            )

    def _now(self) -> str:
        state = _ask(lambda: self._topic_ids.look([self._topic]))[self._topic]
        return state.topic_id if state else ""


def _consumer(settings: KafkaClientSettings) -> Consumer:
    return Consumer(client.reader(settings, client.replay_group(settings)))


def _committed(consumer: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    """Return the committed positions.  Raises if the broker does not answer for one: that is not the same as none."""
    return _ask(lambda: client.checked(consumer.committed(asked, timeout=TIMEOUT_S)))


def _ask(call: Callable[[], T]) -> T:
    return ask(call, "dead letters")
