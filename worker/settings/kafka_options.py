"""Which librdkafka options are the user's, and which are not.

Each option that a client of ours sets is either refused in `kafka_options` and `kafka_secrets`, with the reason, or the
user's value is used.  None is dropped in silence.

>>> refusal("acks")
'is not yours to set, it carries the delivery guarantee; use delivery'
>>> refusal("linger.ms") is None
True
"""

import re

_SECRET = re.compile(r"passw|secret|\.pem$|passphrase|sasl\.oauthbearer\.config|jaas", re.IGNORECASE)
# Options that carry the delivery guarantee, and the setting that stands for each, "" where there is none.
_GUARANTEE = {
    "acks": "delivery",
    "auto.commit.enable": "",  # an older name of enable.auto.commit
    "auto.offset.reset": "start_from and on_data_loss",
    "bootstrap.servers": "bootstrap_servers",
    "delivery.timeout.ms": "transaction_timeout_s",  # another name of message.timeout.ms
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "enable.idempotence": "delivery",
    "group.id": "group_id",
    "group.instance.id": "static_membership with worker_id",
    "group.protocol": "group_protocol",
    "isolation.level": "",
    "message.timeout.ms": "transaction_timeout_s",
    "metadata.broker.list": "bootstrap_servers",  # another name of bootstrap.servers
    "partition.assignment.strategy": "",
    "partitioner": "",
    "request.required.acks": "delivery",  # another name of acks
    "session.timeout.ms": "session_timeout_s",
    "transaction.timeout.ms": "transaction_timeout_s",
    "transactional.id": "transactional_id_prefix with worker_id",
}
RESERVED_KAFKA_OPTIONS = frozenset(_GUARANTEE)

_CODE = "is for programs, not for settings"
_NO_EFFECT = "has no effect here, the worker commits offsets itself"
_FIXED = {
    "auto.commit.interval.ms": _NO_EFFECT,
    "offset.store.method": _NO_EFFECT,
    "offset.store.path": _NO_EFFECT,
    "offset.store.sync.interval.ms": _NO_EFFECT,
    # A producer whose coordinator is gone hangs until an idle connection of it is closed (librdkafka#5511).
    # A damaged gzip batch hangs librdkafka 2.16 for ever; its checksum is looked at before.
    "check.crcs": "is the worker's: without it a damaged batch can hang the client in silence",
    "connections.max.idle.ms": "is the worker's: an idle connection that closes wakes up a producer that hangs",
    "consume.callback.max.messages": "has no effect here; use window_max_records",
    "enable.partition.eof": "is the worker's: a backfill finds the end of a partition by it",
    "max.poll.records": "has no effect here; use window_max_records",
    "message.max.bytes": "is the worker's; use max_message_bytes",
    "plugin.library.paths": "is not to be set: it loads code into the worker",
    "share.acknowledgement.mode": "has no effect here, the worker reads as a consumer group",
    **dict.fromkeys(
        (
            "background_event_cb", "builtin.features", "closesocket_cb", "connect_cb", "consume_cb",
            "default.topic.config", "default_topic_conf", "dr_cb", "dr_msg_cb", "enabled_events", "error_cb",
            "interceptors", "log.queue", "log_cb", "logger", "msg_order_cmp", "oauth_cb",
            "oauthbearer_token_refresh_cb", "offset_commit_cb", "on_delivery", "opaque", "open_cb", "partitioner_cb",
            "rebalance_cb", "resolve_cb", "socket_cb", "ssl.certificate.verify_cb", "ssl_ca", "ssl_certificate",
            "ssl_engine_callback_data", "ssl_key", "stats_cb", "throttle_cb",
        ),
        _CODE,
    ),
}  # fmt: skip

# Options whose value is the path of a file.
BY_PATH = frozenset({
    "https.ca.location", "sasl.kerberos.keytab", "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file", "sasl.oauthbearer.assertion.private.key.file", "ssl.ca.location",
    "ssl.certificate.location", "ssl.crl.location", "ssl.engine.location", "ssl.key.location", "ssl.keystore.location",
})  # fmt: skip

