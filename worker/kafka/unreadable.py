"""1 poll: batches that the client cannot read hold their partition; how one is detected, and where it ends.

librdkafka reports such a batch (librdkafka#5260: one that decompresses to more than `receive.message.max.bytes`; a
wrong checksum; an unknown format) as an error event with the batch's first offset, and fetches it again for ever.

    found      the partition pauses, the worker is unready and reports where; logged once
    stop       read again every 60 s: a new setting or retention may have solved it
    skip       one dead letter for all offsets of the batch, without a value; reading continues after it

The client does not report where a batch ends.  Separate consumers read at later and later offsets until the answer is
no longer this batch: doubling steps, then halving (`find_end`).
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from worker.core.records import Partition, Record
from worker.kafka import client_config as client, error_text
from worker.settings.groups import KafkaClientSettings
from worker.system import daemon_thread

log = logging.getLogger(__name__)

CODES = frozenset({
    KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG,  # noqa: SLF001 - librdkafka's own codes begin with an underscore
    KafkaError._NOT_IMPLEMENTED, KafkaError.MSG_SIZE_TOO_LARGE,  # noqa: SLF001 - see above
})  # fmt: skip
LOOK_S = 60.0  # until a held partition is read again
AGAIN_S = 5.0  # until the end of a batch is searched again after Kafka did not answer
PROBE_S = 10.0  # longest wait for the answer at one offset
POLL_S = 0.5
ADVICE = "to read a large one, raise receive.message.max.bytes in kafka_options"
MAX_SEEN = 200  # characters of the client's message


@dataclass(slots=True)
class Held:
    """A partition held by an unreadable batch: the first offset that is not read, and why."""

    first: int
    why: str
    look_again_s: float
    is_looking: bool = False
    is_accepted: bool = False  # by `mirrorstream dlq accept`: skip the batch
    may_be_readable: bool = False  # the batch may be fine: it is skipped only if accepted
    search: "Future[int | None] | None" = None  # for the batch's end


class Unreadable:
    """The unreadable batches of this worker's partitions, for the poll thread.

    `held_up`, `num_held` and `accept` are for any thread.  `is_running` is called in search threads and ends them on
    shutdown.
    """

    def __init__(self, settings: KafkaClientSettings, is_running: Callable[[], bool]) -> None:
        self._settings, self._is_running = settings, is_running
        self._held: dict[Partition, Held] = {}
        self._lost_at: dict[Partition, int] = {}  # offset at which the client last reported a wrong position
        self._skips = settings.on_data_loss == "skip"
        self.num_found = 0

    @property
    def held_up(self) -> str:
        """Why partitions are held; "" if none is."""
        held = dict(self._held)
        told = "; ".join(f"{partition}@{one.first}: {one.why}" for partition, one in sorted(held.items(), key=str))
        is_passing = self._skips and not any(one.may_be_readable for one in held.values())
        advice = "the batch is being skipped" if is_passing else (
            f"to skip it: on_data_loss=skip, or `mirrorstream dlq accept`; {ADVICE}"
        )  # fmt: skip
        return f"a batch cannot be read: {told}; {advice}" if told else ""

    @property
    def num_held(self) -> int:
        """How many partitions are held."""
        return len(self._held)

    def accept(self) -> int:
        """Skip the batches that hold partitions now, as with `on_data_loss=skip`; return their number."""
        held = list(self._held.values())
        for one in held:
            one.is_accepted, one.look_again_s = True, time.monotonic()
        return len(held)

    def is_held(self, partition: Partition) -> bool:
        """Return True if records of a partition must be ignored: they follow a batch that is not read."""
        held = self._held.get(partition)
        return held is not None and not held.is_looking

    def paused(self) -> frozenset[Partition]:
        """Return the held partitions."""
        return frozenset(partition for partition, one in self._held.items() if not one.is_looking)

    def found(self, partition: Partition, first: int, error: KafkaError) -> None:
        """Record an unreadable batch that starts at `first`; a known one is not logged or counted again."""
        before = self._held.get(partition)
        why = error_text.of_batch(error)[:MAX_SEEN]
        wait_s = 0.0 if self._skips else LOOK_S
        is_known = before is not None and before.first == first
        accepted = is_known and before is not None and before.is_accepted
        self._held[partition] = Held(first, why, time.monotonic() + wait_s, is_accepted=accepted)
        if not is_known:
            self.num_found += 1
            log.error("%s@%d: a batch cannot be read: %s; the partition is paused", partition, first, why)

    def position_lost(self, partition: Partition, first: int, error: KafkaError) -> bool:
        """Handle an out-of-range error at an offset that exists; return True if the partition is held now.

        It is held at the second error for the same offset.  The first time, the error may be about an older position:
        the caller reads again from `first`.
        """
        if self._lost_at.get(partition) != first:
            self._lost_at[partition] = first
            log.warning(
                "%s@%d: the client reports a wrong position: %s; reading again from there",
                partition,
                first,
                error_text.of_batch(error)[:MAX_SEEN],
            )
            return False
        self.found(partition, first, error)
        self._held[partition].may_be_readable, self._held[partition].look_again_s = True, time.monotonic() + LOOK_S
        return True

    def read(self, partition: Partition) -> None:
        """Note that a record of a partition was read: it is no longer held."""
        if self._held.pop(partition, None) is not None:
            log.warning("%s can be read again", partition)

    def forget(self, partitions: Collection[Partition]) -> None:
        """Forget partitions that were revoked."""
        for partition in partitions:
            self._held.pop(partition, None)
            self._lost_at.pop(partition, None)

    def due(self) -> tuple[dict[Partition, int], dict[Partition, int | None]]:
        """Return the offsets to read again now, and the end offsets of the batches to skip.

        The search for an end runs in a thread of its own: it can take seconds, and meanwhile other partitions are read
        and rebalances are handled.  An end is None if Kafka did not answer.
        """
        now_s = time.monotonic()
        waiting = {one: held for one, held in self._held.items() if not held.is_looking and now_s >= held.look_again_s}
        again = {
            one: held.first
            for one, held in waiting.items()
            if not (held.is_accepted or (self._skips and not held.may_be_readable))
        }
        for one in again:
            self._held[one].is_looking = True
        for one in waiting.keys() - again.keys():
            held = waiting[one]
            search = partial(find_end, self._settings, one, held.first, self._is_running)
            held.search = held.search or daemon_thread.start(search, "probe")
        searched = {one: held.search for one, held in waiting.items() if held.search is not None}
        return again, {one: search.result() for one, search in searched.items() if search.done()}

    def passed(self, partition: Partition, epoch: int, end: int | None) -> Record | None:
        """Return a record that stands for the skipped batch before `end`; None if `end` is unknown: searched again."""
        held = self._held[partition]
        if end is None:
            held.look_again_s, held.search = time.monotonic() + AGAIN_S, None
            return None
        del self._held[partition]
        where = f"offsets {held.first} to {end - 1}"
        log.warning("%s: %s are skipped unread, with one dead letter for all", partition, where)
        return Record(partition, epoch, end - 1, None, None, problem=f"{where}: {held.why}", unreadable_from=held.first)


def find_end(
    settings: KafkaClientSettings, partition: Partition, first: int, is_running: Callable[[], bool]
) -> int | None:
    """Return the first offset after the batch that holds `first`; None if Kafka does not answer."""
    options = {
        **client.reader(settings, f"{settings.group_id}-probe"),
        "isolation.level": "read_uncommitted",
        "auto.offset.reset": "error",
    }
    try:
        with closing(Consumer(options)) as consumer:
            _, high = consumer.get_watermark_offsets(TopicPartition(partition.topic, partition.number), PROBE_S)
        return _search(first, high, lambda at: _is_behind(options, partition, first, at, is_running))
    except (KafkaException, TimeoutError) as error:
        log.warning("%s@%d: the end of the batch cannot be found now: %s", partition, first, error_text.explain(error))
        return None


def _search(first: int, high: int, is_behind: Callable[[int], bool]) -> int:
    """Return the smallest offset above `first` for which `is_behind` holds; it does for `high`.

    >>> _search(10, 1_000, lambda at: at >= 97)
    97
    >>> _search(10, 11, lambda at: False), _search(10, 50, lambda at: False)
    (11, 50)
    """
    inside, step = first, 1
    while inside + step < high and not is_behind(inside + step):
        inside, step = inside + step, 2 * step
    behind = min(inside + step, high)
    while behind - inside > 1:
        middle = (inside + behind) // 2
        if is_behind(middle):
            behind = middle
        else:
            inside = middle
    return max(behind, first + 1)


def _is_behind(
    options: Mapping[str, Any], partition: Partition, first: int, at: int, is_running: Callable[[], bool]
) -> bool:
    """Return True if an offset is after the batch that holds `first`.  Raises `TimeoutError` if Kafka does not answer.

    Each offset has its own consumer: after such a batch a consumer may return wrong records even with a new assignment
    (seen with librdkafka 2.16: a record from the topic's start was returned for an offset within the batch).
    """
    with closing(Consumer(dict(options))) as consumer:
        consumer.assign([TopicPartition(partition.topic, partition.number, at)])
        deadline_s = time.monotonic() + PROBE_S
        while time.monotonic() < deadline_s and is_running():
            message = consumer.poll(POLL_S)
            if message is None:
                continue
            error = message.error()
            if error is None or error.code() in {client.PARTITION_EOF, client.AUTO_OFFSET_RESET}:
                return True  # a record, the end, or deleted by retention meanwhile
            begin = message.offset()  # of the batch that holds `at`
            if error.code() in CODES and begin is not None and begin >= 0:
                return bool(begin > first)
    raise TimeoutError(f"no answer for offset {at}")


def refused_by_client(message: Message) -> str:
    """Return why the client cannot read the batch at a message's offset; "" if the message is not such an error."""
    error = message.error()
    if error is None or error.code() not in CODES:
        return ""
    place = f"{message.topic()}[{message.partition()}]@{message.offset()}"
    return f"{place}: a batch cannot be read: {error_text.of_batch(error)[:MAX_SEEN]}"
