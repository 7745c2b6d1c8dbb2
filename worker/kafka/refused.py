"""7 produce: what happens after each error of a produced message, by the client's error code.

    MSG_SIZE_TOO_LARGE, RECORD_LIST_TOO_LARGE      dead letter `too_large` of the message's event
    INVALID_RECORD, POLICY_VIOLATION, _INVALID_ARG dead letter `refused` of the message's event
    *_AUTHORIZATION_FAILED                         the worker exits; the message names topic and right
    any other                                      the flush is retried; unready, with the topic and `HINTS`

An event is dead-lettered only if its own message is the cause.  Errors that would reject every other message too (a
missing topic, a wrong clock, a broken network) are retried until somebody corrects them.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from worker.core.delivery.handover_messages import Refusal
from worker.core.records import Partition, Reason
from worker.kafka import error_text

LOOK_TIMEOUT_S = 2.0  # of one check whether a topic exists

REASONS = {
    KafkaError.MSG_SIZE_TOO_LARGE: Reason.TOO_LARGE,
    KafkaError.RECORD_LIST_TOO_LARGE: Reason.TOO_LARGE,
    KafkaError.INVALID_RECORD: Reason.REFUSED,  # such as one without a key on a compacted topic
    KafkaError.POLICY_VIOLATION: Reason.REFUSED,
    KafkaError._INVALID_ARG: Reason.REFUSED,  # noqa: SLF001 - librdkafka's own codes begin with an underscore
}
_NO_TOPIC = "it does not exist: `mirrorstream topics create` creates it"
HINTS = {
    KafkaError.UNKNOWN_TOPIC_OR_PART: _NO_TOPIC,
    KafkaError._UNKNOWN_TOPIC: _NO_TOPIC,  # noqa: SLF001 - see above
    KafkaError._UNKNOWN_PARTITION: "it has fewer partitions than a moment ago",  # noqa: SLF001 - see above
    KafkaError.TOPIC_EXCEPTION: "its name is not allowed, or it is one of Kafka's own",
    KafkaError.INVALID_TIMESTAMP: "this machine's clock is wrong, or its message.timestamp.after.max.ms is too short",
    KafkaError.INVALID_MSG: "the broker received damaged data: check the network",  # CORRUPT_MESSAGE
    KafkaError.UNSUPPORTED_COMPRESSION_TYPE: "choose another compression.type in kafka_options",
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT: "its message.format.version has no headers: raise it",
    KafkaError.NOT_ENOUGH_REPLICAS: "it has fewer in-sync replicas than its min.insync.replicas",
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: "it has fewer in-sync replicas than its min.insync.replicas",
}
_CONSEQUENCES = frozenset({
    KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT,  # noqa: SLF001 - see above: an abort removed it
    KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001 - another message of its batch is the bad one
})  # fmt: skip


class Failure(NamedTuple):
    """A message that was not delivered: the record it answers, its topic, and the error."""

    partition: Partition
    offset: int
    topic: str
    error: KafkaError
    is_local: bool = False  # the client rejected it, so no other message is the cause

    @property
    def place(self) -> tuple[Partition, int]:
        """Partition and offset of the record that it answers."""
        return self.partition, self.offset


def refusals(failures: Iterable[Failure]) -> tuple[Refusal, ...]:
    """Return one refusal for each record with a message that Kafka rejects for a fault of the message itself."""
    found: dict[tuple[Partition, int], Refusal] = {}
    for one in failures:
        reason = REASONS.get(one.error.code())
        if reason:
            detail = f"topic {one.topic} refuses it: {error_text.explain(one.error)}"
            found.setdefault(one.place, Refusal(one.partition, one.offset, reason, detail))
    return tuple(found.values())


def told(failures: Iterable[Failure], producer: Producer) -> str:
    """Return which topics accept no messages, and why, as text; "" if no error concerns a topic."""
    first = {one.topic: one.error for one in failures if one.error.code() not in _CONSEQUENCES}
    return "; ".join(f"topic {topic}: {_why(error, topic, producer)}" for topic, error in sorted(first.items()))


def _why(error: KafkaError, topic: str, producer: Producer) -> str:
    hint = HINTS.get(error.code(), "")
    if error.code() == KafkaError._MSG_TIMED_OUT and _is_missing(lambda: producer.list_topics(topic, LOOK_TIMEOUT_S)):  # noqa: SLF001 - see above
        hint = _NO_TOPIC  # the client waits for such a topic, then reports only a time-out
    return hint or error_text.explain(error)


def _is_missing(look: Callable[[], object]) -> bool:
    try:
        topics = getattr(look(), "topics", {})
    except KafkaException:
        return False
    missing = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001 - see above
    return any(one.error is not None and one.error.code() in missing for one in topics.values())
