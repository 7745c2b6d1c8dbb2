"""7 produce, 8 commit: short transactions in a thread of their own, and what follows from each way they can end.

    ended by                              the flush is
    commit returned                       committed
    an abortable error, abort returned    aborted: it had no effect
    the same, caused by one message       refused (`worker.kafka.refused`): its event is dead-lettered
    a time-out of commit or abort,
    a fatal error of this producer        in doubt: only a new producer and the broker can resolve it
    fenced                                not ours any more: the worker exits, it never re-initialises

librdkafka has no KIP-890: after a time-out its producer cannot be used again.  A call that never returns
(librdkafka#5456) cannot be ended from outside: `deadline_executor` exits the process.
"""

import asyncio
import logging
import threading
import time
from contextlib import suppress
from uuid import uuid4

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from worker.core.delivery.handover_messages import Aborted, Committed, Flush, InDoubt, Refused, Settled
from worker.core.errors import Fatal
from worker.core.records import Message, Partition
from worker.kafka import client_config as client, error_text, rights
from worker.kafka.client_reports import ClientReports
from worker.kafka.deadline_executor import GRACE_S, Calls
from worker.kafka.offset_sender import RETRY_S, send_offsets
from worker.kafka.poll_thread_queue import ANSWER_S
from worker.kafka.record_reader import produce
from worker.kafka.refused import REASONS, Failure, refusals, told
from worker.kafka.source import KafkaSource
from worker.settings.groups import KafkaClientSettings

log = logging.getLogger(__name__)

INIT_TIMEOUT_S = 10.0  # of one init_transactions, which may wait for an old transaction to end; it is retried
MAX_ONE_BY_ONE = 24  # largest flush that is sent message by message, to find the one that a broker rejects
MEMORY_S = 30.0  # for writing a topic to the group's memory after its first commit: a few requests of 5 s
ASK_TIMEOUT_S = 40.0  # of one request for committed offsets, which waits for the poll thread

Outcome = Committed | Aborted | InDoubt | Refused


