"""Follows a compacted topic of items or users from where its store has read it, in a thread of its own.

    catch_up      reads to the end, before the worker joins its group
    open          starts the thread, which takes what comes within a quarter of a second
    read anew     a topic that was recreated, one whose records after the position have expired, and a store that was
                  away for longer than the topic keeps tombstones; meanwhile the store is not whole, and events wait

Whatever happens to Kafka, the worker goes on with what it knows: each trouble is logged once and told to the watch, and
the thread tries again.  From then until the topic is read to its end again it is `behind`: no item is unknown
meanwhile.  A record that cannot be used is counted and told; none stops those after it.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.core.errors import BadRecord, MirrorstreamError, Retryable
from worker.core.first_lines import FirstLines
from worker.core.joining.facts import FactKind, Statement, key_id, statement
from worker.core.joining.progress import FactBatch, StoreProgress, distrust
from worker.core.records import Partition, Record
from worker.core.steering.followed import Taken
from worker.kafka import client_config as client, rights
from worker.kafka.follower import Following, Reached
from worker.kafka.follower_thread import LOOK_S, FollowerThread
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

IDLE_S = 0.25  # how long a batch waits to fill
NOTE_S = 60.0  # how often "read up to now" is stored while nothing comes
CLOSE_S = 5.0
DOUBT_S = 600.0  # without Kafka, until the store is judged again as at a start
TELL_S = 10.0  # between two lines of a long load
SLOW_S = 2.0  # of one turn; a registry that does not answer is given up after 10 s, and each of its addresses

# What such a topic has, for those whose records have another shape.
_WANTED = {
    FactKind.ITEMS: "want the item's id as the key, and text or attributes (ItemFacts)",
    FactKind.USERS: "want the user's id as the key, and profile, profile_text or history (UserFacts)",
}


@dataclass(frozen=True, slots=True)
class _Read:
    """What a record says: a statement, or the id that it removes; None if it cannot be used, and why not."""

    record: Record
    change: Statement | str | None
    taken: Taken
    why: str = ""


class Store(Protocol):
    """Where facts are kept with the positions up to which they were read."""

    @property
    def progress(self) -> StoreProgress | None:
        """How far the topic was read; None if nothing was."""

    def take(self, batch: FactBatch) -> None:
        """Store a batch and its positions, or nothing."""

    def num_held(self) -> int:
        """Count the ids."""


class FactsWatch(Protocol):
    """Who is told what becomes of the topics of items and users."""

    def facts_taken(self, kind: FactKind, taken: Taken, number: int) -> None:
        """Count records."""

    def facts_held(self, kind: FactKind, number: int) -> None:
        """Set how many items or users are held."""

    def facts_lag(self, kind: FactKind, number: int) -> None:
        """Set how many records of the topic are not read yet."""

    def facts_followed(self, kind: FactKind, *, is_read: bool) -> None:
        """Set whether the newest records are known."""


class FactsFollower(FollowerThread):
    """Gives the records of a topic to a store, in order.

    `decode` returns the plain fields of a record's value; it raises `Poison` or `Retryable`.  `report` is told how far
    the loading is, a sentence for people.
    """

    def __init__(
        self,
        settings: KafkaClientSettings,
        topic: str,
        kind: FactKind,
        store: Store,
        *,
        decode: Callable[[Record], Mapping[str, object]],
        watch: FactsWatch,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(topic, known=f"the {kind} that are known")
        self._settings = settings.model_copy(update={"on_data_loss": "skip"})  # a recreated topic is read anew
        self.kind, self._store = kind, store
        self._decode, self._watch, self._report = decode, watch, report
        self._progress = StoreProgress(topic)
        self._anew = False  # what is stored is not of what is read
        self._undone: tuple[list[Record], Reached] | None = None  # read, and not stored
        self._noted_s = self._counted_s = self._told_s = 0.0
        self._num_read, self._lines = 0, FirstLines()
        self._changed = True
        self._behind, self._behind_s = "", 0.0  # why, and since when: seconds since 1970
        self._turn_s: float | None = None  # when the turn that is under way began

    @property
    def behind(self) -> str:
        """Why what was written last may not be stored, for people; "" if it is.  For any thread."""
        began_s = self._turn_s
        if not self._behind and began_s is not None and time.monotonic() - began_s > SLOW_S:
            return f"topic {self._topic}: its newest records take longer than {SLOW_S:.0f} s"
        return self._behind

    def catch_up(self) -> None:
        """Read to where the topic ends now.  Blocks.

        Raises `Retryable` if Kafka or the registry does not answer or there is no such topic, `Fatal` without the
        right to read.
        """
        began_s = self._told_s = time.monotonic()
        while not self._step():
            if time.monotonic() - self._told_s > TELL_S:
                self._told_s = time.monotonic()
                log.info("topic %s: %d records read, %d to come", self._topic, self._num_read, self._lag())
            self._report(f"{self.kind}: reading topic {self._topic}, {self._lag():,} records to come")
        self._count(now=True)
        self._set_read(is_read=True)
        took_s = time.monotonic() - began_s
        log.info(
            "topic %s: %d records read in %.1f s, %d refused", self._topic, self._num_read, took_s, self._lines.num
        )
        if self._num_read and self._lines.num == self._num_read:
            log.warning(
                "topic %s: none of %d records can be used; %s", self._topic, self._num_read, _WANTED[self.kind]
            )  # fmt: skip

    def close(self) -> None:
        """Stop; waits a little for that, since the store is closed next."""
        super().close()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)

    def _turn(self) -> None:
        self._turn_s = time.monotonic()
        try:
            self._step()  # after it, all that was read is stored
        finally:
            self._turn_s = None
        self._count()
        if self._behind and self._following and self._following.whole_until_s > self._behind_s:
            self._behind = ""

    def _retry_later(self) -> None:
        if time.time() - self._progress.whole_until_s > DOUBT_S:
            self._start_over()  # which asks whether tombstones may have gone meanwhile

    def _set_read(self, *, is_read: bool) -> None:
        if not is_read:
            self._behind, self._behind_s = f"topic {self._topic}: {self._told}", time.time()
        self._watch.facts_followed(self.kind, is_read=is_read)

    def _step(self) -> bool:
        """Store what comes next; return True at the end of the topic."""
        following = self._following or self._start()
        if self._undone is None:
            self._undone = following.batch(IDLE_S)
        records, reached = self._undone
        if self._is_away(following):
            raise Retryable(f"there is no topic {self._topic}; `mirrorstream topics create` makes it")
        self._anew = self._anew or bool(reached.made_anew)
        at_end = following.whole_until_s > 0  # each partition once: on a busy topic they are seldom there all at once
        positions = {} if self._anew else dict(self._progress.positions)
        positions |= {one.number: offset for one, offset in reached.positions.items()}
        whole_s = max(following.whole_until_s, 0.0 if self._anew else self._progress.whole_until_s)
        progress = StoreProgress(self._topic, reached.topic_ids.get(self._topic, ""), positions, whole_s)
        read = [self._read(record) for record in records]
        changes = tuple(one.change for one in read if one.change is not None)
        if records or self._anew or not self._progress.whole_until_s or time.monotonic() - self._noted_s > NOTE_S:
            self._store.take(FactBatch(changes, progress, made_anew=self._anew, at_end=at_end))
            self._noted_s = time.monotonic()
            self._progress, self._changed = progress, True
        self._anew, self._undone = False, None
        self._tell_taken(read)
        return at_end

    def _start(self) -> Following:
        """Start to read where the store ends, or from the beginning if it is not to be trusted."""
        before = self._store.progress
        if before is not None and (why := self._distrusted(before)):
            log.warning("topic %s: the store of %s is read anew: %s", self._topic, self.kind, why)
            before, self._anew = None, True
        start = Reached({})
        if before is not None:
            positions = {Partition(self._topic, number): offset for number, offset in before.positions.items()}
            start = Reached(positions, {self._topic: before.topic_id} if before.topic_id else {})
        group = client.topics_group(self._settings)  # one that a worker may read; nothing is committed
        following = Following(self._settings, [self._topic], start, group=group, look_s=LOOK_S, wants_all=True)
        self._progress = before or StoreProgress(self._topic)
        self._following, self._undone = following, None
        return following

    def _distrusted(self, before: StoreProgress) -> str:
        if before.topic != self._topic:
            return f"it is of topic {before.topic}"
        config = rights.describe(self._settings, [self._topic])[self._topic].config
        return distrust(before, config, now_s=time.time())

    def _is_away(self, following: Following) -> bool:
        if not following.missing:
            return False
        self._undone = None
        return True

    def _read(self, record: Record) -> _Read:
        """Read a record; it is counted and told once its batch is stored.  Raises `Retryable`."""
        try:
            if record.value is None:
                return _Read(record, key_id(record.key), Taken.REMOVED)
            since_us = None if record.timestamp_ms is None else record.timestamp_ms * 1_000
            found = statement(self.kind, self._decode(record), key=record.key or b"", since_us=since_us)
        except BadRecord as error:
            return _Read(record, None, Taken.REFUSED, str(error))
        except MirrorstreamError:
            raise
        except Exception as error:  # noqa: BLE001 - a record that nobody thought of must not stop all that come after it
            return _Read(record, None, Taken.REFUSED, type(error).__name__)  # whose text may quote the record
        return _Read(record, found, Taken.TAKEN)

    def _tell_taken(self, read: Sequence[_Read]) -> None:
        self._num_read += len(read)
        for one in read:
            self._watch.facts_taken(self.kind, one.taken, 1)
            if one.taken is not Taken.REFUSED:
                continue
            told = f"{one.record.where}: cannot be used: {one.why}; what was known before stays"
            if line := self._lines.line(told):
                log.warning("%s", line)

    def _lag(self) -> int:
        return self._following.lag() if self._following else 0

    def _count(self, *, now: bool = False) -> None:
        """Set the gauges; how many are held takes 0.1 s for a million, so that is counted seldom."""
        self._watch.facts_lag(self.kind, self._lag())
        if now or (self._changed and time.monotonic() - self._counted_s > TELL_S):
            self._watch.facts_held(self.kind, self._store.num_held())
            self._counted_s, self._changed = time.monotonic(), False
