"""The client's error codes as sentences with what to do: the one table for commands, log lines and probe texts.

    _TRANSPORT, "... Connection refused (after 0ms in state CONNECT)"
        -> nobody listens there (connection refused): is Kafka started, and is the port right?
    TOPIC_AUTHORIZATION_FAILED, "Broker: Topic authorization failed"
        -> the principal lacks a right on this topic: Read and Describe, or Write (TOPIC_AUTHORIZATION_FAILED)

Names that begin with an underscore are librdkafka's own and say nothing to users, so they are left out.  Kafka's names
stay, in brackets: Kafka's documentation and the broker's log use them.  A code without a sentence keeps the client's
text.
"""

import re

from confluent_kafka import KafkaError, KafkaException

_PREFIX = re.compile(r"^(?:Local|Broker): ")
_STATE = re.compile(r" \(after .*?\)$")  # differs from try to try
_BROKER = re.compile(r"^(?:\w+://)?(?P<address>[^/\s]+:\d+)(?:/\w+)?: (?P<problem>.*)$", re.DOTALL)

NO_ANSWER = "is it a Kafka broker, and are port and security.protocol right?"

_REFUSED = "nobody listens there (connection refused): is Kafka started, and is the port right?"
_NO_HOST = "no host has this name: is it spelled right, and does this machine's DNS have it?"

# What became of a connection is only in the client's text (librdkafka 2.16).
_BY_TEXT: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), told)
    for pattern, told in (
        (r"Connection refused", _REFUSED),
        (r"Failed to resolve", _NO_HOST),
        (
            r"Connection setup timed out|timed out in state CONNECT|[Uu]nreachable|No route to host",
            "it cannot be reached: is the address right, and does no firewall stand between?",
        ),
        (
            r"certificate verify failed",
            "its certificate is not trusted: name the authority's file by ssl.ca.location in kafka_options",
        ),
        (
            r"wrong version number|PLAINTEXT broker listener",
            (
                "it does not speak TLS: take its TLS port, or security.protocol PLAINTEXT or SASL_PLAINTEXT in"
                " kafka_options"
            ),
        ),
        (
            r"SSL connection closed by peer",
            "it ended the TLS handshake: is this its TLS port, and does it know this client's certificate?",
        ),
        (
            r"Invalid response size .*APIVERSION_QUERY|SSL listener|incorrect security\.protocol",
            (
                "it does not speak Kafka without TLS: is it a TLS port (then security.protocol SSL or SASL_SSL in"
                " kafka_options), or another server?"
            ),
        ),
        (
            r"[Ii]nvalid credentials|Authentication failed during authentication",
            "it refuses the user or the password: see sasl.username and sasl.password",
        ),
        (r"mechanism .*not supported|[Uu]nsupported SASL mechanism", "it does not offer this sasl.mechanism"),
    )
)
_NO_TOPIC = "no such topic or partition: `mirrorstream topics create` makes the topics"
_FEW_REPLICAS = "fewer replicas are in sync than the topic's min.insync.replicas wants: are all brokers up?"
_MOVED = "the leader of the partition has just moved or is not known yet"
_COORDINATOR = "the broker that coordinates the group or transaction is not ready yet, or has just moved"
_TOO_LARGE = "a message is larger than the topic takes: see the topic's max.message.bytes and max_message_bytes"
_NEWER = "another holder took over this identity, or the broker timed the transaction out"
_OF_BATCH = {
    "MSG_SIZE_TOO_LARGE": "a batch is larger than this client takes: raise receive.message.max.bytes",
    "OFFSET_OUT_OF_RANGE": "the client takes an offset that exists for one that does not",
}
_BY_NAME = {
    # librdkafka's own names
    "_TRANSPORT": "the connection to the broker broke, or could not be made",
    "_ALL_BROKERS_DOWN": "no broker can be reached",
    "_RESOLVE": "no host has this name",
    "_SSL": "the TLS handshake failed: see security.protocol and the ssl. options",
    "_AUTHENTICATION": "the broker refuses the login: see the sasl. options",
    "_TIMED_OUT": "no broker answered in time",
    "_TIMED_OUT_QUEUE": "no broker answered in time",
    "_MSG_TIMED_OUT": "no broker took it in time: is Kafka reachable?",
    "_WAIT_COORD": _COORDINATOR,
    "_UNKNOWN_TOPIC": _NO_TOPIC,
    "_UNKNOWN_PARTITION": _NO_TOPIC,
    "_QUEUE_FULL": "the client's queue is full",
    "_FENCED": _NEWER,
    "_BAD_MSG": "its data is damaged, or of an unknown format",
    "_BAD_COMPRESSION": "its data cannot be decompressed",
    "_NOT_IMPLEMENTED": "it needs what this client cannot do",
    "_MAX_POLL_EXCEEDED": "the worker did not poll within max.poll.interval.ms",
    "_PURGE_QUEUE": "it was taken back with its transaction",
    "_PURGE_INFLIGHT": "it was taken back with its transaction",
    "_AUTO_OFFSET_RESET": "there is no such offset",
    # Kafka's names
    "REQUEST_TIMED_OUT": "the broker did not finish the request in time",
    "NETWORK_EXCEPTION": "the connection to the broker broke",
    "TOPIC_AUTHORIZATION_FAILED": "the principal lacks a right on this topic: Read and Describe, or Write",
    "GROUP_AUTHORIZATION_FAILED": "the principal lacks Read on this group",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": ("the principal lacks Write and Describe on this transactional id"),
    "CLUSTER_AUTHORIZATION_FAILED": "the principal lacks a right on the cluster",
    "SASL_AUTHENTICATION_FAILED": "the broker refuses the user or the password",
    "UNSUPPORTED_SASL_MECHANISM": "the broker does not offer this sasl.mechanism",
    "ILLEGAL_SASL_STATE": "the broker wants a login: see security.protocol and the sasl. options",
    "UNSUPPORTED_VERSION": "the broker is too old for this: want Kafka 3.8, for group_protocol=consumer 4.0",
    "NOT_LEADER_FOR_PARTITION": _MOVED,
    "LEADER_NOT_AVAILABLE": _MOVED,
    "FENCED_LEADER_EPOCH": _MOVED,
    "UNKNOWN_LEADER_EPOCH": _MOVED,
    "REPLICA_NOT_AVAILABLE": _MOVED,
    "OFFSET_NOT_AVAILABLE": _MOVED,
    "BROKER_NOT_AVAILABLE": "the broker is not up",
    "COORDINATOR_NOT_AVAILABLE": _COORDINATOR,
    "COORDINATOR_LOAD_IN_PROGRESS": _COORDINATOR,
    "NOT_COORDINATOR": _COORDINATOR,
    "NOT_CONTROLLER": "the cluster's controller has just moved",
    "UNKNOWN_TOPIC_OR_PART": _NO_TOPIC,
    "UNKNOWN_TOPIC_ID": "the topic was deleted, or made anew, a moment ago",
    "TOPIC_EXCEPTION": "the topic's name is not allowed, or it is one of Kafka's own",
    "INVALID_PARTITIONS": "the number of partitions is not allowed",
    "INVALID_REPLICATION_FACTOR": "fewer brokers than replicas: choose a smaller --replication",
    "POLICY_VIOLATION": "a policy of the cluster forbids it",
    "NOT_ENOUGH_REPLICAS": _FEW_REPLICAS,
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND": _FEW_REPLICAS,
    "MSG_SIZE_TOO_LARGE": _TOO_LARGE,
    "RECORD_LIST_TOO_LARGE": _TOO_LARGE,
    "INVALID_MSG": "what the broker got is damaged: look at the network",
    "INVALID_RECORD": "the broker refuses the record, such as one without a key on a compacted topic",
    "OFFSET_OUT_OF_RANGE": "there is no such offset: its records have expired",
    "INVALID_TRANSACTION_TIMEOUT": "transaction_timeout_s is above the broker's transaction.max.timeout.ms",
    "CONCURRENT_TRANSACTIONS": "the last transaction is still being ended",
    "INVALID_PRODUCER_EPOCH": _NEWER,
    "PRODUCER_FENCED": _NEWER,
    "FENCED_INSTANCE_ID": "another worker runs under this worker_id",
    "UNRELEASED_INSTANCE_ID": "another worker still holds this worker_id in the group",
    "INVALID_SESSION_TIMEOUT": "session_timeout_s is outside what the broker allows for groups",
    "UNSUPPORTED_COMPRESSION_TYPE": "choose another compression.type in kafka_options",
    "KAFKA_STORAGE_ERROR": "the broker cannot write to its disk",
    "THROTTLING_QUOTA_EXCEEDED": "the broker's quota is used up",
}


