"""Every option that a client of ours sets is refused or used: none is dropped in silence."""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import cimpl

from worker.core.errors import BadSettings
from worker.kafka import client_config as client
from worker.settings import Settings, load
from worker.settings.kafka_options import BY_PATH, NAMES, refusal

CONFIGURATIONS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "common": client.common,
    "consumer": lambda settings: client.consumer(settings, tell_end=False),
    "KIP-848": lambda settings: client.consumer(
        settings.model_copy(update={"group_protocol": "consumer"}), tell_end=False
    ),
    "static": lambda settings: client.consumer(
        settings.model_copy(update={"static_membership": True, "worker_id": "w-0"}), tell_end=False
    ),
    "reader": lambda settings: client.reader(settings, "group"),
    "producer": lambda settings: client.producer(settings, "id"),
}
# A value for each option of ours that a user may set, which is not our own.
OTHER = {
    "allow.auto.create.topics": "true", "batch.size": "5000", "client.id": "team-x", "compression.type": "zstd",
    "enable.metrics.push": "true", "fetch.max.bytes": "7777777", "fetch.queue.backoff.ms": "77",
    "fetch.wait.max.ms": "77", "linger.ms": "77",
    "log_level": "3", "max.poll.interval.ms": "77000", "queued.max.messages.kbytes": "777",
    "queued.min.messages": "77", "reconnect.backoff.max.ms": "7777", "socket.keepalive.enable": "false",
    "topic.metadata.refresh.interval.ms": "7777",
}  # fmt: skip
KEYS = sorted({(kind, key) for kind, make in CONFIGURATIONS.items() for key in make(load())})


@pytest.mark.parametrize(("kind", "key"), KEYS)
def test_an_option_that_a_client_sets_is_refused_or_the_users(kind: str, key: str) -> None:
    if refusal(key) is None:
        settings = load(None, {"kafka_options": {key: OTHER[key]}})
        assert str(CONFIGURATIONS[kind](settings)[key]) == OTHER[key]
        client.check(settings)
    else:
        with pytest.raises(BadSettings, match=re.escape(f"kafka_options.{key}: ")):
            load(None, {"kafka_options": {key: "1"}})


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_any_other_option_reaches_every_client(kind: str) -> None:
    given = {"client.rack": "zone-a", "sasl.username": "bob", "compression.codec": "zstd", "fetch.max.bytes": "2000000"}
    found = CONFIGURATIONS[kind](load(None, {"kafka_options": given}))
    assert given.items() <= found.items()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"bogus": "1"}, ["kafka_options.bogus: is not a librdkafka option"]),
        (
            {"sasl.pasword": "S3CRET", "SASL.USERNAME": "S3CRET"},
            [
                "kafka_options.sasl.pasword: is not a librdkafka option; did you mean sasl.password?",
                "kafka_options.SASL.USERNAME: is not a librdkafka option; did you mean sasl.username?",
            ],
        ),
        ({"linger.ms": "soon"}, ["kafka_options: Invalid value for configuration property"]),
        ({"sasl.jaas.config": "S3CRET"}, ["kafka_options: Java JAAS configuration is not supported"]),
        ({"max.poll.interval.ms": "1000"}, ["kafka_options: `max.poll.interval.ms`must be >= `session.timeout.ms`"]),
        ({"security.protocol": "ssl", "ssl.key.pem": "S3CRET"}, ["kafka_options: ssl.key.pem failed"]),
        ({"security.protocol": "S3CRET-protocol"}, ["kafka_options: Invalid value"]),
    ],
)
def test_what_the_client_refuses_is_told_before_anything_starts(given: dict[str, str], told: list[str]) -> None:
    with pytest.raises(BadSettings) as caught:
        client.check(load(None, {"kafka_options": given}))
    lines = str(caught.value).splitlines()
    assert [line[: len(start)] for line, start in zip(lines, told, strict=True)] == told
    assert "S3CRET" not in str(caught.value).replace("S3CRET-protocol", "")


@pytest.mark.parametrize("key", ["error_cb", "on_delivery", "logger", "default.topic.config", "max.poll.records"])
def test_what_only_a_program_can_set_is_refused(key: str) -> None:
    with pytest.raises(BadSettings, match=re.escape(f"kafka_options.{key}: ")):
        load(None, {"kafka_options": {key: "1"}})


@pytest.mark.parametrize("size", ["2000000", "0x10", "-1", "many"])
def test_a_batch_is_no_larger_than_a_message_may_be(size: str) -> None:
    with pytest.raises(BadSettings, match=r"kafka_options.batch.size: want a number of bytes, at most max_message_b"):
        load(None, {"kafka_options": {"batch.size": size}})


def test_a_topic_with_a_lower_limit_lowers_the_batch_too() -> None:
    settings = load(None, {"kafka_options": {"batch.size": "900000"}})
    assert client.producer(settings.model_copy(update={"max_message_bytes": 50_000}), None)["batch.size"] == 50_000


def test_the_names_are_those_of_the_client(tmp_path: Path) -> None:
    """What is proposed exists, and what the client knows is proposed, refused, or old."""
    known = properties(tmp_path / "properties.md")
    assert known >= NAMES
    old = {
        "api.version.fallback.ms", "api.version.request", "api.version.request.timeout.ms", "broker.version.fallback",
        "coordinator.query.interval.ms", "delivery.report.only.error", "enable.gapless.guarantee",
        "enable.random.seed", "group.protocol.type", "internal.termination.signal", "log.thread.name",
        "message.copy.max.bytes", "produce.offset.report", "queue.buffering.backpressure.threshold",
        "queuing.strategy", "reconnect.backoff.jitter.ms", "socket.blocking.max.ms", "topic.blacklist",
        "topic.metadata.propagation.max.ms", "topic.metadata.refresh.fast.cnt",
        "topic.metadata.refresh.fast.interval.ms", "topic.metadata.refresh.sparse",
    }  # fmt: skip
    assert {name for name in known if refusal(name) is None} <= NAMES | old
    assert {name for name in known if name.endswith((".location", ".keytab", ".file"))} <= BY_PATH


def properties(path: Path) -> set[str]:
    """Return the names of all options, as librdkafka itself prints them."""
    library: Any = ctypes.CDLL(cimpl.__file__)
    libc: Any = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(libc.fopen(str(path).encode(), b"w"))
    library.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    names = re.findall(r"^([a-z][\w.]+) +\|", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 150
    return set(names)
