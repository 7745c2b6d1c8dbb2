"""Turns settings into librdkafka's configuration, and librdkafka's errors into ours.

Each value has the failure that it prevents beside it.  Options listed before the user's own (`common`) are defaults,
which the user's options override; those listed after them may not be set (`worker.settings.kafka_options` says why).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from worker.core.errors import BadSettings, Fatal, Fenced
from worker.kafka import error_text, options
from worker.settings.groups import KafkaClientSettings

K = TypeVar("K")
T = TypeVar("T")

PRODUCER_FENCED = frozenset({
    KafkaError._FENCED,  # noqa: SLF001 - the client's public name for a local error starts with an underscore
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
})  # fmt: skip
_FENCED = PRODUCER_FENCED | {KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID}
# librdkafka's own codes; only their Python names begin with an underscore.
PARTITION_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001 - see above
AUTO_OFFSET_RESET = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - see above
ALL_BROKERS_DOWN = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001 - see above
FATAL = KafkaError._FATAL  # noqa: SLF001 - see above
STATE = KafkaError._STATE  # noqa: SLF001 - see above
TIMED_OUT = KafkaError._TIMED_OUT  # noqa: SLF001 - see above
_DENIED = frozenset({
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
})  # fmt: skip
_CGMD_GENERATION = slice(7, 11)  # of serialised group metadata: "CGMDv2:", then the generation as int32
# A call that waits for a group coordinator on a dead broker hangs until the connection to any other broker changes
# state (librdkafka#5511). Closing idle connections, as all are while the call hangs, wakes it up.
IDLE_MS = 3_000
# The default of 10 s delays reconnecting to brokers that are available again: it lengthens every recovery.
RECONNECT_MS = 1_000
# How late a new partition, or a new topic that matches a pattern, is found; the default is five minutes.
REFRESH_MS = 30_000
PREFETCH_KBYTES = 16_384  # of the whole consumer
READER_KBYTES = 16_384  # the same of a reader of whole topics; the client's default is 65,536
FETCH_BYTES = 16 << 20  # of one response, compressed, in addition to what is prefetched; the default is 50 MiB
# No fetch is sent while this many messages are queued. It is the only limit that bounds headers (librdkafka 2.16: 120
# records with headers of 800 KB were all queued at a limit of 2 MiB). A rebalance discards what is queued, and the
# default is 100,000.
PREFETCH_MESSAGES = 100


def common(settings: KafkaClientSettings) -> dict[str, Any]:
    """Return the options of every client: the user's own, secrets from files, brokers.  Raises `BadSettings`."""
    return {
        "socket.keepalive.enable": True,  # NAT and load balancers drop idle connections
        "reconnect.backoff.max.ms": RECONNECT_MS,
        "enable.metrics.push": False,  # KIP-714 would send client metrics to the broker
        "client.id": settings.worker_id or "mirrorstream",
        "log_level": 2,  # our own log lines report what matters; an unavailable broker would fill the log
        **options.given(settings),
        "bootstrap.servers": settings.bootstrap_servers,
    }


def consumer(settings: KafkaClientSettings, *, tell_end: bool) -> dict[str, Any]:
    """Return the configuration of the consumer of impressions; `tell_end` also reports the ends of partitions."""
    classic = {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": int(settings.session_timeout_s * 1000),
    }
    return {
        "topic.metadata.refresh.interval.ms": REFRESH_MS,
        "queued.min.messages": PREFETCH_MESSAGES,
        "queued.max.messages.kbytes": PREFETCH_KBYTES,
        "fetch.max.bytes": FETCH_BYTES,
        "check.crcs": True,  # a damaged gzip batch hangs librdkafka 2.16 for ever; the checksum is checked first
        "fetch.queue.backoff.ms": 50,  # with a small queue the default of 1 s stalls fetching
        "fetch.wait.max.ms": 100,
        "max.poll.interval.ms": max(600_000, int(settings.session_timeout_s * 1000)),  # polling never waits for work
        "allow.auto.create.topics": False,
        **common(settings),
        "group.id": settings.group_id,
        "group.protocol": settings.group_protocol,
        # With the new protocol the broker decides both; setting them fails when the consumer is created.
        **(classic if settings.group_protocol == "classic" else {}),
        **({"group.instance.id": settings.worker_id} if settings.static_membership else {}),
        "enable.auto.commit": False,  # offsets go through the transaction
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # Without a committed offset the source sets the position; this is only for an offset that is out of range.
        "auto.offset.reset": "error",
        "enable.partition.eof": tell_end,
    }


