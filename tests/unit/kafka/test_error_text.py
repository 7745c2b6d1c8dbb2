"""Every error of the client that reaches a person is a sentence with what to do, and never a code of librdkafka."""

import ast
import re

import pytest
from confluent_kafka import KafkaError, KafkaException

from tests.architecture.test_layers import MODULES, tree
from worker.core.errors import Retryable
from worker.kafka import admin, error_text
from worker.kafka.error_text import explain, of_connection, sentence
from worker.settings import Settings

OF_CONNECTIONS = [  # as librdkafka 2.16 says them
    (
        KafkaError._TRANSPORT,
        "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
        "nobody listens there (connection refused)",
    ),
    (
        KafkaError._RESOLVE,
        (
            "no.invalid:9092/bootstrap: Failed to resolve 'no.invalid:9092': Name or service not known (after "
            "0ms in state CONNECT)"
        ),
        "no host has this name",
    ),
    (
        KafkaError._SSL,
        (
            "ssl://a:9/bootstrap: SSL handshake failed: error:0A00010B:SSL routines::wrong version number (after "
            "0ms in state SSL_HANDSHAKE)"
        ),
        "it does not speak TLS",
    ),
    (
        KafkaError._SSL,
        (
            "ssl://a:9/1: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker "
            "certificate could not be verified, verify that ssl.ca.location is correctly configured (after "
            "3ms in state SSL_HANDSHAKE)"
        ),
        "ssl.ca.location in kafka_options",
    ),
    (
        KafkaError._BAD_MSG,
        (
            "a:9/bootstrap: Receive failed: Invalid response size 1213486160 (0..100000000): increase "
            "receive.message.max.bytes (after 0ms in state APIVERSION_QUERY)"
        ),
        "it does not speak Kafka without TLS",
    ),
    (
        KafkaError._AUTHENTICATION,
        (
            "sasl_plaintext://a:9/bootstrap: SASL authentication error: Authentication failed during authentication "
            "due to invalid credentials with SASL mechanism PLAIN (after 5ms in state AUTH_REQ)"
        ),
        "sasl.username and sasl.password",
    ),
    (
        KafkaError._TRANSPORT,
        "a:9/bootstrap: Connection setup timed out in state CONNECT (after 30029ms in state CONNECT)",
        "it cannot be reached",
    ),
]


@pytest.mark.parametrize(("code", "text", "told"), OF_CONNECTIONS)
def test_what_became_of_a_connection_is_said_with_what_to_do(code: int, text: str, told: str) -> None:
    broker, why = of_connection(KafkaError(code, text))
    assert broker in {"127.0.0.1:1", "no.invalid:9092", "a:9"}
    assert told in why
    assert "after" not in why


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (KafkaError._TRANSPORT, "the connection to the broker broke, or could not be made"),
        (KafkaError._MSG_TIMED_OUT, "no broker took it in time: is Kafka reachable?"),
        (KafkaError._TIMED_OUT, "no broker answered in time"),
        (
            KafkaError.NOT_LEADER_FOR_PARTITION,
            "the leader of the partition has just moved or is not known yet (NOT_LEADER_FOR_PARTITION)",
        ),
        (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            "the principal lacks a right on this topic: Read and Describe, or Write (TOPIC_AUTHORIZATION_FAILED)",
        ),
    ],
)
def test_a_code_is_a_sentence(code: int, told: str) -> None:
    assert explain(KafkaException(KafkaError(code))) == told


def test_what_the_client_says_beyond_the_code_is_kept() -> None:
    text = "Unable to replicate the partition 3 time(s): only 1 broker(s) are registered."
    assert explain(KafkaError(KafkaError.INVALID_REPLICATION_FACTOR, text)) == (
        f"fewer brokers than replicas: choose a smaller --replication (INVALID_REPLICATION_FACTOR: {text})"
    )
    assert explain(KafkaError(KafkaError._STATE, "it is closed")) == "it is closed"
    generic = KafkaError(KafkaError._TRANSPORT, "Failed to get metadata: Local: Broker transport failure")
    assert explain(generic) == "the connection to the broker broke, or could not be made (Failed to get metadata)"


def test_no_code_is_told_by_a_name_of_librdkafka() -> None:
    codes = {code for name, code in vars(KafkaError).items() if isinstance(code, int) and name.isupper()}
    assert len(codes) > 150
    told = {code: sentence(code, str(KafkaError(code).str())) for code in codes}
    assert {code: text for code, text in told.items() if re.search(r"\b_[A-Z]|^$|Local:|Broker:", text)} == {}


def test_an_error_of_another_kind_keeps_its_text() -> None:
    assert explain(TimeoutError("late")) == "late"


def test_an_address_where_nobody_listens_is_said_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin, "LOOK_S", 0.2)
    with pytest.raises(Retryable) as caught:
        admin.metadata(Settings(bootstrap_servers="127.0.0.1:1"))
    assert str(caught.value) == (
        "Kafka at 127.0.0.1:1 does not answer: 127.0.0.1:1: nobody listens there (connection refused): is Kafka"
        " started, and is the port right?"
    )


def test_every_text_of_the_client_goes_through_the_table() -> None:
    """`options` tells what the client refuses of settings, without passwords."""
    own = {"worker.kafka.error_text", "worker.kafka.options"}
    found = [
        f"{module}:{node.lineno}"
        for module in sorted(MODULES.keys() - own)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "str"
    ]
    assert found == []


def test_every_name_of_the_tables_is_one_of_the_clients() -> None:
    names = [*error_text._BY_NAME, *error_text._OF_BATCH]
    assert [name for name in names if KafkaError(getattr(KafkaError, name, 0)).name() != name] == []