class KafkaSink:
    """Publishes responses and dead letters and commits the offsets of `source`, in one transaction per flush."""

    def __init__(self, settings: KafkaClientSettings, source: KafkaSource) -> None:
        self._settings = settings
        self._source = source
        self._transactional = settings.delivery == "exactly-once"
        # With a stable name a restarted worker fences its old producer at once; without one, each process has its own.
        name = f"{settings.transactional_id_prefix}-{settings.worker_id or uuid4()}"
        self.transactional_id = name if self._transactional else None
        self._producer: Producer | None = None
        self._failed: list[Failure] = []
        self._searching = False  # for a rejected message: one was found, and nothing was committed since
        self.reports = ClientReports()
        self._calls = Calls("transaction", idle=self._poll)
        self._refuses = ""  # why flushes fail
        self._why = ""  # the same, of the current flush

    async def open(self) -> None:
        """Create the producer and end its old transaction, if any; retries until Kafka answers.  Raises `Fatal`."""
        await self._renew()

    async def flush(self, flush: Flush) -> Outcome:
        """Publish the messages of a flush and commit its offsets; return how that ended.  Raises `Fatal`."""
        outcome = await self._calls.make(lambda: self._flush(flush), self._settings.transaction_timeout_s)
        self._searching = not isinstance(outcome, Committed) and (self._searching or isinstance(outcome, Refused))
        self._refuses = "" if isinstance(outcome, Committed | Refused) else self._why or "Kafka accepts no transaction"
        return outcome

    @property
    def held_up(self) -> str:
        """Why nothing is published now; "" if the last flush was."""
        return self._calls.overdue or self._refuses

    async def settle(self, partitions: frozenset[Partition]) -> Settled:
        """Replace the producer, which ends its last transaction, then read the committed offsets.  Raises `Fatal`.

        The offset is -1 for a partition without one.  Retries until Kafka answers.
        """
        await self._renew()
        while True:
            committed = await self._calls.make(lambda: self._committed_once(partitions), ASK_TIMEOUT_S)
            if committed is not None:
                return Settled(committed, time.monotonic())
            await asyncio.sleep(RETRY_S * 5)

    async def close(self) -> None:
        """Close the producer within a bound; what is committed is durable already."""
        producer = self._producer
        if producer is not None:
            await self._calls.make(lambda: _close(producer), GRACE_S * 2)

    async def _renew(self) -> None:
        """Create a new producer; with the same transactional id, so the broker ends the old one's open transaction."""
        await self._calls.make(self._replace, GRACE_S)
        while reason := await self._calls.make(self._init_once, INIT_TIMEOUT_S):
            self._refuses = f"Kafka: init_transactions: {reason}"
            log.warning("%s; trying again", self._refuses)
            await asyncio.sleep(RETRY_S * 5)

    # -- the transaction thread

    def _poll(self) -> None:
        """Poll for delivery reports also while nothing is flushed: they would pile up."""
        if self._producer is not None:
            with suppress(KafkaException, RuntimeError):  # a failed or closed one is the next flush's business
                self._producer.poll(0)

    def _flush(self, flush: Flush) -> Outcome:
        producer = self._producer
        assert producer is not None
        self._why, self._failed = "", []
        offsets = self._offsets_of(flush)
        if offsets is None:
            return Aborted(time.monotonic())
        deadline_s = time.monotonic() + self._settings.transaction_timeout_s
        run = self._transaction if self._transactional else self._at_least_once
        outcome = run(producer, flush, offsets, deadline_s)
        if isinstance(outcome, Committed):
            self._calls.allow(MEMORY_S)
            self._source.flushed(flush.heads)
        return outcome

    def _transaction(
        self, producer: Producer, flush: Flush, offsets: list[TopicPartition], deadline_s: float
    ) -> Outcome:
        try:
            producer.begin_transaction()
            self._produce(producer, flush, deadline_s)
            if self._failed:  # a part of a flush is never committed
                return self._abort(producer, KafkaException(self._failed[0].error))
            send_offsets(producer, offsets, flush.metadata, deadline_s=deadline_s)
        except (KafkaException, BufferError) as error:
            return self._abort(producer, error)
        try:
            left_s = max(deadline_s - time.monotonic(), 1.0)
            self._calls.allow(left_s)
            producer.commit_transaction(left_s)
        except KafkaException as error:
            return self._after_commit(producer, client.kafka_error(error))
        return Committed()

    def _offsets_of(self, flush: Flush) -> list[TopicPartition] | None:
        """Return the offsets to commit; None if a topic was recreated, or Kafka does not answer."""
        try:
            return self._source.offsets_of(flush.heads)
        except KafkaException as error:
            reason = client.kafka_error(error)
            client.raise_if_hopeless(reason, "topic ids")
            self._why = f"topic ids: {error_text.explain(reason)}"
            log.warning("%s; the flush is retried", self._why)
            return None

    def _produce(self, producer: Producer, flush: Flush, deadline_s: float) -> None:
        """Queue all messages; one that the client rejects is recorded in `_failed`, and the others are queued.

        A broker rejects whole batches.  To find the bad message, a small flush is sent message by message, each in a
        batch of its own, up to the first that fails.
        """
        one_by_one = self._searching and sum(len(head.messages) for head in flush.heads) <= MAX_ONE_BY_ONE
        for head in flush.heads:
            for offset, message in zip(head.origins, head.messages, strict=True):
                self._produce_one(producer, message, head.partition, offset)
                if one_by_one:
                    producer.flush(max(deadline_s - time.monotonic(), RETRY_S))
                    if self._failed:
                        return
        producer.poll(0)

    def _produce_one(self, producer: Producer, message: Message, partition: Partition, offset: int) -> None:
        failed = self._failed  # of this flush: a delivery report may arrive during the next one

        def on_delivery(error: KafkaError | None, _message: object) -> None:
            if error is not None:
                failed.append(Failure(partition, offset, message.topic, error))

        while True:
            try:
                produce(producer, message, on_delivery)
            except BufferError:  # the client's queue is full: let it send
                producer.poll(RETRY_S)
            except KafkaException as refused:
                error = client.kafka_error(refused)
                if error.code() not in REASONS:
                    raise
                failed.append(Failure(partition, offset, message.topic, error, is_local=True))
                return
            else:
                return

    def _after_commit(self, producer: Producer, error: KafkaError) -> Outcome:
        if error.txn_requires_abort():
            return self._abort(producer, KafkaException(error))
        self._raise_if_hopeless(error, "commit")
        log.warning("commit: %s; in doubt; asking the broker", error_text.explain(error))
        return InDoubt(is_fenced=error.code() in client.PRODUCER_FENCED)

    def _abort(self, producer: Producer, cause: KafkaException | BufferError) -> Outcome:
        self._raise_failures()
        if isinstance(cause, KafkaException):
            error = client.kafka_error(cause)
            self._raise_if_hopeless(error, "transaction")
            log.warning("transaction: %s; aborting", error_text.explain(error))
            is_fenced = error.code() in client.PRODUCER_FENCED
            if error.fatal() or is_fenced:
                return InDoubt(is_fenced=is_fenced)
        self._calls.allow(self._settings.transaction_timeout_s)
        try:
            producer.abort_transaction(self._settings.transaction_timeout_s)
        except KafkaException as failed:
            error = client.kafka_error(failed)
            self._raise_if_hopeless(error, "abort")
            log.warning("abort: %s; in doubt; asking the broker", error_text.explain(error))
            return InDoubt(is_fenced=error.code() in client.PRODUCER_FENCED)
        return self._had_no_effect(producer)

    def _raise_failures(self) -> None:
        """Raise if the failure of a message must stop the worker."""
        for one in self._failed:
            self._raise_if_hopeless(one.error, f"produce to topic {one.topic}")

    def _had_no_effect(self, producer: Producer) -> Outcome:
        """Return the outcome of an aborted flush: refused if a message caused it, else aborted."""
        local = refusals(one for one in self._failed if one.is_local)
        found = local or refusals(self._failed)
        if found:
            return Refused(found, certain=bool(local) or len(found) == 1, now_s=time.monotonic())
        self._why = told(self._failed, producer)
        log.warning("%sthe flush is retried", self._why and f"{self._why}; ")
        return Aborted(time.monotonic())

    def _at_least_once(
        self, producer: Producer, flush: Flush, offsets: list[TopicPartition], deadline_s: float
    ) -> Outcome:
        broken: KafkaError | None = None
        try:
            self._produce(producer, flush, deadline_s)
        except KafkaException as error:
            broken = client.kafka_error(error)
        waiting = producer.flush(self._settings.transaction_timeout_s)
        if waiting or self._failed or broken is not None:
            if broken is not None:
                self._raise_if_hopeless(broken, "produce")
            self._raise_failures()
            return self._had_no_effect(producer)
        self._calls.allow(ANSWER_S)
        try:
            self._source.commit(offsets)
        except (KafkaException, TimeoutError) as error:
            if isinstance(error, KafkaException):
                client.raise_if_hopeless(client.kafka_error(error), "commit")
            log.warning("commit: %s; the flush is retried", error_text.explain(error))
            return Aborted(time.monotonic())
        return Committed()

    def _committed_once(self, partitions: frozenset[Partition]) -> dict[Partition, int] | None:
        """Return the committed offsets; None if the broker does not answer."""
        try:
            return self._source.committed(partitions)
        except TimeoutError:
            log.warning("committed offsets: the poll thread is busy; asking again")
        except KafkaException as error:
            reason = client.kafka_error(error)
            client.raise_if_hopeless(reason, "committed offsets")
            log.warning("committed offsets: %s; asking again", error_text.explain(reason))
        return None

    def _replace(self) -> None:
        old, self._producer = self._producer, None
        self._failed.clear()  # earlier failures belong to the old producer
        if old is not None:
            # Closing waits for the client's own threads; the new producer does not.
            threading.Thread(target=_close, args=(old,), daemon=True, name="old-producer").start()
        self._producer = Producer({**self.reports.options, **client.producer(self._settings, self.transactional_id)})

    def _init_once(self) -> str:
        """Initialise transactions; return "" on success, else why it failed if retrying can help.  Raises `Fatal`."""
        assert self._producer is not None
        if not self._transactional:
            return ""
        try:
            self._producer.init_transactions(INIT_TIMEOUT_S)
        except KafkaException as error:
            reason = client.kafka_error(error)
            client.raise_if_hopeless(reason, f"init_transactions of {self.transactional_id}")
            if not reason.retriable():
                message = f"init_transactions: {error_text.explain(reason)}; the worker stops"
                raise Fatal(message) from error
            return error_text.explain(reason)
        return ""

    def _raise_if_hopeless(self, error: KafkaError, what: str) -> None:
        """Raise if retrying cannot help; fencing is our own time-out if no other worker can have our name."""
        if error.code() in client.PRODUCER_FENCED and self._settings.worker_id is None:
            log.warning("%s: the broker ended our transaction, which took too long; asking what was committed", what)
            return
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:  # the client does not name the topic
            self._calls.allow(rights.LOOK_S)
            what = f"{what}: {rights.unwritable(self._settings)}"
        client.raise_if_hopeless(error, what)


def _close(producer: Producer) -> None:
    with suppress(KafkaException):  # a fenced or failed producer raises again
        producer.close(GRACE_S)