def reader(settings: KafkaClientSettings, group_id: str) -> dict[str, Any]:
    """Return the configuration of a consumer without a subscription that reads topics to their ends."""
    return {
        "check.crcs": True,  # as in `consumer`
        "queued.max.messages.kbytes": READER_KBYTES,
        **common(settings),
        "group.id": group_id,
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
    }


def producer(settings: KafkaClientSettings, transactional_id: str | None) -> dict[str, Any]:
    """Return the configuration of the producer; without a transactional id it has no transactions."""
    transactional = {
        "transactional.id": transactional_id,
        "transaction.timeout.ms": int(settings.transaction_timeout_s * 1000),
    }
    found = {
        "linger.ms": 5,
        "compression.type": "lz4",
        "batch.size": settings.max_message_bytes,
        **common(settings),
        **(transactional if transactional_id else {}),
        "connections.max.idle.ms": IDLE_MS,
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": int(settings.transaction_timeout_s * 800),  # must be below the transaction's time-out
        "message.max.bytes": settings.max_message_bytes + 10_000,  # room for headers and the record's own fields
        "partitioner": "murmur2_random",  # Java's default: outputs are co-partitioned with inputs of Java producers
    }
    # A broker rejects a batch above the limit of one message; the topics' limit may be below the setting.
    size = str(found["batch.size"])
    return found | {"batch.size": min(int(size) if size.isdecimal() else 0, settings.max_message_bytes)}


def check(settings: KafkaClientSettings) -> None:
    """Create a producer and a consumer as the worker would, without connecting.  Raises `BadSettings` if one fails.

    Options can be valid alone and invalid together, such as max.poll.interval.ms below session_timeout_s.
    """
    try:
        Producer(producer(settings, "check" if settings.delivery == "exactly-once" else None)).close(0)
        Consumer(consumer(settings, tell_end=False)).close()
    except KafkaException as error:
        raise refused_options(error, settings) from error


def refused_options(error: KafkaException, settings: KafkaClientSettings) -> BadSettings:
    """Return what to raise where the client takes its options not together; without passwords."""
    return BadSettings(f"kafka_options: {options.told(kafka_error(error), options.given(settings))}")


def topics_group(settings: KafkaClientSettings) -> str:
    """Return the name of the group that stores which topics the workers' group reads (`worker.kafka.group_memory`)."""
    return f"{settings.group_id}-topics"


def replay_group(settings: KafkaClientSettings) -> str:
    """Return the name of the group whose offsets say which dead letters were replayed (`worker.kafka.dead_letters`)."""
    return f"{settings.group_id}-dlq-replay"


def generation(metadata: object) -> int:
    """Return the generation inside serialised group metadata; -1 while the member is not in the group."""
    data = bytes(metadata) if isinstance(metadata, (bytes, bytearray)) else b""
    return int.from_bytes(data[_CGMD_GENERATION], "little", signed=True) if data.startswith(b"CGMDv2:") else -1


def answers(futures: Mapping[K, "Future[T]"], timeout_s: float) -> Iterator[tuple[K, "Future[T]"]]:
    """Wait until all futures of one admin call are done or the time is over: the client must outlive its futures."""
    wait(futures.values(), timeout_s)
    yield from futures.items()


def answer(future: "Future[T]", timeout_s: float) -> T:
    """Return the result of an admin call.  Raises `KafkaException`, also after `timeout_s`."""
    try:
        return future.result(timeout_s)
    except TimeoutError:
        raise KafkaException(KafkaError(TIMED_OUT)) from None


def kafka_error(error: BaseException) -> KafkaError:
    """Return the `KafkaError` inside an exception; re-raises an exception that has none."""
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return error.args[0]
    raise error


def checked(partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Return these partitions unchanged.  Raises `KafkaException` if one holds an error instead of an offset."""
    for one in partitions:
        if one.error is not None:
            raise KafkaException(one.error)
    return partitions


def raise_if_hopeless(error: KafkaError, what: str) -> None:
    """Raise if retrying cannot help: `Fenced`, or `Fatal` for missing rights; `what` failed, for the message."""
    if error.code() in _FENCED:
        message = f"{what}: {error_text.explain(error)}; this worker stops"
        raise Fenced(message)
    if error.code() == KafkaError.OFFSET_METADATA_TOO_LARGE:
        raise Fatal(f"{what}: the brokers' offset.metadata.max.bytes is below its default of 4096 ({error.name()})")
    if error.code() in _DENIED:
        message = f"{what}: {error_text.explain(error)}"
        raise Fatal(message)