def sentence(code: int, text: str) -> str:
    """Return what an error means, and what to do where that is known.

    `text` is the client's own.  Where it says more than the code does, it follows in brackets.

    >>> sentence(KafkaError.NOT_LEADER_FOR_PARTITION, "Broker: Not leader for partition")
    'the leader of the partition has just moved or is not known yet (NOT_LEADER_FOR_PARTITION)'
    """
    for pattern, told in _BY_TEXT:
        if pattern.search(text):
            return told
    plain = KafkaError(code)
    own = _STATE.sub("", text).replace(str(plain.str()), "").strip(": ")
    told = _BY_NAME.get(plain.name(), "")
    if not told:
        told, own = _PREFIX.sub("", own or text), ""
    name = "" if plain.name().startswith("_") else plain.name()
    details = ": ".join(part for part in (name, own) if part)
    return f"{told} ({details})" if details else told


def explain(error: KafkaError | BaseException) -> str:
    """Return the sentence for an error of the client, or of an exception around one; any other error's own text."""
    found = error.args[0] if isinstance(error, KafkaException) and error.args else error
    return sentence(found.code(), str(found.str())) if isinstance(found, KafkaError) else str(error)


def of_batch(error: KafkaError) -> str:
    """Return the sentence for a batch that cannot be read; a code's usual sentence may be about sending.

    >>> of_batch(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
    'a batch is larger than this client takes: raise receive.message.max.bytes (MSG_SIZE_TOO_LARGE)'
    """
    told = _OF_BATCH.get(error.name())
    return f"{told} ({error.name()})" if told else explain(error)


def is_of_client(error: BaseException) -> bool:
    """Return whether an exception is the client's, with a sentence by `explain`."""
    return isinstance(error, KafkaException)


def of_connection(error: KafkaError) -> tuple[str, str]:
    """Return the broker's address, "" where the error names none, and the sentence for what became of the connection.

    >>> of_connection(KafkaError(KafkaError._TRANSPORT, "a:1/bootstrap: Connect to ipv4#10.0.0.1:1 failed: \
Connection refused (after 0ms in state CONNECT)"))
    ('a:1', 'nobody listens there (connection refused): is Kafka started, and is the port right?')
    """
    text = str(error.str())
    found = _BROKER.match(text)
    if found is None:
        return "", sentence(error.code(), text)
    return found["address"], sentence(error.code(), found["problem"])


def is_nobody_there(told: str) -> bool:
    """Return whether a sentence means that nothing answers at an address now."""
    return told in {_REFUSED, _NO_HOST}