# Names for "did you mean": those of librdkafka 2.16 that people set.  Whether an option exists, the client itself says.
NAMES = BY_PATH | frozenset({
    "allow.auto.create.topics", "batch.num.messages", "batch.size", "broker.address.family", "broker.address.ttl",
    "check.crcs", "client.dns.lookup", "client.id", "client.rack", "compression.codec", "compression.level",
    "compression.type", "debug", "enable.metrics.push", "enable.ssl.certificate.verification",
    "enable.sasl.oauthbearer.unsecure.jwt", "fetch.error.backoff.ms", "fetch.max.bytes", "fetch.message.max.bytes",
    "fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms", "group.remote.assignor", "heartbeat.interval.ms",
    "https.ca.pem", "linger.ms", "log.connection.close", "log_level", "max.in.flight",
    "max.in.flight.requests.per.connection", "max.partition.fetch.bytes", "max.poll.interval.ms",
    "message.send.max.retries", "metadata.max.age.ms", "metadata.recovery.rebootstrap.trigger.ms",
    "metadata.recovery.strategy", "queue.buffering.max.kbytes", "queue.buffering.max.messages",
    "queue.buffering.max.ms", "queued.max.messages.kbytes", "queued.min.messages", "receive.message.max.bytes",
    "reconnect.backoff.max.ms", "reconnect.backoff.ms", "request.timeout.ms", "retries", "retry.backoff.max.ms",
    "retry.backoff.ms", "sasl.kerberos.kinit.cmd", "sasl.kerberos.min.time.before.relogin", "sasl.kerberos.principal",
    "sasl.kerberos.service.name", "sasl.mechanism", "sasl.mechanisms", "sasl.oauthbearer.assertion.algorithm",
    "sasl.oauthbearer.assertion.claim.aud", "sasl.oauthbearer.assertion.claim.exp.seconds",
    "sasl.oauthbearer.assertion.claim.iss", "sasl.oauthbearer.assertion.claim.jti.include",
    "sasl.oauthbearer.assertion.claim.nbf.seconds", "sasl.oauthbearer.assertion.claim.sub",
    "sasl.oauthbearer.assertion.private.key.passphrase", "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.credentials.client.secret",
    "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions", "sasl.oauthbearer.grant.type", "sasl.oauthbearer.metadata.authentication.type",
    "sasl.oauthbearer.method", "sasl.oauthbearer.scope", "sasl.oauthbearer.sub.claim.name",
    "sasl.oauthbearer.token.endpoint.url", "sasl.password", "sasl.username", "security.protocol",
    "socket.connection.setup.timeout.ms", "socket.keepalive.enable", "socket.max.fails", "socket.nagle.disable",
    "socket.receive.buffer.bytes", "socket.send.buffer.bytes", "socket.timeout.ms", "ssl.ca.certificate.stores",
    "ssl.ca.pem", "ssl.certificate.pem", "ssl.cipher.suites", "ssl.curves.list",
    "ssl.endpoint.identification.algorithm", "ssl.engine.id", "ssl.key.password", "ssl.key.pem",
    "ssl.keystore.password", "ssl.providers", "ssl.sigalgs.list", "statistics.interval.ms",
    "sticky.partitioning.linger.ms", "topic.metadata.refresh.interval.ms",
})  # fmt: skip


def refusal(name: str) -> str | None:
    """Return why an option may not be set; None if it may.  librdkafka reads `topic.acks` as `acks`."""
    for own in (name, name.removeprefix("topic.")):
        if own in _GUARANTEE:
            instead = _GUARANTEE[own]
            return "is not yours to set, it carries the delivery guarantee" + (f"; use {instead}" if instead else "")
        if own in _FIXED:
            return _FIXED[own]
    return None


def is_secret(name: str) -> bool:
    """Return True if the value of an option is shown to nobody.

    >>> [is_secret(name) for name in ("sasl.password", "ssl.key.pem", "client.id")]
    [True, True, False]
    """
    return _SECRET.search(name) is not None
