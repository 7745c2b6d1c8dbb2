"""What the other integration tests take for granted about their Kafka: transactions, isolation, and data that stays."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # where it is declared; the others re-export it without saying so

from tests.support.java import MissingTool, ProgramFailed
from tests.support.kafka_broker import ConsoleRow, KafkaCluster, free_ports
from tests.support.patience import patience

READ_TIMEOUT_S = 30.0
BINARY = b"\x00\n\r\t\xff" + bytes(range(256))  # what Avro may hold and a line of text may not


def create_topic(kafka: KafkaCluster, topic: str) -> None:
    """Make a topic of one partition, with as many copies as the cluster keeps."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(patience(READ_TIMEOUT_S))


def transact(kafka: KafkaCluster, topic: str, values: list[bytes], *, commit: bool = True) -> None:
    """Write one transaction, and end it."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": f"writer-of-{topic}"})
    producer.init_transactions(patience(READ_TIMEOUT_S))
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, key=b"k", headers=[("h", BINARY), ("none", None)])
    producer.flush(patience(READ_TIMEOUT_S))  # so that the records of an aborted one are in the log too
    if commit:
        producer.commit_transaction(patience(READ_TIMEOUT_S))
    else:
        producer.abort_transaction(patience(READ_TIMEOUT_S))


def read_until(kafka: KafkaCluster, topic: str, last: bytes, *, protocol: str = "classic") -> list[bytes | None]:
    """Return the values that our own client reads with read_committed, up to `last`."""
    options = {"group.id": f"{topic}-{protocol}", "group.protocol": protocol, "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "isolation.level": "read_committed", **options})
    consumer.subscribe([topic])
    values: list[bytes | None] = []
    deadline_s = time.monotonic() + patience(READ_TIMEOUT_S)
    while last not in values:
        assert time.monotonic() < deadline_s, f"{topic}: read {values}, want {last!r}"
        values += [record.value() for record in consumer.consume(10, timeout=0.2) if record.error() is None]
    consumer.close()
    return values


def listens(host: str, port: int) -> bool:
    """Tell whether anything takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_only_committed_transactions_are_read(kafka: KafkaCluster, protocol: str) -> None:
    """An aborted record is hidden from both group protocols, although it lies before a committed one."""
    topic = f"committed-{protocol}"
    create_topic(kafka, topic)
    transact(kafka, topic, [b"a", b"b"])
    transact(kafka, topic, [b"aborted"], commit=False)
    transact(kafka, topic, [b"last"])
    assert read_until(kafka, topic, b"last", protocol=protocol) == [b"a", b"b", b"last"]


def test_the_console_consumer_prints_the_committed_records_byte_by_byte(kafka: KafkaCluster) -> None:
    """Kafka's own client agrees on what is committed, and no byte of a record is taken for a separator."""
    create_topic(kafka, "console")
    transact(kafka, "console", [BINARY])
    transact(kafka, "console", [b"aborted"], commit=False)
    transact(kafka, "console", [b""])
    headers = (("h", BINARY), ("none", None))
    expected = [ConsoleRow(0, 0, headers, b"k", BINARY), ConsoleRow(0, 4, headers, b"k", b"")]
    assert kafka.console_consumer("console", max_messages=2) == expected  # offsets 1 and 3 hold the markers
    uncommitted = kafka.console_consumer("console", isolation="read_uncommitted", max_messages=3)
    assert [row.value for row in uncommitted] == [BINARY, b"aborted", b""]


def test_the_console_consumer_tells_null_and_bare_records(kafka: KafkaCluster) -> None:
    """A tombstone without key or headers is not the text that the console prints for it."""
    create_topic(kafka, "bare")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    producer.produce("bare", None)
    producer.produce("bare", b"null", key=b"NO_HEADERS")
    producer.flush(patience(READ_TIMEOUT_S))
    rows = kafka.console_consumer("bare", timeout_ms=2_000)
    assert rows == [ConsoleRow(0, 0, (), None, None), ConsoleRow(0, 1, (), b"NO_HEADERS", b"null")]


def test_a_killed_broker_comes_back_with_its_data() -> None:
    """What was committed before a SIGKILL is read after the restart, and new transactions are taken."""
    with KafkaCluster() as kafka:
        create_topic(kafka, "kept")
        transact(kafka, "kept", [b"before"])
        kafka.kill(0)
        kafka.restart(0)
        transact(kafka, "kept", [b"after"])
        assert read_until(kafka, "kept", b"after") == [b"before", b"after"]


@pytest.mark.long
def test_one_of_three_brokers_may_be_away() -> None:
    """Two brokers are enough to commit, and nothing is lost when the third comes back."""
    with KafkaCluster(brokers=3) as kafka:
        create_topic(kafka, "shared")
        transact(kafka, "shared", [b"all three"])
        kafka.kill(0)
        transact(kafka, "shared", [b"two of three"])
        kafka.restart(0)
        assert read_until(kafka, "shared", b"two of three") == [b"all three", b"two of three"]


def test_brokers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    """A test run that is killed leaves no broker behind, although none of its code ran."""
    script = """from tests.support.kafka_broker import *
with KafkaCluster() as kafka:
    print(kafka.bootstrap_servers, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=environment,
        stdout=subprocess.PIPE,
        check=False,
        timeout=patience(100),
    )
    host, port = done.stdout.decode().strip().split(":")
    deadline_s = time.monotonic() + patience(READ_TIMEOUT_S)
    while listens(host, int(port)):
        assert time.monotonic() < deadline_s, f"{host}:{port} still listens, want its broker dead"
        time.sleep(0.1)


def test_a_broker_that_does_not_start_says_why() -> None:
    """The error ends with the broker's own words, as its log is gone by then."""
    with (
        pytest.raises(ProgramFailed, match=r"num\.network\.threads"),
        KafkaCluster(settings={"num.network.threads": "0"}),
    ):
        pass


def test_a_missing_tool_is_an_error_that_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Maven and without jars nothing is skipped."""
    for tool in ("java", "setpriv"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MIRRORSTREAM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingTool, match=r"no `mvn`.*install maven"), KafkaCluster():
        pass


def test_an_interrupted_download_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Maven that stops half-way leaves nothing behind that the next start would use."""
    half = (
        'for word; do case $word in -DoutputDirectory=*) mkdir "${word#*=}" && touch "${word#*=}/one.jar";; esac; done'
    )
    (tmp_path / "mvn").write_text(f"#!/bin/sh\n{half}\necho no route >&2\nexit 1\n")
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("MIRRORSTREAM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ProgramFailed, match="no route"), KafkaCluster():
        pass
    assert list((tmp_path / "cache").iterdir()) == []


def test_one_broker_runs_by_itself_until_it_is_told_to_stop() -> None:
    """Whoever follows a tutorial without Docker has a broker on the port that the page names, and nothing after it."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "tests.support.kafka_broker", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith(f"Kafka at 127.0.0.1:{port} ")
        AdminClient({"bootstrap.servers": f"localhost:{port}"}).list_topics(timeout=patience(READ_TIMEOUT_S))
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=patience(READ_TIMEOUT_S))
        program.send_signal(signal.SIGTERM)
        assert program.wait(patience(READ_TIMEOUT_S)) == 0
    assert second.returncode == 2
    assert f"--port: {port} is in use; want a free one" in second.stderr
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
